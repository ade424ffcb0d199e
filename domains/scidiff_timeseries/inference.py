"""Frequencies inferred from the stamps of series that lack rows."""

from __future__ import annotations

import numpy as np
import pandas as pd

from scidiff.errors import UserError
from scidiff_timeseries.frequency import DAY, WEEKDAYS, Frequency, Ints, mode, ticks

__all__ = ["infer"]

_NICE = tuple(60 * m for m in (1, 2, 3, 5, 10, 15, 20, 30)) + tuple(3600 * h for h in (1, 2, 3, 4, 6, 8, 12)) + (1, 5, 10, 15, 30)


def infer(stamps: pd.DatetimeIndex, series: Ints) -> Frequency:
    """The frequency of series with missing rows, from the gaps inside them.

    The step is the gap that most others are multiples of: the most common one; where rows miss so often that it is not, the
    common divisor; where stamps jitter, the median, rounded. Gaps of days are then mapped on the calendar: business days when no
    stamp is on a weekend though one was passed, months, quarters and years when stamps are at months' starts or ends.

    Args:
        stamps: of all series, each series' own ascending without repetition.
        series: number of the series of each stamp, ascending.

    Raises:
        UserError: no series has two stamps, or stamps are less than a second apart.
    """
    gaps = np.diff(stamps.asi8)[np.diff(series) == 0]
    if gaps.size == 0:
        raise UserError("no series has two rows, so no frequency can be inferred; give it, for example freq='D' or freq='h'")
    second = ticks(stamps.unit)
    inside = np.diff(series) == 0
    wall = stamps.asi8 if stamps.tz is None else stamps.tz_localize(None).asi8
    wall_gaps = np.diff(wall)[inside]
    by_wall = _step(wall_gaps[wall_gaps > 0], 60 * second) if np.any(wall_gaps > 0) else 0
    step = by_wall if by_wall and by_wall % (DAY * second) == 0 else _step(gaps, 60 * second)
    if step < second:
        raise UserError("stamps are less than a second apart; scidiff knows steps from seconds to years: aggregate the rows first")
    regular = np.mean(gaps % step == 0) >= 0.3
    if step % (DAY * second) == 0 or step >= 20 * DAY * second or (step > 18 * 3600 * second and not regular):
        return _of_days(wall // (DAY * second), inside)
    seconds = step // second if step % second == 0 and regular else min(_NICE, key=lambda nice: abs(np.log(step / second / nice)))
    return Frequency(f"{seconds}s", _note(gaps, seconds * second))


def _step(gaps: Ints, floor: int) -> int:
    """The length whose multiples the gaps are."""
    common, share = mode(gaps)
    if np.mean(gaps % common == 0) >= 0.9:
        return common
    median = int(np.median(gaps))
    divisor = int(np.gcd.reduce(gaps))
    if divisor >= max(median // 20, min(floor, median)):
        return divisor
    return common if share >= 0.3 else median


def _of_days(days: Ints, inside: np.ndarray) -> Frequency:
    gaps = np.diff(days)[inside]
    gaps = gaps[gaps > 0]
    calendar = _of_months(days, inside) if gaps.size and mode(gaps)[0] >= 28 else None
    if calendar is not None:
        return calendar
    step = _step(gaps, 1) if gaps.size else 1
    if step == 1:
        weekday = (days + 3) % 7
        passed = bool(np.any((weekday[:-1] + np.diff(days) >= 7)[inside]))
        name = "B" if passed and not np.any(weekday >= 5) else "D"
        one = (gaps == 1) | (gaps == 3) & (name == "B")
        return Frequency(name, f"inferred: {int(one.sum())} of {gaps.size} gaps are one step")
    if step % 7 == 0:
        common, _ = mode(days % 7)
        name = f"{step // 7 if step > 7 else ''}W-{WEEKDAYS[(common + 3) % 7]}"
    else:
        name = f"{step}D"
    return Frequency(name, _note(gaps, step))


def _of_months(days: Ints, inside: np.ndarray) -> Frequency | None:
    """A frequency of months when stamps are at their starts or ends, or regular in months and not in days."""
    dates = days.astype("M8[D]")
    months = dates.astype("M8[M]")
    first, after = months.astype("M8[D]"), (months + 1).astype("M8[D]")
    places = {
        "S": dates == first,
        "E": dates == after - 1,
        "BS": dates == np.busday_offset(first, 0, roll="forward"),
        "BE": dates == np.busday_offset(after, -1, roll="forward"),
    }
    place = max(places, key=lambda name: float(places[name].mean()))
    gaps = np.diff(months.astype(np.int64))[inside]
    day_gaps = np.diff(days)[inside]
    if places[place].mean() < 0.9:
        even = _step(day_gaps[day_gaps > 0], 1)
        if np.any(gaps == 0) or (even >= 28 and np.mean(day_gaps % even == 0) >= 0.9):
            return None
        place = "S"  # somewhere in the month: the rows will be named as off the grid
    positive = gaps[gaps > 0]
    step = _step(positive, 1) if positive.size else 1
    letter, size = next((letter, size) for letter, size in (("Y", 12), ("Q", 3), ("M", 1)) if step % size == 0)
    name = f"{step // size if step > size else ''}{place[:-1]}{letter}{place[-1]}"
    common, _ = mode(months.astype(np.int64) % 12)
    return Frequency(name, _note(positive, step)).anchored(common)


def _note(gaps: Ints, step: int) -> str:
    return f"inferred: {int(np.sum(gaps == step))} of {gaps.size} gaps are one step"
