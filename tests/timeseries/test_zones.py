"""Clock time of a place, brought on the time line and back."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scidiff.errors import UserError
from scidiff_timeseries.zones import localise

CHANGES = {
    "Europe/Paris": ("2024-03-30", "2024-10-26"),
    "America/New_York": ("2024-03-09", "2024-11-02"),
    "UTC": ("2024-01-01", "2024-06-01"),
}


@given(st.sampled_from(list(CHANGES)), st.sampled_from([0, 1]), st.sampled_from(["h", "30min", "15min"]), st.data())
def test_wall_clock_times_of_several_series_come_back_exactly(zone: str, change: int, step: str, data: st.DataObject) -> None:
    stamps = pd.date_range(CHANGES[zone][change], periods=72 * 4, freq=step, tz=zone)
    keep = np.array(data.draw(st.lists(st.booleans(), min_size=len(stamps), max_size=len(stamps))))
    wall = stamps.tz_localize(None)
    keep |= wall.duplicated(keep=False)  # of an hour shown twice both rows are there
    frames = [pd.DataFrame({"unique_id": name, "ds": wall[keep]}) for name in ("a", "b")]
    made = localise(pd.concat(frames, ignore_index=True), "ds", zone, "unique_id")
    for name in ("a", "b"):
        np.testing.assert_array_equal(pd.DatetimeIndex(made.loc[made["unique_id"] == name, "ds"]).asi8, stamps[keep].asi8)


def test_a_lone_row_of_a_repeated_hour_follows_the_row_before_it() -> None:
    wall = ["2024-10-27 01:00", "2024-10-27 02:00", "2024-10-27 03:00"]
    made = localise(pd.DataFrame({"ds": pd.to_datetime(wall)}), "ds", "Europe/Paris")
    assert [stamp.isoformat() for stamp in made["ds"]] == [
        "2024-10-27T01:00:00+02:00",
        "2024-10-27T02:00:00+02:00",
        "2024-10-27T03:00:00+01:00",
    ]


def test_stamps_with_an_offset_are_converted() -> None:
    df = pd.DataFrame({"ds": pd.to_datetime(["2024-07-01 10:00+00:00"], utc=True), "y": [1.0]})
    made = localise(df, "ds", "Europe/Paris")
    assert made["ds"].iloc[0].isoformat() == "2024-07-01T12:00:00+02:00"
    assert str(df["ds"].dtype).endswith("UTC]")  # the frame given is not changed


def test_refusals_name_the_row_and_the_zone() -> None:
    df = pd.DataFrame({"ds": pd.to_datetime(["2024-03-31 01:00", "2024-03-31 02:30"])})
    with pytest.raises(UserError, match=r"row 1: clocks in Europe/Paris never showed 2024-03-31 02:30:00 \(1 such rows\)"):
        localise(df, "ds", "Europe/Paris")
    with pytest.raises(UserError, match="time zone 'Mars/Olympus' is not known"):
        localise(df, "ds", "Mars/Olympus")
