"""Climate paths with their calendar: cycles of the year and of the day, and what is left without them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scidiff.errors import UserError
from scidiff_timeseries.simulation.frames import Paths
from scidiff_timeseries.simulation.resample import FEWEST_PATHS, Units

__all__ = ["Climate", "anomalies", "climate_of", "monthly"]

Array = NDArray[np.float64]
YEAR = 365.2425 * 86_400
_HARMONICS = 3


@dataclass(frozen=True)
class Climate:
    """Values [path, time, column], their calendar by time (local where stamps have a zone), seconds a step, and what is resampled.

    ``free`` is the values without their mean cycles, see :func:`anomalies`.
    """

    values: Array
    free: Array
    month: NDArray[np.intp]
    hour: NDArray[np.intp]
    year: NDArray[np.intp]
    step: float
    units: Units

    @property
    def per_year(self) -> float:
        return YEAR / self.step

    @property
    def daily(self) -> bool:
        """Does a day have several steps?"""
        return self.step < 0.75 * 86_400


def climate_of(paths: Paths, name: str, resamples: int, seed: int, size: int | None = None) -> Climate:
    """``size``: how many steps the data have, for the paths of a simulator; None for the data. Units of resampling are then paths where
    there are at least 8, otherwise calendar years of each path.

    Raises:
        UserError: no time stamps, or fewer than 30 steps.
    """
    if not isinstance(paths.stamps, pd.DatetimeIndex) or len(paths.stamps) < 30:
        raise UserError(f"{name}: a climate report needs at least 30 time stamps, in a column ds (or time=) or in the index")
    stamps = paths.stamps if paths.stamps.tz is None else paths.stamps.tz_localize(None)
    step = float(np.median(np.diff(stamps.to_numpy().astype("datetime64[s]").astype(np.int64))))
    month, hour, year = (np.asarray(part, dtype=np.intp) for part in (stamps.month - 1, stamps.hour, stamps.year))
    shape = paths.values.shape[:2]
    if size is not None and shape[0] >= FEWEST_PATHS:
        units = Units.of(shape, block=1, resamples=resamples, seed=seed, size=size)
    else:
        _, of_year = np.unique(year, return_inverse=True)
        count = int(of_year.max()) + 1
        number = of_year + count * np.arange(shape[0])[:, None]
        drawn = None if size is None else max(1, round(size * count / shape[1]))
        units = Units.numbered(number.astype(np.intp), "years", resamples, seed, drawn)
    return Climate(paths.values, anomalies(paths.values, stamps, step), month, hour, year, step, units)


def anomalies(values: Array, stamps: pd.DatetimeIndex, step: float) -> Array:
    """Values [path, time, column] minus their own mean cycles: least squares of a mean and three harmonics of the year (if the stamps span
    half of one) and, below daily steps, of the day, over all paths together."""
    day = (stamps - stamps.normalize()) / pd.Timedelta(days=1)
    phases = []
    if step * len(stamps) > YEAR / 2:
        phases.append((np.asarray(stamps.day_of_year, dtype=np.float64) - 1 + np.asarray(day)) / 365.2425)
    if step < 0.75 * 86_400:
        phases.append(np.asarray(day, dtype=np.float64))
    waves = [f(2 * np.pi * k * phase) for phase in phases for k in range(1, _HARMONICS + 1) for f in (np.sin, np.cos)]
    design = np.stack([np.ones(len(stamps)), *waves], 1)
    found = np.empty_like(values)
    for column in range(values.shape[2]):
        y = values[..., column]
        there = np.isfinite(y)
        weight = there.sum(0).astype(np.float64)
        total = np.where(there, y, 0.0).sum(0)
        fitted = design @ np.linalg.lstsq(design.T @ (weight[:, None] * design), design.T @ total, rcond=None)[0]
        found[..., column] = y - fitted
    return found


def monthly(climate: Climate, values: Array, by: NDArray[np.intp] | None = None, count: int = 12) -> Array:
    """Means [1 + resamples, month, column] of values; NaN for months without any. ``by`` and ``count``: other groups of times."""
    by = climate.month if by is None else by
    found = np.full((len(climate.units.weights), count, values.shape[2]), np.nan)
    for group in np.unique(by):
        found[:, group] = climate.units.mean(np.where((by == group)[:, None], values, np.nan))
    return found
