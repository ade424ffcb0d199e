"""Sample paths: questions put to the model through the core's one sampler."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from scidiff.random import Noise
from scidiff.sampling import RULES, sample
from scidiff_timeseries.model import VALUES, TimeSeriesDenoiser
from scidiff_timeseries.recipe import SamplerConfig
from scidiff_timeseries.windows import Question, ask

Array = NDArray[np.float64]
_ROWS = 200
"""Paths in one network call, about: what fits caches on a CPU."""


def first_sample(series: int, window: int = 0) -> int:
    """Number of the first path of a series' window of this number; up to 2^24 paths follow."""
    return (series << 40) + (window << 24)


def draw_paths(
    denoiser: TimeSeriesDenoiser,
    questions: Sequence[Question],
    seasons: Sequence[int],
    n_paths: int,
    sampler: SamplerConfig,
    *,
    seed: int = 0,
    first: int | Sequence[int] = 0,
    drop: int = 0,
    keep: int | None = None,
    rows: int = _ROWS,
) -> Array:
    """[question, path, time, channel] in the data's own unit; known entries as given, missing ones NaN. Time: ``keep`` after ``drop``.

    Path p of question q is sample number ``first`` + q ``n_paths`` + p, or ``first``[q] + p where each question has its own: its noise
    is the same however the questions are batched (``rows`` only bounds memory). A model that corrects nothing is its base law in any number
    of calls, and one is made.
    """
    # Even from 1 to 0: a call just before 0, where little is left to say, would be wasted; the last posterior is drawn from as it is.
    grid = torch.linspace(1.0, 0.0, (1 if denoiser.is_base_law else sampler.calls) + 1, dtype=torch.float64)
    numbers = torch.tensor([first + q * n_paths for q in range(len(questions))] if isinstance(first, int) else list(first))
    found: list[Array] = []
    each = max(1, rows // n_paths)
    for start in range(0, len(questions), each):
        chunk, ids = questions[start : start + each], numbers[start : start + each, None]
        spans = [range(p, min(p + rows, n_paths)) for p in range(0, n_paths, rows)]
        noise = [Noise(seed, (ids + torch.tensor(span)).flatten()) for span in spans]
        parts = [
            _draw(denoiser, _cut(chunk, span), seasons, len(span), sampler, grid, each_noise, drop, keep)
            for span, each_noise in zip(spans, noise, strict=True)
        ]
        found.append(np.concatenate(parts, 1))
    return np.concatenate(found)


def _cut(questions: Sequence[Question], paths: range) -> list[Question]:
    """The same with the values of these paths only, where paths have their own."""
    return [q if q.values.ndim == 2 else replace(q, values=q.values[paths.start : paths.stop]) for q in questions]


def _draw(
    denoiser: TimeSeriesDenoiser, chunk: Sequence[Question], seasons: Sequence[int], paths: int, sampler: SamplerConfig, grid: torch.Tensor,
    noise: Noise, drop: int, keep: int | None,
) -> Array:  # fmt: skip
    asked = ask(chunk, seasons, paths=paths, drop=drop, keep=keep)
    batch = asked.batch
    drawn = sample(
        denoiser,
        denoiser.process,
        batch.layouts,
        noise,
        grid,
        RULES["first"],
        batch.state,
        churn=sampler.churn,
        condition=batch.condition,
    ).state[VALUES]
    y = asked.back(drawn[..., 0]).numpy().reshape(len(chunk), paths, *drawn.shape[1:3])
    mask = batch.layouts[VALUES].mask.numpy().reshape(y.shape)
    known = batch.layouts[VALUES].known
    assert known is not None
    seen = slice(drop, None if keep is None else drop + keep)
    given = np.stack([np.broadcast_to(question.values[..., seen, :], y.shape[1:]) for question in chunk])
    y = np.where(known.numpy().reshape(y.shape), given, y)  # exactly, not through the window's unit and back
    y = np.where(mask, y, np.nan)
    for number, question in enumerate(chunk):
        y[number] = question.series.back(y[number], question.begin + drop)
    return y
