"""Time columns: stamps as pandas holds them, or text that is one without doubt."""

from __future__ import annotations

import re
import warnings
from collections.abc import Hashable

import numpy as np
import pandas as pd
from pandas.tseries.api import guess_datetime_format

from scidiff.errors import UserError

__all__ = ["as_stamps"]

_REMEDY = "convert the column with pd.to_datetime(column, format=...) (of a file: time_format=...)"
_ISO = re.compile(r"\d{4}(-\d{2}(-\d{2}([ T]\d{2}(:\d{2}(:\d{2}(\.\d+)?)?)?)?(Z|[+-]\d{2}:?\d{2})?)?)?")
_OFFSET = r"(?:\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?)\s*(Z|[+-]\d{2}:?\d{2})$"


def as_stamps(values: pd.Series | pd.Index, name: Hashable, time_format: str | None = None) -> pd.DatetimeIndex:
    """A column as stamps, without a missing one.

    Text in ISO 8601 is read as it stands; other text when every row has one format and it can be read in one way only (a column
    of 03/04/2024 cannot). Offsets that vary, as those of local time do, are brought to UTC.

    Args:
        values: the column.
        name: of the column, for messages.
        time_format: of text, in strftime's letters; None finds it.

    Raises:
        UserError: a missing or unreadable stamp (its row named), numbers, periods, two ways to read it.
    """
    column = f"time column {name!r}" if name is not None else "the index"
    if isinstance(values.dtype, pd.PeriodDtype):
        raise UserError(f"{column} holds periods; say which moment is meant, for example with .dt.to_timestamp()")
    if isinstance(values.dtype, pd.DatetimeTZDtype) or values.dtype.kind == "M":
        stamps = pd.DatetimeIndex(values)
    elif time_format is not None and pd.api.types.is_integer_dtype(values.dtype):
        stamps = _from_text(pd.Series(np.asarray(values.astype("string"), dtype=object)), column, time_format)
    elif isinstance(values.dtype, pd.CategoricalDtype) or not _is_text(values):
        raise UserError(
            f"{column} holds {values.dtype}, not time stamps; convert it first, for example with "
            "pd.to_datetime(column, unit='s') for seconds or pd.to_datetime(column, format='%Y') for years (of a file: time_format='%Y')"
        )
    else:
        stamps = _from_text(pd.Series(np.asarray(values, dtype=object)), column, time_format)
    missing = np.flatnonzero(stamps.isna())
    if missing.size:
        raise UserError(f"{column}, row {missing[0]}: no time stamp ({missing.size} such rows); drop these rows or give their times")
    return stamps


def _is_text(values: pd.Series | pd.Index) -> bool:
    return values.dtype == object or isinstance(values.dtype, pd.StringDtype) or str(values.dtype).startswith(("string", "large_string"))


def _from_text(values: pd.Series, column: str, time_format: str | None) -> pd.DatetimeIndex:
    present = pd.Series(values[values.notna()])
    if present.empty:
        return pd.DatetimeIndex(pd.to_datetime(values))
    text = present.map(lambda value: value.strip() if isinstance(value, str) else value)
    if not text.map(lambda value: isinstance(value, str)).all():
        return _from_objects(values, column)
    offsets = text.str.extract(_OFFSET, expand=False)
    some = offsets.notna()
    if some.any() and not some.all():
        row = int(np.flatnonzero(values.notna())[int(np.argmin(some.to_numpy()))])
        raise UserError(f"{column}, row {row}: {values.iloc[row]!r} has no offset from UTC while other rows have one; give all or none")
    form = time_format or _find_format(text, column)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parsed = pd.to_datetime(text, format=form, errors="coerce", utc=offsets.nunique() > 1)
    bad = np.flatnonzero(parsed.isna())
    if bad.size:
        row = int(np.flatnonzero(values.notna())[bad[0]])
        read = "an ISO 8601 time stamp (2024-03-31 or 2024-03-31 14:00)" if form == "ISO8601" else f"of the format {form!r}"
        raise UserError(f"{column}, row {row}: {values.iloc[row]!r} is not {read}; mend it, or {_REMEDY}")
    return pd.DatetimeIndex(parsed.reindex(values.index))


def _from_objects(values: pd.Series, column: str) -> pd.DatetimeIndex:
    """Python's dates and stamps of any kind."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return pd.DatetimeIndex(pd.to_datetime(values))
    except (ValueError, TypeError, Warning) as error:
        remedy = "make them of one kind with pd.to_datetime(column, utc=True)"
        raise UserError(f"{column} holds objects that are not time stamps of one kind ({error}); {remedy}") from None


def _find_format(text: pd.Series, column: str) -> str:
    """``ISO8601``, or the one format that reads every row.

    Raises:
        UserError: none does, or two do (day and month cannot be told apart).
    """
    first = str(text.iloc[0])
    if _ISO.fullmatch(first):
        return "ISO8601"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        guesses = dict.fromkeys(guess_datetime_format(first, dayfirst=day_first) for day_first in (False, True))
        # A first row with a day beyond 12 shows one order; others may still show the opposite, so both are tried.
        forms = [form for form in guesses if form and not pd.to_datetime(text, format=form, errors="coerce", utc=True).isna().any()]
    if len(forms) > 1 and len({tuple(pd.to_datetime(text, format=form, utc=True)) for form in forms}) > 1:
        raise UserError(f"{column}: {first!r} can be read as {' or '.join(map(repr, forms))}, and no row decides; {_REMEDY}")
    if forms:
        return forms[0]
    return next((form for form in guesses if form), "ISO8601")
