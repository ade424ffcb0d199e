"""Forecasts, filled gaps and simulations on request: what may be asked of a served forecaster, and how much at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from pydantic import AfterValidator, FailFast, Field

from scidiff.config import Config
from scidiff.domain import Answer
from scidiff.errors import UserError
from scidiff_timeseries.forecaster import Forecaster
from scidiff_timeseries.panel import Panel, read_frame
from scidiff_timeseries.paths import SamplePaths

MAX_ROWS, MAX_COLUMNS, MAX_TEXT, MAX_SERIES = 20_000, 64, 200, 500
MAX_STEPS, MAX_PATHS, MAX_CALLS = 5000, 1000, 64
MAX_CELLS = 500_000
"""Values of the series given, with the steps that the frame skips."""
MAX_VALUE_CALLS = 1_000_000
"""Network calls x values drawn of one answer: about a minute of one core."""
MAX_VALUES = 500_000
"""Values of one answer, those that were given included: some 40 MB of JSON."""
_FEWEST_PATHS = 16
"""What a window of fewer paths costs as well: its base law."""
_FIT_CALLS = 4
"""What choosing a base law costs, for each value of a series that the model does not know, in network calls."""
_CHUNK = 500

Rows = list[dict[str, str | int | float | None]]  # plain inside: MLflow reads it as a signature


def _bounded(rows: Rows) -> Rows:
    for number, row in enumerate(rows):
        if not 1 <= len(row) <= MAX_COLUMNS:
            raise ValueError(f"row {number} has {len(row)} columns; from 1 to {MAX_COLUMNS} are taken")
        if any(len(text) > MAX_TEXT for pair in row.items() for text in pair if isinstance(text, str)):
            raise ValueError(f"row {number} holds a text of more than {MAX_TEXT} characters")
    return rows


def _levels(levels: list[float]) -> list[float]:
    if not all(0 <= level <= 1 for level in levels):
        raise ValueError("a quantile's level lies between 0 and 1")
    return levels


class SeriesRequest(Config):
    """A question to a forecaster. ``records`` are the rows of a frame laid out as the one that the model was fitted on, stamps as text."""

    action: str = Field(default="forecast", pattern=r"^(forecast|impute|simulate)$", description="forecast, impute or simulate")
    records: Annotated[Rows, FailFast(), AfterValidator(_bounded)] = Field(
        default=[], max_length=MAX_ROWS, description="the history (forecast), or the series with gaps (impute): null is missing"
    )
    future: Annotated[Rows, FailFast(), AfterValidator(_bounded)] = Field(
        default=[], max_length=MAX_ROWS, description="known-future covariates of the steps to forecast"
    )
    horizon: int | None = Field(default=None, ge=1, le=MAX_STEPS, description="steps to forecast or simulate; by default as fitted")
    n_paths: int = Field(default=100, ge=1, le=MAX_PATHS)
    seed: int = Field(default=0, ge=0, le=2**63 - 1)
    calls: int | None = Field(default=None, ge=1, le=MAX_CALLS, description="network calls a window; by default as fitted")
    quantiles: Annotated[list[float], FailFast(), AfterValidator(_levels)] = Field(
        default=[], max_length=99, description="answer these quantiles at each time instead of the paths"
    )
    id: str | None = Field(default=None, max_length=MAX_TEXT, description="simulate this series alone")
    start: str | None = Field(default=None, max_length=MAX_TEXT, description="first stamp of what is simulated")


class TimeSeriesService:
    """Implements :class:`scidiff.domain.Service`: one row for each series, path and time, as :class:`~scidiff_timeseries.paths.SamplePaths`
    has them; or, where quantiles are asked for, for each series and time."""

    def __init__(self, forecaster: Forecaster) -> None:
        self.forecaster = forecaster

    @classmethod
    def request_type(cls) -> type[SeriesRequest]:
        return SeriesRequest

    @classmethod
    def load(cls, weights: Path, device: str = "cpu") -> TimeSeriesService:
        return cls(Forecaster.load(weights, device=device))

    def answer(self, request: SeriesRequest) -> Answer:
        _consistent(request)
        forecaster = self.forecaster
        calls = forecaster.recipe.sampler.calls if request.calls is None else request.calls
        horizon = forecaster.recipe.windows.horizon if request.horizon is None else request.horizon
        channels, unknown, frame = len(forecaster.channels), 0, None
        if request.action == "simulate":
            steps = horizon * (1 if request.id is not None else len(forecaster.data_end))
        else:
            frame, panel = self._read(request)
            steps = sum(len(series) for series in panel) if request.action == "impute" else horizon * len(panel)
            unknown = self._unknown(panel)
        work = (max(request.n_paths, _FEWEST_PATHS) * steps * calls + unknown * _FIT_CALLS) * channels
        shares = {
            f"the limit is {MAX_VALUE_CALLS:,} network calls x values drawn": work / MAX_VALUE_CALLS,
            f"the limit is {MAX_VALUES:,} values": request.n_paths * steps * channels / MAX_VALUES,
        }
        limit, cost = max(shares.items(), key=lambda each: each[1])
        if cost > 1:
            fits = f", and base laws for {unknown:,} steps of series that the model does not know" if unknown else ""
            raise UserError(
                f"{request.n_paths:,} paths of {steps:,} steps in all series, {channels} channels, {calls} calls{fits}: {cost:.3g} times "
                f"what one answer may hold ({limit}): ask for fewer paths, steps, series or calls at a time"
            )
        return Answer(cost, self._rows(request, frame, horizon))

    def _read(self, request: SeriesRequest) -> tuple[pd.DataFrame, Panel]:
        """The frame, and the panel that the forecaster will read in it; bounded."""
        frame = _frame(request.records)
        options: dict[str, Any] = {"freq": self.forecaster.frequency, **self.forecaster.frame}
        name = options.get("id", "unique_id")
        count: Any = frame[name].nunique() if name in frame and options.get("layout") != "wide" else 1
        if count > MAX_SERIES:
            raise UserError(f"the records are of {count:,} series; the limit is {MAX_SERIES}: send less at a time")
        panel = read_frame(frame, **options)
        cells = sum(series.values.size + series.future.size + series.past.size for series in panel)
        if cells > MAX_CELLS:
            raise UserError(f"the records are {cells:,} values with the steps they skip; the limit is {MAX_CELLS:,}: send less at a time")
        return frame, panel

    def _unknown(self, panel: Panel) -> int:
        """Steps of series that the model was not fitted on: a base law is chosen for each."""
        known = {str(name) for name in self.forecaster.data_end}
        return sum(len(series) for series in panel if str(series.id) not in known)

    def _rows(self, request: SeriesRequest, frame: pd.DataFrame | None, horizon: int) -> Iterator[dict[str, Any]]:
        paths = self._paths(request, frame, horizon)
        table = paths.quantiles(request.quantiles) if request.quantiles else paths
        yield from _records(pd.DataFrame(table), paths.time_column)

    def _paths(self, request: SeriesRequest, frame: pd.DataFrame | None, horizon: int) -> SamplePaths:
        asked: dict[str, Any] = {"seed": request.seed, "calls": request.calls}
        if request.action == "simulate":
            return self.forecaster.simulate(request.n_paths, horizon, id=self._known_id(request.id), start=request.start, **asked)
        if request.action == "impute":
            return self.forecaster.impute(frame, request.n_paths, **asked)
        future = _frame(request.future) if request.future else None
        return self.forecaster.predict(horizon, request.n_paths, df=frame, future=future, **asked)

    def _known_id(self, text: str | None) -> Any:
        """The id that is written so: ids may be numbers, and a request names them as text."""
        return next((name for name in self.forecaster.data_end if str(name) == text), text)


def _consistent(request: SeriesRequest) -> None:
    """Raises UserError for a key that this action does not look at, or lacks."""
    simulated = request.action == "simulate"
    if not simulated and not request.records:
        raise UserError(f"{request.action}: records are needed, the rows of the series")
    wrong = {"records": simulated and bool(request.records), "future": request.action != "forecast" and bool(request.future)}
    wrong |= {"id": not simulated and request.id is not None, "start": not simulated and request.start is not None}
    wrong["horizon"] = request.action == "impute" and request.horizon is not None
    for name, present in wrong.items():
        if present:
            raise UserError(f"{request.action}: {name} has no meaning here; leave it away")


def _frame(records: list[dict[str, Any]]) -> pd.DataFrame:
    frame = pd.DataFrame(records)
    for name in frame.columns[frame.isna().all().to_numpy()]:
        frame[name] = np.nan  # a column of nulls is one of numbers
    return frame


def _records(table: pd.DataFrame, time: str) -> Iterator[dict[str, Any]]:
    """Rows as JSON objects, stamps as ISO 8601 text."""
    for start in range(0, len(table), _CHUNK):
        part = table.iloc[start : start + _CHUNK]
        text = [stamp.isoformat() for stamp in pd.DatetimeIndex(part[time])]
        columns = {str(name): text if name == time else part[name].tolist() for name in table.columns}
        names = list(columns)
        for row in zip(*columns.values(), strict=True):
            yield dict(zip(names, row, strict=True))
