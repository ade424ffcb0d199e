"""Local time: stamps without offsets, as the clocks of a place showed them, brought on the time line."""

from __future__ import annotations

from collections.abc import Hashable
from typing import cast

import numpy as np
import pandas as pd

from scidiff.errors import UserError

__all__ = ["localise"]


def localise(df: pd.DataFrame, time: Hashable, zone: str, id: Hashable | None = None) -> pd.DataFrame:  # noqa: A002
    """A copy whose time column has the zone. Stamps with an offset are converted; those without are the clock time of the zone.

    Of an hour that clocks show twice the first row (of its series) is the one before the change, and a second one the one after; where
    there is one row, it is taken for the first, so that it follows the row before it.

    Raises:
        UserError: an unknown zone; a stamp that the zone's clocks skip (its row is named).
    """
    column = cast(pd.Series, df[time])
    stamps = pd.DatetimeIndex(column)
    try:
        if stamps.tz is not None:
            return df.assign(**{str(time): pd.Series(stamps.tz_convert(zone), index=df.index)})
        keys = [column] if id is None or id not in df.columns else [df[id], column]
        first = (column.groupby(keys, sort=False, dropna=False).cumcount() == 0).to_numpy()
        made = stamps.tz_localize(zone, ambiguous=first, nonexistent="NaT")
    except (KeyError, ValueError) as error:  # zoneinfo's error for an unknown key is a KeyError
        names = "'Europe/Paris', 'America/New_York' or 'UTC'"
        raise UserError(f"time zone {zone!r} is not known ({error}); give a name such as {names}") from None
    skipped = np.flatnonzero(made.isna() & ~stamps.isna())
    if skipped.size:
        row = int(skipped[0])
        raise UserError(
            f"time column {time!r}, row {row}: clocks in {zone} never showed {stamps[row]} ({skipped.size} such rows); is it another zone?"
        )
    return df.assign(**{str(time): pd.Series(made, index=df.index)})
