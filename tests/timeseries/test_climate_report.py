"""Seasons, spells, extremes and spectra against what is known exactly, and planted faults that the report must find."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import genextreme
from support.pages import Page, references

from scidiff.errors import UserError
from scidiff.report import write_page
from scidiff_timeseries.simulation import ClimateReport, climate_report, seasonal_bootstrap
from scidiff_timeseries.simulation.climate_facts import dry
from scidiff_timeseries.simulation.ensemble import rank_histogram, spread_skill
from scidiff_timeseries.simulation.extremes import gev, return_levels, yearly_maxima
from scidiff_timeseries.simulation.resample import Units
from scidiff_timeseries.simulation.seasons import anomalies
from scidiff_timeseries.simulation.spectra import segment_length, spectrum
from scidiff_timeseries.simulation.spells import spells

YEARS = pd.date_range("2001-01-01", "2012-12-31", freq="D")


def units_of(shape: tuple[int, int], resamples: int = 0) -> Units:
    """Every path is a unit."""
    return Units.numbered(np.repeat(np.arange(shape[0]), shape[1]).reshape(shape), "paths", resamples, 0)


def weather(n: int, stamps: pd.DatetimeIndex, seed: int) -> np.ndarray:
    """[path, time, (temperature, rain)]: a yearly cycle, persistence, rain that is often zero and comes with mild days in winter."""
    rng = np.random.default_rng(seed)
    phase = 2 * np.pi * np.asarray(stamps.day_of_year) / 365.25
    state, made = rng.standard_normal((n, 2)), []
    for day in range(len(stamps)):
        state = 0.8 * state + 0.6 * rng.standard_normal((n, 2))
        temperature = 11 - 7 * np.cos(phase[day]) + (3 + np.cos(phase[day])) * state[:, 0]
        latent = 0.4 * state[:, 0] + state[:, 1] + 0.3 * np.cos(phase[day]) - 0.6
        made.append(np.stack([temperature, 6 * np.maximum(latent, 0) ** 1.5], 1))
    return np.stack(made, 1)


def frame(values: np.ndarray, stamps: pd.DatetimeIndex) -> pd.DataFrame:
    """A long frame of one station."""
    made = pd.DataFrame(values.reshape(-1, 2), columns=["t", "rr"])
    return made.assign(unique_id="here", ds=np.tile(stamps, len(values)), path=np.repeat(np.arange(len(values)), len(stamps)))


def report(values: np.ndarray, data: np.ndarray, **options: object) -> ClimateReport:
    stamps = YEARS[: values.shape[1]]
    observed = frame(data, YEARS[: data.shape[1]]).drop(columns="path")
    return climate_report(frame(values, stamps), observed, **({"methods": {}, "resamples": 50} | options))


# -- spells -----------------------------------------------------------------------------------------------------------------


def test_spells_by_hand() -> None:
    holds = np.array([[1, 1, 0, 1, 0, 1, 1, 1], [0, 1, 1, 1, 1, 1, 0, 0]], dtype=bool)
    known = np.ones_like(holds)
    known[1, 3] = False  # a missing value ends a run
    units = units_of((2, 8))
    found = spells(holds, known, units)
    assert found.lengths.tolist() == [2, 1, 3, 2, 2]
    assert found.unit.tolist() == [0, 0, 0, 1, 1]
    assert found.mean(units)[0] == 2
    assert found.quantile(units, 0.8)[0] == 2
    assert found.quantile(units, 0.81)[0] == 3
    assert found.long(units, known[..., None][..., 0].astype(float), 2)[0] == pytest.approx((2 + 3 + 2 + 2) / 15)


def test_runs_do_not_join_paths() -> None:
    holds = np.ones((3, 5), dtype=bool)
    assert spells(holds, holds, units_of((3, 5))).lengths.tolist() == [5, 5, 5]
    assert spells(~holds, holds, units_of((3, 5))).lengths.tolist() == []


# -- extremes ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [-0.2, -0.05, 0.0, 0.1, 0.3])
def test_return_levels_of_exact_gev_quantiles(shape: float) -> None:
    maxima = genextreme.ppf((np.arange(20_000) + 0.5) / 20_000, shape, loc=30.0, scale=4.0)
    c, location, scale = gev(maxima)
    assert (c, location, scale) == pytest.approx((shape, 30.0, 4.0), abs=0.01)
    levels = return_levels(maxima, np.zeros(20_000, dtype=np.intp), units_of((1, 1)), (10.0, 100.0))
    np.testing.assert_allclose(levels[0], genextreme.isf([0.1, 0.01], shape, loc=30.0, scale=4.0), rtol=3e-3)


def test_l_moments_by_hand() -> None:
    # 1, 2, 4, 8: b0 = 15/4, b1 = (2 + 2*4 + 3*8)/12 = 17/6, b2 = (2*4 + 6*8)/24 = 7/3
    second, third = 2 * 17 / 6 - 15 / 4, 6 * 7 / 3 - 17 + 15 / 4
    c, location, scale = gev(np.array([8.0, 1.0, 4.0, 2.0]))
    assert 2 * (1 - 3**-c) / (1 - 2**-c) - 3 == pytest.approx(third / second, abs=1e-9)
    assert scale * (1 - 2**-c) * math.gamma(1 + c) / c == pytest.approx(second)
    assert location + scale * (1 - math.gamma(1 + c)) / c == pytest.approx(15 / 4)  # the mean
    assert np.isnan(gev(np.array([3.0, 3.0, 3.0]))).all()


def test_a_resample_of_maxima_is_the_law_of_the_repeated_ones() -> None:
    maxima = np.random.default_rng(0).gumbel(20, 3, 15)
    units = units_of((15, 1), 4)
    levels = return_levels(maxima, np.arange(15), units, (10.0,))
    for row in range(5):
        c, location, scale = gev(np.repeat(maxima, units.weights[row].astype(int)))
        assert levels[row, 0] == pytest.approx(genextreme.isf(0.1, c, loc=location, scale=scale))
    assert np.isnan(return_levels(maxima[:9], np.arange(9), units, (10.0,))).all()


def test_maxima_are_of_whole_years() -> None:
    stamps = pd.date_range("2001-03-01", "2004-12-31", freq="D")
    values = np.arange(float(len(stamps)))[None].repeat(2, 0)
    values[1, 400:600] = np.nan  # much of 2002
    maxima, number = yearly_maxima(values, np.asarray(stamps.year, dtype=np.intp), units_of(values.shape), 365.25)
    ends = [int(np.flatnonzero(stamps == f"{year}-12-31")[0]) for year in (2002, 2003, 2004)]
    assert list(zip(maxima, number, strict=True)) == [(ends[0], 0), (ends[1], 0), (ends[1], 1), (ends[2], 0), (ends[2], 1)]


# -- cycles and spectra -----------------------------------------------------------------------------------------------------


def test_the_cycles_of_the_year_and_of_the_day_are_taken_off_exactly() -> None:
    stamps = pd.date_range("2001-01-01", "2002-12-31 18:00", freq="6h")
    year = ((np.asarray(stamps.day_of_year) - 1) + np.asarray(stamps.hour) / 24) / 365.2425
    day = np.asarray(stamps.hour) / 24
    cycle = 5 + 3 * np.cos(2 * np.pi * year) + np.sin(6 * np.pi * year) + 2 * np.sin(2 * np.pi * day)
    assert np.abs(anomalies(np.stack([cycle, cycle])[..., None], stamps, 21_600.0)).max() < 1e-9
    holes = cycle[None, :, None].copy()
    holes[0, ::7] = np.nan
    left = anomalies(holes, stamps, 21_600.0)
    np.testing.assert_array_equal(np.isnan(left), np.isnan(holes))
    assert np.nanmax(np.abs(left)) < 1e-9


def test_a_wave_has_its_power_at_its_frequency_and_white_noise_everywhere() -> None:
    units = units_of((4, 1024))
    segment = segment_length(1024)
    assert segment == 256
    assert segment_length(40) == 0
    wave = spectrum(np.sin(2 * np.pi * np.arange(1024) / 16)[None].repeat(4, 0), units, segment)
    assert abs(np.log(wave.frequencies[wave.power[0].argmax()] * 16)) < 0.3
    noise = spectrum(3 * np.random.default_rng(0).standard_normal((4, 1024)), units, segment)
    fine = noise.frequencies > 0.03  # coarse bands hold few frequencies
    np.testing.assert_allclose(noise.power[0, fine], 2 * 9, rtol=0.25)  # one-sided density of variance 9


def test_segments_with_much_missing_are_left_out() -> None:
    values = np.random.default_rng(0).standard_normal((2, 512))
    holes = values.copy()
    holes[1, 100:] = np.nan
    alone = spectrum(values[:1], units_of((1, 512)), 128).power[0]
    np.testing.assert_allclose(spectrum(holes, units_of((2, 512)), 128).power[0], alone)


# -- ensembles --------------------------------------------------------------------------------------------------------------


def test_ranks_of_a_truth_that_takes_every_place_in_turn_are_flat() -> None:
    order = np.arange(10.0)
    paths = np.stack([np.delete(order, k) for k in range(10)], 1)[..., None]  # at time k the truth is what is left out
    found = rank_histogram(paths, order[:, None])
    assert found.counts.tolist() == [1] * 10
    assert found.deviation == 0
    narrow = rank_histogram(4.5 + 0.01 * (paths - 4.5), order[:, None])
    assert narrow.counts[[0, -1]].tolist() == [5, 5]
    assert narrow.deviation == pytest.approx(0.8)


def test_merged_ranks_say_what_each_bin_should_hold_and_ties_are_spread() -> None:
    found = rank_histogram(np.zeros((44, 9000, 1)), np.zeros((9000, 1)), bins=10)  # all equal: any of 45 ranks
    assert found.expected.tolist() == [1000.0, 800.0] * 5
    np.testing.assert_allclose(found.counts, found.expected, rtol=0.15)
    assert rank_histogram(np.zeros((3, 5, 1)), np.full((5, 1), np.nan)).counts.sum() == 0


def test_spread_and_skill_by_hand() -> None:
    paths = np.array([[[0.0], [1.0]], [[2.0], [3.0]]])  # mean 1, 2; variance 2 at both
    found = spread_skill(paths, np.array([[4.0], [np.nan]]))
    assert found.error[0] == 3
    assert found.spread[0] == pytest.approx(math.sqrt(2 * 3 / 2))
    assert np.isnan(found.error[1])
    assert found.ratio == pytest.approx(math.sqrt(3) / 3)


# -- the report -------------------------------------------------------------------------------------------------------------


def test_precipitation_by_hand() -> None:
    stamps = pd.date_range("2003-01-01", periods=60, freq="D")
    amounts = np.tile([0.0, 0.0, 5.0, 2.0, 0.4], 12)  # wet: 2 of 5, in twos; dry: 2, then threes, a single one at the end
    data = pd.DataFrame({"ds": stamps, "rr": amounts})
    path = pd.concat([data.assign(path=p) for p in range(2)])
    found = climate_report(path, data, methods={}, resamples=5).sheet
    exact = {
        "rr/mean": 7.4 / 5, "rr/wet_share": 0.4, "rr/wet_amount": 3.5, "rr/wet_q95": 5.0, "rr/wet_wet": 0.5, "rr/wet_spell": 2.0,
        "rr/dry_spell": (2 + 11 * 3 + 1) / 13, "rr/dry_q95": 3.0, "rr/negative": 0.0,
    }  # fmt: skip
    for key, value in exact.items():
        assert found.observed[key][0] == pytest.approx(value), key
        assert found.methods["ours"][key][0] == pytest.approx(value), key
    light = climate_report(path, data, methods={}, resamples=5, wet=0.3).sheet
    assert light.observed["rr/wet_share"][0] == pytest.approx(0.6)


def test_precipitation_is_recognised() -> None:
    values = np.array([[0.0, -1.0, 0.0, 1.0], [0.0, 0.0, np.nan, 1.0], [2.0, 0.0, 3.0, 2.0]])
    assert dry(values).tolist() == [True, False, True, False]


def test_a_simulator_with_the_law_of_the_data_agrees_and_planted_faults_are_found() -> None:
    data, good = weather(1, YEARS, 0), weather(30, YEARS[:731], 3)
    rng, at = np.random.default_rng(0), np.asarray(YEARS[:731].month)
    shuffled = good.copy()
    for month in range(1, 13):  # days of a month in any order: seasons stay, spells go
        days = np.flatnonzero(at == month)
        shuffled[:, days] = good[:, rng.permutation(days)]
    apart = good.copy()
    apart[..., 1] = good[::-1, :, 1]  # temperature and rain of different paths
    faults = {
        "shuffled": shuffled, "apart": apart, "half_a_year": np.roll(good, 183, axis=1), "warmer": good + [1.5, 0],
        "drizzle": np.where([False, True], good + 1.2, good), "negative": np.where([False, True], good - 0.1, good),
        "capped": np.minimum(good, [19.0, 25.0]),
    }  # fmt: skip
    methods = {name: frame(values, YEARS[:731]) for name, values in faults.items()}
    sheet = report(good, data, methods=methods, name="good").sheet
    agreed = sheet.table()["good agrees"].dropna()
    assert len(agreed) > 35
    assert agreed.mean() > 0.9
    for method, keys in {
        "shuffled": ("t/acf_1", "t/spectrum", "t/warm_spell", "t/cold_spell", "rr/wet_wet", "rr/dry_spell"),
        "apart": ("channels", "pairs"),
        "half_a_year": ("t/cycle", "rr/wet_cycle"),
        "warmer": ("t/mean", "t/cycle", "t/level"),
        "drizzle": ("rr/wet_share", "rr/dry_spell", "rr/mean"),
        "negative": ("rr/negative",),
        "capped": ("t/level", "rr/level"),
    }.items():
        assert not [key for key in keys if sheet.agrees(method, key)], method
    assert all(sheet.agrees("shuffled", key) for key in ("t/mean", "t/cycle", "t/amplitude", "rr/wet_share", "rr/wet_cycle"))
    assert all(sheet.agrees("capped", key) for key in ("t/low_level", "t/cold_spell", "rr/wet_share"))


def test_figures_are_those_of_the_values() -> None:
    data, made = weather(1, YEARS, 0), weather(9, YEARS[:730], 1)
    table = report(made, data, resamples=10).table()
    monthly = pd.Series(data[0, :, 0], YEARS).groupby(YEARS.month).mean()
    assert table.loc["t/amplitude", "observed"] == pytest.approx(monthly.max() - monthly.min())
    own = pd.Series(made.mean(0)[:, 0], YEARS[:730]).groupby(YEARS[:730].month).mean()
    assert table.loc["t/cycle", "ours"] == pytest.approx(np.sqrt(((monthly - own) ** 2).mean()))
    hot = pd.Series(data[0, :, 0], YEARS).groupby(YEARS.month).quantile(0.9)
    warm = np.concatenate([[0], data[0, :, 0] > hot[YEARS.month].to_numpy()])
    assert table.loc["t/warm_spell", "observed"] == pytest.approx(warm.sum() / (np.diff(warm) == 1).sum())
    assert table.loc["rr/wet_share", "ours pooled"] == pytest.approx((made[..., 1] >= 1).mean())


def test_hours_have_a_daily_cycle_and_stamps_may_have_a_zone() -> None:
    stamps = pd.date_range("2001-01-01", periods=24 * 40, freq="h", tz="Europe/Paris")
    values = 3 * np.cos(2 * np.pi * (np.asarray(stamps.hour) - 15) / 24) + 0.1 * np.random.default_rng(0).standard_normal((9, 24 * 40))
    tiled = stamps.take(np.tile(np.arange(24 * 40), 9))
    paths = pd.DataFrame({"ds": tiled, "path": np.repeat(np.arange(9), 24 * 40), "t": values.ravel()})
    data = paths[paths["path"] == 0].drop(columns="path")
    table = climate_report(paths, data, resamples=10).table()
    assert table.loc["copies", "seasonal_bootstrap"] == 1  # forty days are all it has
    assert table.loc["t/diurnal", "observed"] == pytest.approx(6, abs=0.15)
    assert bool(table.loc["t/diurnal_cycle", "ours agrees"])


def test_a_truth_adds_ranks_and_spread() -> None:
    stamps = YEARS[:200]
    made, data = weather(40, stamps, 1), weather(1, YEARS, 0)
    truth = frame(weather(1, stamps, 5), stamps).drop(columns="path")
    narrow = frame(made.mean(0) + 0.2 * (made - made.mean(0)), stamps)
    found = climate_report(
        frame(made, stamps), frame(data, YEARS).drop(columns="path"), methods={"narrow": narrow}, truth=truth, resamples=5
    )
    metrics = found.to_metrics()
    assert metrics["ours/spread_skill"] == pytest.approx(1, abs=0.2)
    assert metrics["narrow/spread_skill"] == pytest.approx(0.2 * metrics["ours/spread_skill"], rel=1e-9)
    assert metrics["narrow/rank_deviation"] > 0.4 > 2 * metrics["ours/rank_deviation"]
    assert "Around the truth narrow has a spread of 0.2" in found.verdict()


def test_the_seasonal_bootstrap_is_past_weather_of_the_season() -> None:
    data = pd.DataFrame({"t": np.arange(float(len(YEARS))), "u": -np.arange(float(len(YEARS)))}, index=YEARS)
    stamps = pd.date_range("2030-02-01", periods=100, freq="D")
    made = seasonal_bootstrap(data, stamps, 30, block=25, seed=0)
    rows = made["t"].to_numpy().reshape(30, 100).astype(int)
    assert (made["u"] == -made["t"]).all()
    assert (np.diff(rows.reshape(30, 4, 25), axis=2) == 1).all()  # whole blocks
    far = np.abs(np.asarray(YEARS.day_of_year)[rows] - np.asarray(stamps.day_of_year))
    assert far.max() <= 1  # leap years
    assert len(np.unique(np.asarray(YEARS.year)[rows])) == 12
    assert (pd.DatetimeIndex(made["ds"]) == np.tile(stamps, 30)).all()


def test_the_page_shows_verdict_tables_and_picture_and_loads_nothing(tmp_path: Path) -> None:
    data, made = weather(1, YEARS[:1461], 0), weather(8, YEARS[:400], 1)
    found = climate_report(frame(made, YEARS[:400]), frame(data, YEARS[:1461]).drop(columns="path"), resamples=10)
    assert list(found.sheet.methods) == ["ours", "seasonal_bootstrap"]
    assert found.to_metrics()["seasonal_bootstrap/copies"] == 1
    assert found.to_metrics()["ours/copies"] == 0
    text = write_page(tmp_path / "page.html", title="Climate", sections=[found.section("Climate")]).read_text()
    shown = " ".join(Page(text).text)
    assert found.verdict() in shown
    assert all(fact.definition in shown for fact in found.sheet.facts)
    assert references(text) == []


def test_errors_name_the_place_and_the_remedy() -> None:
    stamps = YEARS[:100]
    data, made = frame(weather(1, stamps, 0), stamps).drop(columns="path"), frame(weather(2, stamps, 1), stamps)
    with pytest.raises(UserError, match="time stamps, in a column ds"):
        climate_report(made.drop(columns="ds"), data, methods={})
    with pytest.raises(UserError, match=r"no channel 'rain'.*the data have t, rr"):
        climate_report(made, data, methods={}, precipitation=["rain"])
    with pytest.raises(UserError, match="no column 'rr', which was observed"):
        climate_report(made.drop(columns="rr"), data, methods={})
    with pytest.raises(UserError, match=r"unknown reference 'bootstrap'.*known: seasonal_bootstrap"):
        climate_report(made, data, methods=["bootstrap"])
    with pytest.raises(UserError, match="the truth holds none of the paths' times"):
        climate_report(made, data, methods={}, resamples=2, truth=data.assign(ds=data["ds"] + pd.Timedelta(days=1000)))
    with pytest.raises(UserError, match="no year of the data has 30 values from 01 June on"):
        seasonal_bootstrap(pd.DataFrame({"t": np.zeros(100)}, index=stamps), pd.date_range("2030-06-01", periods=40, freq="D"), 2)
