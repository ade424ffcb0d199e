"""What each window contributes to each figure, so that windows can be scored one origin at a time and resampled together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scidiff_timeseries.arrays import ArrayLike
from scidiff_timeseries.metrics import scores
from scidiff_timeseries.metrics.calibration import coverage_terms, pit
from scidiff_timeseries.metrics.scores import Array


@dataclass(frozen=True)
class Terms:
    """Of a ratio of sums, numerators and denominators of every window, [origin, series] or [origin, series, channel], by the figure's
    key; and the PIT values of every entry, with a last axis of time. Joint figures have no axis of channels."""

    pairs: dict[str, tuple[Array, Array]]
    pit: Array

    @classmethod
    def join(cls, parts: Sequence[Terms]) -> Terms:
        """The terms of further origins behind those of the first."""
        pairs = {key: tuple(np.concatenate([part.pairs[key][i] for part in parts]) for i in (0, 1)) for key in parts[0].pairs}
        return cls({key: (top, bottom) for key, (top, bottom) in pairs.items()}, np.concatenate([part.pit for part in parts]))


def window_terms(
    paths: ArrayLike,
    truth: ArrayLike,
    *,
    seasonal_errors: ArrayLike | None = None,
    joint: bool = False,
    units: ArrayLike | None = None,
    seed: int = 0,
) -> Terms:
    """The terms of windows; arguments as :func:`~.evaluation.evaluate` takes them.

    Raises:
        ValueError: the shapes do not fit.
    """
    p, y = np.asarray(paths, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if y.ndim not in (3, 4) or p.ndim != y.ndim + 1 or p.shape[:2] != y.shape[:2] or p.shape[3:] != y.shape[2:]:
        raise ValueError(f"paths [origin, series, n_paths, horizon(, channel)] and truth without n_paths do not fit: {p.shape}, {y.shape}")
    pairs: dict[str, tuple[Array, Array]] = {"energy": _energy(p, y, units)}
    if y.ndim == 4:
        pairs["crps_sum"] = scores.wql_terms(scores.channel_sum(p), scores.channel_sum(y))
        p, y = np.moveaxis(p, -1, 2), np.moveaxis(y, -1, 2)  # marginal figures see [origin, series, channel, (n_paths,) horizon]
    elif joint:
        pairs["crps_sum"] = scores.wql_terms(p.sum(axis=1, keepdims=True), y.sum(axis=1, keepdims=True))
    losses, scale = scores.wql_terms(p, y)
    errors, counts = scores.absolute_error_terms(p, y)
    pairs |= {"crps": (losses, scale), "nd": (errors, scale), "mae": (errors, counts)}
    pairs |= {f"coverage_{round(100 * level)}": coverage_terms(p, y, level) for level in (0.5, 0.9)}
    if seasonal_errors is not None:
        pairs["mase"] = scores.mase_terms(p, y, np.reshape(np.asarray(seasonal_errors, dtype=np.float64), y.shape[:-1]))
    return Terms(pairs, pit(p, y, seed))


def _energy(p: Array, y: Array, units: ArrayLike | None) -> tuple[Array, Array]:
    """Energy score and norm of the truth, one a window; channels of a system form one long vector, each divided by its unit."""
    if y.ndim == 4:
        if units is not None:
            scale = np.asarray(units, dtype=np.float64)  # [series, channel]
            p, y = p / scale[None, :, None, None], y / scale[None, :, None]
        p, y = p.reshape(*p.shape[:3], -1), y.reshape(*y.shape[:2], -1)
    return np.nan_to_num(scores.energy_score(p, y)), np.sqrt(np.nansum(y * y, axis=-1))
