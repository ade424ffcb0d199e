"""Regular grids: integer positions for stamps and stamps for integer positions, exactly and for all families of frequencies.

Step i of a grid stands at base(i every + remainder) + time of day, where base counts seconds (clock), days, business days or
months since January 1970. Arithmetic is in whole units of the stamps' own resolution, so that nothing is rounded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import tzinfo
from typing import Any

import numpy as np
import pandas as pd

from scidiff.errors import UserError
from scidiff_timeseries.frequency import DAY, Frequency, Ints, mode, ticks

__all__ = ["Grid"]


@dataclass(frozen=True)
class Grid:
    """The steps of a frequency in one phase.

    Attributes:
        frequency: the step.
        remainder: base number of the steps, modulo ``frequency.every``.
        time: time of day (family clock: fraction of a second) in units of ``unit``.
        unit: resolution of the stamps, ``s``, ``ms``, ``us`` or ``ns``.
        tz: time zone of the stamps; None for naive ones.
        by_date: stamps are anywhere in the day (month, quarter, year), so each belongs to the step of that day (month, ...).
    """

    frequency: Frequency
    remainder: int
    time: int
    unit: str
    tz: tzinfo | None = None
    by_date: bool = False

    @classmethod
    def fit(cls, frequency: Frequency, stamps: pd.DatetimeIndex) -> Grid:
        """The grid that most of these stamps (at least one) are on. A free anchor of the frequency is taken from them."""
        unit, tz, family = stamps.unit, stamps.tz, frequency.family
        second, every = ticks(unit), frequency.every
        if family == "clock":
            phase = _clock_phase(stamps.asi8, every * second)
            return cls(frequency, phase // second, phase % second, unit, tz)
        plain = cls(frequency, 0, 0, unit, tz)
        wall = _wall(stamps)
        midnight = wall // (DAY * second)
        times = np.where(_wall(plain._localise(midnight * DAY * second)) == wall, 0, wall - midnight * DAY * second)
        time, share = mode(times)
        if share < 0.5:
            time = 0
        bases = plain._base(wall)
        remainders = bases % every
        anchor = frequency.anchor
        if anchor is not None:
            allowed = remainders[remainders % anchor[1] == anchor[0]]
            remainder = mode(allowed)[0] if allowed.size else anchor[0]
        else:
            remainder = mode(remainders)[0]
        grid = cls(frequency.anchored(remainder), remainder, time, unit, tz, by_date=share < 0.5)
        if family == "month" and np.mean(grid.offsets(stamps, grid.nearest(stamps)) == 0) < 0.5:
            grid = replace(grid, by_date=True)
        return grid

    def at(self, steps: Ints) -> Ints:
        """Stamps of steps as integers: UTC for the family clock, wall time for the others.

        Raises:
            UserError: beyond what stamps of this resolution can hold.
        """
        base = steps * self.frequency.every + self.remainder
        second = ticks(self.unit)
        scale = second if self.frequency.family == "clock" else DAY * second
        if np.any(np.abs(base) > 2**62 // scale):
            raise self._beyond()
        if self.frequency.family in ("business", "month"):
            base = self._days(base)
            if np.any(np.abs(base) > 2**62 // scale * 2 - 2):
                raise self._beyond()
        return base * scale + self.time

    def _beyond(self) -> UserError:
        return UserError(
            f"the grid runs beyond the dates that stamps of resolution {self.unit!r} can hold; ask for fewer steps, "
            "or convert the time column to datetime64[us]"
        )

    def stamps(self, begin: int, end: int) -> pd.DatetimeIndex:
        """Stamps of the steps begin, ..., end - 1. A wall time that its zone skips moves to the first that exists."""
        return self._localise(self.at(np.arange(begin, end, dtype=np.int64)))

    def nearest(self, stamps: pd.DatetimeIndex) -> Ints:
        """Step nearest to each stamp (the earlier one of two), or, ``by_date``, the step of its day, month, quarter or year."""
        exact = stamps.asi8 if self.frequency.family == "clock" else _wall(stamps)
        if self.by_date:
            exact = exact - exact % (DAY * ticks(self.unit))
            if self.frequency.family == "month":
                ahead = self._base(exact) - self.remainder
                return -(-ahead // self.frequency.every) if self.frequency.at_end else ahead // self.frequency.every
        guess = (self._base(exact) - self.remainder) // self.frequency.every
        tries = np.stack([guess - 1, guess, guess + 1])
        distance = np.abs(np.stack([self.at(steps) for steps in tries]) - exact)
        return np.take_along_axis(tries, np.argmin(distance, axis=0)[None], axis=0)[0]

    def offsets(self, stamps: pd.DatetimeIndex, steps: Ints) -> Ints:
        """How far each stamp is from its step, in units of the resolution; 0 is on the grid."""
        if self.frequency.family == "clock":
            return stamps.asi8 - self.at(steps)
        at = self.at(steps)
        return _wall(stamps) - (at if self.tz is None else _wall(self._localise(at)))

    @property
    def reach(self) -> int:
        """How far a stamp may be moved to its step, in units of the resolution: half a step; ``by_date`` a whole one."""
        scale = {"clock": 1, "month": 31 * DAY}.get(self.frequency.family, DAY)
        return self.frequency.every * scale * ticks(self.unit) // (1 if self.by_date else 2)

    def _base(self, exact: Ints) -> Ints:
        second = ticks(self.unit)
        if self.frequency.family == "clock":
            return exact // second
        days = exact // (DAY * second)
        if self.frequency.family == "business":
            return np.busday_count("1970-01-01", days.astype("M8[D]")).astype(np.int64)
        return days if self.frequency.family == "day" else days.astype("M8[D]").astype("M8[M]").astype(np.int64)

    def _days(self, base: Ints) -> Ints:
        """Days since 1970-01-01 of business days or months since then."""
        if self.frequency.family == "business":
            return np.busday_offset(np.datetime64("1970-01-01", "D"), base).astype(np.int64)
        business, roll = self.frequency.on_business_days, "forward"
        if self.frequency.at_end:
            after = (base + 1).astype("M8[M]").astype("M8[D]")
            days = np.busday_offset(after, -1, roll=roll) if business else after - 1
        else:
            first = base.astype("M8[M]").astype("M8[D]")
            days = np.busday_offset(first, 0, roll=roll) if business else first
        return days.astype(np.int64)

    def _localise(self, exact: Ints) -> pd.DatetimeIndex:
        naive = pd.DatetimeIndex(exact.view(f"M8[{self.unit}]"))
        if self.tz is None:
            return naive
        if self.frequency.family == "clock":
            return naive.tz_localize("UTC").tz_convert(self.tz)
        return naive.tz_localize(self.tz, ambiguous=np.ones(len(naive), dtype=bool), nonexistent="shift_forward")


def _wall(stamps: pd.DatetimeIndex) -> Any:
    return (stamps if stamps.tz is None else stamps.tz_localize(None)).asi8


def _clock_phase(exact: Ints, step: int) -> int:
    """Where in the step most stamps are; when they jitter, the quarter of a step nearest to their circular mean."""
    phase, share = mode(exact % step)
    if share >= 0.5:
        return phase
    angles = 2j * np.pi * ((exact % step) / step)
    quarter = round(float(np.angle(np.exp(angles).mean())) / (np.pi / 2)) % 4
    return quarter * (step // 4)
