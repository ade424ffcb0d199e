"""Sample paths: quantiles as numpy's, functionals by hand, a frame that stays one, files without formulas, fan charts."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_hex
from matplotlib.dates import date2num
from matplotlib.figure import Figure

from scidiff.errors import UserError
from scidiff_timeseries.panel import Panel, read_frame
from scidiff_timeseries.paths import SamplePaths
from scidiff_timeseries.tables import neutral, write_csv

DAYS = pd.date_range("2024-01-01", periods=4, freq="D")


def panel_of(ids: list[Any], channels: list[str], length: int = 4, tz: str | None = None) -> Panel:
    stamps = pd.date_range("2024-01-01", periods=length, freq="D", tz=tz)
    parts = [pd.DataFrame({"unique_id": one, "ds": stamps, **{name: np.arange(length, dtype=float) for name in channels}}) for one in ids]
    return read_frame(pd.concat(parts, ignore_index=True))


@pytest.fixture
def two() -> SamplePaths:
    """One series, two paths of three days, two channels; small enough for a head."""
    array = [[[[1, 10], [4, 20], [2, 40]], [[3, 8], [0, 4], [5, 6]]]]
    return SamplePaths.from_array(np.array(array, dtype=float), panel_of(["a"], ["x", "y"]))


def test_the_frame_of_paths(two: SamplePaths) -> None:
    expected = pd.DataFrame(
        {
            "unique_id": ["a"] * 6,
            "ds": pd.DatetimeIndex(["2024-01-05", "2024-01-06", "2024-01-07"] * 2).as_unit(pd.DatetimeIndex(two["ds"]).unit),
            "path": np.array([0, 0, 0, 1, 1, 1]),
            "x": [1.0, 4, 2, 3, 0, 5],
            "y": [10.0, 20, 40, 8, 4, 6],
        }
    )
    pd.testing.assert_frame_equal(pd.DataFrame(two), expected)
    assert (two.id_column, two.time_column, two.channels, two.frequency.name, two.ids) == ("unique_id", "ds", ("x", "y"), "D", ["a"])


@pytest.mark.parametrize(
    ("functional", "x", "y"),
    [
        (SamplePaths.total, [7, 8], [70, 18]),
        (SamplePaths.maximum, [4, 5], [40, 8]),
        (SamplePaths.minimum, [1, 0], [10, 4]),
        (SamplePaths.drawdown, [2, 3], [0, 4]),
        (lambda paths: paths.drawdown(relative=True), [1 / 2, 1], [0, 1 / 2]),
        (lambda paths: paths.functional(lambda path: path[-1] - path[0]), [1, 2], [30, -2]),
    ],
)
def test_functionals_of_whole_paths_by_hand(two: SamplePaths, functional: Any, x: list[float], y: list[float]) -> None:
    expected = pd.DataFrame({"unique_id": ["a", "a"], "path": [0, 1], "x": np.array(x, dtype=float), "y": np.array(y, dtype=float)})
    pd.testing.assert_frame_equal(functional(two), expected)


def test_a_functional_across_channels_is_one_number_a_path(two: SamplePaths) -> None:
    spread = two.functional(lambda path: (path[:, 1] - path[:, 0]).max(), name="spread")
    pd.testing.assert_frame_equal(spread, pd.DataFrame({"unique_id": ["a", "a"], "path": [0, 1], "spread": [38.0, 5.0]}))
    with pytest.raises(UserError, match=r"array of shape \(3,\).*one for each of 2 channels"):
        two.functional(lambda path: path[:, 0])


def test_a_relative_drawdown_needs_positive_paths(two: SamplePaths) -> None:
    low = two.assign(x=two["x"] - 3)
    with pytest.raises(UserError, match=r"start above 0; take the absolute one"):
        low.drawdown(relative=True)
    assert list(low.drawdown()["x"]) == [2, 3]


def test_mean_quantiles_and_intervals_by_hand(two: SamplePaths) -> None:
    assert list(two.mean_path()["x"]) == [2, 2, 3.5]
    quantiles = two.quantiles((0.25, 0.5))
    assert list(quantiles.columns) == ["unique_id", "ds", "x-q-0.25", "x-q-0.5", "y-q-0.25", "y-q-0.5"]
    assert quantiles["y-q-0.25"].tolist() == [8.5, 8, 14.5]
    intervals = two.intervals((0.5, 0.9))
    names = [f"{channel}-{side}-{level}" for channel in "xy" for level in (50, 90) for side in ("lo", "hi")]
    assert list(intervals.columns) == ["unique_id", "ds", *names]
    np.testing.assert_allclose(intervals[["x-lo-50", "x-hi-50", "x-lo-90", "x-hi-90"]].iloc[0], [1.5, 2.5, 1.1, 2.9], rtol=1e-15)
    for summary in (two.total(), quantiles, intervals):
        assert type(summary) is pd.DataFrame
        assert summary.attrs == {}


@settings(max_examples=25)
@given(
    n_series=st.integers(1, 3),
    n_paths=st.integers(1, 7),
    lengths=st.lists(st.integers(1, 5), min_size=3, max_size=3),
    n_channels=st.integers(1, 3),
    seed=st.integers(0, 2**32),
)
def test_arrays_come_back_and_quantiles_are_numpys(n_series: int, n_paths: int, lengths: list[int], n_channels: int, seed: int) -> None:
    """Whatever the order of the rows, with series of different numbers of times."""
    rng = np.random.default_rng(seed)
    panel = panel_of([f"s{k}" for k in range(n_series)], [f"y{k}" for k in range(n_channels)])
    blocks = [rng.normal(size=(n_paths, length, n_channels)) for length in lengths[:n_series]]
    paths = SamplePaths.from_array(blocks, panel)
    array = paths.to_array()
    for k, block in enumerate(blocks):
        np.testing.assert_array_equal(array[k, :, : block.shape[1]], block)
        assert np.isnan(array[k, :, block.shape[1] :]).all()
    shuffled = paths.iloc[rng.permutation(len(paths))]
    by_id = dict(zip(shuffled.ids, shuffled.to_array(), strict=True))
    np.testing.assert_array_equal(np.stack([by_id[one] for one in paths.ids]), array)
    quantiles = paths.quantiles((0.05, 0.5))
    expected = np.concatenate([np.quantile(block, (0.05, 0.5), axis=0).transpose(1, 2, 0).reshape(block.shape[1], -1) for block in blocks])
    np.testing.assert_array_equal(quantiles.iloc[:, 2:].to_numpy(), expected)


def test_a_univariate_array_of_three_axes_and_any_beginning() -> None:
    panel = panel_of(["a", "b"], ["y"])
    array = np.arange(12.0).reshape(2, 3, 2)
    paths = SamplePaths.from_array(array, panel, begin=[0, -1])
    np.testing.assert_array_equal(paths.to_array()[..., 0], array)
    first = paths.groupby("unique_id")["ds"].min()
    assert list(first) == [pd.Timestamp("2024-01-01"), pd.Timestamp("2023-12-31")]


def test_paths_keep_names_dtypes_and_time_zone() -> None:
    frame = pd.DataFrame(
        {
            "shop": pd.Series([7] * 48, dtype="int16"),
            "hour": pd.date_range("2024-10-26 00:00", periods=48, freq="h", tz="Europe/Paris"),
            "sales": 1.0,
        }
    )
    paths = SamplePaths.from_array(np.zeros((1, 2, 3)), read_frame(frame, id="shop", time="hour"))
    assert list(paths.columns) == ["shop", "hour", "path", "sales"]
    assert paths["shop"].dtype == np.int16
    assert paths["hour"].dtype == frame["hour"].dtype
    assert paths["hour"].iloc[0] == frame["hour"].iloc[-1] + pd.Timedelta(hours=1)


@pytest.mark.parametrize(
    ("array", "begin", "message"),
    [
        (np.zeros((1, 2, 3)), None, r"paths of 1 series .* panel of 2"),
        (np.zeros((2, 2, 3, 2)), None, r"series 'a': paths of shape \(2, 3, 2\); \[path, time, 1 channels\] is needed"),
        (np.zeros((2, 2)), None, r"series 'a': paths of shape \(2,\)"),
        (np.array([[[0.0]], [[np.nan]]]), None, r"series 'b': its paths are not finite"),
        (np.array([[[np.inf]], [[0.0]]]), None, r"series 'a': its paths are not finite"),
        (np.zeros((2, 2, 3)), [1], r"begin has 1 steps for a panel of 2"),
    ],
)
def test_arrays_that_are_no_paths_of_the_panel(array: np.ndarray, begin: list[int] | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        SamplePaths.from_array(array, panel_of(["a", "b"], ["y"]), begin=begin)


# -- a DataFrame ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "operate",
    [
        lambda paths: paths.copy(),
        lambda paths: paths[paths["path"] < 2],
        lambda paths: paths.sort_values("x", ascending=False),
        lambda paths: paths.reset_index(drop=True).iloc[::-1],
        lambda paths: paths.assign(x=paths["x"] * 1.0),
        lambda paths: paths.astype({"path": "int32"}),
        lambda paths: pd.concat([paths[paths["path"] == 0], paths[paths["path"] == 1]]),
        lambda paths: SamplePaths(paths),
    ],
)
def test_operations_that_keep_paths_keep_the_methods(two: SamplePaths, operate: Any) -> None:
    same = operate(two)
    assert type(same) is SamplePaths
    np.testing.assert_array_equal(same.to_array(), two.to_array())
    pd.testing.assert_frame_equal(same.total(), two.total(), check_dtype=False)


def test_what_is_no_set_of_paths_any_more_says_so(two: SamplePaths) -> None:
    with pytest.raises(UserError, match="lack their column 'path'"):
        two.drop(columns="path").total()
    with pytest.raises(UserError, match="lack their column 'y'"):
        two[["unique_id", "ds", "path", "x"]].quantiles()
    merged = two.merge(pd.DataFrame({"unique_id": ["a"], "region": ["north"]}))
    with pytest.raises(UserError, match=r"no sample paths any more.*attrs\.update"):
        merged.total()
    merged.attrs.update(two.attrs)
    pd.testing.assert_frame_equal(merged.total(), two.total())
    with pytest.raises(UserError, match=r"series 'a': a path lacks a time that another has"):
        two.iloc[:-1].total()
    with pytest.raises(UserError, match=r"series 'a': a path lacks a time"):
        two.drop(index=[0, 5]).total()
    with pytest.raises(UserError, match=r"series 'a': a path .*has it twice"):
        pd.concat([two, two]).total()


def test_series_with_different_numbers_of_paths_make_no_array() -> None:
    paths = SamplePaths.from_array([np.zeros((2, 3, 1)), np.zeros((4, 3, 1))], panel_of(["a", "b"], ["y"]))
    assert len(paths.total()) == 6
    with pytest.raises(UserError, match=r"different numbers of paths \(\[2, 4\]\)"):
        paths.to_array()
    assert paths.select("b").to_array().shape == (1, 4, 3, 1)
    with pytest.raises(UserError, match=r"no series 'c'.*hold 'a', 'b'"):
        paths.select("c")


def test_a_level_is_a_share(two: SamplePaths) -> None:
    for summarise in (two.quantiles, two.intervals):
        with pytest.raises(UserError, match=r"level 90 is no share.*0\.9 for 90 %"):
            summarise((90,))


def test_no_series_have_no_paths() -> None:
    empty = read_frame(pd.DataFrame({"unique_id": [], "ds": pd.DatetimeIndex([]), "y": []}), freq="D")
    paths = SamplePaths.from_array(np.zeros((0, 5, 3)), empty)
    assert len(paths) == len(paths.total()) == len(paths.quantiles()) == 0
    assert paths.to_array().shape[0] == 0


# -- files ------------------------------------------------------------------------------------------------------------------

HOSTILE = ["=HYPERLINK(1)", "+1", "-2", "@x", "\tx", "\rx"]


def test_text_that_a_spreadsheet_would_run_is_neutralised(tmp_path: Path) -> None:
    ids = [*HOSTILE, "<script>", "a=b", "plain"]
    paths = SamplePaths.from_array(np.full((len(ids), 1, 1), -1.5), panel_of(ids, ["=y"]))
    paths.to_csv(tmp_path / "paths.csv")
    back = pd.read_csv(tmp_path / "paths.csv", lineterminator="\n")
    assert list(back["unique_id"]) == [f"'{one}" for one in HOSTILE] + ids[len(HOSTILE) :]
    assert list(back.columns) == ["unique_id", "ds", "path", "'=y"]
    assert set(back["'=y"]) == {-1.5}  # numbers stay numbers
    assert list(paths["unique_id"]) == ids  # the frame itself is not touched


def test_every_kind_of_text_is_neutralised_and_nothing_else() -> None:
    frame = pd.DataFrame(
        {
            "object": pd.Series(["=a", -1], dtype=object),
            "string": pd.Series(["=a", pd.NA], dtype="string"),
            "category": pd.Series(["=a", "b"], dtype="category"),
            "number": [-1.5, 2.0],
            "time": DAYS[:2],
        }
    ).set_index(pd.Index(["=i", "=i"], name="=n"))
    safe = neutral(frame)
    assert safe["object"].tolist() == ["'=a", -1]
    assert safe["string"].iloc[0] == safe["category"].iloc[0] == "'=a"
    assert list(safe.index) == ["'=i", "'=i"]
    pd.testing.assert_frame_equal(safe[["number", "time"]].reset_index(drop=True), frame[["number", "time"]].reset_index(drop=True))
    assert "-1.5" in (write_csv(frame) or "")
    buffer = io.StringIO()
    write_csv(frame, buffer, index=True)
    assert buffer.getvalue().startswith("'=n,object")


# -- fan charts -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def fan() -> tuple[SamplePaths, Panel, np.ndarray]:
    array = np.random.default_rng(0).normal(size=(2, 50, 5)).cumsum(axis=2)
    panel = panel_of(["a", "b"], ["y"], length=40)
    return SamplePaths.from_array(array, panel), panel, array


def lines(ax: Any) -> dict[str, Any]:
    return {line.get_label(): line for line in ax.get_lines()}


def test_a_fan_chart_draws_the_median_the_bands_and_the_origin(fan: tuple[SamplePaths, Panel, np.ndarray]) -> None:
    paths, panel, array = fan
    ax = paths.plot(panel, id="b", levels=(0.5, 0.9))
    stamps = panel.stamps(1, 39, 45)  # the fan opens from the last observation
    median = lines(ax)["median"]
    np.testing.assert_allclose(date2num(median.get_xdata()), date2num(stamps.to_numpy()))
    np.testing.assert_allclose(median.get_ydata(), [39.0, *np.median(array[1], axis=0)])
    bands = {band.get_label(): band.get_paths()[0].vertices for band in ax.collections}
    assert list(bands) == ["90 %", "50 %"]
    for label, level in (("90 %", 0.9), ("50 %", 0.5)):
        last = bands[label][np.isclose(bands[label][:, 0], date2num(stamps[-1]))][:, 1]
        np.testing.assert_allclose((last.min(), last.max()), np.quantile(array[1, :, -1], [(1 - level) / 2, (1 + level) / 2]))
    history = lines(ax)["observed"]
    np.testing.assert_allclose(history.get_ydata(), np.arange(16.0, 40.0))  # 24 steps before the paths
    origin = [line for line in ax.get_lines() if len(line.get_xdata()) == 2 and list(line.get_ydata()) == [0, 1]]
    assert date2num(origin[0].get_xdata()[0]) == date2num(stamps[0])
    assert ax.get_title(loc="left") == "b"
    assert ax.get_ylabel() == "y"
    drawn = [line for line in ax.get_lines() if len(line.get_xdata()) == 6 and line is not median]
    assert len(drawn) == 6
    np.testing.assert_allclose(drawn[3].get_ydata()[1:], array[1, 3])  # paths whole, not quantiles joined up


def test_history_may_be_a_panel_a_long_or_wide_frame_or_a_series(fan: tuple[SamplePaths, Panel, np.ndarray]) -> None:
    paths, panel, _ = fan
    frame = panel.to_frame()
    wide = frame.pivot(index="ds", columns="unique_id", values="y")
    shown = [lines(paths.plot(history, id="b"))["observed"] for history in (panel, frame, wide, wide["b"])]
    for line in shown[1:]:
        np.testing.assert_array_equal(line.get_xdata(), shown[0].get_xdata())
        np.testing.assert_array_equal(line.get_ydata(), shown[0].get_ydata())


def test_gaps_are_gaps_and_a_lone_point_is_seen(fan: tuple[SamplePaths, Panel, np.ndarray]) -> None:
    paths, panel, _ = fan
    holed = panel.to_frame().drop(index=[30, 31, 33, 34])  # a missing row, not a missing value
    ax = paths.plot(holed, id="a")
    y = lines(ax)["observed"].get_ydata()
    assert list(np.flatnonzero(np.isnan(y))) == [14, 15, 17, 18]
    dots = next(line for line in ax.get_lines() if line.get_marker() == ".")
    assert list(dots.get_ydata()) == [32.0]


def test_nothing_reaches_pyplot_and_the_figure_is_a_picture(fan: tuple[SamplePaths, Panel, np.ndarray], tmp_path: Path) -> None:
    import matplotlib.pyplot as plt

    paths, panel, _ = fan
    ax = paths.plot(panel)
    assert plt.get_fignums() == []
    ax.figure.savefig(tmp_path / "fan.png")
    pixels = plt.imread(tmp_path / "fan.png")
    blue = np.all(np.abs(pixels[..., :3] - np.array([0.663, 0.766, 0.872])) < 0.02, axis=-1)  # the 50 % band's tint
    assert to_hex(ax.collections[1].get_facecolor()[0]) == "#acc6e1" or blue.sum() > 500
    own = Figure().add_subplot()
    assert paths.plot(panel, ax=own) is own


def test_stamps_with_a_zone_are_shown_in_it() -> None:
    panel = panel_of(["a"], ["y"], length=30, tz="America/New_York")
    paths = SamplePaths.from_array(np.zeros((1, 3, 4)), panel)
    ax = paths.plot(panel)
    assert str(ax.xaxis.get_major_locator().tz) == "America/New_York"
    assert ax.get_xlabel() == "America/New_York"
    with pytest.raises(UserError, match="only one has a time zone"):
        paths.plot(pd.Series([1.0, 2.0], index=DAYS[:2]))


def test_paths_that_begin_with_the_history_have_no_origin(fan: tuple[SamplePaths, Panel, np.ndarray]) -> None:
    """As filled gaps do."""
    _, panel, array = fan
    filled = SamplePaths.from_array(array, panel, begin=[0, 0])
    ax = filled.plot(panel, id="a")
    assert len(lines(ax)["median"].get_xdata()) == 5
    assert all(list(line.get_ydata()) != [0, 1] for line in ax.get_lines())


def test_a_fan_chart_of_hostile_names() -> None:
    name = "$x^{$ <script>" + "y" * 500
    paths = SamplePaths.from_array(np.zeros((1, 3, 1)), panel_of([name], ["$_$"]))
    ax = paths.plot()
    ax.figure.savefig(io.BytesIO(), format="svg")
    assert len(ax.get_title(loc="left")) < 60


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"id": "aa"}, r"no series 'aa'; did you mean 'a'\?"),
        ({"channel": "x"}, r"no channel 'x'"),
        ({"levels": (90,)}, r"levels \(90,\) are no shares"),
        ({"history": pd.DataFrame({"z": [1.0]})}, r"history has no values of series 'a'"),
        ({"history": pd.Series([1.0], index=["soon"])}, r"index holds no time stamps"),
    ],
)
def test_what_cannot_be_drawn_says_why(fan: tuple[SamplePaths, Panel, np.ndarray], options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        fan[0].plot(**options)
