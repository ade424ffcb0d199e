"""Paths as an ensemble around one truth: rank histogram, and spread against skill."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["RankHistogram", "SpreadSkill", "rank_histogram", "spread_skill"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class RankHistogram:
    """``counts`` [n_paths + 1 bins or fewer]: how often the truth had each rank among the paths; ``expected`` of a calibrated ensemble."""

    counts: Array
    expected: Array

    @property
    def deviation(self) -> float:
        """Sum of |share - expected share| / 2: the share of cases in the wrong bin, 0 (calibrated) to 1."""
        total = self.counts.sum()
        return float(np.abs(self.counts / total - self.expected / self.expected.sum()).sum() / 2) if total else float("nan")


@dataclass(frozen=True)
class SpreadSkill:
    """By time: root mean square error of the mean over paths, and the deviation of the paths (corrected for their number), over columns."""

    error: Array
    spread: Array

    @property
    def ratio(self) -> float:
        """Root mean square spread over root mean square error; 1 is calibrated, below 1 the paths are too sure."""
        there = np.isfinite(self.error) & np.isfinite(self.spread)
        error = float((self.error[there] ** 2).mean()) if there.any() else 0.0
        return float(np.sqrt((self.spread[there] ** 2).mean() / error)) if error > 0 else float("nan")


def rank_histogram(paths: Array, truth: Array, bins: int = 20, seed: int = 0) -> RankHistogram:
    """Ranks of truth [time, column] among paths [path, time, column]; ties are broken at random, missing truths are left out.

    With more than ``bins`` ranks they are merged into so many bins of nearly equal width, and ``expected`` says what each should hold.
    Source: Hamill 2001.
    """
    there = np.isfinite(truth) & np.isfinite(paths).all(0)
    below = (paths < truth).sum(0)
    equal = (paths == truth).sum(0)
    tie = np.random.Generator(np.random.Philox(seed)).random(truth.shape)
    ranks = (below + np.floor(tie * (equal + 1)).astype(np.int64))[there]
    count = len(paths) + 1
    groups = np.arange(count) * min(bins, count) // count
    counts = np.bincount(groups[ranks], minlength=groups[-1] + 1).astype(np.float64)
    return RankHistogram(counts, np.bincount(groups) * len(ranks) / count)


def spread_skill(paths: Array, truth: Array) -> SpreadSkill:
    r"""Of paths [path, time, column] and truth [time, column], by time over columns: the error of the mean, and
    :math:`\sqrt{(n+1)/n \cdot \overline{s^2}}` with the paths' variance s^2 (divisor n - 1), which a calibrated ensemble of n makes equal.

    Source: Fortin et al. 2014.
    """
    n = len(paths)
    there = np.isfinite(truth) & np.isfinite(paths).all(0)
    filled = np.where(there, paths, 0.0)
    errors = np.where(there, filled.mean(0) - np.where(there, truth, 0.0), 0.0) ** 2
    variance = filled.var(0, ddof=1) * (n + 1) / n if n > 1 else np.zeros(truth.shape)
    count = there.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return SpreadSkill(np.sqrt(errors.sum(1) / count), np.sqrt(np.where(there, variance, 0.0).sum(1) / count))
