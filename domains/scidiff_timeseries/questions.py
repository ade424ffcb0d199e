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


def kinds(mix: Questions, u: NDArray[np.float64], channels: int) -> NDArray[np.intp]:
    """Places in :data:`KINDS`, by one uniform each."""
    weights = np.array([getattr(mix, kind) for kind in KINDS])
    if channels == 1:
        weights[KINDS.index("channels")] = 0.0
    return np.searchsorted(weights.cumsum() / weights.sum(), u, side="right")


def pattern(mix: Questions, u: NDArray[np.float64], seed: int, example: int, shape: tuple[int, int], horizon: int) -> tuple[Free, int]:
    """(the entries asked for [time, channel], the first step of which anything is shown). ``u``: four uniforms that choose the kind and its
    numbers.

    Of the questions for everything half show nothing at all, and half the few steps before the ones asked for that a simulation has made
    so far.
    """
    length, channels = shape
    kind = KINDS[int(kinds(mix, u[:1], channels)[0])]
    free, begin = np.zeros(shape, dtype=bool), 0
    if kind in ("forecast", "everything"):
        free[length - horizon :] = True
        if kind == "everything":
            begin = min(length - horizon, int(2 * u[1] * (length - horizon)))
    elif kind == "channels":
        free[:, int(u[1] * channels)] = True
    elif kind == "gaps":
        draws = uniforms(seed, torch.tensor([example]), length * channels, step=1)[0].reshape(shape)
        free = draws < _share(u[1:2])
    else:
        size = 1 + int(u[1] * length / 2)
        first = int(u[2] * (length - size + 1))
        chosen = uniforms(seed, torch.tensor([example]), channels, step=1)[0] < max(u[3], 1 / channels)
        chosen[int(u[3] * channels)] = True
        free[first : first + size] = chosen
    return free, begin


def sizes(mix: Questions, u: NDArray[np.float64], shape: tuple[int, int], horizon: int) -> NDArray[np.int64]:
    """About how many entries each example asks for, [example]; ``u`` [example, at least four] as :func:`pattern` takes them."""
    length, channels = shape
    gaps, blocks = _share(u[:, 1]) * length * channels, u[:, 1] * length / 2 * np.maximum(1, u[:, 3] * channels)
    by_kind = np.stack([np.full(len(u), horizon * channels), gaps, blocks, np.full(len(u), length), np.full(len(u), horizon * channels)])
    return by_kind[kinds(mix, u[:, 0], channels), np.arange(len(u))].astype(np.int64)


def _share(u: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of scattered entries: up to half, for the base law's cost grows with the cube of what is asked."""
    return 0.05 + 0.45 * u
