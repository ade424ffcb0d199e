"""Local time without its zone: the hours that clocks skip and repeat give it away."""

from __future__ import annotations

import numpy as np
import pandas as pd

from scidiff.errors import UserError
from scidiff_timeseries.frames import Sheet, where
from scidiff_timeseries.frequency import Frequency, Ints

__all__ = ["ambiguous_in", "check_clock_changes"]

# One zone of every habit of changing the clocks, the most common first.
_ZONES = (
    *("Europe/Paris", "America/New_York", "Europe/London", "Europe/Athens", "Australia/Sydney", "Pacific/Auckland"),
    *("America/Santiago", "America/Sao_Paulo", "Asia/Jerusalem", "America/Havana", "Africa/Cairo", "Asia/Tehran"),
)
_COINCIDENCE = 0.05


def ambiguous_in(stamps: pd.DatetimeIndex) -> str | None:
    """A zone whose clocks show one of these naive times twice."""
    if stamps.tz is not None:
        return None
    return next((zone for zone in _ZONES if _localised(stamps, zone, ambiguous="NaT").isna().any()), None)


def _localised(stamps: pd.DatetimeIndex, zone: str, *, ambiguous: str = "", nonexistent: str = "shift_forward") -> pd.DatetimeIndex:
    first = np.ones(len(stamps), dtype=bool)
    try:
        return stamps.tz_localize(zone, ambiguous=ambiguous or first, nonexistent=nonexistent)  # type: ignore[arg-type]
    except (KeyError, OverflowError, ValueError):  # no such zone on this machine, or years out of its reach
        return stamps


def check_clock_changes(sheet: Sheet, rows: Ints, steps: Ints, frequency: Frequency, *, repair: bool, repairs: list[str]) -> None:
    """Naive stamps of an hour or less that lack just the hour that clocks skip, and never show a skipped one, are local time.

    One missing hour may be a coincidence. It is not called one when hours are missing so rarely elsewhere that the chance to hit
    the changes of the clock is below 5 %.

    Raises:
        UserError: the stamps look like local time; with ``repair`` they are taken as they are, and the fact is reported.
    """
    step = frequency.every
    if sheet.stamps.tz is not None or frequency.family != "clock" or 3600 % step or len(rows) < 2:
        return
    hour = (np.diff(sheet.codes[rows]) == 0) & (np.diff(steps) == 3600 // step + 1)
    after = np.flatnonzero(hour) + 1
    if after.size == 0:
        return
    missing = sheet.stamps[rows[after - 1]] + pd.Timedelta(seconds=step)
    for zone in _ZONES:
        skipped = np.asarray(_localised(missing, zone, nonexistent="NaT").isna())
        changes = len(missing[skipped].unique())
        if changes == 0 or ((hour.sum() - skipped.sum() + 1) / len(rows)) ** changes > _COINCIDENCE:
            continue
        if _localised(sheet.stamps[rows], zone, nonexistent="NaT").isna().any():
            continue  # a stamp that this zone never had
        position = int(after[np.argmax(skipped)])
        row, lost = int(rows[position]), missing[int(np.argmax(skipped))]
        if repair:
            repairs.append(f"took naive stamps as they are, though they lack the hours that clocks skip in {zone}, as local time does")
            return
        raise UserError(
            f"{where(sheet, row)}: the hour before it, {lost}, is missing, the one that clocks skip in {zone}: the stamps look like "
            f"local time, in which steps are not equally long; say so with df[time].dt.tz_localize({zone!r}, ambiguous='infer'), or, if "
            "that row is only missing, with tz_localize('UTC') or repair=True"
        )
