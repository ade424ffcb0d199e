"""Readers of the literature's data sets: exact round trips of the packed form, damaged files, and (with SCIDIFF_DATA) the real ones."""

from __future__ import annotations

import io
import json
import lzma
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from scidiff.errors import UserError
from scidiff_timeseries import literature, packed
from scidiff_timeseries.baselines import RandomWalk, SeasonalBootstrap, SeasonalNaive
from scidiff_timeseries.metrics import coverage, wql

needs_data = pytest.mark.skipif(not os.environ.get("SCIDIFF_DATA"), reason="needs SCIDIFF_DATA, the folder of the literature's data sets")


def planes(values: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Zig-zag code in eight byte planes."""
    code = ((values << 1) ^ (values >> 63)).astype("<i8").view(np.uint8).reshape(-1, 8)
    return np.ascontiguousarray(code.T)


def characters(text: str) -> NDArray[np.uint8]:
    return np.frombuffer(text.encode(), dtype=np.uint8)


def write(path: Path, arrays: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    path.write_bytes(lzma.compress(stream.getvalue()))


def packed_table(units: NDArray[np.int64], hidden: NDArray[np.bool_] | None = None) -> dict[str, Any]:
    deltas = np.diff(units, axis=0, prepend=0)
    arrays = {"planes": planes(deltas.T.ravel()), "decimals": np.full(units.shape[1], 2, np.int8), "shape": np.array(units.shape)}
    return arrays if hidden is None else arrays | {"nan": np.packbits(hidden.T.ravel())}


# the packed form


@given(st.lists(st.integers(-(2**62), 2**62), min_size=1))
def test_integers_come_back(values: list[int]) -> None:
    array = np.array(values, dtype=np.int64)
    assert np.array_equal(packed.integers(planes(array)), array)


def test_zig_zag_by_hand() -> None:
    code = np.array([[0, 1, 2, 3, 255, 0], [0, 0, 0, 0, 0, 1]], dtype=np.uint8)  # 0, 1, 2, 3, 255, 256
    assert packed.integers(code).tolist() == [0, -1, 1, -2, -128, 128]


@given(st.lists(st.lists(st.integers(-1000, 1000), max_size=4), min_size=1, max_size=5))
def test_runs_are_summed_apart(runs: list[list[int]]) -> None:
    flat = np.array([value for run in runs for value in run], dtype=np.int64)
    expected = [value for run in runs for value in np.cumsum(run, dtype=np.int64).tolist()]
    assert packed.run_sums(flat, np.array([len(run) for run in runs])).tolist() == expected


def test_tables_come_back_with_their_missing_values() -> None:
    units = np.array([[1, -5], [100, 7], [3, 250]])
    hidden = np.array([[False, True], [False, False], [True, False]])
    expected = np.where(hidden, np.nan, units / 100)
    assert np.array_equal(packed.table(packed_table(units, hidden)), expected, equal_nan=True)


# damaged and missing files


def test_a_missing_folder_names_both_ways_to_give_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SCIDIFF_DATA", raising=False)
    with pytest.raises(UserError, match=r"--data-root or SCIDIFF_DATA"):
        literature.m4_hourly()
    with pytest.raises(UserError, match=r"--data-root names .*nowhere"):
        literature.m4_hourly(tmp_path / "nowhere")
    monkeypatch.setenv("SCIDIFF_DATA", str(tmp_path / "gone"))
    with pytest.raises(UserError, match=r"SCIDIFF_DATA names .*gone"):
        literature.m4_hourly()
    for reader in (literature.exchange_rate, literature.m4_hourly, literature.beijing_air, literature.sp500, literature.physionet2012):
        with pytest.raises(UserError, match=r"is missing; --data-root \(or SCIDIFF_DATA\)"):
            reader(tmp_path)


def test_damaged_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "m4" / "m4_hourly.npz.xz"
    write(path, {"ids": characters("a")})
    with pytest.raises(UserError, match=r"m4_hourly.*does not hold what it should"):
        literature.m4_hourly(tmp_path)
    whole = path.read_bytes()
    for content in (whole[:-20], b"no xz at all", lzma.compress(b"no npz"), whole[:30] + bytes([whole[30] ^ 255]) + whole[31:]):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"m4_hourly.*cannot be read"):
            literature.m4_hourly(tmp_path)


def test_pickled_objects_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "evil.npz.xz"
    write(path, {"a": np.array([{"x": 1}], dtype=object)})
    with pytest.raises(UserError, match="cannot be read"):
        packed.load(path)


def test_a_bomb_is_refused_at_the_cap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "LARGEST", 50_000)
    path = tmp_path / "bomb.npz.xz"
    write(path, {"a": np.zeros(100_000)})
    with pytest.raises(UserError, match="unpacks to more than 50000"):
        packed.load(path)
    stream = io.BytesIO()
    np.savez_compressed(stream, a=np.zeros(100_000))  # small in the stream, large in the archive
    path.write_bytes(lzma.compress(stream.getvalue()))
    with pytest.raises(UserError, match="declares more than 50000"):
        packed.load(path)


# readers on small files of the same form


def test_exchange_windows_follow_the_split(tmp_path: Path) -> None:
    units = np.arange(40).reshape(20, 2) ** 2
    folder = tmp_path / "exchange_rate"
    write(folder / "exchange_rate_1990_2016.npz.xz", packed_table(units) | {"columns": characters("A\nB")})
    split = {"freq": "B", "start": "1990-01-01 00:00:00", "train_len": 8, "test_lengths": [11, 14, 17], "prediction_length": 3}
    (folder / "gluonts_split.json").write_text(json.dumps(split))
    found = literature.exchange_rate(tmp_path)
    assert (found.names, str(found.start), found.frequency, found.horizon, found.rolls) == (("A", "B"), "1990-01-01", "B", 3, 3)
    for left, window in enumerate(found.windows()):
        end = 8 + 3 * left
        assert np.array_equal(np.stack(window.histories, axis=1), units[:end] / 100)
        assert np.array_equal(window.truth, units[end : end + 3].T / 100)
    assert np.array_equal(np.stack(found.train(), axis=1), units[:8] / 100)
    (folder / "gluonts_split.json").write_text(json.dumps(split | {"test_lengths": [11, 15]}))
    with pytest.raises(UserError, match="do not follow"):
        literature.exchange_rate(tmp_path)
    (folder / "gluonts_split.json").write_text(json.dumps(split | {"test_lengths": [11, 14, 17, 20, 23]}))
    with pytest.raises(UserError, match="20 rows, the windows need 23"):
        literature.exchange_rate(tmp_path)


def test_ragged_series_keep_their_lengths(tmp_path: Path) -> None:
    series = [np.array([10, 12, 9, 9]), np.array([5, -5, 0, 7, 7])]
    arrays = {
        "ids": characters("H1\nH2"),
        "length": np.array([4, 5], np.int32),
        "planes": planes(np.concatenate([np.diff(s, prepend=0) for s in series])),
        "decimals": np.array([1]),
        "horizon": np.array([2]),
    }
    write(tmp_path / "m4" / "m4_hourly.npz.xz", arrays)
    found = literature.m4_hourly(tmp_path)
    (window,) = found.windows()
    assert [h.tolist() for h in window.histories] == [[1.0, 1.2], [0.5, -0.5, 0.0]]
    assert window.truth.tolist() == [[0.9, 0.9], [0.7, 0.7]]


def test_air_is_split_into_stations_and_variables(tmp_path: Path) -> None:
    units = np.arange(12).reshape(3, 4)
    arrays = packed_table(units) | {
        "columns": characters("Here|PM\nHere|T\nThere|PM\nThere|T"),
        "start": characters("2013-03-01 00:00:00"),
        "wd": np.array([[0, 1, 255], [1, 0, 0]], np.uint8),
        "wd_names": characters("E\nN"),
    }
    write(tmp_path / "beijing_air" / "beijing_air.npz.xz", arrays)
    found = literature.beijing_air(tmp_path)
    assert (found.stations, found.variables, found.wind_names) == (("Here", "There"), ("PM", "T"), ("E", "N"))
    assert found.values.tolist() == (units / 100).reshape(3, 2, 2).tolist()
    assert found.wind.tolist() == [[0, 1], [1, 0], [-1, 0]]
    assert str(found.stamps[-1]) == "2013-03-01T02"
    write(tmp_path / "beijing_air" / "beijing_air.npz.xz", arrays | {"columns": characters("Here|PM\nHere|T\nThere|T\nThere|PM")})
    with pytest.raises(UserError, match="every variable of every station"):
        literature.beijing_air(tmp_path)


def test_icu_stays_and_their_hourly_grid(tmp_path: Path) -> None:
    # HR of patient 7: minutes 0, 30, 61 and 2880; of patient 9: none. pH of 7: none; of 9: minute 59
    arrays = {
        "patient": np.array([7, 9]),
        "params": characters("HR\npH"),
        "outcomes": np.zeros((2, 5), np.int32),
        "set_b": np.array([False, True]),
        "counts": planes(np.array([4, 0, 0, 1])),
        "dminute": planes(np.array([0, 30, 31, 2819, 59])),
        "dvalue": planes(np.array([80, 5, -15, 20, 740])),
        "decimals": np.array([0, 2]),
    }
    write(tmp_path / "physionet2012" / "physionet2012_ab.npz.xz", arrays)
    found = literature.physionet2012(tmp_path)
    assert found.minute.tolist() == [0, 30, 61, 2880, 59]
    assert found.value.tolist() == [80, 85, 70, 90, 7.4]
    assert (found.patient.tolist(), found.parameter.tolist()) == ([0, 0, 0, 0, 1], [0, 0, 0, 0, 1])
    grid = found.hourly(("pH", "HR"))
    assert grid.shape == (2, 48, 2)
    expected = np.full((2, 48, 2), np.nan)
    expected[0, 0, 1], expected[0, 1, 1], expected[1, 0, 0] = 85, 70, 7.4  # the last of each hour; minute 2880 is hour 49
    assert np.array_equal(grid, expected, equal_nan=True)
    with pytest.raises(UserError, match="no such parameters: XX"):
        found.hourly(("XX",))


# the real files


@needs_data
def test_exchange_and_its_published_and_measured_baselines() -> None:
    found = literature.exchange_rate()
    assert [len(values) for values in found.train()] == [6071] * 8
    windows = list(found.windows())
    assert [len(window.histories[0]) for window in windows] == [6071, 6101, 6131, 6161, 6191]
    assert found.series[0][:3].tolist() == [0.7855, 0.7818, 0.7867]
    truth = np.stack([window.truth for window in windows])
    point = np.stack([SeasonalNaive(5)(window.histories, 30, 100, 0) for window in windows])
    assert round(wql(point, truth), 3) == 0.011
    walk = np.stack([RandomWalk(decay=0.95)(window.histories, 30, 2000, r) for r, window in enumerate(windows)])
    assert 0.0068 <= wql(walk, truth) <= 0.0072
    assert 0.86 <= coverage(walk, truth, 0.9) <= 0.90


@needs_data
def test_m4_and_its_published_and_measured_baselines() -> None:
    found = literature.m4_hourly()
    assert len(found.series) == 414
    assert {len(values) for values in found.series} == {748, 1008}
    (window,) = found.windows()
    assert round(wql(SeasonalNaive(24)(window.histories, 48, 1, 0), window.truth), 3) == 0.048
    assert wql(SeasonalBootstrap((24, 168))(window.histories, 48, 200, 0), window.truth) == pytest.approx(0.0340, abs=0.0012)


@needs_data
def test_air_stays_and_stocks_are_whole() -> None:
    air = literature.beijing_air()
    assert air.values.shape == (35064, 12, 11)
    assert np.isnan(air.values).mean() == pytest.approx(0.0156, abs=1e-4)
    assert (str(air.stamps[-1]), int((air.wind < 0).sum())) == ("2017-02-28T23", 1822)
    stocks = literature.sp500()
    assert stocks.values.shape == (1259, 488)
    assert (str(stocks.stamps[0]), str(stocks.stamps[-1])) == ("2016-04-21", "2021-04-21")
    assert np.exp(stocks.values[0, stocks.names.index("A")]) == pytest.approx(40.1234, abs=1e-3)
    stays = literature.physionet2012()
    assert (len(stays.patients), len(stays.value), int(stays.set_b.sum())) == (8000, 3_293_708, 4000)
    assert np.isnan(stays.hourly()[~stays.set_b]).mean() == pytest.approx(0.816, abs=1e-3)
