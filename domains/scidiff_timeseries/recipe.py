"""The typed configuration of a :class:`~scidiff_timeseries.forecaster.Forecaster` and its training."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from scidiff.config import Config
from scidiff.train.config import TrainConfig
from scidiff.train.start import fill_in, read_start
from scidiff_timeseries.backbone import BackboneConfig
from scidiff_timeseries.panel import Panel
from scidiff_timeseries.registry import find_model
from scidiff_timeseries.selection import Rolls

_COMPARED = 2000
"""Windows on which base laws are compared, about: each costs a fraction of a millisecond for each of them."""


class Questions(Config):
    """How often training asks what: the last steps, scattered entries, blocks, whole channels (of systems), everything."""

    forecast: float = Field(default=0.7, ge=0)
    gaps: float = Field(default=0.1, ge=0)
    blocks: float = Field(default=0.1, ge=0)
    channels: float = Field(default=0.05, ge=0)
    everything: float = Field(default=0.05, ge=0)


class WindowConfig(Config):
    """Lengths in steps. ``context``: what the base law sees before a question; ``view``: what of it the network sees. None: three of
    the longest season (at most 512), at least 60 and two horizons; for the view two horizons, at least 60, at most the context."""

    horizon: int = Field(ge=1, le=10_000)
    context: int | None = Field(default=None, ge=2, le=4096)
    view: int | None = Field(default=None, ge=0, le=4096)
    rolls: int = Field(default=5, ge=1, le=100, description="windows at the end of the data that validate: selection and calibration")
    selection_rolls: int | None = Field(default=None, ge=1, le=100, description="windows a series on which base laws are compared")

    pool: bool | None = Field(default=None, description="one fit of all series; by default where most are too short for one each")

    def lengths(self, seasons: tuple[int, ...]) -> tuple[int, int]:
        """(context, view)."""
        longest = max(seasons, default=1)
        context = self.context or max(60, 2 * self.horizon, min(3 * longest, 512))
        return context, min(context, self.view if self.view is not None else max(2 * self.horizon, 60))

    def selection(self, panel: Panel) -> Rolls:
        """On what base laws are compared: the last windows, those that validate included; by default 5 to 250 a series, the fewer the more
        series there are: years in which rates fall make a mean-reverting law look better than the random walk that decades ask for."""
        auto = min(max(_COMPARED // (len(panel) * len(panel.channels)), 5), 250)
        return Rolls(self.horizon, self.selection_rolls or auto, self.lengths(panel.frequency.seasons)[0])


class SamplerConfig(Config):
    """Network calls a forecast, and how much fresh noise a step takes."""

    calls: int = Field(default=4, ge=1, le=256)
    churn: float = Field(default=1.0, ge=0, le=1)


class SeriesTraining(TrainConfig):
    """:class:`~scidiff.train.loop.TrainConfig` with defaults for small networks on series."""

    steps: int = Field(default=1500, ge=1)
    batch_size: int = Field(default=64, ge=1)
    warmup: int = Field(default=100, ge=0)
    ema_decay: float = Field(default=0.995, ge=0, lt=1)
    self_conditioning: float = Field(default=0.0, ge=0, le=0, description="the network is not shown its own answer")
    save_every: int = Field(default=250, ge=1)
    validate_every: int = Field(default=250, ge=1)
    preview_every: int = Field(default=10**6, ge=1)


class Recipe(Config):
    """A training of the time-series domain."""

    domain: Literal["timeseries"] = "timeseries"
    name: str = "timeseries"
    windows: WindowConfig
    questions: Questions = Field(default_factory=Questions)
    backbone: BackboneConfig = Field(default_factory=BackboneConfig)
    sampler: SamplerConfig = Field(default_factory=SamplerConfig)
    train: SeriesTraining = Field(default_factory=SeriesTraining)
    init: str | None = Field(default=None, description="a model to start from, of the same step, channels and covariates; its backbone")

    @model_validator(mode="before")
    @classmethod
    def _like_the_start(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not isinstance(values.get("init"), str):
            return values
        start = read_start(values["init"], find_model, "timeseries")
        return fill_in(values, start, {"backbone": (BackboneConfig, start.metadata["recipe"]["backbone"])})
