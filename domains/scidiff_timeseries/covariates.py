"""Known-future covariates that come in a frame of their own, after the data."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from scidiff.errors import UserError
from scidiff_timeseries.panel import Panel, Series, read_frame

_FRAME = ("layout", "id", "time", "repair")


def with_future(panel: Panel, df: pd.DataFrame, horizon: int, frame: Mapping[str, Any]) -> Panel:
    """The panel with the covariates of the ``horizon`` steps after each series.

    ``df``: a row for each series and step (wide: for each step), with the id and time columns and those named in ``future=``; other
    columns and earlier or later steps are not looked at. A single NaN is a missing covariate. ``frame``: the options of
    :func:`~scidiff_timeseries.panel.read_frame` that the data were read with.

    Raises:
        UserError: the model has no known-future covariates; a column is missing; a series or some of its stamps are.
    """
    columns: Sequence[Hashable] = tuple(frame.get("future", ()))
    if not columns:
        raise UserError("the model knows no known-future covariates; name them with Forecaster(future=[...]) before it is fitted")
    options = {key: frame[key] for key in _FRAME if key in frame}
    wide = options.get("layout") == "wide"
    given = read_frame(df, **options, targets=columns, freq=panel.frequency, multivariate=wide)
    by_id = {series.id: series for series in given}
    made: list[Series] = []
    for series in panel:
        source = given.series[0] if wide and len(given) else by_id.get(series.id)
        if source is None:
            raise UserError(f"the future covariates hold no rows for series {series.id!r}; add its next {horizon} steps")
        rows = _rows(panel, series, source, horizon, columns)
        before = np.full((len(series), len(columns)), np.nan)
        before[: len(series.future)] = series.future[: len(series)]
        made.append(replace(series, future=np.concatenate((before, rows))))
    return replace(panel, series=tuple(made))


def _rows(panel: Panel, series: Series, source: Series, horizon: int, columns: Sequence[Hashable]) -> np.ndarray:
    offset = panel.step(series, source.start) - len(series)
    found = source.window(-offset, horizon - offset)
    absent = np.flatnonzero(np.isnan(found).all(1))
    if len(absent):
        stamps = panel.stamps(series, len(series), len(series) + horizon)
        named = ", ".join(str(stamps[k]) for k in absent[:3]) + (", ..." if len(absent) > 3 else "")
        raise UserError(
            f"series {series.id!r}: no future covariates ({', '.join(map(repr, columns))}) at {named} ({len(absent)} of {horizon} steps); "
            "give a row for each step after the data"
        )
    return found
