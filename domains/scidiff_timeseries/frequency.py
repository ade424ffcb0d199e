"""Frequencies: names, seasons, calendars.

A frequency places the steps of a regular grid. Four families cover minutes to years:

========  ============================  =====================================  =====================================
family    names                         a step                                 on stamps with a time zone
========  ============================  =====================================  =====================================
clock     ``s``, ``min``, ``h``         a fixed number of seconds              of elapsed time (the UTC grid)
day       ``D``, ``W-SUN``              a fixed number of days                 of the calendar (wall time)
business  ``B``                         weekdays, Monday to Friday             of the calendar
month     ``MS ME BMS BME``,            a number of months, at the first or    of the calendar
          ``QS QE``, ``YS YE`` ...      last (business) day of the month
========  ============================  =====================================  =====================================

Names are pandas' (2.2 and later), with a multiple before them (``15min``) and an anchor behind (``W-WED``, ``QE-DEC``). Names
of older pandas (``H``, ``T``, ``M``, ``Q``, ``A``) mean what they meant there.
"""

from __future__ import annotations

import re
from calendar import month_name
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
import pandas as pd

from scidiff.errors import UserError, did_you_mean

__all__ = ["DAY", "MONTHS", "WEEKDAYS", "Family", "Frequency", "Ints", "mode", "ticks"]

Family = Literal["clock", "day", "business", "month"]
Unit = Literal["s", "ms", "us", "ns"]
Ints = np.ndarray[tuple[int], np.dtype[np.int64]]

DAY = 86_400  # seconds
MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
_DAY_NAMES = ("Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays", "Sundays")

# name -> family, how many seconds, days, business days or months a step has
_UNITS: dict[str, tuple[Family, int]] = {
    "s": ("clock", 1),
    "min": ("clock", 60),
    "h": ("clock", 3600),
    "D": ("day", 1),
    "W": ("day", 7),
    "B": ("business", 1),
    **{business + "M" + place: ("month", 1) for business in ("", "B") for place in "SE"},
    **{business + "Q" + place: ("month", 3) for business in ("", "B") for place in "SE"},
    **{business + "Y" + place: ("month", 12) for business in ("", "B") for place in "SE"},
}
_CLOCK_OLD = {"S": "s", "T": "min", "Min": "min", "H": "h", "d": "D", "w": "W", "b": "B"}
_MONTH_OLD = {"M": "ME", "Q": "QE", "A": "YE", "Y": "YE", "AS": "YS", "BM": "BME", "BQ": "BQE", "BA": "BYE", "BY": "BYE", "BAS": "BYS"}
_OLD = {**_CLOCK_OLD, **_MONTH_OLD}


@dataclass(frozen=True)
class Frequency:
    """A regular grid's step.

    Attributes:
        name: pandas' name of it, such as ``15min``, ``B``, ``W-WED``, ``ME`` or ``QS-JAN``.
        note: how it was found; not part of its identity.
    """

    name: str
    note: str = field(default="as given", compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", _canonical(self.name))

    @classmethod
    def parse(cls, freq: Frequency | str | pd.offsets.BaseOffset) -> Frequency:
        """From a name of new or old pandas, or an offset of pandas.

        Raises:
            UserError: unknown, below a second, or of no such grid (custom business days, half months).
        """
        if isinstance(freq, Frequency):
            return freq
        return cls(freq if isinstance(freq, str) else str(getattr(freq, "freqstr", freq)))

    @property
    def _parts(self) -> tuple[int, str, str]:
        return _split(self.name)

    @property
    def family(self) -> Family:
        return _UNITS[self._parts[1]][0]

    @property
    def every(self) -> int:
        """Length of a step: seconds (clock), days, business days or months."""
        multiple, base, _ = self._parts
        return multiple * _UNITS[base][1]

    @property
    def at_end(self) -> bool:
        """Of the family month: stamps are at the end of the month, not at its start."""
        return self.family == "month" and self._parts[1].endswith("E")

    @property
    def on_business_days(self) -> bool:
        """Of the family month: stamps are at the first or last *business* day."""
        return self.family == "month" and self._parts[1].startswith("B")

    @property
    def anchor(self) -> tuple[int, int] | None:
        """(remainder, modulus) of the steps' days (weeks) or months (quarters, years) since January 1970; None when free."""
        _, base, anchor = self._parts
        if not anchor:
            return None
        if base == "W":
            return (WEEKDAYS.index(anchor) + 4) % 7, 7  # 1970-01-01 was a Thursday
        modulus = _UNITS[base][1]
        return MONTHS.index(anchor) % modulus, modulus

    def anchored(self, base_index: int) -> Frequency:
        """The same frequency with its anchor taken from a step's day or month number, if it has a free one."""
        multiple, base, anchor = self._parts
        if anchor or self.every == 1 or base[-1] not in "WSE" or base in ("MS", "ME", "BMS", "BME"):
            return self
        if base == "W":
            name = WEEKDAYS[(base_index + 3) % 7]
        else:
            modulus = _UNITS[base][1]
            remainder = base_index % modulus
            name = MONTHS[remainder + modulus * ((11 - remainder) // modulus) if base.endswith("E") else remainder]
        return replace(self, name=f"{multiple if multiple > 1 else ''}{base}-{name}")

    @property
    def offset(self) -> pd.offsets.BaseOffset:
        """pandas' offset."""
        return pd.tseries.frequencies.to_offset(self.name)

    @property
    def seasons(self) -> tuple[int, ...]:
        """Periods in steps: of a day and a week (clock), a week (days, business days), a year (weeks, months, quarters)."""
        if self.family == "clock":
            periods = [span // self.every for span in (DAY, 7 * DAY) if span % self.every == 0]
        elif self.family == "business":
            periods = [5 // self.every] if 5 % self.every == 0 else []
        elif self.family == "day":
            periods = {1: [7], 7: [52]}.get(self.every, [])
        else:
            periods = [12 // self.every] if 12 % self.every == 0 else []
        return tuple(period for period in periods if period > 1)

    def describe(self) -> str:
        """In words, with the way it was found: ``hourly (h), inferred: 95 of 99 gaps are one step``."""
        return f"{self._words()} ({self.name}), {self.note}"

    def _words(self) -> str:
        multiple, base, anchor = self._parts
        if self.family == "month":
            unit, each = {"M": ("months", "monthly"), "Q": ("quarters", "quarterly"), "Y": ("years", "yearly")}[base[-2]]
            place = f"at the {'last' if self.at_end else 'first'} {'business ' if self.on_business_days else ''}day"
            where = f"{place} of {month_name[1 + MONTHS.index(anchor)]}" if base[-2] == "Y" and anchor else f"{place} of the {unit[:-1]}"
            return f"{each if multiple == 1 else f'every {multiple} {unit}'} {where}"
        unit, each = {
            "s": ("seconds", "every second"),
            "min": ("minutes", "every minute"),
            "h": ("hours", "hourly"),
            "D": ("days", "daily"),
            "W": ("weeks", "weekly"),
            "B": ("business days", "every business day"),
        }[base]
        on = f" on {_DAY_NAMES[WEEKDAYS.index(anchor)]}" if anchor else ""
        return (each if multiple == 1 else f"every {multiple} {unit}") + on


@lru_cache(maxsize=256)
def _split(name: str) -> tuple[int, str, str]:
    """(multiple, base, anchor) of a canonical name."""
    digits = re.match(r"\d*", name)
    count = digits.group() if digits else ""
    base, _, anchor = name[len(count) :].partition("-")
    return int(count or 1), base, anchor


@lru_cache(maxsize=256)
def _canonical(name: str) -> str:
    match = re.fullmatch(r"(\d{0,9})([A-Za-z]+)(?:-([A-Za-z]{3}))?", name.strip())
    base = _OLD.get(match.group(2), match.group(2)) if match else ""
    if not match or base not in _UNITS:
        hint = did_you_mean(name, [*_UNITS, *_OLD])
        known = "s, min, 15min, h, D, B, W-SUN, MS, ME, QS, QE-DEC, YS, YE-DEC"
        raise UserError(f"frequency {name!r} is unknown{hint}; name one of pandas', from seconds to years: {known}, or a multiple")
    count, anchor = int(match.group(1) or 1), (match.group(3) or "").upper()
    if count == 0:
        raise UserError(f"frequency {name!r}: a step of 0 makes no grid; give a multiple of at least 1")
    family, size = _UNITS[base]
    anchors = WEEKDAYS if base == "W" else MONTHS if family == "month" and size > 1 else ()
    if anchor and anchor not in anchors:
        allowed = f"one of {', '.join(anchors)}" if anchors else "none"
        raise UserError(f"frequency {name!r}: {base} takes the anchor {allowed}")
    if family == "clock":
        seconds = count * size
        base, count = next((unit, seconds // many) for unit, many in (("h", 3600), ("min", 60), ("s", 1)) if seconds % many == 0)
    return f"{count if count > 1 else ''}{base}{'-' + anchor if anchor else ''}"


def ticks(unit: str) -> int:
    """How many of pandas' time units (``s``, ``ms``, ``us``, ``ns``) a second has."""
    return 1000 ** get_args(Unit).index(unit)


def mode(values: Ints) -> tuple[int, float]:
    """The most common of at least one value (the smallest of several), and its share."""
    distinct, counts = np.unique(values, return_counts=True)
    best = int(np.argmax(counts))
    return int(distinct[best]), float(counts[best] / counts.sum())
