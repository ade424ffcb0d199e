"""Timing that a busy machine spoils least: every round runs each work once in turn (A B C A B C), and what is compared is compared within a
round. Whatever slows the machine for longer than a round slows all alike and leaves the ratio of two works as it is.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from scipy.stats import quantile_test

Name = TypeVar("Name")
Work = Callable[[int], object]
"""What is timed; it is given the number of its round, 0 the one that warms up."""
Clock = Callable[[], tuple[float, float]]
FEWEST_ROUNDS = 7
"""Of six rounds the smallest and the largest ratio are a 95 % interval of the median; of fewer nothing is."""


@dataclass(frozen=True)
class Times:
    """Seconds of one work in every round: by the clock on the wall, and of the CPU over all threads of this process."""

    wall: Sequence[float]
    cpu: Sequence[float]


@dataclass(frozen=True)
class Ratio:
    """How many times longer one work takes than another: the median over rounds and its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        value, low, high = (f"{x:.3g}" if x < 1000 else f"{x:,.0f}" for x in (self.value, self.low, self.high))
        return f"{value} [{low}, {high}]"


def now() -> tuple[float, float]:
    """Seconds by the clock on the wall, and of the CPU."""
    return time.perf_counter(), time.process_time()


def interleave(works: Mapping[Name, Work], rounds: Iterable[int], clock: Clock = now) -> dict[Name, Times]:
    """Time every work once a round, in turn. The first round warms up (memory, caches, compilation) and is not kept."""
    taken: dict[Name, list[tuple[float, float]]] = {name: [] for name in works}
    for number in rounds:
        for name, work in works.items():
            wall, cpu = clock()
            work(number)
            wall_after, cpu_after = clock()
            taken[name].append((wall_after - wall, cpu_after - cpu))
    return {name: Times([wall for wall, _ in rows[1:]], [cpu for _, cpu in rows[1:]]) for name, rows in taken.items()}


def ratio(long: Sequence[float], short: Sequence[float]) -> Ratio:
    """The median over rounds of long / short, each round's two times divided by each other, and the interval between two of the rounds'
    ratios that holds the true median with a probability of at least 95 % whatever their distribution (binomial order statistics; Conover,
    Practical Nonparametric Statistics, 3.2). Raises ValueError for sequences of different lengths or too few rounds."""
    ratios = [a / b for a, b in zip(long, short, strict=True)]
    if len(ratios) < FEWEST_ROUNDS:
        raise ValueError(f"{len(ratios)} rounds: a ratio needs at least {FEWEST_ROUNDS}")
    low, high = quantile_test(ratios, p=0.5).confidence_interval(0.95)
    return Ratio(statistics.median(ratios), float(low), float(high))
