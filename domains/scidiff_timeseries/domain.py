"""The time-series domain, as the core finds it. Heavy imports wait inside the methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from scidiff.config import Config
from scidiff.domain import ModelInfo

if TYPE_CHECKING:
    from scidiff.card import CardSection
    from scidiff.report import Section
    from scidiff.tracking import Tracker
    from scidiff_timeseries.service import TimeSeriesService
    from scidiff_timeseries.task import TimeSeriesTask


class TimeSeriesDomain:
    """Implements :class:`scidiff.domain.Domain`."""

    name = "timeseries"
    description = "Joint sample paths of time series: forecasts, filled gaps, simulations."

    def commands(self) -> typer.Typer:
        from scidiff_timeseries.cli import app

        return app

    def recipe(self) -> type[Config]:
        from scidiff_timeseries.data import Training

        return Training

    def task(self, recipe: Any) -> TimeSeriesTask:
        from scidiff_timeseries.data import task_of

        return task_of(recipe)

    def demo(self, folder: Path, tracker: Tracker) -> Sequence[Section]:
        from scidiff_timeseries.demo import demo

        return demo(folder, tracker)

    def models(self) -> list[ModelInfo]:
        from scidiff_timeseries.registry import shipped_models

        return [ModelInfo(name, _describe(path), path) for name, path in shipped_models().items()]

    def card(self, metadata: Mapping[str, Any], weights_sha256: str) -> Sequence[CardSection]:
        from scidiff_timeseries.card import sections

        return sections(metadata, weights_sha256)

    def service(self) -> type[TimeSeriesService]:
        from scidiff_timeseries.service import TimeSeriesService

        return TimeSeriesService


def _describe(path: Path) -> str:
    """One line from the header of a model."""
    from scidiff.train.weights import load_weights
    from scidiff_timeseries.frequency import Frequency

    about = load_weights(path)[1]
    channels, series = len(about["channels"]), len(about["fit"]["ids"])
    horizon, steps = about["recipe"]["windows"]["horizon"], about.get("step", 0)
    return f"{series} series, {channels} channels, {Frequency(about['frequency']).describe()}, horizon {horizon}, {steps:,} steps"


DOMAIN = TimeSeriesDomain()
