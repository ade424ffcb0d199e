"""Sample paths: questions put to the model through the core's one sampler."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from scidiff.random import Noise
from scidiff.sampling import RULES, sample, time_grid
from scidiff_timeseries.model import VALUES, TimeSeriesDenoiser
from scidiff_timeseries.recipe import SamplerConfig
from scidiff_timeseries.windows import Question, ask

Array = NDArray[np.float64]
_ROWS = 200
"""Paths in one network call, about: what fits caches on a CPU."""


def draw_paths(
    denoiser: TimeSeriesDenoiser,
    questions: Sequence[Question],
    seasons: Sequence[int],
    n_paths: int,
    sampler: SamplerConfig,
    *,
    seed: int = 0,
    first: int = 0,
    drop: int = 0,
    rows: int = _ROWS,
    progress: Callable[[int], None] | None = None,
) -> Array:
    """[question, path, time, channel] in the data's own unit; known entries as given, missing ones NaN. Time starts after ``drop``.

    Path p of question q is sample number ``first`` + q ``n_paths`` + p: its noise is the same however the questions are batched (``rows``
    only bounds memory).
    """
    grid = time_grid(denoiser.schedule, sampler.calls)
    found: list[Array] = []
    each = max(1, rows // n_paths)
    for start in range(0, len(questions), each):
        chunk = questions[start : start + each]
        spans = [range(p, min(p + rows, n_paths)) for p in range(0, n_paths, rows)]
        parts = [_draw(denoiser, chunk, seasons, span, n_paths, sampler, grid, seed, first + start * n_paths, drop) for span in spans]
        found.append(np.concatenate(parts, 1))
        if progress is not None:
            progress(start + len(chunk))
    return np.concatenate(found)


def _draw(
    denoiser: TimeSeriesDenoiser, chunk: Sequence[Question], seasons: Sequence[int], paths: range, n_paths: int,
    sampler: SamplerConfig, grid: torch.Tensor, seed: int, first: int, drop: int,
) -> Array:  # fmt: skip
    asked = ask(chunk, seasons, paths=len(paths), drop=drop)
    batch = asked.batch
    ids = first + torch.arange(len(chunk))[:, None] * n_paths + torch.tensor(paths)
    drawn = sample(
        denoiser,
        denoiser.process,
        batch.layouts,
        Noise(seed, ids.flatten()),
        grid,
        RULES["first"],
        batch.state,
        churn=sampler.churn,
        condition=batch.condition,
    ).state[VALUES]
    y = asked.back(drawn[..., 0]).numpy().reshape(len(chunk), len(paths), *drawn.shape[1:3])
    mask = batch.layouts[VALUES].mask.numpy().reshape(y.shape)
    known = batch.layouts[VALUES].known
    assert known is not None
    given = np.stack([question.values[drop:] for question in chunk])[:, None]
    y = np.where(known.numpy().reshape(y.shape), given, y)  # exactly, not through the window's unit and back
    y = np.where(mask, y, np.nan)
    for number, question in enumerate(chunk):
        for c, channel in enumerate(question.series.fit.channels):
            y[number, ..., c] = channel.transform.inverse(y[number, ..., c])
    return y
