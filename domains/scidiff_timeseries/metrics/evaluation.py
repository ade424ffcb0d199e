"""All figures of a set of forecasts at once, each with its definition and interval."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from scidiff_timeseries.arrays import ArrayLike
from scidiff_timeseries.metrics import scores
from scidiff_timeseries.metrics.calibration import Calibration, calibration, coverage_terms, pit
from scidiff_timeseries.metrics.intervals import Interval, ratio_interval
from scidiff_timeseries.metrics.scores import Array

FEWEST_ORIGINS: Final = 5  # below, windows are resampled by series

DEFINITIONS: Final[dict[str, tuple[str, str]]] = {
    "crps": ("CRPS", "GluonTS mean_wQuantileLoss: nine levels, quantile losses summed over all windows / sum |y|"),
    "crps_sum": ("CRPS-sum", "the same on the sum over channels of joint paths"),
    "coverage_50": ("coverage 50 %", "share of entries inside the central 50 % interval (quantile at index (n + 1) q - 1 of n paths)"),
    "coverage_90": ("coverage 90 %", "share of entries inside the central 90 % interval (quantile at index (n + 1) q - 1 of n paths)"),
    "pit_error": ("PIT error", "mean |share of PIT values below q - q| over q = 0.1 ... 0.9; 0 is calibrated"),
    "energy": ("energy score", "sum over windows of the energy score over the horizon (joint paths) / sum of the windows' Euclidean norms"),
    "nd": ("ND", "sum |median - y| / sum |y|"),
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
    paths: ArrayLike, truth: ArrayLike, *, seasonal_errors: ArrayLike | None = None, joint: bool = False, seed: int = 0
) -> Evaluation:
    """Score the sample paths of several origins and series.

    Args:
        paths: [origin, series, n_paths, horizon], or [origin, series, n_paths, horizon, channel] for multivariate systems.
        truth: [origin, series, horizon] or [origin, series, horizon, channel]; NaN where nothing was observed.
        seasonal_errors: in-sample :func:`~.scores.seasonal_error` of every window, [origin, series] (and channel); adds MASE.
        joint: the series are channels of one system that share their paths; adds CRPS-sum. Systems with channels always have it.
        seed: of the bootstrap and of the PIT's tie breaking.

    With at least 5 origins the intervals resample origins in blocks, all series together; with fewer they resample series.

    Raises:
        ValueError: the shapes do not fit, or the truth was observed nowhere.
    """
    p, y = np.asarray(paths, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if y.ndim not in (3, 4) or p.ndim != y.ndim + 1 or p.shape[:2] != y.shape[:2] or p.shape[3:] != y.shape[2:]:
        raise ValueError(f"paths [origin, series, n_paths, horizon(, channel)] and truth without n_paths do not fit: {p.shape}, {y.shape}")
    sums = None
    if y.ndim == 4:
        sums = scores.channel_sum(p), scores.channel_sum(y)
    elif joint:
        sums = p.sum(axis=1, keepdims=True), y.sum(axis=1, keepdims=True)
    energy = _energy_terms(p, y)
    if y.ndim == 4:  # marginal figures see [origin, series, channel, (n_paths,) horizon]; a series' channels are resampled together
        p, y = np.moveaxis(p, -1, 2), np.moveaxis(y, -1, 2)
    how = _Resampling(len(y) >= FEWEST_ORIGINS or y.shape[1] < 2, seed)
    return _collect(p, y, sums, energy, seasonal_errors, how)


def _energy_terms(p: Array, y: Array) -> tuple[Array, Array]:
    """Energy score and norm of the truth, one a window; channels of a system form one long vector."""
    if y.ndim == 4:
        p, y = p.reshape(*p.shape[:3], -1), y.reshape(*y.shape[:2], -1)
    return np.nan_to_num(scores.energy_score(p, y)), np.sqrt(np.nansum(y * y, axis=-1))


def _collect(
    p: Array, y: Array, sums: tuple[Array, Array] | None, energy: tuple[Array, Array], seasonal: ArrayLike | None, how: _Resampling
) -> Evaluation:
    losses, scale = scores.wql_terms(p, y)
    values = pit(p, y, how.seed)
    uniform = calibration(how.arrange(values), how.block, how.seed)
    terms: dict[str, tuple[Array, Array]] = {"crps": (losses, scale)}
    if sums is not None:
        terms["crps_sum"] = scores.wql_terms(*sums)
    terms["coverage_50"], terms["coverage_90"] = coverage_terms(p, y, 0.5), coverage_terms(p, y, 0.9)
    terms["energy"] = energy
    terms["nd"] = scores.absolute_error_terms(p, y)[0], scale
    plain = {"pit_error": uniform.error, "mase": math.nan}
    if seasonal is None:
        del plain["mase"]
    else:
        plain["mase"] = scores.mase(p, y, np.reshape(seasonal, y.shape[:-1]))
    figures: dict[str, Figure] = {}
    for key, (name, definition) in DEFINITIONS.items():
        if key in terms:
            figures[key] = Figure(key, scores.ratio(*terms[key]), how.interval(*terms[key]), name, definition)
        elif key in plain:
            figures[key] = Figure(key, plain[key], None, name, definition)
    return Evaluation(figures, uniform, how.arrange(losses), how.unit, how.block)
