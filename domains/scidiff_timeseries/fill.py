"""Filling: missing entries of whole series, window by window, as joint sample paths. Simulation fills a series of which nothing is known,
a forecast fills steps after the end of one.

A *window* is a run of missing entries that are asked for together, in as many steps as the network was trained on: between what is known
on both sides, or after it where nothing more is known. The base law sees further, at both ends. Windows come from left to right, and
each path is given what it holds so far: by the chain rule paths stay joint. Windows that share nothing are drawn at once, and all paths of
one know the same entries, so its laws are made once.

The temperature is that of forecasts for windows that see data alone. Those that see what was drawn before, and simulations, take one that
keeps draws as volatile as the base law's: from window to window any other would compound.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scidiff_timeseries.arrays import rows
from scidiff_timeseries.generate import blocks, draw_paths, first_sample
from scidiff_timeseries.model import TimeSeriesDenoiser
from scidiff_timeseries.recipe import SamplerConfig
from scidiff_timeseries.windows import Prepared, Question

Array = NDArray[np.float64]
Missing = NDArray[np.bool_]
_ENTRIES = 2048
"""Of a window, as many at the most for the sake of what lies to its right; the law's cost grows with their cube."""
_ROUND = 64
"""Steps beyond a long gap's end, and the unit in which windows are lengthened: laws are kept by length."""
_AT_ONCE = 2**22
"""Values drawn in one go, which bounds memory."""


@dataclass(frozen=True)
class Lengths:
    """In steps: what the base law sees before the network's view, the view, and what a forecast asks for after it."""

    lead: int
    view: int
    horizon: int

    @property
    def seen(self) -> int:
        """By the network."""
        return self.view + self.horizon


@dataclass(frozen=True)
class Window:
    """Missing entries of the steps low, ..., high - 1 are asked for. The network sees from ``begin`` on; the law lead more, and to end."""

    low: int
    high: int
    begin: int
    end: int


def plan(missing: Missing, lengths: Lengths) -> list[Window]:
    """The windows of a series with these missing entries [time, channel], from left to right."""
    absent: Missing = np.asarray(missing.any(1))
    some = np.append(np.flatnonzero(~missing.all(1)), len(missing))
    found: list[Window] = []
    for low in map(int, np.flatnonzero(absent)):
        if found and low < found[-1].high:
            continue
        ahead = int(some[np.searchsorted(some, low)])  # the next step of which something is known
        step = max(lengths.horizon, lengths.seen // 2 if ahead < len(missing) else lengths.view // 4)
        high = low + 1 + int(np.flatnonzero(absent[low : low + step])[-1])
        found.append(_place(low, high, int(some[np.searchsorted(some, high)]), missing.shape, lengths))
    return found


def _place(low: int, high: int, after: int, shape: tuple[int, ...], lengths: Lengths) -> Window:
    """``after``: the first step from ``high`` on of which something is known; the length if there is none."""
    spare, (length, channels) = lengths.seen - (high - low), shape
    begin = high - lengths.seen
    if after < min(high + spare, length):  # room for what is known on the right
        right = min(spare, max(spare // 2, after - high + spare // 4))
        begin = max(min(low - spare + right, length - lengths.seen), min(0, length - lengths.seen))
    end = begin + lengths.seen
    if after < length:
        most = max(_ENTRIES // channels - lengths.lead - lengths.seen, 0)
        wanted = lengths.lead + (-(-(after + _ROUND - end) // _ROUND) * _ROUND if after >= end else 0)
        end += min(wanted, most)
    return Window(low, high, begin, end)


def rounds(windows: Sequence[Window], lead: int) -> list[int]:
    """When each window is drawn: after every earlier one that it sees, or that sees it."""
    when: list[int] = []
    for one in windows:
        near = [
            turn
            for other, turn in zip(windows, when, strict=False)
            if other.high > one.begin - lead or other.end > one.low  # other is to the left
        ]
        when.append(1 + max(near, default=-1))
    return when


@dataclass
class _Series:
    """A series in the making: its ``paths`` [path, time, channel] in transformed units and ``result`` in its own."""

    prepared: Prepared
    number: int
    missing: Missing
    windows: list[Window]
    turns: list[int]
    paths: Array
    result: Array

    def question(self, window: Window, lead: int) -> Question:
        first, (_, length, channels) = window.begin - lead, self.paths.shape
        asked = np.zeros((length, channels))
        asked[window.low : window.high] = self.missing[window.low : window.high]
        free = rows(asked, first, window.end, 0.0) > 0
        low, high = max(first, 0), min(window.end, length)
        values = np.full((len(self.paths), window.end - first, channels), np.nan)
        values[:, low - first : high - first] = self.paths[:, low:high]
        drawn = bool((self.missing[low:high] & np.isfinite(self.paths[0, low:high])).any())
        tempered = not drawn and bool(np.isfinite(values[0]).any())
        return Question(self.prepared, first, values if drawn else values[0], free, tempered)

    def take(self, window: Window, drawn: Array) -> None:
        """``drawn`` [path, time, channel] of the steps the network saw."""
        at = slice(window.low, window.high)
        free, new = self.missing[at], drawn[:, window.low - window.begin : window.high - window.begin]
        self.result[:, at] = np.where(free, new, self.result[:, at])
        forward = self.prepared.forward(self.result[:, at], window.low)
        self.paths[:, at] = np.where(free, forward, self.paths[:, at])


def fill_blocks(
    denoiser: TimeSeriesDenoiser,
    series: Sequence[Prepared],
    given: Sequence[Array],
    seasons: Sequence[int],
    paths: range,
    sampler: SamplerConfig,
    lengths: Lengths,
    *,
    progress: Callable[[int, int], None],
    **options: Any,
) -> list[Array]:
    """:func:`fill` of the paths of these numbers, a block at a time: whole blocks are the same to the bit whatever else is asked for."""
    made, spans = list[list[Array]](), blocks(paths.start, len(paths))
    for k, span in enumerate(spans):

        def tell(done: int, total: int, before: int = k) -> None:
            progress(before * total + done, len(spans) * total)

        asked: Mapping[str, Any] = {"path": span.start, "progress": tell, **options}
        made.append(fill(denoiser, series, given, seasons, len(span), sampler, lengths, **asked))
    return [np.concatenate(parts) for parts in zip(*made, strict=True)] if len(made) > 1 else made[0]


def fill(
    denoiser: TimeSeriesDenoiser,
    series: Sequence[Prepared],
    given: Sequence[Array],
    seasons: Sequence[int],
    n_paths: int,
    sampler: SamplerConfig,
    lengths: Lengths,
    *,
    seed: int = 0,
    numbers: Sequence[int] | None = None,
    begin: int = 0,
    path: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[Array]:
    """[path, time, channel] of every series in its own unit: values ``given`` [time, channel] to the bit, missing ones drawn from step
    ``begin`` on; earlier ones stay missing.

    Noise is a function of (seed, number of the series, number of the window in it, path) alone; ``numbers`` are 0, 1, ... unless given,
    and so are paths unless ``path`` is the first. ``progress`` is told how many windows of how many are done.
    """
    made: list[_Series] = []
    for number, one, values in zip(numbers or range(len(series)), series, given, strict=True):
        missing = ~np.isfinite(values) & (np.arange(len(values)) >= begin)[:, None]
        windows = plan(missing, lengths)
        start = np.where(missing, np.nan, one.values)
        paths, result = (np.repeat(table[None], n_paths, 0) for table in (start, values))
        made.append(_Series(one, number, missing, windows, rounds(windows, lengths.lead), paths, result))
    due = [(turn, one, index) for one in made for index, turn in enumerate(one.turns)]
    due.sort(key=lambda each: each[0])
    done, channels = 0, max((table.shape[1] for table in given), default=1)
    size = max(1, _AT_ONCE // (n_paths * lengths.seen * channels))
    for _, group in itertools.groupby(due, key=lambda each: each[0]):
        turn = list(group)
        for start in range(0, len(turn), size):
            chunk = turn[start : start + size]
            questions = [one.question(one.windows[index], lengths.lead) for _, one, index in chunk]
            first = [first_sample(one.number, index) + path for _, one, index in chunk]
            drawn = draw_paths(
                denoiser, questions, seasons, n_paths, sampler, seed=seed, first=first, drop=lengths.lead, keep=lengths.seen
            )
            for (_, one, index), paths in zip(chunk, drawn, strict=True):
                one.take(one.windows[index], paths)
            done += len(chunk)
            if progress is not None:
                progress(done, len(due))
    return [one.result for one in made]
