"""Forecaster: one model that forecasts, fills and simulates; what it keeps, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scidiff.errors import UserError
from scidiff_timeseries.forecaster import Forecaster
from scidiff_timeseries.recipe import Recipe, WindowConfig

N = 120


def frame(seed: int = 0, series: int = 2) -> pd.DataFrame:
    rng, stamps = np.random.default_rng(seed), pd.date_range("2024-01-01", periods=N, freq="D")
    each = [
        pd.DataFrame({"unique_id": f"s{i}", "ds": stamps, "y": 10 + 5 * i + np.cumsum(rng.normal(size=N) * 0.3)}) for i in range(series)
    ]
    df = pd.concat(each, ignore_index=True)
    missing = [20, 21, 22, 60, N + 40] if series > 1 else [20]
    df.loc[missing, "y"] = np.nan
    return df


def small(steps: int = 3) -> Recipe:
    base = Recipe(windows=WindowConfig(horizon=7, context=30, rolls=2, selection_rolls=4))
    training = base.train.model_copy(update={"steps": steps, "batch_size": 8, "validate_every": 10**6, "save_every": 10**6})
    return base.model_copy(update={"train": training})


@pytest.fixture(scope="module")
def fitted() -> Forecaster:
    return Forecaster(recipe=small()).fit(frame())


def test_a_forecast_is_of_the_steps_after_each_series(fitted: Forecaster) -> None:
    paths = fitted.predict(5, 8)
    expected = pd.date_range("2024-01-01", periods=N + 5, freq="D")[N:]
    for _, one in paths.groupby("unique_id"):
        assert sorted(one["ds"].unique()) == list(expected)
    assert paths.to_array().shape == (2, 8, 5, 1)


def test_a_longer_forecast_continues_the_paths_of_a_shorter_one(fitted: Forecaster) -> None:
    horizon = fitted.recipe.windows.horizon
    long, short = (fitted.predict(steps, 5).to_array() for steps in (3 * horizon + 1, horizon))
    np.testing.assert_array_equal(long[:, :, :horizon], short)
    assert np.ptp(long, axis=1).min() > 0


def test_filled_gaps_vary_and_known_values_stay_to_the_bit(fitted: Forecaster) -> None:
    df = frame()
    filled = fitted.impute(df, 6).to_array()[..., 0]
    given = df["y"].to_numpy().reshape(2, N)
    known = np.isfinite(given)
    for series in range(2):
        assert (filled[series][:, known[series]] == given[series][known[series]]).all()
        assert (filled[series][:, ~known[series]].std(0) > 0).all()


def test_simulated_paths_differ_from_each_other_and_depend_on_the_seed_alone(fitted: Forecaster) -> None:
    first, again, other = (fitted.simulate(4, 40, seed=seed).to_array() for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.isclose(first, other).any()
    assert (first[:, 0] != first[:, 1]).all()


def test_a_saved_model_says_the_same_of_the_same_data(fitted: Forecaster, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model.safetensors")
    loaded = Forecaster.load(tmp_path / "model.safetensors")
    pd.testing.assert_frame_equal(pd.DataFrame(loaded.predict(7, 5, df=frame())), pd.DataFrame(fitted.predict(7, 5)))
    with pytest.raises(UserError, match="give df"):
        loaded.predict(7)
    simulated = [pd.DataFrame(one.simulate(2, 20, seed=3)) for one in (loaded, fitted)]
    pd.testing.assert_frame_equal(*simulated)


def test_a_model_knows_where_its_data_ended_and_which_they_were(fitted: Forecaster, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model.safetensors")
    loaded = Forecaster.load(tmp_path / "model.safetensors")
    last = pd.Timestamp("2024-01-01") + pd.Timedelta(days=N - 1)
    assert loaded.data_end == fitted.data_end == {"s0": last, "s1": last}
    assert loaded.metadata["data"]["values"] == 2 * N - 5
    altered, same = (Forecaster(recipe=small(), steps=0).fit(df).metadata["data"] for df in (frame().replace({"y": {10: 10.5}}), frame()))
    changed = frame()
    changed.loc[5, "y"] += 1e-9
    assert same == altered == loaded.metadata["data"]
    assert Forecaster(recipe=small(), steps=0).fit(changed).metadata["data"]["sha256"] != same["sha256"]


@pytest.mark.parametrize("zone", [None, "Europe/Paris"])
def test_simulations_begin_at_the_stamp_that_is_asked_for(zone: str | None, tmp_path: Path) -> None:
    stamps = pd.date_range("2024-03-29", periods=80, freq="D", tz=zone)
    df = pd.DataFrame({"ds": stamps, "y": np.cumsum(np.random.default_rng(0).normal(size=80))})
    Forecaster(7, steps=0).fit(df).save(tmp_path / "model.safetensors")
    loaded = Forecaster.load(tmp_path / "model.safetensors")
    expected = pd.date_range("2026-10-20", periods=9, freq="D", tz=zone)
    made = loaded.simulate(1, 9, start="2026-10-20")
    assert list(made["ds"]) == list(expected)
    assert list(loaded.simulate(1, 9)["ds"]) == list(stamps[:9])
    with pytest.raises(UserError, match="no date"):
        loaded.simulate(1, 9, start="soon")


def with_holiday(days: int) -> pd.DataFrame:
    df = pd.concat([frame(), frame().assign(ds=lambda d: d["ds"] + pd.Timedelta(days=N), y=np.nan)], ignore_index=True)
    df = df.assign(holiday=(df["ds"].dt.day % 5 == 0).astype(float))
    return df[df["ds"] < pd.Timestamp("2024-01-01") + pd.Timedelta(days=N + days)].sort_values(["unique_id", "ds"])


@pytest.fixture(scope="module")
def covaried() -> Forecaster:
    made = Forecaster(recipe=small(), future=["holiday"]).fit(with_holiday(0))
    made.denoiser.strength.fill_(1.0)
    return made


def test_future_covariates_may_come_later(covaried: Forecaster) -> None:
    """The same forecast as from a frame that held them."""
    whole = with_holiday(7)
    future = whole[whole["ds"] >= pd.Timestamp("2024-01-01") + pd.Timedelta(days=N)].drop(columns="y")
    apart = covaried.predict(7, 4, future=future.sample(frac=1, random_state=0).sort_values("ds"))
    pd.testing.assert_frame_equal(pd.DataFrame(apart), pd.DataFrame(covaried.predict(7, 4, df=whole)))
    others = covaried.predict(7, 4, future=future.assign(holiday=1 - future["holiday"]))
    assert not np.allclose(others.to_array(), apart.to_array())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f[f["ds"] != pd.Timestamp("2024-05-02")], r"'s0'.*'holiday'.*2024-05-02.*\(1 of 7"),
        (lambda f: f.drop(columns="holiday"), "no column 'holiday'"),
        (lambda f: f[f["unique_id"] == "s0"], "no rows for series 's1'"),
        (lambda f: f.assign(ds=f["ds"] + pd.Timedelta(days=40)), r"2024-04-30.*\(7 of 7"),
    ],
)
def test_what_future_covariates_lack_is_named(covaried: Forecaster, change: Callable[[pd.DataFrame], pd.DataFrame], message: str) -> None:
    whole = with_holiday(7)
    future = whole[whole["ds"] >= pd.Timestamp("2024-01-01") + pd.Timedelta(days=N)].drop(columns="y")
    with pytest.raises(UserError, match=message):
        covaried.predict(7, 4, future=change(future))


def test_a_model_without_future_covariates_takes_none(fitted: Forecaster) -> None:
    with pytest.raises(UserError, match="no known-future covariates"):
        fitted.predict(7, 4, future=with_holiday(7))


def test_altering_the_future_changes_no_fitted_byte(fitted: Forecaster, tmp_path: Path) -> None:
    """Fitted on a frame and on the same frame of which later rows were cut away before: selection cannot have looked."""
    longer = pd.concat([frame(), frame().assign(ds=lambda d: d["ds"] + pd.Timedelta(days=N), y=1e6)])
    cut = longer[longer["ds"] < pd.Timestamp("2024-01-01") + pd.Timedelta(days=N)]
    again = Forecaster(recipe=small()).fit(cut)
    for name, weight in fitted.denoiser.state_dict().items():
        assert np.array_equal(weight.numpy(), again.denoiser.state_dict()[name].numpy()), name
    assert fitted.metadata["fit"] == again.metadata["fit"]


def test_without_training_it_is_its_base_law() -> None:
    df = frame()
    forecaster = Forecaster(recipe=small(), steps=0).fit(df)
    assert float(forecaster.denoiser.strength) == 0
    assert "base law" in forecaster.chosen.columns


def test_a_new_series_is_forecast_from_its_own_history(fitted: Forecaster) -> None:
    df = frame(seed=5, series=1).assign(unique_id="new")
    paths = fitted.predict(7, 50, df=df).to_array()[0, :, 0, 0]
    last = df["y"].iloc[-1]
    assert abs(float(np.median(paths)) - last) < 1.0


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda f: f.predict(0), "horizon = 0"),
        (lambda f: f.predict(7, -1), "n_paths = -1"),
        (lambda f: f.predict(7, 10**9), "n_paths = 1000000000"),
        (lambda f: f.predict(20_000, 100_000), "limit of one answer"),
        (lambda f: f.predict(7, calls=0), "calls = 0"),
        (lambda f: f.simulate(3, 10, id="nobody"), "no series 'nobody'"),
        (lambda f: f.predict(7, df=frame().rename(columns={"y": "z"})), "channels"),
        (lambda f: Forecaster(7).predict(3), "not fitted"),
        (lambda f: Forecaster(0), "horizon = 0"),
        (lambda f: Forecaster(7).fit(frame().assign(y=np.nan)), "no series has a value"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_the_limit(fitted: Forecaster, ask: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        ask(fitted)  # type: ignore[operator]


@pytest.mark.parametrize(
    "values", [np.full(N, 3.0), np.r_[np.full(N - 1, np.nan), 4.0], np.zeros(N)], ids=["constant", "one value", "zeros"]
)
def test_degenerate_series_get_a_defined_forecast(values: np.ndarray) -> None:
    df = pd.DataFrame({"unique_id": "a", "ds": pd.date_range("2024-01-01", periods=N, freq="D"), "y": values})
    df = pd.concat([df, frame(series=1)])
    paths = Forecaster(recipe=small(), steps=0).fit(df).predict(7, 5).to_array()
    assert np.isfinite(paths).all()
    assert np.allclose(paths[0], values[-1], atol=1e-3)


def test_a_value_that_the_fitted_transform_cannot_take_is_named() -> None:
    days = pd.date_range("2024-01-01", periods=80, freq="D")
    df = pd.DataFrame({"unique_id": "a", "ds": days, "y": np.exp(np.random.default_rng(0).normal(size=80).cumsum() * 0.3)})
    forecaster = Forecaster(7, steps=0).fit(df)
    assert forecaster.chosen["transform"].tolist() == ["log"]
    df.loc[79, "y"] = 0.0
    with pytest.raises(UserError, match="series 'a': log takes positive values only"):
        forecaster.predict(df=df)


def test_simulated_days_have_the_course_of_real_ones() -> None:
    """A wandering level and the hours of a day: each path has both, though it knows no value."""
    rng, hours = np.random.default_rng(0), np.arange(24 * 60)
    day = 3 * np.sin(2 * np.pi * hours / 24)
    y = 10 + day + 0.1 * rng.normal(size=len(hours)).cumsum()
    df = pd.DataFrame({"ds": pd.date_range("2024-01-01", periods=len(hours), freq="h"), "y": y})
    forecaster = Forecaster(recipe=small().model_copy(update={"windows": WindowConfig(horizon=24, context=72)}), steps=0).fit(df)
    paths = forecaster.simulate(8, 72, start="2030-06-01 06:00").to_array()[0, :, :, 0]
    expected = np.roll(day[:24], -6) / 3
    for path in paths:
        assert np.corrcoef(path.reshape(-1, 24).mean(0), expected)[0, 1] > 0.97
    steps = np.diff(paths - np.tile(3 * expected, 3), axis=1)
    assert steps.std() == pytest.approx(0.1, rel=0.2)
