"""Numbers of steps on the calendar."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scidiff_timeseries.features import calendar_steps
from scidiff_timeseries.panel import read_frame


@pytest.mark.parametrize("zone", [None, "Europe/Paris", "America/New_York"])
def test_an_hour_of_the_day_keeps_its_number_through_the_change_of_clocks(zone: str | None) -> None:
    stamps = pd.date_range("2024-03-20", "2024-04-10", freq="h", tz=zone)
    panel = read_frame(pd.DataFrame({"ds": stamps, "y": 1.0}))
    number = calendar_steps(panel, panel.series[0], panel.stamps(panel.series[0], 0, len(stamps)))[:, 1]
    np.testing.assert_array_equal(number % 24, stamps.hour)


@pytest.mark.parametrize(
    ("freq", "season", "day"), [("B", 5, "day_of_week"), ("D", 7, "day_of_week"), ("MS", 12, "month"), ("QS", 4, "quarter")]
)
def test_the_place_in_a_season_is_the_same_wherever_a_series_starts(freq: str, season: int, day: str) -> None:
    stamps = pd.date_range("2001-01-01", periods=60, freq=freq)
    place: dict[int, set[int]] = {}
    for start in range(8):
        panel = read_frame(pd.DataFrame({"ds": stamps[start:], "y": 1.0}), freq=freq)
        number = calendar_steps(panel, panel.series[0], panel.stamps(panel.series[0], 0, 20))[:, 1].astype(int)
        for stamp, each in zip(stamps[start:], number, strict=False):
            place.setdefault(int(getattr(stamp, day)), set()).add(int(each % season))
    assert all(len(found) == 1 for found in place.values())
    assert len(place) == season
