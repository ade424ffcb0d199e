"""Frames: read and written back exactly, never filled; what is wrong with them is named, and mended only when asked."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scidiff.errors import UserError
from scidiff_timeseries import frames, tables
from scidiff_timeseries.panel import read_frame
from scidiff_timeseries.tables import read_csv

Make = Callable[..., pd.DataFrame]
FREQUENCIES = [
    "min",
    "5min",
    "10min",
    "15min",
    "30min",
    "h",
    "6h",
    "D",
    "B",
    "W-WED",
    "MS",
    "ME",
    "BME",
    "QS-JAN",
    "QE-DEC",
    "YS-JAN",
    "YE-DEC",
]
DTYPES = ["float64", "float32", "int64", "int16", "uint8", "bool", "Int64", "Float32", "boolean"]
ZONES = [None, "UTC", "Europe/Paris", "America/New_York", "+05:30"]
HOURS = pd.date_range("2024-01-01", periods=100, freq="h")


# -- round trips ------------------------------------------------------------------------------------------------------------


def draw_stamps(data: st.DataObject, n: int, freq: str, tz: str | None, unit: str) -> pd.DatetimeIndex:
    """A grid from some day between 1990 and 2029: changes of the clock and leap days are among them."""
    start = pd.Timestamp("1990-01-01") + pd.Timedelta(days=data.draw(st.integers(0, 14_000)))
    return pd.date_range(start, periods=n, freq=freq, tz=tz).as_unit(unit)  # type: ignore[arg-type]


def draw_column(data: st.DataObject, n: int, dtype: str) -> pd.Series:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    if dtype in ("bool", "boolean"):
        column = pd.Series(rng.random(n) < 0.5).astype(dtype)
    elif dtype.lower().startswith("float"):
        column = pd.Series(rng.normal(size=n) * 10.0 ** rng.integers(-30, 30)).astype(dtype)
    else:
        column = pd.Series(rng.integers(0, 200, n)).astype(dtype)
    if dtype[0] in "fIFB" or dtype == "boolean":  # dtypes that can say that a value is missing
        column = column.mask(pd.Series(rng.random(n) < data.draw(st.sampled_from([0.0, 0.3, 1.0]))))
        column = column.astype(dtype)
    return column


def widened(column: pd.Series) -> pd.Series:
    """As pandas holds it once a missing row gave it a NaN."""
    return (
        column.astype(np.float64)
        if column.dtype.kind in "iub" and not isinstance(column.dtype, pd.api.extensions.ExtensionDtype)
        else column
    )


@settings(max_examples=60)
@given(data=st.data())
def test_long_frames_come_back(data: st.DataObject) -> None:
    """Any frequency, time zone, resolution, dtypes, ids, lengths of series, order of columns and pattern of missing rows."""
    freq, tz = data.draw(st.sampled_from(FREQUENCIES)), data.draw(st.sampled_from(ZONES))
    unit, dtypes = data.draw(st.sampled_from(["s", "ms", "us", "ns"])), data.draw(st.lists(st.sampled_from(DTYPES), min_size=1, max_size=3))
    ids = data.draw(st.sampled_from([["a"], ["b", "a"], [3, 1], ["=x", "é", ""]]))
    parts, wholes = [], []
    for one in ids:
        n = data.draw(st.integers(1, 30))
        full = pd.DataFrame(
            {"ds": draw_stamps(data, n, freq, tz, unit), **{f"y{k}": draw_column(data, n, d) for k, d in enumerate(dtypes)}}
        )
        full.insert(0, "unique_id", pd.Series([one] * n))
        keep = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
        keep[[0, -1]] = True
        gap = pd.Series(~keep)
        wholes.append(full.assign(**{name: widened(full[name]).mask(gap) if gap.any() else full[name] for name in full.columns[2:]}))
        parts.append(full[keep])
    order = data.draw(st.permutations(["unique_id", "ds", *parts[0].columns[2:]]))
    frame, whole = pd.concat(parts)[order], pd.concat(wholes, ignore_index=True)[order]
    if any(len(part) < len(full) for part, full in zip(parts, wholes, strict=True)):  # one NaN widens the column for every series
        whole = whole.assign(**{name: widened(whole[name]) for name in whole.columns if name.startswith("y")})
    before = frame.copy()
    panel = read_frame(frame, freq=freq)
    pd.testing.assert_frame_equal(panel.to_frame(), whole)
    pd.testing.assert_frame_equal(frame, before)
    assert panel.ids == tuple(ids)


@settings(max_examples=40)
@given(data=st.data())
def test_wide_frames_come_back(data: st.DataObject) -> None:
    """Panels and systems; times in the index, with its name and frequency, or in a column."""
    freq, tz, n = data.draw(st.sampled_from(FREQUENCIES)), data.draw(st.sampled_from(ZONES)), data.draw(st.integers(2, 30))
    labels = data.draw(st.sampled_from([["a", "b", "c"], [3, 1], ["only"]]))
    index = draw_stamps(data, n, freq, tz, "us").rename(data.draw(st.sampled_from(["ds", "when", None])))
    frame = pd.DataFrame({label: draw_column(data, n, data.draw(st.sampled_from(DTYPES))).array for label in labels}, index=index)
    frame.columns.name = data.draw(st.sampled_from([None, "station"]))
    if data.draw(st.booleans()):
        frame = frame.rename_axis(index="ds").reset_index()
    many = data.draw(st.booleans())
    panel = read_frame(frame, layout="wide", multivariate=many, freq=freq)
    pd.testing.assert_frame_equal(panel.to_frame(), frame)
    assert len(panel) == (1 if many else len(labels))
    assert panel.channels == (tuple(map(str, labels)) if many else ("y",))


@settings(max_examples=40)
@given(data=st.data())
def test_missing_rows_are_nan_and_nothing_else_is(data: st.DataObject) -> None:
    """The frequency inferred from what is left of the rows; the NaN of the panel are exactly the rows that are gone."""
    freq = data.draw(st.sampled_from(FREQUENCIES))
    stamps = draw_stamps(data, 50, freq, data.draw(st.sampled_from(["UTC", "Europe/Paris"])), "us")
    gone = np.random.default_rng(data.draw(st.integers(0, 2**32))).random(50) < 0.2
    gone[[0, -1]] = False
    values = np.arange(50.0)
    panel = read_frame(pd.DataFrame({"ds": stamps, "y": values})[~gone])
    assert panel.frequency.name == freq
    np.testing.assert_array_equal(panel.series[0].values[:, 0], np.where(gone, np.nan, values))
    np.testing.assert_array_equal(panel.stamps(0, 0, 50), stamps)


@pytest.mark.parametrize("dtype", [*DTYPES, "float16", "int8", "uint64", "Int8", "Float64"])
def test_dtypes_stay_where_no_row_is_missing(frame_of: Make, dtype: str) -> None:
    frame = frame_of(HOURS, y=pd.Series(np.arange(100) % 2).astype(dtype))
    assert read_frame(frame).to_frame()["y"].dtype == frame["y"].dtype
    holed = read_frame(frame.drop(index=5)).to_frame()["y"]
    nullable = isinstance(frame["y"].dtype, pd.api.extensions.ExtensionDtype) or frame["y"].dtype.kind == "f"
    assert holed.dtype == (frame["y"].dtype if nullable else np.float64)
    assert list(np.flatnonzero(holed.isna())) == [5]


@pytest.mark.parametrize(
    "ids", [pd.Series(["x", "y"] * 3, dtype=object), pd.Series(["x", "y"] * 3, dtype="category"), pd.Series([7, 5] * 3, dtype="int32")]
)
def test_ids_keep_their_dtype(ids: pd.Series) -> None:
    frame = pd.DataFrame({"unique_id": ids, "ds": np.repeat(pd.date_range("2024", periods=3, freq="D"), 2), "y": np.arange(6.0)})
    back = read_frame(frame).to_frame()
    assert back["unique_id"].dtype == ids.dtype
    assert list(back["unique_id"]) == [ids[0]] * 3 + [ids[1]] * 3
    assert list(back["y"]) == [0.0, 2.0, 4.0, 1.0, 3.0, 5.0]


def test_covariates_and_the_rows_of_the_future() -> None:
    days = pd.date_range("2024-01-01", periods=5, freq="D")
    frame = pd.DataFrame(
        {
            "shop": ["a"] * 5 + ["b"] * 4,
            "day": [*days, *days[1:]],
            "sales": [1.0, 2.0, np.nan, np.nan, np.nan, 5.0, np.nan, 7.0, np.nan],
            "visits": [10.0, 20.0, 30.0, np.nan, np.nan, np.nan, 60.0, 70.0, np.nan],
            "holiday": np.array([0, 1, 0, 0, 1, 0, 1, 0, 1], dtype=np.int8),
            "area": [3.5] * 5 + [4.5] * 4,
        }
    )
    panel = read_frame(frame, id="shop", time="day", future=["holiday"], past=["visits"], static=["area"])
    a, b = panel.series
    assert panel.channels == ("sales",)
    np.testing.assert_array_equal(a.values[:, 0], [1, 2, np.nan])  # up to the last observed target or past covariate
    np.testing.assert_array_equal(a.past[:, 0], [10, 20, 30])
    np.testing.assert_array_equal(a.future[:, 0], [0, 1, 0, 0, 1])
    np.testing.assert_array_equal(b.values[:, 0], [5, np.nan, 7])
    np.testing.assert_array_equal(b.future[:, 0], [0, 1, 0, 1])
    assert (a.static.tolist(), b.static.tolist()) == ([3.5], [4.5])
    assert b.start == pd.Timestamp("2024-01-02")
    pd.testing.assert_frame_equal(panel.to_frame(), frame)


def test_a_series_never_observed_keeps_its_rows() -> None:
    frame = pd.DataFrame({"ds": pd.date_range("2024", periods=4, freq="D"), "y": np.nan, "holiday": [0, 1, 0, 1]})
    panel = read_frame(frame, future=["holiday"])
    assert panel.series[0].values.shape == (4, 1)
    pd.testing.assert_frame_equal(panel.to_frame(), frame)


def test_static_covariates_of_a_table() -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]}, index=pd.date_range("2024", periods=2, freq="D"))
    table = pd.DataFrame({"unique_id": ["b", "a"], "height": [20, 10]})
    panel = read_frame(frame, layout="wide", static=table)
    assert [series.static.tolist() for series in panel.series] == [[10.0], [20.0]]
    pd.testing.assert_frame_equal(panel.to_frame(), frame)
    with pytest.raises(UserError, match=r"no row for series 'b'"):
        read_frame(frame, layout="wide", static=table[1:])
    with pytest.raises(UserError, match=r"two rows for series 'b'"):
        read_frame(frame, layout="wide", static=pd.concat([table, table[:1]]))
    with pytest.raises(UserError, match=r"series 'a', column 'height': the value is infinite"):
        read_frame(frame, layout="wide", static=table.assign(height=[1.0, np.inf]))


def test_wide_frames_with_covariates_of_all_series() -> None:
    frame = pd.DataFrame(
        {"a": [1.0, 2.0, np.nan], "holiday": [0, 1, 1], "b": [np.nan, 4.0, np.nan]}, index=pd.date_range("2024", periods=3, freq="D")
    )
    panel = read_frame(frame, layout="wide", future=["holiday"])
    assert panel.ids == ("a", "b")
    assert [len(series) for series in panel.series] == [2, 2]
    assert all(series.future[:, 0].tolist() == [0, 1, 1] for series in panel.series)
    pd.testing.assert_frame_equal(panel.to_frame(), frame)


def test_local_days_and_utc_hours_across_changes_of_the_clock(frame_of: Make) -> None:
    days = pd.date_range("2024-03-29", periods=5, freq="D", tz="Europe/Paris")  # one of them has 23 hours
    assert read_frame(frame_of(days)).frequency.name == "D"
    hours = pd.date_range("2024-10-26", periods=72, freq="h", tz="Europe/Paris")  # one wall time comes twice
    panel = read_frame(frame_of(hours))
    assert panel.frequency.name == "h"
    assert list(panel.stamps(0, 70, 76)) == list(pd.date_range(hours[70], periods=6, freq="h"))


# -- hostile input ----------------------------------------------------------------------------------------------------------


def swap(stamps: pd.DatetimeIndex, position: int, stamp: object) -> pd.DatetimeIndex:
    return stamps.delete(position).insert(position, pd.Timestamp(stamp))  # type: ignore[arg-type]


PARIS_SPRING = pd.date_range("2024-03-29", periods=100, freq="h", tz="Europe/Paris").tz_localize(None)
PARIS_AUTUMN = pd.date_range("2024-10-25", periods=100, freq="h", tz="Europe/Paris").tz_localize(None)
NEW_YORK_AUTUMN = pd.date_range("2024-11-01", periods=200, freq="30min", tz="America/New_York").tz_localize(None)
LATE = pd.DatetimeIndex(["2800-01-01"], dtype="M8[us]")
HOURS_THEN_DAYS = HOURS.append(pd.date_range("2024-01-06 03:00", periods=6, freq="D"))
DAYS_THEN_MONTHS = pd.date_range("2020-01-01", periods=60, freq="D").append(pd.date_range("2020-04-01", periods=12, freq="MS"))
FORTNIGHT = pd.date_range("2024-01-01", periods=14, freq="D")
MONTHS = pd.date_range("2020-01-01", periods=9, freq="MS")
HOSTILE_STAMPS: list[tuple[str, pd.DatetimeIndex, str | None, list[str]]] = [
    ("duplicate", HOURS.insert(17, HOURS[16]), None, ["series 'a', row 17 (2024-01-01 16:00:00)", "same time as row 16", "repair=True"]),
    ("unsorted", HOURS[[0, 1, 3, 2, *range(4, 9)]], None, ["series 'a', row 3 (", "earlier", "sort_values(['unique_id', 'ds'])"]),
    ("off the grid", swap(HOURS, 33, "2024-01-02 09:07"), None, ["series 'a', row 33 (", "0 days 00:07:00 off the grid, hourly (h)"]),
    ("hours then days", HOURS_THEN_DAYS, None, ["series 'a', row 99 (", "6 rows are 1 days 00:00:00 apart", "two frequencies", "freq='h'"]),
    ("days then months", DAYS_THEN_MONTHS, None, ["row 60 (", "11 rows", "two frequencies"]),
    (
        "hours skipped",
        PARIS_SPRING,
        None,
        ["row 50 (2024-03-31 03:00:00)", "2024-03-31 02:00:00, is missing", "'Europe/Paris'"],
    ),
    ("hours repeated", PARIS_AUTUMN, None, ["row 51 (2024-10-27 02:00:00)", "tz_localize('Europe/Paris', ambiguous='infer')"]),
    ("half hours repeated", NEW_YORK_AUTUMN, None, ["row 100 (2024-11-03 01:00:00)", "(2 such rows)", "tz_localize('America/New_York'"]),
    ("another frequency", MONTHS, "M", ["row 0 (2020-01-01", "off the grid, monthly at the last day", "is that freq='MS'?"]),
    ("a weekend", FORTNIGHT, "B", ["row 5 (2024-01-06", "off the grid, every business day", "is that freq='D'?"]),
    ("mid-month", MONTHS + pd.Timedelta(days=14), None, ["row 0 (2020-01-15", "14 days", "(MS)"]),
    ("missing", HOURS.insert(5, pd.NaT), None, ["time column 'ds', row 5: no time stamp", "drop these rows"]),
    ("one row", HOURS[:1], None, ["no series has two rows", "freq='D'"]),
    ("none", HOURS[:0], None, ["no series has two rows"]),
    ("a stray stamp", HOURS.as_unit("us").append(LATE), None, ["row 100 (2800", "limit is 1,000,000", "drop a stray stamp"]),
]


@pytest.mark.parametrize(("stamps", "freq", "words"), [case[1:] for case in HOSTILE_STAMPS], ids=[case[0] for case in HOSTILE_STAMPS])
def test_hostile_stamps_are_named_with_row_and_remedy(frame_of: Make, stamps: pd.DatetimeIndex, freq: str | None, words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        read_frame(frame_of(stamps), freq=freq)
    for word in words:
        assert word in str(caught.value)


def hostile_frames() -> dict[str, tuple[pd.DataFrame, dict[str, Any], list[str]]]:
    plain = pd.DataFrame({"unique_id": "a", "ds": HOURS, "y": np.arange(100.0)})
    infinite = plain.assign(y=plain["y"].where(plain.index != 40, -np.inf))
    daily = pd.DataFrame({"unique_id": "b", "ds": pd.date_range("2024-01-01", periods=20, freq="D"), "y": 1.0})
    wide = plain.set_index("ds")[["y"]].rename(columns={"y": "north"}).assign(south=infinite["y"].to_numpy())
    days = pd.date_range("2024-01-01", periods=3, freq="D")
    return {
        "infinite": (infinite, {}, ["series 'a', row 40 (2024-01-02 16:00:00), column 'y': the value is infinite", "NaN"]),
        "infinite, wide": (wide, {"layout": "wide"}, ["series 'south', row 40 (", "infinite"]),
        "infinite, system": (wide, {"layout": "wide", "multivariate": True}, ["series 'series', row 40 (", "column 'south'"]),
        "two frequencies in a panel": (pd.concat([plain, daily]), {}, ["series 'b', row 100 (", "19 rows are 1 days 00:00:00 apart"]),
        "text among the columns": (plain.assign(note="x"), {}, ["column 'note' is not numeric", "'x'", "pd.to_numeric", "targets="]),
        "text as a target": (plain.assign(note="x"), {"targets": ["note"]}, ["column 'note' is not numeric"]),
        "stamps as a target": (plain.assign(when=HOURS), {}, ["column 'when' is not numeric"]),
        "complex": (plain.assign(y=plain["y"] * 1j), {}, ["column 'y' is not numeric", "complex"]),
        "integers beyond float64": (plain.assign(y=np.int64(2**60)), {}, ["column 'y', row 0", "beyond 2^53"]),
        "a target's typo": (plain.rename(columns={"y": "sales"}), {"targets": ["salse"]}, ["no column 'salse'; did you mean 'sales'?"]),
        "an id's typo": (plain, {"id": "unique-id"}, ["no column 'unique-id'; did you mean 'unique_id'?"]),
        "a time's typo": (plain, {"time": "dss"}, ["no time column 'dss'; did you mean 'ds'?", "time="]),
        "a layout's typo": (plain, {"layout": "lang"}, ["layout 'lang'", "'long'", "'wide'"]),
        "two roles": (plain, {"targets": ["y"], "past": ["y"]}, ["column 'y' is given two roles"]),
        "a column twice": (pd.concat([plain, plain[["y"]]], axis=1), {}, ["column 'y' appears twice"]),
        "no targets": (plain[["unique_id", "ds"]], {}, ["no target columns"]),
        "the paths' own name": (plain.rename(columns={"y": "path"}), {}, ["called 'path'", "rename"]),
        "missing ids": (plain.assign(unique_id=["a"] * 98 + [None] * 2), {}, ["id column 'unique_id', row 98: no id (2 such rows)"]),
        "ids in the index": (plain.set_index("unique_id"), {}, ["ids 'unique_id' are the frame's index", "reset_index()"]),
        "several levels": (plain.set_index(["unique_id", "ds"]), {}, ["several levels", "reset_index()"]),
        "numbers for times": (plain.assign(ds=range(100)), {}, ["time column 'ds' holds int64", "pd.to_datetime"]),
        "periods for times": (plain.assign(ds=HOURS.to_period("h")), {}, ["holds periods", "to_timestamp"]),
        "a word for a time": (pd.DataFrame({"ds": ["2024-01-01", "foo"], "y": 1.0}), {}, ["row 1: 'foo' is not an ISO 8601 time stamp"]),
        "day or month": (pd.DataFrame({"ds": ["01/02/2024", "02/02/2024"], "y": 1.0}), {}, ["'%m/%d/%Y' or '%d/%m/%Y'", "no row decides"]),
        "some offsets": (pd.DataFrame({"ds": ["2024-01-01 00:00Z", "2024-01-01 01:00"], "y": 1.0}), {}, ["row 1", "no offset from UTC"]),
        "some zones": (
            pd.DataFrame({"ds": [days[0], days[1].tz_localize("UTC")], "y": 1.0}),
            {},
            ["not time stamps of one kind", "utc=True"],
        ),
        "a wide frame without times": (wide.reset_index(drop=True), {"layout": "wide"}, ["the index holds no time stamps"]),
        "static of no column": (plain, {"targets": ["z"], "static": ["y"]}, ["no column 'z'"]),
        "several series without ids": (
            pd.concat([plain, plain]).drop(columns="unique_id"),
            {},
            ["same time as row", "if the frame holds several series, name the column of their ids with id="],
        ),
    }


@pytest.mark.parametrize("name", hostile_frames())
def test_hostile_frames_are_named_with_place_and_remedy(name: str) -> None:
    frame, options, words = hostile_frames()[name]
    with pytest.raises(UserError) as caught:
        read_frame(frame, **options)
    for word in words:
        assert word in str(caught.value)


def test_a_static_column_that_varies_is_named(frame_of: Make) -> None:
    frame = frame_of(HOURS, area=[1.0] * 70 + [2.0] * 30)
    with pytest.raises(UserError, match=r"series 'a', row 70 \(.*static column 'area': 2.0 here but 1.0 before"):
        read_frame(frame, static=["area"])


def test_short_empty_missing_and_constant_series_are_series(frame_of: Make) -> None:
    """What they allow to say is the models' business."""
    assert len(read_frame(frame_of(HOURS[:1]), freq="h").series[0]) == 1
    empty = read_frame(frame_of(HOURS[:0]), freq="h")
    assert len(empty) == 0
    pd.testing.assert_frame_equal(empty.to_frame(), frame_of(HOURS[:0]), check_dtype=False)
    assert np.isnan(read_frame(frame_of(HOURS, y=np.nan)).series[0].values).all()
    assert np.ptp(read_frame(frame_of(HOURS, y=3)).series[0].values) == 0


def test_months_and_weekends_are_gaps_where_the_frequency_is_given(frame_of: Make) -> None:
    """A given frequency is believed: the rows between are missing."""
    panel = read_frame(frame_of(HOURS.append(pd.date_range("2024-01-06 03:00", periods=6, freq="D"))), freq="h")
    assert np.isnan(panel.series[0].values).sum() == 6 * 23


def test_a_missing_hour_is_a_missing_hour(frame_of: Make) -> None:
    """Only where clocks skip one, only in naive time, and only when hours are rarely missing, does it look like local time."""
    stamps = pd.date_range("2024-03-25", periods=240, freq="h")
    skipped = pd.Timestamp("2024-03-31 02:00")
    for other in (stamps.drop(stamps[77]), stamps.tz_localize("UTC").drop(skipped.tz_localize("UTC"))):
        assert np.isnan(read_frame(frame_of(other)).series[0].values).sum() == 1
    often = stamps.delete(range(4, 240, 5))
    assert read_frame(frame_of(often[often != skipped])).frequency.name == "h"
    both = pd.concat([frame_of(stamps[stamps != skipped]), frame_of(stamps).assign(unique_id="b")])
    assert len(read_frame(both)) == 2  # series b has the hour: nobody's clock skipped it


# -- repair -----------------------------------------------------------------------------------------------------------------


def test_repair_sorts_and_keeps_the_last_of_repeated_rows(frame_of: Make) -> None:
    frame = frame_of(HOURS[[0, 2, 1, 1, 3]])
    panel = read_frame(frame, repair=True)
    np.testing.assert_array_equal(panel.series[0].values[:, 0], [0, 3, 1, 4])
    assert panel.repairs == (
        "series whose rows were sorted by time: 1",
        "rows with a repeated stamp dropped, the last kept: 1 (series 'a': 1)",
    )
    assert "repaired: rows with a repeated stamp" in panel.describe()


def test_repair_moves_stamps_by_half_a_step_at_most(frame_of: Make) -> None:
    panel = read_frame(frame_of(swap(HOURS, 33, "2024-01-02 08:31")), repair=True)
    assert panel.repairs == ("stamps moved to their steps, by at most 0 days 00:29:00: 1 (series 'a': 1)",)
    np.testing.assert_array_equal(panel.series[0].values[:, 0], np.arange(100.0))
    with pytest.raises(UserError, match=r"series 'a', row 33 .*the step that row 32 .*has too"):
        read_frame(frame_of(swap(HOURS, 33, "2024-01-02 08:29")), repair=True)
    with pytest.raises(UserError, match=r"row 5 \(2024-01-06.*more than half a step"):
        read_frame(frame_of(pd.date_range("2024-01-01", periods=14, freq="D")), freq="B", repair=True)


def test_repair_takes_stamps_of_any_moment_to_their_day_and_month(frame_of: Make) -> None:
    rng = np.random.default_rng(0)
    days = pd.date_range("2024-01-01", periods=60, freq="D")
    panel = read_frame(frame_of(days + pd.to_timedelta(rng.integers(3600, 86_000, 60), unit="s")), repair=True)
    np.testing.assert_array_equal(panel.stamps(0, 0, 60), days)
    months = pd.date_range("2020-01-01", periods=9, freq="MS")
    for name, stamps in (("MS", months), ("ME", months + pd.offsets.MonthEnd(1))):
        moved = read_frame(frame_of(months + pd.Timedelta(days=19)), freq=name, repair=True)
        np.testing.assert_array_equal(moved.stamps(0, 0, 9), stamps)


def test_repair_reports_local_time_that_it_takes_as_it_is(frame_of: Make) -> None:
    panel = read_frame(frame_of(PARIS_SPRING), repair=True)
    assert list(np.flatnonzero(np.isnan(panel.series[0].values))) == [50]
    assert "lack the hours that clocks skip in Europe/Paris" in panel.repairs[0]
    assert read_frame(frame_of(PARIS_AUTUMN), repair=True).repairs == (
        "rows with a repeated stamp dropped, the last kept: 1 (series 'a': 1)",
    )


def test_repair_does_not_touch_what_is_right(frame_of: Make) -> None:
    frame = frame_of(HOURS)
    assert read_frame(frame, repair=True).repairs == ()
    pd.testing.assert_frame_equal(read_frame(frame, repair=True).to_frame(), frame)


# -- bounds -----------------------------------------------------------------------------------------------------------------


def test_grids_that_explode_are_refused_at_once_with_flat_memory() -> None:
    many = [
        pd.DataFrame({"unique_id": k, "ds": pd.DatetimeIndex(["2020-01-01 00:00", "2020-01-01 00:01", "2021-10-01"]), "y": 1.0})
        for k in range(50)
    ]
    frame = pd.concat(many)
    tracemalloc.start()
    with pytest.raises(UserError, match=r"150 rows become 46,008,050, .*the limit is 10,000,000"):
        read_frame(frame)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 * 2**20


def test_too_many_values_are_refused(monkeypatch: pytest.MonkeyPatch, frame_of: Make) -> None:
    monkeypatch.setattr(frames, "MAX_CELLS", 199)
    assert len(read_frame(frame_of(HOURS))) == 1
    with pytest.raises(UserError, match=r"100 rows of 2 columns are over the limit of 199 values"):
        read_frame(frame_of(HOURS, z=1.0))


# -- panels -----------------------------------------------------------------------------------------------------------------


def test_a_panel_tells_what_it_holds(frame_of: Make) -> None:
    frame = pd.concat([frame_of(HOURS).drop(index=[4, 5]), frame_of(HOURS[:10]).assign(unique_id="b")])
    panel = read_frame(frame)
    assert panel.describe().splitlines() == [
        "2 series of 10 to 100 steps, 1 channel",
        "frequency: hourly (h), inferred: 105 of 106 gaps are one step",
        "missing: 2 of 110 values (1.8%)",
    ]


def test_stamps_windows_and_the_past_of_a_panel(frame_of: Make) -> None:
    panel = read_frame(frame_of(pd.date_range("2024-01-31", periods=5, freq="ME"), holiday=[0.0, 1, 2, 3, 4]), future=["holiday"])
    assert list(panel.stamps(0, 4, 7).strftime("%Y-%m-%d")) == ["2024-05-31", "2024-06-30", "2024-07-31"]
    assert panel.stamps(panel.series[0], -1, 0)[0] == pd.Timestamp("2023-12-31")
    np.testing.assert_array_equal(panel.series[0].window(-1, 2)[:, 0], [np.nan, 0, 1])
    np.testing.assert_array_equal(panel.series[0].window(4, 7)[:, 0], [4, np.nan, np.nan])
    past = panel.until(2)
    np.testing.assert_array_equal(past.series[0].values[:, 0], [0, 1, 2])
    np.testing.assert_array_equal(past.series[0].future[:, 0], [0, 1, 2, 3, 4])
    assert len(panel.until(99).series[0]) == 0
    with pytest.raises(UserError, match="steps_back = -1"):
        panel.until(-1)
    begin = time.perf_counter()
    with pytest.raises(UserError, match=r"1,000,000,000 steps .*limit is 1,000,000"):
        panel.stamps(0, 0, 10**9)
    assert time.perf_counter() - begin < 5  # refused, not computed


# -- files ------------------------------------------------------------------------------------------------------------------


def test_a_file_nobody_prepared(tmp_path: Path) -> None:
    """Other names, semicolons, decimal commas, local time with its offsets across a change of the clock, a missing row."""
    stamps = pd.date_range("2024-03-30", periods=72, freq="h", tz="Europe/Paris")
    lines = [f"007;{stamp.isoformat()};{k},5" for k, stamp in enumerate(stamps) if k != 30]
    path = tmp_path / "load.csv"
    path.write_text("\n".join(["meter;when;load", *lines]), encoding="utf-8")
    frame = read_csv(path, id="meter", time="when", sep=";", decimal=",")
    panel = read_frame(frame, id="meter", time="when")
    assert panel.ids == ("007",)
    assert panel.frequency.name == "h"
    np.testing.assert_array_equal(panel.series[0].values[:, 0], np.where(np.arange(72) == 30, np.nan, np.arange(72) + 0.5))
    np.testing.assert_array_equal(panel.stamps(0, 0, 72), stamps.tz_convert("UTC"))


def test_a_csv_file_comes_back(tmp_path: Path, frame_of: Make) -> None:
    frame = frame_of(HOURS).astype({"unique_id": "str"})
    frame.loc[3, "y"] = np.nan
    frame.to_csv(tmp_path / "data.csv", index=False)
    pd.testing.assert_frame_equal(read_frame(read_csv(tmp_path / "data.csv")).to_frame(), frame, check_dtype=False)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "the file is empty"),
        ("unique_id,ds,y\na,2024-01-01,1\n,2024-01-02,1\n", {}, r"id column 'unique_id', row 1: no id"),
        ("unique_id,date,y\na,2024-01-01,1\n", {"time": "dat"}, r"no time column 'dat'; did you mean 'date'\?.*time="),
        ("ds,y\n2024-01-01,1\n2024-01-02,2\nsoon,3\n", {}, r"data.csv: time column 'ds', row 2: 'soon' is not an ISO 8601"),
        ("ds,y\n2024-01-01,1\n2024-02-30,2\n", {}, r"row 1: '2024-02-30' is not"),
        ("ds,y\n2024-01-01,1\n,2\n", {}, r"row 1: no time stamp"),
        ("ds,y\n03/04/2024,1\n", {}, r"'%m/%d/%Y' or '%d/%m/%Y'.*time_format="),
        ("ds,y\n1999,1\n2000,2\n", {}, r"holds int64.*time_format='%Y'"),
        ('ds,y\n2024-01-01,"1\n', {}, r"not CSV"),
        ("ds,y\n2024-01-01,1,9\n2024-01-02,2,9\n", {}, r"more cells than the header has names \('ds', 'y'\)"),
        ("ds,y\n2024-01-01,1\n2024-01-01,1,2,3,4\n", {}, r"not CSV.*sep="),
    ],
)
def test_files_that_cannot_be_read_say_where_and_why(tmp_path: Path, text: str, options: dict[str, Any], message: str) -> None:
    path = tmp_path / "data.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        read_csv(path, **options)


def test_dates_in_other_orders(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("ds,y\n03/04/2024,1\n13/04/2024,2\n", encoding="utf-8")  # the second row decides
    assert list(read_csv(path)["ds"]) == [pd.Timestamp("2024-04-03"), pd.Timestamp("2024-04-13")]
    path.write_text("ds,y\n03/04/2024,1\n", encoding="utf-8")
    assert read_csv(path, time_format="%m/%d/%Y")["ds"][0] == pd.Timestamp("2024-03-04")
    path.write_text("ds,y\n1999,1\n2000,2\n", encoding="utf-8")
    assert read_csv(path, time_format="%Y")["ds"][1] == pd.Timestamp("2000-01-01")


def test_ids_are_the_text_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("unique_id,ds,y\nNA,2024-01-01,1\n007,2024-01-01,NA\n", encoding="utf-8")
    frame = read_csv(path)
    assert list(frame["unique_id"]) == ["NA", "007"]
    assert np.isnan(frame["y"][1])


def test_files_too_large_packed_missing_or_not_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "data.csv"
    with path.open("wb") as file:
        file.truncate(2**30 + 1)  # sparse: it takes no room
    with pytest.raises(UserError, match=r"1\.0 GiB is over the limit of 1 GiB"):
        read_csv(path)
    with pytest.raises(UserError, match="no such file"):
        read_csv(tmp_path / "other.csv")
    with pytest.raises(UserError, match="not a file"):
        read_csv(tmp_path)
    (tmp_path / "data.csv.gz").write_bytes(b"\x1f\x8b")
    with pytest.raises(UserError, match="unpack it first"):
        read_csv(tmp_path / "data.csv.gz")
    path.write_bytes("ds,y\n2024-01-01,é\n".encode("latin-1"))
    with pytest.raises(UserError, match="not UTF-8"):
        read_csv(path)
    path.write_text("ds,y\n" + "2024-01-01,1\n" * 4, encoding="utf-8")
    monkeypatch.setattr(tables, "MAX_ROWS", 3)
    with pytest.raises(UserError, match="more than 3 rows"):
        read_csv(path)
