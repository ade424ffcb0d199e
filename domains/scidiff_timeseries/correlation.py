"""How innovations of channels move together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_SHRINK = 0.05
_PAIRS = 10
_CLIP = 4.0
_LEAST = 0.01


def correlation(z: Array) -> tuple[tuple[float, ...], ...]:
    """Of standardised innovations [row, channel] (NaN where there is none), over pairs that are both known, of which at least ten are
    needed; clipped at 4, shrunk a little towards independence, and positive definite."""
    seen = np.isfinite(z)
    clipped = np.where(seen, np.clip(z, -_CLIP, _CLIP), 0.0)
    pairs = seen.T.astype(float) @ seen
    power = (clipped**2).T @ seen.astype(float)
    r = (clipped.T @ clipped) / np.sqrt(np.maximum(power * power.T, 1e-12))
    r = np.where(pairs >= _PAIRS, r, 0.0) * (1 - _SHRINK)
    np.fill_diagonal(r, 1.0)
    eigenvalues, axes = np.linalg.eigh(0.5 * (r + r.T))
    r = (axes * np.maximum(eigenvalues, _LEAST)) @ axes.T
    scale = 1 / np.sqrt(np.diag(r))
    return tuple(tuple(row) for row in (scale[:, None] * r * scale).tolist())
