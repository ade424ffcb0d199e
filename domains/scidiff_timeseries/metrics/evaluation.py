"""All figures of a set of forecasts at once, each with its definition and interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from scidiff_timeseries.arrays import ArrayLike
from scidiff_timeseries.metrics import scores
from scidiff_timeseries.metrics.calibration import Calibration, calibration
from scidiff_timeseries.metrics.intervals import Interval, ratio_interval
from scidiff_timeseries.metrics.scores import Array
from scidiff_timeseries.metrics.terms import Terms, window_terms

FEWEST_ORIGINS: Final = 5  # below, windows are resampled by series

DEFINITIONS: Final[dict[str, tuple[str, str]]] = {
    "crps": ("CRPS", "GluonTS mean_wQuantileLoss: nine levels, quantile losses summed over all windows / sum |y|"),
    "crps_sum": ("CRPS-sum", "the same on the sum over channels of joint paths"),
    "coverage_50": ("coverage 50 %", "share of entries inside the central 50 % interval (quantile at index (n + 1) q - 1 of n paths)"),
    "coverage_90": ("coverage 90 %", "share of entries inside the central 90 % interval (quantile at index (n + 1) q - 1 of n paths)"),
    "pit_error": ("PIT error", "mean |share of PIT values below q - q| over q = 0.1 ... 0.9; 0 is calibrated"),
    "energy": ("energy score", "sum over windows of the energy score over the horizon (joint paths) / sum of the windows' Euclidean norms"),
    "nd": ("ND", "sum |median - y| / sum |y|"),
    "mae": ("MAE", "mean |median - y| over all observed entries, in the unit of the data"),
    "mase": ("MASE", "mean over windows of mean |median - y| / in-sample mean |y_t - y_(t-m)|"),
}
"""Key -> (name, exact definition), in the order of printing."""


@dataclass(frozen=True)
class Figure:
    """One figure: its value, its 95 % interval (None where there is nothing to resample) and its name and definition."""

    key: str
    value: float
    interval: Interval | None
    name: str
    definition: str


@dataclass(frozen=True)
class Evaluation:
    """Figures of one method by key (:data:`DEFINITIONS`), the PIT's calibration, and the CRPS terms for paired comparisons.

    ``losses`` [windows, ...] are the CRPS numerators, in the layout that ``unit`` names, ready for
    :func:`~scidiff_timeseries.metrics.intervals.skill_interval` with ``block``.
    """

    figures: dict[str, Figure]
    calibration: Calibration
    losses: Array
    unit: str
    block: int | None

    def __getitem__(self, key: str) -> float:
        return self.figures[key].value


@dataclass(frozen=True)
class _Resampling:
    """Which axis of terms [origin, series, ...] is resampled: origins in blocks where there are enough, single series otherwise."""

    by_origin: bool
    seed: int

    @property
    def unit(self) -> str:
        return "origins" if self.by_origin else "series"

    @property
    def block(self) -> int | None:
        return None if self.by_origin else 1

    def arrange(self, terms: Array) -> Array:
        return terms if self.by_origin else np.moveaxis(terms, 1, 0)

    def interval(self, top: Array, bottom: Array) -> Interval | None:
        return ratio_interval(self.arrange(top), self.arrange(bottom), block=self.block, unit=self.unit, seed=self.seed)


def evaluate(
    paths: ArrayLike,
    truth: ArrayLike,
    *,
    seasonal_errors: ArrayLike | None = None,
    joint: bool = False,
    units: ArrayLike | None = None,
    seed: int = 0,
) -> Evaluation:
    """Score the sample paths of several origins and series.

    Args:
        paths: [origin, series, n_paths, horizon], or [origin, series, n_paths, horizon, channel] for multivariate systems.
        truth: [origin, series, horizon] or [origin, series, horizon, channel]; NaN where nothing was observed.
        seasonal_errors: in-sample :func:`~.scores.seasonal_error` of every window, [origin, series] (and channel); adds MASE.
        joint: the series are channels of one system that share their paths; adds CRPS-sum. Systems with channels always have it.
        units: [series, channel], by which the channels of a system are divided in the energy score, so that they are on one scale.
        seed: of the bootstrap and of the PIT's tie breaking.

    With at least 5 origins the intervals resample origins in blocks, all series together; with fewer they resample series.

    Raises:
        ValueError: the shapes do not fit, or the truth was observed nowhere.
    """
    return evaluate_terms(window_terms(paths, truth, seasonal_errors=seasonal_errors, joint=joint, units=units, seed=seed), seed)


def evaluate_terms(terms: Terms, seed: int = 0) -> Evaluation:
    """:func:`evaluate` from the terms of the windows, which may have been made one origin at a time.

    Raises:
        ValueError: the truth was observed nowhere.
    """
    losses = terms.pairs["crps"][0]
    how = _Resampling(len(losses) >= FEWEST_ORIGINS or losses.shape[1] < 2, seed)
    uniform = calibration(how.arrange(terms.pit), how.block, seed)
    figures: dict[str, Figure] = {}
    for key, (name, definition) in DEFINITIONS.items():
        if key in terms.pairs:
            pair = terms.pairs[key]
            figures[key] = Figure(key, scores.ratio(*pair), how.interval(*pair), name, definition)
        elif key == "pit_error":
            figures[key] = Figure(key, uniform.error, None, name, definition)
    return Evaluation(figures, uniform, how.arrange(losses), how.unit, how.block)
