"""CSV files: read with bounds and clear errors, written so that no spreadsheet runs what a cell says."""

from __future__ import annotations

from collections.abc import Mapping
from io import TextIOBase
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from scidiff.errors import UserError, did_you_mean
from scidiff_timeseries.times import as_stamps

__all__ = ["MAX_FILE_BYTES", "MAX_ROWS", "neutral", "read_csv", "write_csv"]

MAX_FILE_BYTES = 2**30
MAX_ROWS = 10_000_000
_COMPRESSED = (".gz", ".bz2", ".xz", ".zip", ".zst", ".tar")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def read_csv(
    path: str | Path,
    *,
    id: str | None = "unique_id",  # noqa: A002 - the field's name for it
    time: str = "ds",
    time_format: str | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Read a CSV file as :func:`pandas.read_csv` does, with the time column as stamps and ids as the text that is written.

    Args:
        path: the file, uncompressed.
        id: name of the column of series ids, kept as text (``007`` and ``NA`` are ids); a file without one holds one series.
        time: name of the time column.
        time_format: its format in strftime's letters; None finds it, see :func:`scidiff_timeseries.times.as_stamps`.
        options: further ones of :func:`pandas.read_csv`, such as ``sep=";"`` or ``decimal=","``.

    Raises:
        UserError: no such file, compressed, over 1 GiB or 10 million rows, not CSV, no such column, an unreadable time stamp.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file" if not path.exists() else f"{path}: not a file")
    size = path.stat().st_size
    if path.suffix.lower() in _COMPRESSED:
        raise UserError(f"{path}: compressed files are not read; unpack it first")
    if size > MAX_FILE_BYTES:
        raise UserError(f"{path}: {size / 2**30:.1f} GiB is over the limit of {MAX_FILE_BYTES // 2**30} GiB; split the file")
    frame = _read(path, id, options)
    if len(frame) > MAX_ROWS:
        raise UserError(f"{path}: more than {MAX_ROWS:,} rows; split the file")
    if time not in frame.columns:
        hint = did_you_mean(time, frame.columns)
        raise UserError(f"{path}: no time column {time!r}{hint}; its columns are {_some(frame.columns)}; name it with time=")
    try:
        frame[time] = as_stamps(cast(pd.Series, frame[time]), time, time_format)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return frame


def _read(path: Path, id_column: str | None, options: Mapping[str, Any]) -> pd.DataFrame:
    given: dict[str, Any] = {"low_memory": False, "nrows": MAX_ROWS + 1, **options, "compression": None}
    if pd.__version__.startswith("2.") and len(given.get("sep", ",") or "") == 1:
        given["float_precision"] = "round_trip"  # later ones read what was written to the bit, and warn of the option
    if id_column is not None:
        # A mark before the text: without it pandas takes the ids NA and nan for missing ones.
        given["converters"] = {**options.get("converters", {}), id_column: "id:{}".format}
    try:
        frame = pd.read_csv(path, **given)
    except pd.errors.EmptyDataError:
        raise UserError(f"{path}: the file is empty; a CSV file with a header line is needed") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({error}); save it as UTF-8, or give encoding=") from None
    except pd.errors.ParserError as error:
        raise UserError(f"{path}: not CSV: {str(error).strip()}; give sep= if the cells are not separated by commas") from None
    if "index_col" not in options and not isinstance(frame.index, pd.RangeIndex):  # pandas would shift all columns by one
        raise UserError(f"{path}: its rows have more cells than the header has names ({_some(frame.columns)}); mend the header line")
    if id_column in frame.columns:
        frame[id_column] = frame[id_column].str.slice(3)
        empty = np.flatnonzero(frame[id_column] == "")
        if empty.size:
            raise UserError(
                f"{path}: id column {id_column!r}, row {empty[0]}: no id ({empty.size} such rows); give one, or drop these rows"
            )
    return frame


def _some(names: pd.Index, most: int = 12) -> str:
    return ", ".join(map(repr, names[:most])) + (", ..." if len(names) > most else "")


def neutral(frame: pd.DataFrame) -> pd.DataFrame:
    """A copy whose *text* cells and column names cannot be taken for formulas: an apostrophe before a leading ``= + - @``, tab or return.

    Numbers and time stamps are untouched, the negative ones included.
    """
    safe = frame.copy()
    for position, dtype in enumerate(frame.dtypes):
        if pd.api.types.is_object_dtype(dtype) or isinstance(dtype, (pd.StringDtype, pd.CategoricalDtype)):
            column = frame.iloc[:, position].astype(object)
            safe.isetitem(position, column.map(_neutral_cell).array)
    safe.columns = pd.Index([_neutral_cell(name) for name in frame.columns], name=frame.columns.name)
    if pd.api.types.is_object_dtype(frame.index.dtype) or isinstance(frame.index.dtype, pd.StringDtype):
        safe.index = frame.index.map(_neutral_cell)
    safe.index.names = [_neutral_cell(name) for name in frame.index.names]
    return safe


def _neutral_cell(value: object) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def write_csv(frame: pd.DataFrame, path: str | Path | TextIOBase | None = None, **options: Any) -> str | None:
    """Write as :func:`pandas.DataFrame.to_csv` does, without the index unless asked, text made :func:`neutral`."""
    settings: dict[str, Any] = {"index": False, **options}
    return neutral(pd.DataFrame(frame)).to_csv(path, **settings)
