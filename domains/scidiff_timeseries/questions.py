"""What training asks: windows and patterns of free entries, a pure function of an example's number."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scidiff.random import StreamNoise, stream_key
from scidiff_timeseries.recipe import Questions

Free = NDArray[np.bool_]
KINDS = ("forecast", "gaps", "blocks", "channels", "everything")


def uniforms(seed: int, examples: Tensor, count: int, step: int = 0) -> NDArray[np.float64]:
    """[example, count] in [0, 1), by (seed, example) alone."""
    return StreamNoise(stream_key(seed, "questions"), examples, step).flat_uniform(count).numpy()


def pattern(mix: Questions, u: NDArray[np.float64], seed: int, example: int, shape: tuple[int, int], horizon: int) -> Free:
    """The entries asked for, [time, channel]. ``u``: four uniforms that choose the kind and its numbers."""
    length, channels = shape
    weights = np.array([getattr(mix, kind) for kind in KINDS])
    if channels == 1:
        weights[KINDS.index("channels")] = 0.0
    kind = KINDS[int(np.searchsorted(weights.cumsum() / weights.sum(), u[0], side="right"))]
    free = np.zeros(shape, dtype=bool)
    if kind == "forecast":
        free[length - horizon :] = True
    elif kind == "everything":
        free[:] = True
    elif kind == "channels":
        free[:, int(u[1] * channels)] = True
    elif kind == "gaps":
        draws = uniforms(seed, torch.tensor([example]), length * channels, step=1)[0].reshape(shape)
        free = draws < 0.05 + 0.9 * u[1]
    else:
        size = 1 + int(u[1] * length / 2)
        begin = int(u[2] * (length - size + 1))
        chosen = uniforms(seed, torch.tensor([example]), channels, step=1)[0] < max(u[3], 1 / channels)
        chosen[int(u[3] * channels)] = True
        free[begin : begin + size] = chosen
    return free
