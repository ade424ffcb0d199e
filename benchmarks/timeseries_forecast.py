"""Forecasts of the literature's sets: ours, its base law alone, and simple baselines, on the exact GluonTS windows.

    SCIDIFF_DATA=FOLDER python benchmarks/timeseries_forecast.py exchange [--seeds 0 1 2] [--calls 1 2 4 8 16]
    SCIDIFF_DATA=FOLDER python benchmarks/timeseries_forecast.py m4_hourly

The recipes are configs/timeseries/*.yaml. Selection, training and calibration see the data before the first test window only. CRPS is
GluonTS' mean_wQuantileLoss (nine levels, 100 paths), with a 95 % interval: of exchange by a block bootstrap over its five windows (too
narrow, then), of M4-hourly, which has one window, by a bootstrap over its unrelated series. The last column is the CRPS relative to
that of the table's first row, with a paired interval. Coverage is of central intervals of the same paths (unbiased rule).
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from scidiff.config import read_config, validate
from scidiff_timeseries.baselines import baseline
from scidiff_timeseries.data import Training, benchmark_frame
from scidiff_timeseries.forecaster import Forecaster
from scidiff_timeseries.literature import exchange_rate, m4_hourly
from scidiff_timeseries.metrics import Interval, coverage, ratio_interval
from scidiff_timeseries.metrics.scores import wql_terms

CONFIGS = Path(__file__).parents[1] / "configs" / "timeseries"
LOAD = {"exchange": exchange_rate, "m4_hourly": m4_hourly}
BASELINES = {
    "exchange": ("random_walk_ewma", "naive", "seasonal_naive", "ets", "arima", "garch_t"),
    "m4_hourly": ("seasonal_bootstrap", "naive", "seasonal_naive"),
}


class Report:
    """Rows of a table in markdown; the first row is what the others are compared with."""

    def __init__(self, truth: np.ndarray) -> None:
        self.truth, self.reference, self.block = truth, None, 1 if len(truth) == 1 else None
        print("| method | CRPS | 50 % | 90 % | relative | seconds |\n|---|---|---|---|---|---|", flush=True)

    def row(self, name: str, paths: np.ndarray, seconds: float) -> float:
        losses, scale = (part.T if len(self.truth) == 1 else part for part in wql_terms(paths, self.truth))
        if self.reference is None:
            self.reference = losses
        covered = " | ".join(f"{100 * coverage(paths, self.truth, level):.0f}" for level in (0.5, 0.9))
        texts = [
            f"{top.sum() / bottom.sum():.{digits}f}{words(ratio_interval(top, bottom, block=self.block), digits)}"
            for top, bottom, digits in ((losses, scale, 4), (losses, self.reference, 2))
        ]
        print(f"| {name} | {texts[0]} | {covered} | {texts[1]} | {seconds:.0f} |", flush=True)
        return float(losses.sum() / scale.sum())


def words(interval: Interval | None, digits: int) -> str:
    return "" if interval is None else f" [{interval.low:.{digits}f}, {interval.high:.{digits}f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=list(LOAD))
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--calls", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--data-root")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-baselines", action="store_true", help="the reference alone")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    benchmark = LOAD[options.set](options.data_root)
    os.environ["SCIDIFF_DATA"] = str(options.data_root or os.environ.get("SCIDIFF_DATA", ""))
    windows = list(benchmark.windows())
    report = Report(np.stack([window.truth for window in windows]))
    for name in BASELINES[options.set][: 1 if options.no_baselines else None]:
        method, started = baseline(name, benchmark.seasons), time.perf_counter()
        paths = np.stack([method(window.histories, benchmark.horizon, 100, seed) for seed, window in enumerate(windows)])
        report.row(name, paths, time.perf_counter() - started)
    recipe = validate(Training, read_config(CONFIGS / f"{options.set}.yaml", []))
    found: dict[int, list[float]] = {}
    for seed in options.seeds:
        started = time.perf_counter()
        seeded = recipe.model_copy(update={"train": recipe.train.model_copy(update={"seed": seed})})
        with tempfile.TemporaryDirectory() as folder:
            forecaster = Forecaster(recipe=seeded, freq=benchmark.frequency).fit(benchmark_frame(benchmark), folder=folder)
        seconds = time.perf_counter() - started
        print(forecaster.metadata["calibration"], file=sys.stderr, flush=True)
        calibrated = float(forecaster.denoiser.strength), float(forecaster.denoiser.log_temperature)  # beside each series' own strength
        for title, strength, temperature in (("base law alone", 0.0, 0.0), ("ours", *calibrated)):
            if title != "ours" and seed != options.seeds[0]:
                continue  # the same for every seed
            forecaster.denoiser.strength.fill_(strength)
            forecaster.denoiser.log_temperature.fill_(temperature)
            for calls in options.calls if title == "ours" else options.calls[:1]:
                made = [
                    forecaster.predict(benchmark.horizon, 100, df=benchmark_frame(benchmark, window.histories), seed=number, calls=calls)
                    for number, window in enumerate(windows)
                ]
                crps = report.row(f"{title}, seed {seed}, {calls} calls", np.stack([one.to_array()[..., 0] for one in made]), seconds)
                if title == "ours":
                    found.setdefault(calls, []).append(crps)
    for calls, values in found.items():
        print(f"\nours, {calls} calls, {len(values)} seeds: {np.mean(values):.5f}, standard deviation {np.std(values):.5f}")


if __name__ == "__main__":
    main()
