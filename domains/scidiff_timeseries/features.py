"""What the network is told of every time besides values: the calendar, covariates, and where the question begins."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scidiff_timeseries.frequency import DAY, Frequency
from scidiff_timeseries.panel import Panel, Series

Array = NDArray[np.float64]


def calendar_width(frequency: Frequency) -> int:
    """Columns of :func:`calendar`."""
    return 4 * len(_cycles(frequency))


def calendar(frequency: Frequency, stamps: pd.DatetimeIndex) -> Array:
    """[time, column]: sine and cosine of the first two harmonics of every cycle that the frequency can see, in local time."""
    local = stamps.tz_localize(None)
    columns: list[Array] = []
    for cycle in _cycles(frequency):
        phase = 2 * np.pi * _phase(local, cycle)
        columns += [f(k * phase) for k in (1, 2) for f in (np.sin, np.cos)]
    return np.stack(columns, 1) if columns else np.zeros((len(stamps), 0))


def year_phase(stamps: pd.DatetimeIndex) -> Array:
    """[time]: the time of the year in (0, 1), in local time."""
    return _phase(stamps.tz_localize(None), "year")


def calendar_steps(panel: Panel, series: Series, stamps: pd.DatetimeIndex) -> Array:
    """[time, 2] of the first steps of a series, which have these ``stamps``: the time of the year, and the number of the step on the
    calendar, by the clocks of its zone (so a step of the day has the same number modulo a day in summer and winter)."""
    if panel.frequency.family == "clock":
        number = stamps.tz_localize(None).as_unit("s").asi8 // panel.frequency.every
    else:
        number = panel.position(series) + np.arange(len(stamps))
    return np.stack((year_phase(stamps), number.astype(np.float64)), 1)


def _cycles(frequency: Frequency) -> list[str]:
    family, every = frequency.family, frequency.every
    if family == "clock":
        return [*(["day"] if every < DAY else []), "week", "year"]
    if family == "month":
        return ["year"] if every < 12 else []
    return [*(["week"] if every == 1 else []), "year"]


def _phase(local: pd.DatetimeIndex, cycle: str) -> Array:
    midnight = (local - local.normalize()) / pd.Timedelta(days=1)
    if cycle == "day":
        return np.asarray(midnight, dtype=np.float64)
    if cycle == "week":
        return (np.asarray(local.day_of_week, dtype=np.float64) + np.asarray(midnight)) / 7
    return (np.asarray(local.day_of_year, dtype=np.float64) - 1) / 366


def standardise(covariates: Array, mean: Array, deviation: Array) -> Array:
    """[time, 2 x covariate]: in units of the training data's deviation, 0 where missing, and a flag that says where."""
    missing = ~np.isfinite(covariates)
    return np.concatenate((np.where(missing, 0.0, (covariates - mean) / deviation), missing.astype(np.float64)), 1)
