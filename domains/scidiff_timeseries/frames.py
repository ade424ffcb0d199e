"""How a frame is laid out: which columns are ids, times, targets and covariates, and their values as numbers and back."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import numpy as np
import pandas as pd

from scidiff.errors import UserError, did_you_mean
from scidiff_timeseries.times import as_stamps

__all__ = ["MAX_CELLS", "Columns", "Layout", "Sheet", "id_column", "numbers", "open_frame", "restore", "where"]

Layout = Literal["long", "wide"]
RESERVED = "path"  # the column of sample paths
MAX_CELLS = 10_000_000
_EXACT = 2**53  # largest integers that float64 holds one by one


@dataclass(frozen=True)
class Columns:
    """The layout of a frame, enough to write another like it.

    Attributes:
        layout: long, a row for each series and time; or wide, a row for each time and a column for each series or channel.
        multivariate: wide: the columns are channels of one system.
        id: the column of ids (long); None for a frame without one, which holds one series.
        time: the time column, or the name of the index that holds the times (None for an index without name).
        time_in_index: the times are the index.
        targets: labels of the columns of values.
        future, past, static: labels of covariates. ``static`` may name columns of a table of its own.
        order: labels of all columns used, as in the frame.
        dtypes: their dtypes.
        time_dtype: dtype of the time column; of text, the dtype of what it was read as.
        columns_name: name of the columns' index, the wide layout's habit.
        index_freq: the index carried its frequency.
    """

    layout: Layout
    multivariate: bool
    id: Hashable
    time: Hashable
    time_in_index: bool
    targets: tuple[Hashable, ...]
    future: tuple[Hashable, ...] = ()
    past: tuple[Hashable, ...] = ()
    static: tuple[Hashable, ...] = ()
    order: tuple[Hashable, ...] = ()
    dtypes: Mapping[Hashable, Any] = field(default_factory=dict)
    time_dtype: Any = None
    columns_name: Hashable = None
    index_freq: bool = False

    @property
    def id_name(self) -> str:
        """Name of the id column of frames of results."""
        return "unique_id" if self.id is None else str(self.id)

    @property
    def time_name(self) -> str:
        """Name of the time column of frames of results."""
        return "ds" if self.time is None else str(self.time)

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels: the targets', or ``y`` for the wide frame of several series."""
        return ("y",) if self.layout == "wide" and not self.multivariate else tuple(map(str, self.targets))


@dataclass(frozen=True)
class Sheet:
    """A frame taken apart, rows as they stood.

    Attributes:
        columns: the layout.
        stamps: [row].
        codes: number of each row's series, [row].
        ids: of the series, in the order of their appearance.
        values: [row, column] of ``labels``.
        labels: targets, then known-future, past and (from columns) static covariates.
    """

    columns: Columns
    stamps: pd.DatetimeIndex
    codes: np.ndarray
    ids: tuple[Any, ...]
    values: np.ndarray
    labels: tuple[Hashable, ...]


def where(sheet: Sheet, row: int) -> str:
    """``series 'a', row 17 (2024-03-31 02:00:00)``; rows count from 0, as :attr:`pandas.DataFrame.iloc` counts."""
    place = f"row {row} ({sheet.stamps[row]})"
    if sheet.columns.layout == "wide" and not sheet.columns.multivariate:
        return place  # the row is every series' own
    return f"series {sheet.ids[sheet.codes[row]]!r}, {place}"


def open_frame(
    df: pd.DataFrame,
    *,
    layout: Layout | str,
    id: Hashable,  # noqa: A002
    time: Hashable,
    targets: Sequence[Hashable] | None,
    future: Sequence[Hashable],
    past: Sequence[Hashable],
    static: Sequence[Hashable],
    multivariate: bool,
) -> Sheet:
    """Find and check the columns, and take them apart."""
    _check_frame(df, layout)
    stamps, in_index = _find_time(df, time, layout)
    id_label = _find_id(df, id) if layout == "long" else None
    taken = {id_label, None if in_index else time} - {None}
    covariates = (*future, *past, *static)
    chosen = _find_targets(df, targets, covariates, taken)
    used = (*chosen, *covariates)
    if len(df) * len(used) > MAX_CELLS:
        raise UserError(f"{len(df):,} rows of {len(used)} columns are over the limit of {MAX_CELLS:,} values; split or thin the frame")
    order = tuple(label for label in df.columns if label in {*used, *taken})
    columns = Columns(
        layout="wide" if layout == "wide" else "long",
        multivariate=multivariate and layout == "wide",
        id=id_label,
        time=df.index.name if in_index else time,
        time_in_index=in_index,
        targets=chosen,
        future=tuple(future),
        past=tuple(past),
        static=tuple(static),
        order=order,
        dtypes={label: df[label].dtype for label in order},
        time_dtype=stamps.dtype,
        columns_name=df.columns.name,
        index_freq=in_index and getattr(df.index, "freq", None) is not None,
    )
    _check_names(columns)
    codes, ids = _find_series(df, columns)
    sheet = Sheet(columns, stamps, codes, ids, np.empty((len(df), len(used))), used)
    for position, label in enumerate(used):
        sheet.values[:, position] = numbers(cast(pd.Series, df[label]), label, explicit=targets is not None or label in covariates)
        _check_finite(sheet, position)
    return sheet


def _find_targets(
    df: pd.DataFrame, targets: Sequence[Hashable] | None, covariates: Sequence[Hashable], taken: Collection[Hashable]
) -> tuple[Hashable, ...]:
    for label in (*covariates, *(targets or ())):
        if label not in df.columns:
            raise _unknown(df, label)
    chosen = tuple(targets) if targets is not None else tuple(label for label in df.columns if label not in {*taken, *covariates})
    used = [*taken, *chosen, *covariates]
    for label in used:
        if used.count(label) > 1:
            raise UserError(f"column {label!r} is given two roles; name it once, as id, time, target or one kind of covariate")
    if not chosen:
        raise UserError(f"no target columns: the frame has {_names(df.columns)}; give targets=, or a column of values")
    return chosen


def _check_frame(df: pd.DataFrame, layout: str) -> None:
    if not isinstance(df, pd.DataFrame):
        raise UserError(f"a pandas DataFrame is needed, not {type(df).__name__}; wrap it, for example with series.to_frame()")
    if layout not in ("long", "wide"):
        raise UserError(f"layout {layout!r} is unknown; choose 'long' (a row for each series and time) or 'wide' (a column each series)")
    if isinstance(df.columns, pd.MultiIndex) or isinstance(df.index, pd.MultiIndex):
        raise UserError("the frame has an index of several levels; bring them into columns with df.reset_index(), or name one level's")
    repeated = df.columns[df.columns.duplicated()]
    if len(repeated):
        raise UserError(f"column {repeated[0]!r} appears twice; rename or drop one")


def _find_time(df: pd.DataFrame, time: Hashable, layout: str) -> tuple[pd.DatetimeIndex, bool]:
    if time in df.columns:
        return as_stamps(cast(pd.Series, df[time]), time), False
    if isinstance(df.index, (pd.DatetimeIndex, pd.PeriodIndex)) or (df.index.name is not None and df.index.name == time):
        return as_stamps(df.index, df.index.name), True
    hint = did_you_mean(str(time), map(str, df.columns))
    index = " and the index holds no time stamps" if layout == "wide" else ""
    raise UserError(f"no time column {time!r}{index}{hint}; the columns are {_names(df.columns)}; name it with time=")


def _find_id(df: pd.DataFrame, label: Hashable) -> Hashable:
    if label is None or label in df.columns:
        return label
    if df.index.name is not None and df.index.name == label:
        raise UserError(f"the ids {label!r} are the frame's index; bring them into a column with df.reset_index()")
    if label == "unique_id":  # the default: a frame without ids holds one series
        return None
    raise _unknown(df, label)


def _unknown(df: pd.DataFrame, label: Hashable) -> UserError:
    return UserError(f"no column {label!r}{did_you_mean(str(label), map(str, df.columns))}; the columns are {_names(df.columns)}")


def _names(labels: pd.Index, most: int = 12) -> str:
    return ", ".join(map(repr, labels[:most])) + (", ..." if len(labels) > most else "")


def _check_names(columns: Columns) -> None:
    results = [columns.id_name, columns.time_name, *columns.channels]
    for name in results:
        if name == RESERVED:
            raise UserError(f"a column is called {RESERVED!r}, the name that sample paths have for their numbers; rename it")
        if results.count(name) > 1:
            raise UserError(f"two of the id, time and target columns are called {name!r}; rename one")


def _find_series(df: pd.DataFrame, columns: Columns) -> tuple[np.ndarray, tuple[Any, ...]]:
    if columns.id is None:
        return np.zeros(len(df), dtype=np.int64), ("series",)
    missing = np.flatnonzero(df[columns.id].isna())
    if missing.size:
        raise UserError(f"id column {columns.id!r}, row {missing[0]}: no id ({missing.size} such rows); give one, or drop these rows")
    codes, distinct = pd.factorize(df[columns.id])
    return codes.astype(np.int64), tuple(value.item() if isinstance(value, np.generic) else value for value in distinct)


def numbers(column: pd.Series, label: Hashable, *, explicit: bool = True) -> np.ndarray:
    """A column's values as float64, missing ones as NaN.

    Raises:
        UserError: not numeric; complex; integers that float64 cannot hold.
    """
    dtype = column.dtype
    if not pd.api.types.is_numeric_dtype(dtype) or getattr(dtype, "kind", "f") == "c":
        present = column.dropna()
        example = f", for example {present.iloc[0]!r}" if len(present) else ""
        remedy = f"convert it with pd.to_numeric(df[{label!r}])"
        if not explicit:
            remedy += ", drop it, or name the columns of values with targets="
        raise UserError(f"column {label!r} is not numeric (its dtype is {dtype}{example}); {remedy}")
    values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    if getattr(dtype, "kind", "f") in "iu" and getattr(dtype, "itemsize", 8) == 8:
        large = np.flatnonzero(np.abs(values) > _EXACT)
        if large.size:
            row = int(large[0])
            raise UserError(f"column {label!r}, row {row}: integer {column.iloc[row]} is beyond 2^53 and would be rounded; scale it")
    return values


def _check_finite(sheet: Sheet, position: int) -> None:
    bad = np.flatnonzero(np.isinf(sheet.values[:, position]))
    if bad.size:
        row, label = int(bad[0]), sheet.labels[position]
        if sheet.columns.layout == "wide" and not sheet.columns.multivariate and label in sheet.columns.targets:
            place = f"series {label!r}, row {row} ({sheet.stamps[row]})"
        else:
            place = f"{where(sheet, row)}, column {label!r}"
        more = f" ({bad.size} such values)" if bad.size > 1 else ""
        raise UserError(f"{place}: the value is infinite{more}; replace it by NaN if it is missing, or drop the row")


def id_column(ids: Sequence[Any], dtype: Any, counts: Sequence[int]) -> pd.Series:
    """Each id as often as its count says, in the dtype of the frame it came from (None: what pandas makes of them)."""
    once = pd.Series(list(ids)) if dtype is None else pd.Series(list(ids), dtype=object).astype(dtype)
    return pd.Series(once.array.take(np.repeat(np.arange(len(once)), counts)), dtype=once.dtype)


def restore(values: np.ndarray, dtype: Any) -> Any:
    """Values with a column's dtype again; as float64 where that dtype cannot hold the NaN that they have."""
    if isinstance(dtype, pd.api.extensions.ExtensionDtype):
        missing = np.isnan(values)
        filled = pd.Series(np.where(missing, 0, values)).astype(dtype)
        return filled.mask(missing) if missing.any() else filled
    if dtype.kind in "iub" and np.isnan(values).any():
        return pd.Series(values)
    return pd.Series(values.astype(dtype))
