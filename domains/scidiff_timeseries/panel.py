"""Panels: series on regular grids, read from frames and written back exactly.

A missing row and a missing value are both NaN, on a grid without holes, and are never filled.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pandas as pd

from scidiff.errors import UserError, did_you_mean
from scidiff_timeseries.arrays import rows
from scidiff_timeseries.frames import Columns, Layout, Sheet, numbers, open_frame, where
from scidiff_timeseries.frequency import Frequency
from scidiff_timeseries.grid import Grid
from scidiff_timeseries.rebuild import long_frame, wide_frame
from scidiff_timeseries.regular import MAX_STEPS, Regular, regularise

__all__ = ["Columns", "Frequency", "Panel", "Series", "read_frame"]


@dataclass(frozen=True)
class Series:
    """One series, or one system of channels.

    Attributes:
        id: value of the id column, or label of the wide frame's column; ``"series"`` for a single one without id.
        start: stamp of the first step.
        values: float64 [time, channel]; NaN is missing.
        future: float64 [time_f, covariate], covariates known in advance; rows beyond ``time`` are future ones.
        past: float64 [time, covariate], covariates known up to the end of the values.
        static: float64 [covariate].
    """

    id: Any
    start: pd.Timestamp
    values: np.ndarray
    future: np.ndarray
    past: np.ndarray
    static: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    def window(self, begin: int, end: int) -> np.ndarray:
        """Values of the steps begin, ..., end - 1 (begin may be negative, end beyond the data), NaN where there are none."""
        return rows(self.values, begin, end)


@dataclass(frozen=True)
class Panel:
    """Series of one frequency and one set of channels.

    Attributes:
        series: in the order in which their ids appear.
        channels: names of the channels.
        frequency: their step, and how it was found.
        columns: how the frame was laid out.
        repairs: what reading mended, in words; empty unless it was asked to.
    """

    series: tuple[Series, ...]
    channels: tuple[str, ...]
    frequency: Frequency
    columns: Columns
    repairs: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.series)

    def __iter__(self) -> Iterator[Series]:
        return iter(self.series)

    @property
    def ids(self) -> tuple[Any, ...]:
        return tuple(series.id for series in self.series)

    def stamps(self, series: Series | int, begin: int, end: int) -> pd.DatetimeIndex:
        """Stamps of a series' steps begin, ..., end - 1, counted from its start; they may run past the data.

        Raises:
            UserError: more than a million steps, or dates beyond what stamps can hold.
        """
        if end - begin > MAX_STEPS:
            raise UserError(f"{end - begin:,} steps of a series were asked for; the limit is {MAX_STEPS:,}")
        start = _index((self.series[series] if isinstance(series, int) else series).start)
        grid = Grid.fit(self.frequency, start)
        first = int(grid.nearest(start)[0])
        return grid.stamps(first + begin, first + end)

    def position(self, series: Series) -> int:
        """Number of a series' first step on the grid that all series of its phase share."""
        start = _index(series.start)
        return int(Grid.fit(self.frequency, start).nearest(start)[0])

    def step(self, series: Series, stamp: pd.Timestamp) -> int:
        """The step of a series nearest to a stamp, counted from its start; stamps without a zone are in the series' own.

        Raises:
            UserError: the stamp has a zone and the series' have none.
        """
        zone = series.start.tz
        if zone is None and stamp.tz is not None:
            raise UserError(f"series {series.id!r} has stamps without a time zone, {stamp} has one; give it without")
        local = stamp.tz_localize(zone) if stamp.tz is None and zone is not None else stamp
        grid = Grid.fit(self.frequency, _index(series.start))
        return int(grid.nearest(_index(local.as_unit(series.start.unit)))[0]) - self.position(series)

    def until(self, steps_back: int) -> Panel:
        """The panel as it was ``steps_back`` steps before each series' end; known-future covariates are kept.

        Raises:
            UserError: negative.
        """
        if steps_back < 0:
            raise UserError(f"steps_back = {steps_back}: the panel's past is asked for; give 0 or more")
        cut = [max(len(series) - steps_back, 0) for series in self.series]
        shorter = [
            replace(one, values=one.values[:n], past=one.past[:n], future=one.future if self.columns.future else one.future[:n])
            for one, n in zip(self.series, cut, strict=True)
        ]
        return replace(self, series=tuple(shorter))

    def describe(self) -> str:
        """A few lines: how many series, of which lengths, the frequency and how it was found, what is missing, what was repaired."""
        lengths = [len(series) for series in self.series]
        total = sum(series.values.size for series in self.series)
        missing = sum(int(np.isnan(series.values).sum()) for series in self.series)
        sizes = f"{min(lengths)} to {max(lengths)} steps" if len(set(lengths)) > 1 else f"{lengths[0]} steps" if lengths else "no steps"
        channels = f"{len(self.channels)} channels" if len(self.channels) > 1 else "1 channel"
        lines = [f"{len(self)} series of {sizes}, {channels}", f"frequency: {self.frequency.describe()}"]
        if total:
            lines.append(f"missing: {missing} of {total} values ({missing / total:.1%})")
        return "\n".join([*lines, *(f"repaired: {what}" for what in self.repairs)])

    def to_frame(self) -> pd.DataFrame:
        """The frame that was read: its columns, names, dtypes and time zone.

        Rows come by series and time, with a row for every step of the grid; integers and booleans become float64 in columns that a
        missing row gave a NaN. A time column of text comes back as stamps.
        """
        wide = self.columns.layout == "wide" and not self.columns.multivariate
        return wide_frame(self) if wide else long_frame(self)


def _index(stamp: pd.Timestamp) -> pd.DatetimeIndex:
    utc = pd.DatetimeIndex(np.array([stamp.to_datetime64()]))  # a list would lose the resolution before pandas 3
    return utc if stamp.tz is None else utc.tz_localize("UTC").tz_convert(stamp.tz)


def read_frame(
    df: pd.DataFrame,
    *,
    layout: Layout | str = "long",
    id: Hashable = "unique_id",  # noqa: A002 - the field's name for it
    time: Hashable = "ds",
    targets: Sequence[Hashable] | None = None,
    freq: Frequency | str | pd.offsets.BaseOffset | None = None,
    future: Sequence[Hashable] = (),
    past: Sequence[Hashable] = (),
    static: Sequence[Hashable] | pd.DataFrame | None = None,
    multivariate: bool = False,
    repair: bool = False,
) -> Panel:
    """Read a DataFrame.

    *Long*: a row for each series and time. Without the id column it holds one series, called ``"series"``. Several targets are
    channels of each series. *Wide*: a row for each time; every column is a series (of the one channel ``y``), or, with
    ``multivariate``, a channel of one system. Times are a column, or the index. Day-like frequencies of stamps with a time zone
    follow its calendar, hours and minutes the UTC grid.

    With known-future covariates, rows after a series' last observed target or past covariate are its future.

    Args:
        df: the frame; it is not changed.
        layout: ``"long"`` or ``"wide"``.
        id: column of the series' ids (long).
        time: column of the stamps; where there is none, an index of stamps is taken.
        targets: columns of values; None takes all that have no other role, and then each must be numeric.
        freq: the frequency; None infers it, and refuses a frame that seems to have two.
        future: columns known in advance. Wide: they are all series'.
        past: columns known as long as the targets are.
        static: columns that are constant in each series, or a table of its own, indexed by id (or with the id as a column).
        multivariate: wide: the columns are channels of one system.
        repair: sort rows, keep the last of repeated ones, move stamps to the nearest step; :attr:`Panel.repairs` tells what it did.

    Raises:
        UserError: names the series, the row (counted from 0, as ``iloc`` does) or the column, and the remedy: for repeated,
            descending, off-grid, missing or unreadable stamps, two frequencies, local time without its zone, infinite or
            non-numeric values, unknown columns, more than 10 million values or a million steps a series.
    """
    frequency = None if freq is None else Frequency.parse(freq)
    table = static if isinstance(static, pd.DataFrame) else None
    static_columns = () if static is None or isinstance(static, pd.DataFrame) else tuple(static)
    sheet = open_frame(
        df,
        layout=layout,
        id=id,
        time=time,
        targets=targets,
        future=future,
        past=past,
        static=static_columns,
        multivariate=multivariate,
    )
    regular = regularise(sheet, frequency, repair=repair)
    series = _series(sheet, regular)
    columns = sheet.columns
    if table is not None:
        names, rows = _static_table(table, columns, [one.id for one in series])
        series = [replace(one, static=row) for one, row in zip(series, rows, strict=True)]
        columns = replace(columns, static=names)
    return Panel(tuple(series), columns.channels, regular.frequency, columns, regular.repairs)


def _series(sheet: Sheet, regular: Regular) -> list[Series]:
    columns = sheet.columns
    counts = [len(columns.targets), len(columns.future), len(columns.past)]
    targets, future, past = (slice(end - count, end) for count, end in zip(counts, np.cumsum(counts), strict=True))
    series: list[Series] = []
    for code, grid in enumerate(regular.grids):
        rows = slice(int(regular.bounds[code]), int(regular.bounds[code + 1]))
        steps = regular.steps[rows]
        block = np.full((int(steps[-1] - steps[0]) + 1, sum(counts)), np.nan)
        block[steps - steps[0]] = sheet.values[regular.rows[rows], : sum(counts)]
        start = cast(pd.Timestamp, grid.stamps(int(steps[0]), int(steps[0]) + 1)[0])
        length = _history(block, targets, past) if columns.future else len(block)
        one = Series(
            id=sheet.ids[code],
            start=start,
            values=block[:length, targets],
            future=block[:, future],
            past=block[:length, past],
            static=_constant(sheet, regular.rows[rows], sum(counts)),
        )
        if columns.layout == "wide" and not columns.multivariate:
            labels = [label.item() if isinstance(label, np.generic) else label for label in columns.targets]
            series += [replace(one, id=label, values=one.values[:, [k]]) for k, label in enumerate(labels)]
        else:
            series.append(one)
    return series


def _history(block: np.ndarray, targets: slice, past: slice) -> int:
    """Steps up to the last observed target or past covariate; all of them when none is observed, as nothing then says where to end."""
    observed = np.flatnonzero(~np.isnan(block[:, targets]).all(axis=1) | ~np.isnan(block[:, past]).all(axis=1))
    return int(observed[-1]) + 1 if observed.size else len(block)


def _constant(sheet: Sheet, rows: np.ndarray, begin: int) -> np.ndarray:
    values = sheet.values[rows, begin:]
    same = (values == values[0]) | (np.isnan(values) & np.isnan(values[0]))
    bad = np.argwhere(~same)
    if len(bad):
        row, label = int(rows[bad[0, 0]]), sheet.labels[begin + int(bad[0, 1])]
        raise UserError(
            f"{where(sheet, row)}, static column {label!r}: {values[tuple(bad[0])]} here but {values[0, bad[0, 1]]} before; a static "
            "covariate has one value for a series: mend it, or name it in future= or past="
        )
    return values[0].copy()


def _static_table(table: pd.DataFrame, columns: Columns, ids: Sequence[Any]) -> tuple[tuple[Hashable, ...], list[np.ndarray]]:
    """Names of a static table's columns, and its rows for the ids."""
    name = columns.id_name
    indexed = table.set_index(name) if name in table.columns else table
    missing = [one for one in ids if one not in indexed.index]
    if missing:
        hint = did_you_mean(str(missing[0]), map(str, indexed.index))
        raise UserError(f"the static table has no row for series {missing[0]!r} ({len(missing)} such series){hint}; index it by id")
    twice = indexed.index[indexed.index.duplicated()]
    if len(twice):
        raise UserError(f"the static table has two rows for series {twice[0]!r}; keep one")
    rows = np.empty(indexed.shape)
    for position, label in enumerate(indexed.columns):
        rows[:, position] = numbers(cast(pd.Series, indexed[label]), label)
    bad = np.argwhere(np.isinf(rows))
    if len(bad):
        one, label = indexed.index[bad[0, 0]], indexed.columns[bad[0, 1]]
        raise UserError(f"the static table, series {one!r}, column {label!r}: the value is infinite; replace it by NaN if it is missing")
    return tuple(indexed.columns), [rows[indexed.index.get_loc(one)] for one in ids]
