"""From the rows of a frame to steps of regular grids: what does not fit is named, and mended only when that is asked for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from scidiff.errors import UserError
from scidiff_timeseries.daylight import ambiguous_in, check_clock_changes
from scidiff_timeseries.frames import MAX_CELLS, Sheet, where
from scidiff_timeseries.frequency import Frequency, Ints
from scidiff_timeseries.grid import Grid
from scidiff_timeseries.inference import infer

__all__ = ["MAX_STEPS", "Regular", "regularise"]

MAX_STEPS = 1_000_000
_REPAIR = "repair=True"


@dataclass(frozen=True)
class Regular:
    """Rows placed on grids.

    Attributes:
        frequency: given or inferred.
        rows: the frame's rows in use, by series and then time.
        bounds: the rows of series k are rows[bounds[k] : bounds[k + 1]].
        steps: each row's step on its series' grid.
        grids: of the series.
        repairs: what was mended, in words.
    """

    frequency: Frequency
    rows: Ints
    bounds: Ints
    steps: Ints
    grids: tuple[Grid, ...]
    repairs: tuple[str, ...]


def regularise(sheet: Sheet, freq: Frequency | None, *, repair: bool) -> Regular:
    """Sort, check and place the rows of a frame.

    Raises:
        UserError: repeated or descending stamps, stamps off the grid, two frequencies in one frame, local time without its
            zone, a grid over the limits. With ``repair`` rows are sorted, of repeated ones the last is kept, and stamps are moved
            to the nearest step, by at most half a step; what is still wrong then raises.
    """
    repairs: list[str] = []
    rows = _ordered(sheet, repair, repairs)
    codes, stamps = sheet.codes[rows], sheet.stamps[rows]
    frequency = freq if freq is not None else infer(stamps, codes)
    if len(rows) == 0:
        return Regular(frequency, rows, np.zeros(1, dtype=np.int64), rows, (), ())
    bounds = np.searchsorted(codes, np.arange(len(sheet.ids) + 1))
    frequency, steps, offsets, grids = _place(stamps, codes, bounds, frequency)
    if np.any(offsets):
        _check_offsets(sheet, rows, offsets, grids, frequency, repair)
        moved = offsets != 0
        furthest = _span(int(np.abs(offsets).max()), stamps.unit)
        repairs.append(f"stamps moved to their steps, by at most {furthest}: {moved.sum()} ({_count(sheet, rows[moved])})")
        _check_collisions(sheet, rows, codes, steps)
    check_clock_changes(sheet, rows, steps, frequency, repair=repair, repairs=repairs)
    if freq is None:
        _check_mixed(sheet, rows, codes, steps, frequency)
    _check_size(sheet, rows, steps, bounds, frequency)
    return Regular(frequency, rows, bounds, steps, grids, tuple(repairs))


def _count(sheet: Sheet, rows: Ints, most: int = 5) -> str:
    """How many of the rows each series has: ``series 'a': 3, 'b': 1``."""
    codes, counts = np.unique(sheet.codes[rows], return_counts=True)
    each = ", ".join(f"{sheet.ids[code]!r}: {count}" for code, count in zip(codes[:most], counts[:most], strict=True))
    return f"series {each}" + (", ..." if len(codes) > most else "")


def _span(units: int, unit: str) -> str:
    return str(pd.Timedelta(abs(units), unit=unit))


def _more(count: int) -> str:
    return f" ({count} such rows)" if count > 1 else ""


def _ordered(sheet: Sheet, repair: bool, repairs: list[str]) -> Ints:
    """Row numbers by series and time, each time once."""
    exact = sheet.stamps.asi8
    rows = np.lexsort((exact, sheet.codes))
    repeated = (np.diff(sheet.codes[rows]) == 0) & (np.diff(exact[rows]) == 0)
    as_stood = np.argsort(sheet.codes, kind="stable")
    back = (np.diff(sheet.codes[as_stood]) == 0) & (np.diff(exact[as_stood]) < 0)
    if not repair:
        if repeated.any():
            raise _repeated(sheet, rows, repeated)
        if back.any():
            row = int(as_stood[1:][back].min())
            raise UserError(
                f"{where(sheet, row)}: earlier than the row before it{_more(int(back.sum()))}; "
                f"sort with df.sort_values({[name for name in (sheet.columns.id, sheet.columns.time) if name is not None]}), or {_REPAIR}"
            )
    if back.any():
        series = np.unique(sheet.codes[as_stood[1:][back]])
        repairs.append(f"series whose rows were sorted by time: {len(series)}")
    if repeated.any():
        first = np.append(repeated, False)
        repairs.append(f"rows with a repeated stamp dropped, the last kept: {repeated.sum()} ({_count(sheet, rows[first])})")
        rows = rows[~first]
    return rows.astype(np.int64)


def _repeated(sheet: Sheet, rows: Ints, repeated: np.ndarray) -> UserError:
    position = int(np.flatnonzero(repeated)[np.argmin(rows[1:][repeated])])
    row, first = int(rows[position + 1]), int(rows[position])
    remedies: list[str] = []
    zone = ambiguous_in(sheet.stamps[row : row + 1])
    if zone is not None:
        remedies.append(
            f"the hour is one that clocks repeat (in {zone}): if these are local times, say so with "
            f"df[time].dt.tz_localize({zone!r}, ambiguous='infer')"
        )
    if sheet.columns.layout == "long" and sheet.columns.id is None:
        remedies.append("if the frame holds several series, name the column of their ids with id=")
    remedies.append(f"{'otherwise ' if remedies else ''}drop or merge them, or {_REPAIR} keeps the last")
    return UserError(f"{where(sheet, row)}: the same time as row {first}{_more(int(repeated.sum()))}; {'; '.join(remedies)}")


def _place(stamps: pd.DatetimeIndex, codes: Ints, bounds: Ints, frequency: Frequency) -> tuple[Frequency, Ints, Ints, tuple[Grid, ...]]:
    """One grid for all series where they share it; a grid of its own for each that does not."""
    common = Grid.fit(frequency, stamps)
    steps = common.nearest(stamps)
    offsets = common.offsets(stamps, steps)
    grids = [common] * (len(bounds) - 1)
    for code in np.unique(codes[offsets != 0]):
        part = slice(int(bounds[code]), int(bounds[code + 1]))
        grid = Grid.fit(common.frequency, stamps[part])
        grids[code] = grid
        steps[part] = grid.nearest(stamps[part])
        offsets[part] = grid.offsets(stamps[part], steps[part])
    return common.frequency, steps, offsets, tuple(grids)


def _check_offsets(sheet: Sheet, rows: Ints, offsets: Ints, grids: tuple[Grid, ...], frequency: Frequency, repair: bool) -> None:
    reach = np.array([grid.reach for grid in grids])[sheet.codes[rows]]
    bad = np.flatnonzero(np.abs(offsets) > (reach if repair else 0))
    if bad.size == 0:
        return
    position = int(bad[np.argmin(rows[bad])])
    row = int(rows[position])
    by = _span(int(offsets[position]), sheet.stamps.unit)
    text = f"{where(sheet, row)}: {by} off the grid, {frequency.describe()}{_more(bad.size)}; "
    if repair:
        raise UserError(text + "that is more than half a step, which repair does not move; give another freq=, or mend the rows")
    seen = _looks(sheet, rows)
    if seen is not None and seen.name != frequency.name:
        text += f"the stamps look {seen.describe().rsplit(', ', 1)[0]}: is that freq={seen.name!r}? Otherwise "
    raise UserError(text + f"give another freq=, resample, or {_REPAIR} moves stamps to the nearest step")


def _looks(sheet: Sheet, rows: Ints) -> Frequency | None:
    try:
        return infer(sheet.stamps[rows], sheet.codes[rows])
    except UserError:
        return None


def _check_collisions(sheet: Sheet, rows: Ints, codes: Ints, steps: Ints) -> None:
    same = np.flatnonzero((np.diff(codes) == 0) & (np.diff(steps) == 0))
    if same.size:
        first, second = int(rows[same[0]]), int(rows[same[0] + 1])
        raise UserError(
            f"{where(sheet, second)}: repair would move it to the step that row {first} ({sheet.stamps[first]}) has too"
            f"{_more(same.size)}; give a finer freq=, or aggregate the rows"
        )


def _check_mixed(sheet: Sheet, rows: Ints, codes: Ints, steps: Ints, frequency: Frequency) -> None:
    """A long run of equal wide gaps, too long for rows that are missing by chance, is another frequency."""
    gaps = np.where(np.diff(codes) == 0, np.diff(steps), 0)
    if frequency.family == "day" and frequency.every == 1:
        for low, high in ((28, 31), (89, 92), (365, 366)):
            gaps[(gaps >= low) & (gaps <= high)] = high
    starts = np.flatnonzero(np.append(True, gaps[1:] != gaps[:-1])) if gaps.size else np.empty(0, dtype=np.int64)
    lengths = np.diff(np.append(starts, gaps.size))
    wide = (gaps[starts] > 1) & (lengths >= 4)
    starts, lengths = starts[wide], lengths[wide]
    count = int((gaps > 0).sum())
    _, label, counts = np.unique(gaps, return_inverse=True, return_counts=True)
    elsewhere = (counts[label[starts]] - lengths + 1) / (count - lengths + 1)
    improbable = np.flatnonzero(count * elsewhere**lengths < 0.01)
    if improbable.size == 0:
        return
    begin, length = int(starts[improbable[0]]), int(lengths[improbable[0]])
    before, after = sheet.stamps[rows[begin]], sheet.stamps[rows[begin + 1]]
    raise UserError(
        f"{where(sheet, int(rows[begin]))}: from here {length} rows are {after - before} apart each, "
        f"while the frame is {frequency.describe()}: two frequencies; resample or split the frame, "
        f"or give freq={frequency.name!r} if the rows between are missing"
    )


def _check_size(sheet: Sheet, rows: Ints, steps: Ints, bounds: Ints, frequency: Frequency) -> None:
    lengths = steps[bounds[1:] - 1] - steps[bounds[:-1]] + 1
    remedy = "drop a stray stamp, give a coarser freq=, or split the series where it pauses"
    long = np.flatnonzero(lengths > MAX_STEPS)
    if long.size:
        code = int(long[0])
        part = slice(int(bounds[code]), int(bounds[code + 1]))
        widest = int(np.argmax(np.diff(steps[part])))
        row = int(rows[part][widest + 1])
        raise UserError(
            f"{where(sheet, row)}: the grid, {frequency.describe()}, would have {lengths[code]:,} steps with the gap before this row; "
            f"the limit is {MAX_STEPS:,}: {remedy}"
        )
    cells = int(lengths.sum()) * len(sheet.labels)
    if cells > MAX_CELLS:
        raise UserError(
            f"on the grid, {frequency.describe()}, the frame's {len(rows):,} rows become {lengths.sum():,}, {cells:,} values; "
            f"the limit is {MAX_CELLS:,}: {remedy}"
        )
