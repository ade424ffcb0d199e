"""The forecasters in the package: small, and on steps that training never saw as good as they are said to be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scidiff_timeseries.forecaster import Forecaster
from scidiff_timeseries.metrics import wql
from scidiff_timeseries.panel import read_frame
from scidiff_timeseries.paths import SamplePaths
from scidiff_timeseries.registry import shipped_models
from scidiff_timeseries.samples import SAMPLES, load_sample

NAMES = tuple(shipped_models())
WINDOWS, PATHS = 6, 50
WORTH = {"stations": 1.0, "treasury": 1.05}
"""CRPS relative to the base law's, at the most: weather can be forecast better, of yields a random walk is hard to beat."""


def test_one_market_and_one_climate_ship() -> None:
    assert set(NAMES) == {"stations", "treasury"}


def after_training(model: Forecaster, name: str) -> tuple[list[pd.DataFrame], pd.DataFrame, pd.Timestamp]:
    """(histories up to windows spread over the held-out steps, all data, the last stamp of training)."""
    df, horizon = load_sample(name), model.recipe.windows.horizon
    (end,) = set(model.data_end.values())
    stamps = pd.Index(df["ds"].unique())
    first = stamps.get_loc(end)
    cuts = np.linspace(first, len(stamps) - 1 - horizon, WINDOWS).astype(int)
    return [df[df["ds"] <= stamps[cut]] for cut in cuts], df, end


@pytest.mark.parametrize(("name", "worth"), WORTH.items())
def test_a_shipped_forecaster_is_worth_its_network_where_it_was_not_trained(name: str, worth: float) -> None:
    model = Forecaster.load(name)
    histories, df, end = after_training(model, name)
    assert (df["ds"] > end).sum() > 0
    panel = read_frame(df, **SAMPLES[name].frame)

    def crps() -> float:
        made = [model.predict(n_paths=PATHS, df=history, calls=1) for history in histories]
        truth = [actual(paths, df, panel.ids) for paths in made]
        values = np.concatenate([paths.to_array() for paths in made])  # [series, path, time, channel]
        flat = np.moveaxis(values, 3, 1).reshape(-1, PATHS, values.shape[2])
        return wql(flat, np.concatenate(truth).transpose(0, 2, 1).reshape(-1, values.shape[2]))

    ours = crps()
    model.denoiser.strength.zero_()
    model.denoiser.log_temperature.zero_()
    assert ours < worth * crps()


def actual(paths: SamplePaths, df: pd.DataFrame, ids: tuple[object, ...]) -> np.ndarray:
    """[series, time, channel] of the paths' stamps; NaN where the data have no row."""
    stamps = pd.DatetimeIndex(paths["ds"].unique())
    groups = [part for _, part in df.groupby("unique_id")] if "unique_id" in df else [df]
    channels = [column for column in paths.columns if column in df and column not in ("unique_id", "ds")]
    assert len(groups) == len(ids)
    return np.stack([part.set_index("ds")[channels].reindex(stamps).to_numpy() for part in groups])


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_file_is_small_and_says_how_it_was_made(name: str) -> None:
    path = shipped_models()[name]
    assert path.stat().st_size < 4_000_000
    model = Forecaster.load(name)
    recipe = model.metadata["recipe"]
    assert recipe["name"] == name
    assert model.metadata["step"] == recipe["train"]["steps"]
    assert 0 < model.metadata["calibration"]["coverage"]["0.9"] < 1
    json.dumps(model.metadata)
    assert Path(path).parent.name == "models"
