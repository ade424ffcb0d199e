"""What a saved model knows of its training data without holding them: where each series began and ended, and a hash of all values."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pandas as pd

from scidiff.tracking import DataInfo
from scidiff_timeseries.frames import Columns
from scidiff_timeseries.frequency import Frequency
from scidiff_timeseries.panel import Panel, Series
from scidiff_timeseries.samples import SAMPLES

__all__ = ["blank", "data_info", "provenance", "restored", "stamp_of"]


def provenance(panel: Panel) -> dict[str, Any]:
    """As JSON. ``columns``: names of the id and time columns. ``data``: SHA-256 over every series' id, start, shape and values (NaN as one
    pattern), and the number of known values. ``series``: id, start and end stamps, length, static covariates."""
    digest, known = hashlib.sha256(), 0
    for series in panel:
        values = np.where(np.isnan(series.values), np.nan, series.values).astype("<f8")
        digest.update(f"{series.id}\n{_stamp(series.start)}\n{values.shape}\n".encode())
        digest.update(values.tobytes())
        known += int(np.isfinite(values).sum())
    return {
        "columns": {"id": panel.columns.id_name, "time": panel.columns.time_name},
        "data": {"sha256": digest.hexdigest(), "values": known},
        "series": [_about(panel, series) for series in panel],
    }


def data_info(panel: Panel, title: str = "") -> DataInfo:
    """The panel as a run records it; its examples are rows, the steps of all series. ``title``: what the data are called
    (``sample:NAME``, a file's name); the terms are known of the shipped samples alone."""
    kind, _, name = title.partition(":")
    sample = SAMPLES.get(name) if kind == "sample" else None
    known = provenance(panel)["data"]
    profile = {
        "series": len(panel),
        "channels": len(panel.channels),
        "values": known["values"],
        "frequency": panel.frequency.name,
        "title": sample.title if sample else title,
    }
    source = sample.source if sample else title or "a frame"
    rows = sum(len(series) for series in panel)
    return DataInfo(title or "frame", known["sha256"], source, rows, sample.licence if sample else "", profile)


def _about(panel: Panel, series: Series) -> dict[str, Any]:
    last = max(len(series) - 1, 0)
    return {
        "id": series.id if isinstance(series.id, int | str) and not isinstance(series.id, bool) else str(series.id),
        "start": _stamp(series.start),
        "end": _stamp(cast(pd.Timestamp, panel.stamps(series, last, last + 1)[0])),
        "length": len(series),
        "static": [None if np.isnan(value) else float(value) for value in series.static],
        "covariates": [series.future.shape[1], series.past.shape[1]],
    }


def _stamp(stamp: pd.Timestamp) -> dict[str, str | None]:
    """Wall-clock time would be ambiguous where clocks go back: UTC, and the zone."""
    utc = stamp if stamp.tz is None else stamp.tz_convert("UTC").tz_localize(None)
    return {"utc": utc.isoformat(), "zone": None if stamp.tz is None else str(stamp.tz), "unit": stamp.unit}


def stamp_of(said: dict[str, str | None]) -> pd.Timestamp:
    """The stamp that :func:`provenance` wrote."""
    stamp = cast(pd.Timestamp, pd.Timestamp(str(said["utc"]))).as_unit(cast(Any, said["unit"]))
    return stamp if said["zone"] is None else stamp.tz_localize("UTC").tz_convert(said["zone"])


def restored(metadata: dict[str, Any], channels: Sequence[str], frequency: Frequency) -> Panel:
    """The training panel without its values: every series has length 0 and the start, static covariates and id it had."""
    made: list[Series] = []
    for said in metadata["series"]:
        static = np.array([np.nan if value is None else value for value in said["static"]], dtype=np.float64)
        future, past = (np.zeros((0, count)) for count in said["covariates"])
        made.append(Series(said["id"], stamp_of(said["start"]), np.zeros((0, len(channels))), future, past, static))
    names = metadata["columns"]
    columns = Columns(layout="long", multivariate=False, id=names["id"], time=names["time"], time_in_index=False, targets=tuple(channels))
    return Panel(tuple(made), tuple(channels), frequency, columns)


def blank(panel: Panel, series: Series, start: pd.Timestamp | None, length: int) -> Series:
    """``length`` steps of which no value is known, from the series' own start (None) or from ``start``'s step on, with the known-future
    covariates that the series has there."""
    shift = 0 if start is None else panel.step(series, start)
    first = cast(pd.Timestamp, panel.stamps(series, shift, shift + 1)[0])
    future = np.full((length, series.future.shape[1]), np.nan)
    low, high = max(shift, 0), min(shift + length, len(series.future))
    if low < high:
        future[low - shift : high - shift] = series.future[low:high]
    values = np.full((length, len(panel.channels)), np.nan)
    return Series(series.id, first, values, future, np.zeros((0, series.past.shape[1])), series.static)
