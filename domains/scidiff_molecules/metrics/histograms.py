"""Histograms of observations with their bootstrap resamples, filled as molecules come, and distances between them.

The bootstrap over molecules is Poisson's (Chamandy et al., *Estimating uncertainty for massive data streams*, 2012): in each resample
a molecule counts w times, w ~ Poisson(1), all its observations together. Of many molecules that is the usual bootstrap, and no molecule has
to be kept. The weights are a function of the seed and the molecule's place alone. Column 0 counts every molecule once.

*Wasserstein-1* of two histograms over the same bins of width h, with cumulative shares F and G: h sum |F - G|. It is exact for values at
the bins' places.  *Total variation* of shares p and q of categories: sum |p - q| / 2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scidiff_molecules.metrics.cells import Kind, split

RESAMPLES = 200
CHUNK = 256
"""Molecules whose random numbers are drawn together."""
MAX_TYPES = {0: 200, 1: 500, 2: 1000}
"""Types of a kind that are kept, by the kind's number; later ones are counted and left out."""


Weighing = Callable[[int], NDArray[np.int64]]
"""Of a chunk's number, how often each of its molecules counts in each column (256, columns); in column 0 once."""


def priorities(seed: int, chunk: int) -> NDArray[np.float64]:
    """Numbers in [0, 1) of a chunk's molecules (256,): a random subset is those with the smallest."""
    return _stream(seed, chunk, 0).random(CHUNK)


def resampled(seed: int) -> Weighing:
    """Column 0, and :data:`RESAMPLES` bootstrap resamples."""
    return lambda chunk: _after_ones(_stream(seed, chunk, 1).poisson(1.0, (CHUNK, RESAMPLES)))


def halved(seed: int) -> Weighing:
    """Column 0, and two random halves of the molecules."""

    def weigh(chunk: int) -> NDArray[np.int64]:
        first = _stream(seed, chunk, 2).random(CHUNK) < 0.5
        return _after_ones(np.stack([first, ~first], axis=1))

    return weigh


def _stream(seed: int, chunk: int, purpose: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=np.array([seed, 4 * chunk + purpose], dtype=np.uint64)))


def _after_ones(columns: NDArray[Any]) -> NDArray[np.int64]:
    return np.concatenate([np.ones((CHUNK, 1), dtype=np.int64), columns.astype(np.int64)], axis=1)


@dataclass(frozen=True)
class Counts:
    """Histograms of one type: bins that occur, ascending (K,), and how often they do in each column (K, columns)."""

    code: int
    bins: NDArray[np.int64]
    counts: NDArray[np.uint32]

    @property
    def total(self) -> int:
        """Observations."""
        return int(self.counts[:, 0].sum())


class Histograms:
    """Counts of cells in several columns: all molecules, and whatever weights they are given besides."""

    def __init__(self, columns: int) -> None:
        self._rows: dict[int, int] = {}
        self._counts = np.zeros((1024, columns), dtype=np.uint32)
        self._types: dict[int, set[int]] = {number: set() for number in MAX_TYPES}
        self.left_out = 0

    @property
    def columns(self) -> int:
        return self._counts.shape[1]

    def add(self, molecules: NDArray[np.int64], keys: NDArray[np.int64], weights: NDArray[np.int64]) -> None:
        """Observations ``keys`` (N,) of ``molecules`` (N,), rows of ``weights`` (M, columns)."""
        from scipy.sparse import coo_array

        if len(keys) == 0:
            return
        distinct, place = np.unique(keys, return_inverse=True)
        matrix = coo_array((np.ones(len(keys), dtype=np.int64), (place, molecules)), shape=(len(distinct), len(weights))).tocsr()
        sums = matrix @ weights
        rows = np.array([self._row(key) for key in distinct.tolist()], dtype=np.int64)
        self.left_out += int(sums[rows < 0, 0].sum())
        self._counts[rows[rows >= 0]] += sums[rows >= 0].astype(np.uint32)

    def put(self, keys: NDArray[np.int64], counts: NDArray[np.integer]) -> None:
        """Counts (N, columns) of distinct cells (N,), as :meth:`items` gave them."""
        rows = np.array([self._row(key) for key in keys.tolist()], dtype=np.int64)
        self._counts[rows[rows >= 0]] += counts[rows >= 0].astype(np.uint32)

    def _row(self, key: int) -> int:
        row = self._rows.get(key)
        if row is not None:
            return row
        number, code, _ = (int(part[0]) for part in split(np.array([key])))
        if number in MAX_TYPES:
            types = self._types[number]
            if code not in types and len(types) >= MAX_TYPES[number]:
                return -1
            types.add(code)
        row = self._rows[key] = len(self._rows)
        if row == len(self._counts):
            self._counts = np.concatenate([self._counts, np.zeros_like(self._counts)])
        return row

    def items(self) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
        """All cells, ascending (N,), and their counts (N, columns)."""
        keys = np.fromiter(self._rows, dtype=np.int64, count=len(self._rows))
        order = np.argsort(keys)
        return keys[order], self._counts[: len(keys)][order]

    def of(self, kind: Kind) -> dict[int, Counts]:
        """The histograms of a kind, by type."""
        keys = np.fromiter(self._rows, dtype=np.int64, count=len(self._rows))
        rows = np.flatnonzero(split(keys)[0] == kind.number)
        rows = rows[np.argsort(keys[rows])]
        _, codes, bins = split(keys[rows])
        starts = np.flatnonzero(np.diff(codes, prepend=-1))
        ends = np.append(starts[1:], len(codes))[: len(starts)]
        return {
            int(codes[a]): Counts(int(codes[a]), bins[a:b], self._counts[rows[a:b]])
            for a, b in zip(starts.tolist(), ends.tolist(), strict=True)
        }


def dense(counts: Counts | None, kind: Kind, columns: Sequence[int] | slice = slice(None), width: int = 1) -> NDArray[np.float64]:
    """Shares of all bins in some columns (bins, columns); NaN in a column without an observation, and in ``width`` columns for None."""
    if counts is None:
        return np.full((kind.bins, width), np.nan)
    chosen = counts.counts[:, columns]
    whole = np.zeros((kind.bins, chosen.shape[1]))
    whole[counts.bins] = chosen
    total = whole.sum(axis=0)
    return np.divide(whole, total, out=np.full_like(whole, np.nan), where=total > 0)


def wasserstein(p: NDArray[np.float64], q: NDArray[np.float64], kind: Kind) -> NDArray[np.float64]:
    """Wasserstein-1 of shares (bins, columns) and (bins, columns or 1), in the kind's unit, column by column."""
    return kind.width * np.abs(np.cumsum(p - q, axis=0)[:-1]).sum(axis=0)


def total_variation(p: NDArray[np.float64], q: NDArray[np.float64]) -> NDArray[np.float64]:
    """Total variation of shares (bins, columns) and (bins, columns or 1), column by column."""
    return np.abs(p - q).sum(axis=0) / 2


def distances(some: Histograms, other: Histograms, kind: Kind, column: int = 0) -> Iterator[tuple[Counts, Counts, NDArray[np.float64]]]:
    """Of each type that both have: its counts, and Wasserstein-1 of every column of ``some`` from one of ``other`` (columns,)."""
    known = other.of(kind)
    for code, counts in some.of(kind).items():
        if code in known:
            reference = dense(known[code], kind, [column])
            yield counts, known[code], wasserstein(dense(counts, kind), reference, kind)
