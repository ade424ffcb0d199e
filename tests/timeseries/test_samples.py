"""The shipped samples: bytes, facts known from elsewhere, reading; and the evaluator pinned on them, computed a second time by loops."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import lzma
import math
import tarfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.stats import norm

from scidiff.errors import UserError
from scidiff_timeseries.baselines import RandomWalk, SeasonalNaive
from scidiff_timeseries.metrics import coverage, wql
from scidiff_timeseries.panel import Panel, read_frame
from scidiff_timeseries.samples import SAMPLES, Sample, load_sample

Array = NDArray[np.float64]
SHA256 = {
    "treasury": "a0c813b32e101571527ca815cb6b5c21b89e7f2f69336f85d56edc68f5876356",
    "stations": "ab6486bafcdbbc4df9c3145b9f13c3dfaa22f699d8ffa8ce30d0fc6b1262ec0f",
    "co2": "38d9f345c80ad55a0585e080995a0aa1b69afea5fb5254bc97d5ae50c11a2ef6",
}
SCRIPT = Path(__file__).parents[2] / "scripts" / "make_timeseries_samples.py"


# -- the data ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SAMPLES)
def test_the_bytes_are_those_that_the_script_made(name: str) -> None:
    data = SAMPLES[name].path.read_bytes()
    assert hashlib.sha256(data).hexdigest() == SHA256[name]
    assert len(data) < 300_000


def test_yields_that_the_treasury_published() -> None:
    table = load_sample("treasury").set_index("ds")
    assert (len(table), str(table.index[0].date()), str(table.index[-1].date())) == (6816, "1990-01-02", "2017-03-29")
    assert table.loc["1990-01-02"].tolist() == [7.83, 7.89, 7.81, 7.87, 7.90, 7.87, 7.98, 7.94]
    assert (table["10y"].min(), str(table["10y"].idxmin().date())) == (1.37, "2016-07-05")  # the lowest close until 2020
    assert not table.isna().any(axis=None)
    assert "2001-09-12" not in table.index  # the market was closed
    assert table.index.isin(pd.bdate_range("1990-01-02", "2017-03-29")).all()


def test_weather_that_was_reported() -> None:
    table = load_sample("stations")
    assert table.groupby("unique_id").size().to_dict() == dict.fromkeys(("dinard", "la_noe_blanche", "louvigne_du_desert", "rennes"), 12784)
    hottest = table.loc[table[table["unique_id"] == "rennes"]["tx"].idxmax()]
    assert (str(hottest["ds"].date()), hottest["tx"]) == ("2022-07-18", 40.5)  # Rennes' record
    assert (table["tn"] <= table["tx"]).all()
    assert (table["rr"] >= 0).all()


def test_carbon_dioxide_and_its_missing_weeks() -> None:
    table = load_sample("co2").set_index("ds")["y"]
    assert (len(table), int(table.isna().sum())) == (2284, 59)
    assert table["1958-03-29"] == 316.1
    assert table["1964-02-22":"1964-04-04"].isna().all()  # the analyser was not funded that spring
    rise = table["1990":"2000"].groupby(lambda day: day.year).mean().diff().mean()
    assert 1.4 < rise < 1.6  # ppm a year in the nineties


@pytest.mark.parametrize("name", SAMPLES)
def test_every_sample_reads_with_its_options_and_comes_back(name: str) -> None:
    sample, frame = SAMPLES[name], load_sample(name)
    panel = read_frame(frame, **sample.frame)
    assert tuple(sample.units) == panel.channels
    again = panel.to_frame()
    if name == "treasury":  # its holidays got rows of NaN, which are the only ones
        added = again[again["3m"].isna()]
        assert len(added) == 7107 - 6816
        assert added.drop(columns="ds").isna().all(axis=None)
        again = again.dropna().reset_index(drop=True)
    pd.testing.assert_frame_equal(again, frame)
    assert read_frame(frame, **{key: value for key, value in sample.frame.items() if key != "freq"}).frequency.name == panel.frequency.name


def test_unknown_and_damaged_samples_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="no sample 'tresury'; did you mean 'treasury'"):
        load_sample("tresury")
    damaged = tmp_path / "co2.csv.xz"
    monkeypatch.setattr(Sample, "path", damaged)
    whole = Path(SAMPLES["co2"].path.parent / "co2.csv.xz")
    assert whole == damaged
    for data in (b"", b"no archive", lzma.compress(b"y\n1\n"), lzma.compress(b"ds,y\n" * 500)[:-30]):
        damaged.write_bytes(data)
        with pytest.raises(UserError, match=r"cannot be read .* reinstall"):
            load_sample("co2")
    damaged.unlink()
    with pytest.raises(UserError, match=r"cannot be read .* reinstall"):
        load_sample("co2")


# -- the script -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location(SCRIPT.stem, SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_script_makes_the_sample_again_from_the_installed_package(script: ModuleType, tmp_path: Path) -> None:
    from statsmodels.datasets import co2

    script.write(script.co2(Path(co2.__file__).with_name("co2.csv").read_bytes()), 1, tmp_path / "co2.csv.xz")
    assert lzma.decompress((tmp_path / "co2.csv.xz").read_bytes()) == lzma.decompress(SAMPLES["co2"].path.read_bytes())


def test_the_script_refuses_other_data(script: ModuleType, tmp_path: Path) -> None:
    package, path, sha256 = script.YIELDS
    with tarfile.open(tmp_path / f"{package}.tar.gz", "w:gz") as archive:
        info = tarfile.TarInfo(f"{package}/{path}")
        info.size = 3
        archive.addfile(info, io.BytesIO(b"ds\n"))
    with pytest.raises(SystemExit, match="another version of the data"):
        script.member(tmp_path, package, path, sha256)


# -- the evaluator, pinned on them ------------------------------------------------------------------------------------------


@cache
def panel_of(name: str) -> Panel:
    return read_frame(load_sample(name), **SAMPLES[name].frame)


def windows(values: Array, horizon: int, rolls: int) -> list[tuple[Array, Array]]:
    """History and truth [time] of every channel in each of the last windows, channels inmost."""
    ends = [len(values) - left * horizon for left in range(rolls, 0, -1)]
    return [(values[:end, c], values[end : end + horizon, c]) for end in ends for c in range(values.shape[1])]


def by_loops(paths: Array, truths: Sequence[Array], level: float) -> tuple[float, float]:
    """CRPS of nine levels, and the coverage of one central interval: from their definitions, a number at a time."""
    loss = size = inside = count = 0.0
    for window, truth in zip(paths, truths, strict=True):
        for h, y in enumerate(truth):
            if math.isnan(y):
                continue
            ordered = sorted(window[:, h])
            n = len(ordered)
            for k in range(1, 10):
                forecast = ordered[round((n - 1) * k / 10)]
                loss += 2 / 9 * (k / 10 * (y - forecast) if y > forecast else (1 - k / 10) * (forecast - y))
            low, high = (between(ordered, (n + 1) * q - 1) for q in ((1 - level) / 2, (1 + level) / 2))
            inside += low <= y <= high
            size, count = size + abs(y), count + 1
    return loss / size, inside / count


def between(ordered: Sequence[float], place: float) -> float:
    place = min(max(place, 0.0), len(ordered) - 1.0)
    low = math.floor(place)
    return ordered[low] + (place - low) * (ordered[min(low + 1, len(ordered) - 1)] - ordered[low])


def latest_in_phase(history: Array, season: int, h: int) -> float:
    """The last observed value at a whole number of seasons before step h (0 is the first) of the forecast."""
    place = len(history) + h - season * (h // season + 1)
    while math.isnan(history[place]):
        place -= season
    return history[place]


def ewma(x: Array, decay: float) -> float:
    """Volatility by recursion over the observed steps: S <- decay^gap S + step^2 / gap, and the same for the weights."""
    total = weight = 0.0
    last, gap = math.nan, 1
    for value in x:
        if math.isnan(value):
            gap += 1
            continue
        if not math.isnan(last):
            total, weight = total * decay**gap + (value - last) ** 2 / gap, weight * decay**gap + 1
        last, gap = value, 1
    return math.sqrt(total / weight)


@pytest.mark.parametrize(
    ("name", "series", "season", "horizon", "rolls", "expected"),
    [("treasury", 0, 5, 20, 10, 0.073815), ("stations", 3, 365, 30, 12, 0.413251), ("co2", 0, 52, 52, 5, 0.004502)],
)
def test_seasonal_naive_on_the_last_windows(name: str, series: int, season: int, horizon: int, rolls: int, expected: float) -> None:
    pairs = windows(panel_of(name).series[series].values, horizon, rolls)
    truths = [truth for _, truth in pairs]
    paths = SeasonalNaive(season)([history for history, _ in pairs], horizon, 7, seed=0)
    error = size = 0.0
    for history, truth in pairs:
        for h, y in enumerate(truth):
            if not math.isnan(y):
                error, size = error + abs(latest_in_phase(history, season, h) - y), size + abs(y)
    assert wql(paths, np.stack(truths)) == pytest.approx(error / size, rel=1e-12)
    assert wql(paths, np.stack(truths)) == pytest.approx(expected, abs=5e-7)


@pytest.mark.parametrize(
    ("name", "log", "horizon", "rolls", "expected"),
    [("treasury", False, 20, 10, (0.049845, 0.592932, 0.881545)), ("co2", True, 13, 12, (0.004060, 0.237179, 0.628205))],
)
def test_a_random_walk_on_the_last_windows(name: str, log: bool, horizon: int, rolls: int, expected: tuple[float, float, float]) -> None:
    pairs = windows(panel_of(name).series[0].values, horizon, rolls)
    truths = [truth for _, truth in pairs]
    paths = RandomWalk(decay=0.95, log=log)([history for history, _ in pairs], horizon, 100, seed=0)
    found = wql(paths, np.stack(truths)), coverage(paths, np.stack(truths), 0.5), coverage(paths, np.stack(truths), 0.9)
    for k, level in ((1, 0.5), (2, 0.9)):
        assert (found[0], found[k]) == pytest.approx(by_loops(paths, truths, level), rel=1e-12)
    assert found == pytest.approx(expected, abs=5e-7)
    exact = gaussian_walk(pairs, log)
    assert found[0] == pytest.approx(exact, rel=0.03)  # the paths against the law they were drawn from


def gaussian_walk(pairs: Sequence[tuple[Array, Array]], log: bool) -> float:
    """The nine-level CRPS of the random walk's law itself, from its quantiles in closed form."""
    loss = size = 0.0
    for history, truth in pairs:
        x = np.log(history) if log else history
        known = np.flatnonzero(~np.isnan(x))
        sigma, start, late = ewma(x, 0.95), x[known[-1]], len(x) - 1 - known[-1]
        for h, y in enumerate(truth, 1):
            if math.isnan(y):
                continue
            size += abs(y)
            for k in range(1, 10):
                quantile = start + sigma * math.sqrt(h + late) * norm.ppf(k / 10)
                forecast = math.exp(quantile) if log else quantile
                loss += 2 / 9 * (k / 10 * (y - forecast) if y > forecast else (1 - k / 10) * (forecast - y))
    return loss / size
