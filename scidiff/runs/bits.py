"""Two courses of the same metrics, bit for bit: where they part, and by how much."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scidiff.runs.record import Logged, is_clock

__all__ = ["Course", "Parted", "compare_bits", "ulps"]


@dataclass(frozen=True)
class Parted:
    """A metric whose values differ: ``first`` step at which they do, the number of steps at which they do, the largest relative difference
    and the largest in units in the last place (None where a value is missing or not finite)."""

    name: str
    first: int
    steps: int
    of: int
    relative: float | None
    ulps: int | None
    note: str = ""


@dataclass(frozen=True)
class Course:
    """What came of comparing: metrics and values that are equal to the bit, those that are not, and those that no run repeats."""

    metrics: int
    values: int
    parted: tuple[Parted, ...]
    clocks: tuple[str, ...]


def compare_bits(first: Mapping[str, Sequence[Logged]], second: Mapping[str, Sequence[Logged]]) -> Course:
    """Every metric that either has, at every step that either has; metrics that tell time or the machine are left out and named."""
    names = sorted({*first, *second})
    compared = [name for name in names if not is_clock(name)]
    parted: list[Parted] = []
    values = 0
    for name in compared:
        ours = {one.step: one.value for one in first.get(name, ())}
        theirs = {one.step: one.value for one in second.get(name, ())}
        values += len({*ours, *theirs})
        found = _part(name, ours, theirs)
        if found is not None:
            parted.append(found)
    return Course(len(compared), values, tuple(parted), tuple(name for name in names if is_clock(name)))


def _part(name: str, ours: Mapping[int, float], theirs: Mapping[int, float]) -> Parted | None:
    steps = sorted({*ours, *theirs})
    wrong = [step for step in steps if step not in ours or step not in theirs or not _equal(ours[step], theirs[step])]
    if not wrong:
        return None
    both = [(ours[step], theirs[step]) for step in wrong if step in ours and step in theirs]
    finite = [(a, b) for a, b in both if math.isfinite(a) and math.isfinite(b)]
    relative = max((abs(b - a) / max(abs(a), abs(b)) for a, b in finite), default=None)
    missing = [("the run" if step not in ours else "the repetition") for step in wrong if step not in ours or step not in theirs]
    note = f"missing in {missing[0]} at {len(missing)} steps" if missing else "not finite" if len(finite) < len(both) else ""
    return Parted(name, wrong[0], len(wrong), len(steps), relative, max((ulps(a, b) for a, b in finite), default=None), note)


def _equal(a: float, b: float) -> bool:
    """To the bit, but that any NaN is any other: a store keeps none of its bits. Zeros have no sign there either."""
    return a == b or (math.isnan(a) and math.isnan(b))


def ulps(a: float, b: float) -> int:
    """How many float64 numbers lie between two, one of them counted."""
    return abs(_place(a) - _place(b))


def _place(value: float) -> int:
    """The number's place among all float64 numbers in ascending order."""
    bits = struct.unpack("<q", struct.pack("<d", value))[0]
    return bits if bits >= 0 else -(bits & 0x7FFF_FFFF_FFFF_FFFF)
