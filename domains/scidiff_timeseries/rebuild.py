"""From panels back to frames: the inverse of reading."""

from __future__ import annotations

from collections.abc import Hashable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scidiff_timeseries.frames import id_column, restore

if TYPE_CHECKING:
    from scidiff_timeseries.panel import Panel, Series

__all__ = ["long_frame", "wide_frame"]


def long_frame(panel: Panel) -> pd.DataFrame:
    """Rows by series and time; channels of a system side by side."""
    columns = panel.columns
    in_frame = tuple(label for label in columns.static if label in columns.order)
    labels = (*columns.targets, *columns.future, *columns.past, *in_frame)
    lengths = [max(len(series), len(series.future)) for series in panel.series]
    rows = [_rows(series, length, len(in_frame)) for series, length in zip(panel.series, lengths, strict=True)]
    values = np.concatenate(rows) if rows else np.empty((0, len(labels)))
    parts: dict[Hashable, Any] = {label: restore(values[:, k], columns.dtypes[label]) for k, label in enumerate(labels)}
    if columns.id is not None:
        parts[columns.id] = id_column(panel.ids, columns.dtypes[columns.id], lengths)
    stamps = [panel.stamps(series, 0, length).asi8 for series, length in zip(panel.series, lengths, strict=True)]
    return _frame(panel, parts, np.concatenate(stamps) if stamps else np.empty(0, dtype=np.int64))


def _rows(series: Series, length: int, n_static: int) -> np.ndarray:
    static = np.broadcast_to(series.static, (length, n_static)) if n_static else np.empty((length, 0))
    return np.concatenate([_padded(series.values, length), _padded(series.future, length), _padded(series.past, length), static], axis=1)


def _padded(values: np.ndarray, length: int) -> np.ndarray:
    return np.pad(values, ((0, length - len(values)), (0, 0)), constant_values=np.nan)


def wide_frame(panel: Panel) -> pd.DataFrame:
    """Rows by time; a column for each series, NaN outside its span."""
    columns = panel.columns
    first = [panel.position(series) for series in panel.series]
    lengths = [max(len(series), len(series.future)) for series in panel.series]
    low = min(first, default=0)
    length = max((begin + n for begin, n in zip(first, lengths, strict=True)), default=low) - low
    values = np.full((length, len(panel)), np.nan)
    future = np.full((length, len(columns.future)), np.nan)
    for k, (series, begin) in enumerate(zip(panel.series, first, strict=True)):
        values[begin - low : begin - low + len(series), k] = series.values[:, 0]
        future[begin - low : begin - low + len(series.future)] = series.future
    parts: dict[Hashable, Any] = {
        **{label: restore(values[:, k], columns.dtypes[label]) for k, label in enumerate(columns.targets)},
        **{label: restore(future[:, k], columns.dtypes[label]) for k, label in enumerate(columns.future)},
    }
    stamps = panel.stamps(panel.series[0], low - first[0], low - first[0] + length).asi8 if first else np.empty(0, dtype=np.int64)
    return _frame(panel, parts, stamps)


def _frame(panel: Panel, parts: dict[Hashable, Any], stamps: np.ndarray) -> pd.DataFrame:
    columns = panel.columns
    index = _stamps(stamps, columns.time_dtype)
    if not columns.time_in_index:
        parts[columns.time] = index
    frame = pd.DataFrame({label: parts[label] for label in columns.order})
    if columns.time_in_index:
        if columns.index_freq and len(index):
            with suppress(ValueError):  # a calendar with a day that starts at 1 o'clock has none
                index.freq = panel.frequency.offset
        frame.index = index.rename(columns.time)
    frame.columns.name = columns.columns_name
    return frame


def _stamps(exact: np.ndarray, dtype: Any) -> pd.DatetimeIndex:
    """Stamps from UTC integers."""
    unit, tz = (dtype.unit, dtype.tz) if isinstance(dtype, pd.DatetimeTZDtype) else (np.datetime_data(dtype)[0], None)
    index = pd.DatetimeIndex(exact.view(f"M8[{unit}]"))
    return index if tz is None else index.tz_localize("UTC").tz_convert(tz)
