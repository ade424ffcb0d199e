"""Frequencies: pandas' names old and new, grids without rounding, inference from series that lack rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scidiff.errors import UserError
from scidiff_timeseries.frequency import Frequency
from scidiff_timeseries.grid import Grid
from scidiff_timeseries.inference import infer

CLOCK = ["s", "min", "5min", "7min", "10min", "15min", "30min", "h", "2h", "6h", "12h", "36h"]
CALENDAR = ["D", "2D", "3D", "W-SUN", "W-WED", "2W-MON", "B", "MS", "ME", "BMS", "BME", "2MS", "QS-JAN", "QS-FEB", "QE-DEC", "QE-NOV"]
CALENDAR += ["BQS-JAN", "BQE-DEC", "YS-JAN", "YS-JUL", "YE-DEC", "YE-JUN", "BYE-DEC", "2YS-JAN"]
EVERY = [*CLOCK, *CALENDAR]
ZONES = [None, "UTC", "Europe/Paris", "America/New_York"]


def infer_one(stamps: pd.DatetimeIndex) -> Frequency:
    return infer(stamps, np.zeros(len(stamps), dtype=np.int64))


@pytest.mark.parametrize(
    ("old", "new"),
    [("H", "h"), ("T", "min"), ("15T", "15min"), ("S", "s"), ("M", "ME"), ("BM", "BME"), ("Q", "QE"), ("Q-NOV", "QE-NOV"), ("A", "YE")]
    + [("Y", "YE"), ("A-JUN", "YE-JUN"), ("AS", "YS"), ("AS-JUL", "YS-JUL"), ("BAS", "BYS"), ("BA", "BYE"), ("W-wed", "W-WED"), ("d", "D")]
    + [("60min", "h"), ("90min", "90min"), ("120min", "2h"), ("3600s", "h"), (" 1h ", "h"), ("1D", "D")],
)
def test_names_of_old_and_new_pandas_mean_one_frequency(old: str, new: str) -> None:
    assert Frequency.parse(old) == Frequency(new)
    assert Frequency(old).name == new
    assert Frequency(old).offset == pd.tseries.frequencies.to_offset(new)


@pytest.mark.parametrize("name", EVERY)
def test_an_offset_of_pandas_is_understood(name: str) -> None:
    assert Frequency.parse(pd.tseries.frequencies.to_offset(name)) == Frequency(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hh", r"frequency 'hh' is unknown.*pandas'"),
        ("houre", r"'houre' is unknown"),
        ("ms", r"'ms' is unknown.*from seconds to years"),
        ("SM", r"'SM' is unknown"),
        ("0D", r"'0D': a step of 0"),
        ("-1D", r"'-1D' is unknown"),
        ("W-JAN", r"W takes the anchor one of MON"),
        ("ME-JAN", r"ME takes the anchor none"),
        ("", r"'' is unknown"),
    ],
)
def test_what_is_no_frequency_is_refused_with_the_names_that_are(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Frequency.parse(name)


def test_custom_business_days_are_refused() -> None:
    with pytest.raises(UserError, match="is unknown"):
        Frequency.parse(pd.offsets.CustomBusinessDay(holidays=["2024-01-01"]))


@pytest.mark.parametrize(
    ("name", "seasons"),
    [
        ("min", (1440, 10080)),
        ("5min", (288, 2016)),
        ("10min", (144, 1008)),
        ("15min", (96, 672)),
        ("30min", (48, 336)),
        ("h", (24, 168)),
        ("2h", (12, 84)),
        ("D", (7,)),
        ("B", (5,)),
        ("W-SUN", (52,)),
        ("ME", (12,)),
        ("MS", (12,)),
        ("QS-JAN", (4,)),
        ("QE-NOV", (4,)),
        ("2MS", (6,)),
        ("YE-DEC", ()),
        ("3D", ()),
    ],
)
def test_seasons_are_whole_steps_of_day_week_or_year(name: str, seasons: tuple[int, ...]) -> None:
    assert Frequency(name).seasons == seasons


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("h", "hourly (h), as given"),
        ("15min", "every 15 minutes (15min), as given"),
        ("B", "every business day (B), as given"),
        ("W-WED", "weekly on Wednesdays (W-WED), as given"),
        ("2W-MON", "every 2 weeks on Mondays (2W-MON), as given"),
        ("ME", "monthly at the last day of the month (ME), as given"),
        ("BMS", "monthly at the first business day of the month (BMS), as given"),
        ("QS-JAN", "quarterly at the first day of the quarter (QS-JAN), as given"),
        ("YE-JUN", "yearly at the last day of June (YE-JUN), as given"),
    ],
)
def test_describe_says_it_in_words(name: str, words: str) -> None:
    assert Frequency(name).describe() == words


@pytest.mark.parametrize("tz", [None, "Europe/Paris", "America/New_York"])
@pytest.mark.parametrize("name", EVERY)
def test_grids_are_pandas_date_ranges(name: str, tz: str | None) -> None:
    """Positions and stamps are each other's inverse, across changes of the clock and before 1970."""
    for start in ("1961-03-24", "2024-02-27"):
        stamps = pd.date_range(start, periods=80, freq=name, tz=tz)
        grid = Grid.fit(Frequency(name), stamps[:1])
        steps = grid.nearest(stamps)
        np.testing.assert_array_equal(np.diff(steps), 1)
        np.testing.assert_array_equal(grid.offsets(stamps, steps), 0)
        pd.testing.assert_index_equal(grid.stamps(int(steps[0]), int(steps[-1]) + 1), pd.DatetimeIndex(stamps, freq=None), exact=True)


@settings(max_examples=120)
@given(data=st.data())
def test_inference_survives_missing_rows(data: st.DataObject) -> None:
    """Up to 40 % of the rows missing at random: the name is found, and every stamp is on its grid."""
    name = data.draw(st.sampled_from(EVERY))
    start = pd.Timestamp("1995-01-01") + pd.Timedelta(days=data.draw(st.integers(0, 12_000)))
    stamps = pd.date_range(start, periods=60, freq=name, tz=data.draw(st.sampled_from(ZONES)))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    keep = rng.random(60) > data.draw(st.floats(0, 0.4))
    keep[[0, -1]] = True
    found = infer_one(stamps[keep])
    assert found == Frequency(name)
    grid = Grid.fit(found, stamps[keep])
    first = int(grid.nearest(stamps[:1])[0])
    pd.testing.assert_index_equal(grid.stamps(first, first + 60), pd.DatetimeIndex(stamps, freq=None))


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_any_resolution_of_stamps(unit: str) -> None:
    stamps = pd.date_range("2024-01-31", periods=20, freq="ME").as_unit(unit)  # type: ignore[arg-type]
    grid = Grid.fit(infer_one(stamps), stamps)
    assert grid.stamps(0, 1).unit == unit
    np.testing.assert_array_equal(grid.at(grid.nearest(stamps)), stamps.asi8)


def test_years_beyond_nanoseconds() -> None:
    stamps = pd.DatetimeIndex(np.arange("1200", "1300", dtype="M8[Y]").astype("M8[s]"))
    assert infer_one(stamps).name == "YS-JAN"


def test_beyond_the_dates_of_a_resolution_is_an_error_not_an_overflow() -> None:
    stamps = pd.date_range("2024-12-31", periods=2, freq="YE").as_unit("ns")
    grid = Grid.fit(Frequency("YE"), stamps)
    first = int(grid.nearest(stamps)[0])
    assert grid.stamps(first + 90, first + 91)[0].year == 2114
    with pytest.raises(UserError, match=r"beyond the dates.*'ns'.*datetime64\[us\]"):
        grid.stamps(first + 1000, first + 1001)
    with pytest.raises(UserError, match="beyond the dates"):
        grid.stamps(10**18, 10**18 + 1)


def test_several_series_share_their_evidence() -> None:
    stamps = pd.DatetimeIndex(["2024-01-01 00:00", "2024-01-01 05:00", *pd.date_range("2024-03-05", periods=9, freq="h")])
    found = infer(stamps, np.array([0, 0, *[1] * 9]))
    assert found.describe() == "hourly (h), inferred: 8 of 9 gaps are one step"


@pytest.mark.parametrize(
    ("stamps", "name"),
    [
        (pd.date_range("2024-01-01", periods=5, freq="D"), "D"),  # Monday to Friday: no weekend was passed
        (pd.date_range("2024-01-01", periods=6, freq="B"), "B"),
        (pd.DatetimeIndex(["2024-01-31", "2024-02-29"]), "ME"),
        (pd.DatetimeIndex(["2024-02-01", "2024-03-01"]), "MS"),
        (pd.DatetimeIndex(["2023-12-31", "2024-12-31", "2026-12-31"]), "YE-DEC"),
        (pd.date_range("2024-01-15", periods=9, freq="28D"), "4W-MON"),
        (pd.DatetimeIndex(["2024-01-01 02:00", "2024-01-01 04:00", "2024-01-01 07:00", "2024-01-01 12:00"]), "h"),  # 2, 3, 5 hours
        (pd.DatetimeIndex(["2024-03-30", "2024-03-31", "2024-04-01"]).tz_localize("Europe/Paris"), "D"),  # one of 23 hours
    ],
)
def test_short_and_awkward_series(stamps: pd.DatetimeIndex, name: str) -> None:
    assert infer_one(stamps).name == name


def test_jitter_gives_the_step_that_is_meant() -> None:
    rng = np.random.default_rng(0)
    hours = pd.date_range("2024-01-01", periods=200, freq="h") + pd.to_timedelta(rng.integers(-500, 500, 200), unit="s")
    assert infer_one(hours).name == "h"
    days = pd.date_range("2024-01-01", periods=200, freq="D") + pd.to_timedelta(rng.integers(7 * 3600, 17 * 3600, 200), unit="s")
    assert infer_one(days).name == "D"


def test_no_gap_and_gaps_below_a_second_are_errors_with_a_remedy() -> None:
    with pytest.raises(UserError, match=r"no series has two rows.*freq='D'"):
        infer_one(pd.DatetimeIndex(["2024-01-01"]))
    with pytest.raises(UserError, match="less than a second apart"):
        infer_one(pd.date_range("2024-01-01", periods=9, freq="100ms"))


def test_a_free_anchor_comes_from_the_stamps_and_a_given_one_stands() -> None:
    wednesdays = pd.date_range("2024-01-03", periods=5, freq="W-WED")
    assert Grid.fit(Frequency("W"), wednesdays).frequency.name == "W-WED"
    strict = Grid.fit(Frequency("W-SUN"), wednesdays)
    assert strict.frequency.name == "W-SUN"
    assert np.all(strict.offsets(wednesdays, strict.nearest(wednesdays)) != 0)
    assert Grid.fit(Frequency("YE"), pd.date_range("2020-06-30", periods=4, freq="YE-JUN")).frequency.name == "YE-JUN"
    assert Grid.fit(Frequency("Q"), pd.date_range("2020-06-30", periods=4, freq="QE-DEC")).frequency.name == "QE-DEC"


@pytest.mark.parametrize("zone", ["America/Sao_Paulo", "America/Havana", "Asia/Beirut"])
def test_days_whose_midnight_the_clock_skips(zone: str) -> None:
    """Such a day begins at 1 o'clock; a grid that starts on one is the same grid."""
    naive = pd.date_range("2015-01-01", periods=900, freq="D")
    stamps = naive.tz_localize(zone, nonexistent="shift_forward", ambiguous=np.ones(900, dtype=bool))
    late = int(np.argmax(stamps.hour > 0))
    assert stamps[late].hour == 1
    for begin in (0, late):
        grid = Grid.fit(Frequency("D"), stamps[begin : begin + 1])
        first = int(grid.nearest(stamps[begin : begin + 1])[0])
        pd.testing.assert_index_equal(grid.stamps(first, first + 900 - begin), stamps[begin:])
