"""How long a forecast takes: 100 series x 100 joint paths x 30 steps, by network calls, beside the base law alone and baselines.

    python benchmarks/timeseries_speed.py [--series 100] [--horizon 30] [--paths 100] [--threads 2]

Weights are random, so that the network corrects every series; its cost does not depend on what it learned. Ratios are to the default
number of calls.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import pandas as pd
import torch

from scidiff_timeseries.baselines import baseline
from scidiff_timeseries.forecaster import Forecaster

BASELINES = ("random_walk_ewma", "ets", "garch_t")
LENGTH = 500


def walks(series: int) -> pd.DataFrame:
    rng, days = np.random.default_rng(0), pd.bdate_range("2020-01-01", periods=LENGTH)
    values = 100 + rng.standard_normal((series, LENGTH)).cumsum(1)
    return pd.concat(pd.DataFrame({"unique_id": f"s{k}", "ds": days, "y": row}) for k, row in enumerate(values))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("series", 100), ("horizon", 30), ("paths", 100), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--calls", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    df = walks(options.series)
    forecaster = Forecaster(options.horizon, steps=0, freq="B").fit(df)
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in forecaster.denoiser.parameters():
            weight.add_(0.02 * torch.randn_like(weight))
    histories = [part["y"].to_numpy() for _, part in df.groupby("unique_id")]
    seconds: dict[str, float] = {}

    def timed(name: str, strength: float, calls: int | None) -> None:
        forecaster.denoiser.strength.fill_(strength)
        forecaster.predict(options.horizon, 2, df=df, calls=1)  # base laws' matrices are kept
        started = time.perf_counter()
        forecaster.predict(options.horizon, options.paths, df=df, calls=calls)
        seconds[name] = time.perf_counter() - started

    timed("base law alone", 0.0, None)
    default = f"ours, {forecaster.recipe.sampler.calls} calls (default)"
    for calls in options.calls:
        timed(default if calls == forecaster.recipe.sampler.calls else f"ours, {calls} calls", 1.0, calls)
    for name in BASELINES:
        started = time.perf_counter()
        baseline(name)(histories, options.horizon, options.paths, seed=0)
        seconds[name] = time.perf_counter() - started
    print(f"{options.series} series x {options.paths} paths x {options.horizon} steps, {options.threads} threads\n")
    print("| method | seconds | ratio |\n|---|---|---|")
    for name, value in seconds.items():
        print(f"| {name} | {value:.1f} | {value / seconds[default]:.2f} |")


if __name__ == "__main__":
    main()
