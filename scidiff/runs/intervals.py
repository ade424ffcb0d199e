"""What a run's metric came to, with a 95 % interval, and whether two runs differ by more than that.

Three cases, and the result says which:

- *logged*: the run logged NAME_low and NAME_high beside NAME, as evaluations do: its last value, and those.
- *tail*: the mean of the last fifth of the values logged. Values near each other are alike, so the interval is a circular block bootstrap's
  (Politis and Romano 1992): blocks of neighbours, as long as the cube root of their number, 2000 resamples of numpy's Philox with a fixed
  seed. It tells the scatter of a metric late in a training, and nothing of what another seed would have given. With fewer than some twenty
  values it is too narrow.
- *last*: fewer than five values in that fifth, or a value that does not scatter (a clock, the learning rate): the last, no interval.

Differences of two runs: where both tails have the same steps, the bootstrap of the paired differences, as what makes a batch hard for both
then cancels; otherwise the intervals are combined as those of independent estimates (Zou and Donner 2008, MOVER).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from scidiff.runs.record import Logged, is_clock

__all__ = ["Difference", "Estimate", "difference", "estimate", "mean_interval"]

LEVEL, RESAMPLES, FEWEST = 0.95, 2000, 5
Verdict = Literal["equal", "larger than its interval", "within its interval", "no interval"]


@dataclass(frozen=True)
class Estimate:
    """What a metric came to: its value, its 95 % interval if there is one, how both were made, and the steps it is of."""

    value: float
    low: float | None
    high: float | None
    how: Literal["logged", "tail", "last"]
    values: int
    steps: tuple[int, int]
    tail: tuple[Logged, ...] = ()


@dataclass(frozen=True)
class Difference:
    """Second less first, its 95 % interval if there is one, and whether that leaves 0 out."""

    value: float
    low: float | None
    high: float | None
    verdict: Verdict
    paired: bool = False


def estimate(metrics: Mapping[str, Sequence[Logged]], name: str) -> Estimate | None:
    """What the metric of that name came to; None where the run has no value of it."""
    values = metrics.get(name, ())
    if not values:
        return None
    last = values[-1]
    ends = [metrics[end][-1] for end in (f"{name}_low", f"{name}_high") if metrics.get(end)]
    if len(ends) == 2 and all(end.step == last.step for end in ends):
        return Estimate(last.value, ends[0].value, ends[1].value, "logged", 1, (last.step, last.step))
    tail = tuple(values[-math.ceil(len(values) / 5) :])
    if len(tail) < FEWEST or is_clock(name) or name.endswith("learning_rate") or not all(math.isfinite(one.value) for one in tail):
        return Estimate(last.value, None, None, "last", 1, (last.step, last.step))
    numbers = [one.value for one in tail]
    low, high = mean_interval(numbers)
    return Estimate(float(np.mean(numbers)), low, high, "tail", len(tail), (tail[0].step, last.step), tail)


def is_end(metrics: Mapping[str, Sequence[Logged]], name: str) -> bool:
    """Is this metric an end of another's interval?"""
    return any(name.endswith(end) and name.removesuffix(end) in metrics for end in ("_low", "_high"))


def difference(first: Estimate, second: Estimate) -> Difference:
    """Second less first."""
    value = second.value - first.value
    if _same(first, second):
        return Difference(0.0, 0.0, 0.0, "equal")
    if first.low is None or first.high is None or second.low is None or second.high is None or not math.isfinite(value):
        return Difference(value, None, None, "no interval")
    paired = bool(first.tail) and [one.step for one in first.tail] == [one.step for one in second.tail]
    if paired:
        low, high = mean_interval([b.value - a.value for a, b in zip(first.tail, second.tail, strict=True)])
    else:
        low = value - math.hypot(second.value - second.low, first.high - first.value)
        high = value + math.hypot(second.high - second.value, first.value - first.low)
    return Difference(value, low, high, "within its interval" if low <= 0 <= high else "larger than its interval", paired)


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % interval of the mean of consecutive values, by a circular block bootstrap; see the module."""
    numbers: NDArray[np.float64] = np.asarray(values, dtype=np.float64)
    count = len(numbers)
    block = max(1, math.ceil(count ** (1 / 3) - 1e-9))
    starts = np.random.Generator(np.random.Philox(0)).integers(count, size=(RESAMPLES, -(-count // block)))
    picks = ((starts[..., None] + np.arange(block)) % count).reshape(RESAMPLES, -1)[:, :count]
    low, high = np.quantile(numbers[picks].mean(axis=1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _same(first: Estimate, second: Estimate) -> bool:
    def parts(one: Estimate) -> tuple[object, ...]:
        return (repr(one.value), repr(one.low), repr(one.high), *((logged.step, repr(logged.value)) for logged in one.tail))

    return parts(first) == parts(second)
