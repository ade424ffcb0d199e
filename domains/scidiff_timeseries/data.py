"""Where a training's data come from: a CSV file, a shipped sample, or one of the literature's sets; and the recipe that names it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import AfterValidator, Field

from scidiff.config import Config
from scidiff.errors import UserError, did_you_mean
from scidiff_timeseries import literature
from scidiff_timeseries.literature import Array, Benchmark
from scidiff_timeseries.panel import Panel, read_frame
from scidiff_timeseries.recipe import Recipe
from scidiff_timeseries.samples import SAMPLES, load_sample
from scidiff_timeseries.tables import read_csv
from scidiff_timeseries.task import TimeSeriesTask
from scidiff_timeseries.training import make_task
from scidiff_timeseries.zones import localise

SAMPLE = "sample:"
"""Before the name of a shipped sample, where a file could stand."""


class FrameLayout(Config):
    """How a frame is laid out; see :func:`scidiff_timeseries.panel.read_frame`."""

    layout: Literal["long", "wide"] = "long"
    id: str = "unique_id"
    time: str = "ds"
    targets: tuple[str, ...] | None = None
    freq: str | None = None
    future: tuple[str, ...] = ()
    past: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    multivariate: bool = False
    repair: bool = False

    def options(self) -> dict[str, Any]:
        """Those that are not the defaults, as JSON."""
        return self.model_dump(mode="json", include=set(FrameLayout.model_fields), exclude_defaults=True)


class Dialect(Config):
    """How a CSV file is written."""

    sep: str = Field(default=",", min_length=1)
    decimal: str = Field(default=".", min_length=1, max_length=1)
    time_format: str | None = None
    time_zone: str | None = None

    def options(self) -> dict[str, Any]:
        """Those that are not the defaults, as JSON."""
        return self.model_dump(mode="json", include=set(Dialect.model_fields), exclude_defaults=True)


class CsvData(FrameLayout):
    """A CSV file. ``hold_out``: steps at the end of every series that training does not see."""

    source: Literal["csv"]
    path: Path
    csv: Dialect = Field(default_factory=Dialect)
    hold_out: int = Field(default=0, ge=0)


def _shipped(name: str) -> str:
    if name not in SAMPLES:
        raise ValueError(f"no such sample{did_you_mean(name, SAMPLES)} (known: {', '.join(SAMPLES)})")
    return name


class SampleData(Config):
    """A shipped sample (:data:`scidiff_timeseries.samples.SAMPLES`); ``hold_out`` as of a file."""

    source: Literal["sample"]
    name: Annotated[str, AfterValidator(_shipped)]
    hold_out: int = Field(default=0, ge=0)


class BenchmarkData(Config):
    """One of the literature's sets, up to its first test window. ``root``: the folder of the sets; None takes SCIDIFF_DATA."""

    source: Literal["benchmark"]
    name: Literal["exchange_rate", "m4_hourly"]
    root: Path | None = None


class Training(Recipe):
    """A :class:`~scidiff_timeseries.recipe.Recipe` and its data: what ``scidiff train`` takes."""

    data: Annotated[CsvData | SampleData | BenchmarkData, Field(discriminator="source")]


@dataclass(frozen=True)
class Source:
    """Data that were read: how their frame is laid out (and of a file how it is written), and what they are called."""

    df: pd.DataFrame
    frame: dict[str, Any]
    csv: dict[str, Any]
    title: str

    def panel(self, hold_out: int = 0) -> Panel:
        """The panel without the last ``hold_out`` steps of each series."""
        return read_frame(self.df, **self.frame).until(hold_out)


def task_of(recipe: Training) -> TimeSeriesTask:
    """The training problem of a recipe, base laws chosen.

    Raises:
        UserError: data that cannot be read; no series is long enough to train on.
    """
    source = read(recipe.data)
    hold_out = 0 if isinstance(recipe.data, BenchmarkData) else recipe.data.hold_out
    task = make_task(recipe, source.panel(hold_out), {"frame": source.frame, "csv": source.csv, "source": source.title})
    if not task.trainable:
        windows = recipe.windows
        raise UserError(
            f"{source.title}: no series is longer than {(windows.rolls + 1) * windows.horizon} steps, the {windows.rolls} windows of "
            f"{windows.horizon} that validate and one to learn from; lower windows.rolls or windows.horizon"
        )
    return task


def read(data: CsvData | SampleData | BenchmarkData) -> Source:
    """The data that a recipe names."""
    if isinstance(data, CsvData):
        return read_file(data.path, data.options(), data.csv.options())
    if isinstance(data, SampleData):
        return Source(load_sample(data.name), dict(SAMPLES[data.name].frame), {}, SAMPLE + data.name)
    benchmark = {"exchange_rate": literature.exchange_rate, "m4_hourly": literature.m4_hourly}[data.name](data.root)
    return Source(benchmark_frame(benchmark), {"freq": benchmark.frequency}, {}, f"{benchmark.name} before its test windows")


def read_file(path: str | Path, frame: dict[str, Any], csv: dict[str, Any]) -> Source:
    """A CSV file, with options of :func:`~scidiff_timeseries.panel.read_frame` and of :class:`Dialect`."""
    layout, dialect = FrameLayout(**frame), Dialect(**csv)
    id_column = layout.id if layout.layout == "long" else None
    options: dict[str, Any] = {"sep": dialect.sep, "decimal": dialect.decimal}
    df = read_csv(path, id=id_column, time=layout.time, time_format=dialect.time_format, **options)
    if dialect.time_zone is not None:
        df = localise(df, layout.time, dialect.time_zone, id_column)
    return Source(df, frame, csv, Path(path).name)


def benchmark_frame(benchmark: Benchmark, histories: Sequence[Array] | None = None) -> pd.DataFrame:
    """Histories of a set (before its first test window if None) as a long frame; one whose start is not known starts on a Monday."""
    start = pd.Timestamp("2001-01-01" if benchmark.start is None else benchmark.start)
    each = [
        pd.DataFrame({"unique_id": name, "ds": pd.date_range(start, periods=len(y), freq=benchmark.frequency), "y": y})
        for name, y in zip(benchmark.names, benchmark.train() if histories is None else histories, strict=True)
    ]
    return pd.concat(each, ignore_index=True)
