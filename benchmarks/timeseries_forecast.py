"""Forecasts of the literature's sets: ours, its base law alone, and simple baselines, on the exact GluonTS windows.

    SCIDIFF_DATA=FOLDER python benchmarks/timeseries_forecast.py exchange [--seeds 0 1 2] [--calls 1 4]
    SCIDIFF_DATA=FOLDER python benchmarks/timeseries_forecast.py m4_hourly

Selection, training and calibration see the data before the first test window only. CRPS is GluonTS' mean_wQuantileLoss (nine levels, 100
paths); coverage is of central intervals of the same paths (unbiased rule).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time

import numpy as np
import pandas as pd
import torch

from scidiff_timeseries.baselines import baseline
from scidiff_timeseries.forecaster import Forecaster
from scidiff_timeseries.literature import Benchmark, exchange_rate, m4_hourly
from scidiff_timeseries.metrics import coverage, wql
from scidiff_timeseries.recipe import Questions, Recipe, WindowConfig

FORECASTS = Questions(forecast=1.0, gaps=0.0, blocks=0.0, channels=0.0, everything=0.0)
SETS = {
    "exchange": (
        exchange_rate,
        Recipe(windows=WindowConfig(horizon=30, context=120), questions=FORECASTS),
        {"batch_size": 64, "steps": 1000},
    ),
    "m4_hourly": (
        m4_hourly,
        Recipe(windows=WindowConfig(horizon=48, rolls=1, selection_rolls=3, view=96), questions=FORECASTS),
        {"batch_size": 32, "steps": 800},
    ),
}
BASELINES = {"exchange": ("seasonal_naive", "random_walk_ewma"), "m4_hourly": ("seasonal_naive", "seasonal_bootstrap")}


def frame(histories: tuple[np.ndarray, ...], benchmark: Benchmark) -> pd.DataFrame:
    """Long frame; a set whose start is not known starts on a Monday."""
    start = pd.Timestamp("2001-01-01" if benchmark.start is None else benchmark.start)
    each = [
        pd.DataFrame({"unique_id": name, "ds": pd.date_range(start, periods=len(y), freq=benchmark.frequency), "y": y})
        for name, y in zip(benchmark.names, histories, strict=True)
    ]
    return pd.concat(each)


def row(name: str, paths: np.ndarray, truth: np.ndarray, seconds: float) -> None:
    covered = (100 * coverage(paths, truth, level) for level in (0.5, 0.9))
    print(f"| {name} | {wql(paths, truth):.4f} | {' | '.join(f'{c:.0f}' for c in covered)} | {seconds:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=list(SETS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--calls", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--data-root")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    load, recipe, training = SETS[options.set]
    benchmark = load(options.data_root)
    windows = list(benchmark.windows())
    truth = np.stack([window.truth for window in windows])
    print("| method | CRPS | 50 % | 90 % | seconds |\n|---|---|---|---|---|")
    for name in BASELINES[options.set]:
        method, started = baseline(name, benchmark.seasons), time.perf_counter()
        paths = np.stack([method(window.histories, benchmark.horizon, 100, seed) for seed, window in enumerate(windows)])
        row(name, paths, truth, time.perf_counter() - started)
    for seed in options.seeds:
        started = time.perf_counter()
        fitted = recipe.model_copy(update={"train": recipe.train.model_copy(update={**training, "seed": seed})})
        with tempfile.TemporaryDirectory() as folder:
            forecaster = Forecaster(recipe=fitted, freq=benchmark.frequency).fit(frame(benchmark.train(), benchmark), folder=folder)
        seconds = time.perf_counter() - started
        print(forecaster.metadata["calibration"], file=sys.stderr)
        calibrated = forecaster.denoiser.strength.clone(), forecaster.denoiser.log_temperature.clone()
        for title, strength, temperature in (("base law alone", 0.0, 0.0), ("ours", *map(float, calibrated))):
            forecaster.denoiser.strength.fill_(strength)
            forecaster.denoiser.log_temperature.fill_(temperature)
            for calls in options.calls if title == "ours" else options.calls[:1]:
                made = [
                    forecaster.predict(benchmark.horizon, 100, df=frame(window.histories, benchmark), seed=number, calls=calls)
                    for number, window in enumerate(windows)
                ]
                paths = np.stack([one.to_array()[..., 0] for one in made])
                row(f"{title}, seed {seed}, {calls} calls", paths, truth, seconds)


if __name__ == "__main__":
    main()
