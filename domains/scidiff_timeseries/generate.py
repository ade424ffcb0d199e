"""Sample paths: questions put to the model through the core's one sampler."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from scidiff.memory import Room, split_when_full
from scidiff.random import Noise
from scidiff.sampling import RULES, sample
from scidiff_timeseries.model import VALUES, TimeSeriesDenoiser
from scidiff_timeseries.recipe import SamplerConfig
from scidiff_timeseries.windows import Question, ask

Array = NDArray[np.float64]
BLOCK = 200
"""Paths that are computed together, which is part of a result's identity: outputs are bit-equal for equal blocks only. As many rows has a
network call, about: what fits caches on a CPU."""
MAX_PATHS = 2**24
"""Numbers of paths that a window has."""


def first_sample(series: int, window: int = 0) -> int:
    """Number of the first path of a series' window of this number; up to 2^24 paths follow."""
    return (series << 40) + (window << 24)


def blocks(first: int, n_paths: int) -> list[range]:
    """Paths ``first``, ... cut at multiples of :data:`BLOCK`."""
    cuts = [first, *range((first // BLOCK + 1) * BLOCK, first + n_paths, BLOCK), first + n_paths]
    return [range(low, high) for low, high in itertools.pairwise(cuts)]


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
    rows: int = BLOCK,
) -> Array:
    """[question, path, time, channel] in the data's own unit; known entries as given, missing ones NaN. Time: ``keep`` after ``drop``.

    Path p of question q is sample number ``first`` + q ``n_paths`` + p, or ``first``[q] + p where each question has its own: its noise
    is the same however the questions are batched (``rows`` only bounds memory; what still does not fit is halved). Network calls are made
    where the model is, all else on the CPU. A model that corrects nothing is its base law in any number of calls, and one is made.
    """
    # Even from 1 to 0: a call just before 0, where little is left to say, would be wasted; the last posterior is drawn from as it is.
    grid = torch.linspace(1.0, 0.0, (1 if denoiser.is_base_law else sampler.calls) + 1, dtype=torch.float64)
    numbers = torch.tensor([first + q * n_paths for q in range(len(questions))] if isinstance(first, int) else list(first))
    spans, of_questions, of_paths = [range(p, min(p + rows, n_paths)) for p in range(0, n_paths, rows)], Room(), Room()

    def some(chunk: Sequence[int], span: Sequence[int]) -> Array:
        """These paths of these questions, in one network call a step."""
        noise = Noise(seed, (numbers[list(chunk), None] + torch.tensor(span)).flatten())
        asked = [_cut(questions[q], span) for q in chunk]
        return _draw(denoiser, asked, seasons, len(span), sampler, grid, noise, drop, keep)

    def whole(chunk: Sequence[int]) -> Array:
        """All paths of these questions; of a single one in as many calls as it takes."""
        if len(chunk) > 1:
            return np.concatenate([some(chunk, span) for span in spans], 1)
        parts = [split_when_full(lambda part: some(chunk, part), span, of_paths, what="paths of a window") for span in spans]
        return np.concatenate([one for part in parts for one in part], 1)

    each, found = max(1, rows // n_paths), list[Array]()
    for start in range(0, len(questions), each):
        chunk = range(start, min(start + each, len(questions)))
        found += split_when_full(whole, chunk, of_questions, what="windows in one network call")
    return np.concatenate(found)


def _cut(question: Question, paths: Sequence[int]) -> Question:
    """The same with the values of these consecutive paths only, where paths have their own."""
    return question if question.values.ndim == 2 else replace(question, values=question.values[paths[0] : paths[-1] + 1])


def _draw(
    denoiser: TimeSeriesDenoiser, chunk: Sequence[Question], seasons: Sequence[int], paths: int, sampler: SamplerConfig, grid: torch.Tensor,
    noise: Noise, drop: int, keep: int | None,
) -> Array:  # fmt: skip
    asked = ask(chunk, seasons, paths=paths, drop=drop, keep=keep)
    batch, place = asked.batch, next(denoiser.parameters()).device
    there = batch.to(place)
    drawn = sample(
        denoiser,
        denoiser.process,
        there.layouts,
        Noise(noise.seed, noise.ids.to(place)),
        grid,
        RULES["first"],
        there.state,
        churn=sampler.churn,
        condition=there.condition,
    ).state[VALUES].cpu()  # fmt: skip
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
