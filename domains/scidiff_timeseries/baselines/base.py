"""What every baseline shares: the call, its checks, its random numbers."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from scidiff.errors import UserError
from scidiff_timeseries.arrays import ArrayLike

Array = NDArray[np.float64]
_LOG_LIMIT = 700.0  # exp() of more overflows
LOG = logging.getLogger("scidiff.timeseries")
_COUNTED: ContextVar[Counter[str] | None] = ContextVar("stand_ins", default=None)


class Method(Protocol):
    """A forecaster: histories [time] or [time, channel] to paths [series, n_paths, horizon] (and channel)."""

    @property
    def name(self) -> str: ...

    def __call__(self, histories: Sequence[ArrayLike], horizon: int, n_paths: int, seed: int) -> Array: ...


@dataclass(frozen=True)
class Baseline(ABC):
    """A :class:`Method` that treats every series, and every channel of one, by itself.

    Missing values are NaN in the histories; they are never filled, each law says what it does with them. Series i draws its random
    numbers from a Philox stream of (seed, i, channel), whatever the other series are.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """Short and unique, for tables."""

    @abstractmethod
    def paths(self, history: Array, horizon: int, n_paths: int, rng: np.random.Generator) -> Array:
        """Paths [n_paths, horizon] of one history [time] that holds at least one observed, and no infinite, value."""

    def __call__(
        self, histories: Sequence[ArrayLike], horizon: int, n_paths: int, seed: int, advance: Callable[[], None] | None = None
    ) -> Array:
        """Sample paths [series, n_paths, horizon], with a last axis of channels if the histories are [time, channel].

        ``advance`` is called after every series (a progress bar's step).

        Raises:
            UserError: horizon or n_paths below 1, no series, or a series without an observed value or with an infinite one.
        """
        if horizon < 1 or n_paths < 1:
            raise UserError(f"a forecast needs horizon >= 1 and n_paths >= 1, got {horizon} and {n_paths}")
        arrays = [_checked(history, i) for i, history in enumerate(histories)]
        if not arrays:
            raise UserError("there is no series to forecast")
        if len({array.shape[1:] for array in arrays}) > 1:
            raise UserError("all histories need the same shape but for their length: [time], or [time, channel] with the same channels")
        result: list[Array] = []
        for i, history in enumerate(arrays):
            columns = history.reshape(len(history), -1).T
            drawn = [self.paths(column, horizon, n_paths, generator(seed, i, c)) for c, column in enumerate(columns)]
            result.append(np.stack(drawn, axis=-1) if history.ndim == 2 else drawn[0])
            if advance is not None:
                advance()
        return np.stack(result)


def generator(seed: int, series: int, channel: int) -> np.random.Generator:
    """The Philox stream of one channel of one series."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, series, channel])))


def _checked(history: ArrayLike, index: int) -> Array:
    values = np.asarray(history, dtype=np.float64)
    if values.ndim not in (1, 2):
        raise UserError(f"series {index}: a history is [time] or [time, channel], got shape {values.shape}")
    if np.isinf(values).any():
        row = int(np.argwhere(np.isinf(values))[0][0])
        raise UserError(f"series {index} holds an infinite value at row {row}; write NaN if it is missing")
    if len(values) == 0 or np.isnan(values).all(axis=0).any():
        raise UserError(f"series {index} has no observed value (or a channel without one); drop it")
    return values


def observed(history: Array) -> tuple[NDArray[np.intp], Array]:
    """Positions and values of the entries that are not NaN."""
    positions = np.flatnonzero(~np.isnan(history))
    return positions, history[positions]


def on_log_scale(values: Array, log: bool | None) -> bool:
    """Whether to work on logarithms: as told, or (None) where every observed value is positive.

    Raises:
        UserError: logarithms were asked for and a value is not positive.
    """
    positive = bool((values > 0).all())
    if log and not positive:
        raise UserError(f"logarithms need positive values, the series holds {values.min():g}; use log=None or log=False")
    return positive if log is None else log


def bounded_exp(values: Array) -> Array:
    """exp, with its argument kept where the result is finite."""
    return np.exp(np.clip(values, -_LOG_LIMIT, _LOG_LIMIT))


@contextmanager
def standing_in() -> Iterator[Counter[str]]:
    """Count, by a baseline's name, the forecasts within that a random walk made in its place; see :func:`stand_in`."""
    counts: Counter[str] = Counter()
    token = _COUNTED.set(counts)
    try:
        yield counts
    finally:
        _COUNTED.reset(token)


def stand_in(name: str) -> None:
    """Say that a law had no usable fit and a random walk takes its place: counted each time, and logged once a process and law."""
    counts = _COUNTED.get()
    if counts is not None:
        counts[name] += 1
    _log_stand_in(name)


@cache
def _log_stand_in(name: str) -> None:
    LOG.warning("%s: no usable fit for a series, so the paths of a random walk take its place (said once)", name)
