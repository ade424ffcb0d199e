"""The shipped forecasters on the steps that their training never saw, beside their base laws and baselines, by network calls.

    python benchmarks/timeseries_shipped.py [treasury] [stations] [--calls 1 2 4 8 16] [--windows 13]

Windows follow one another from the last stamp of training to the end of the sample (``--windows``: the last ones of them). CRPS is GluonTS'
mean_wQuantileLoss with 95 % intervals by a block bootstrap over windows; relative CRPS is to the best simple baseline's.
"""

from __future__ import annotations

import argparse
import time

import pandas as pd
import torch

from scidiff_timeseries.backtest import backtest
from scidiff_timeseries.forecaster import Forecaster
from scidiff_timeseries.samples import SAMPLES, load_sample

BASELINES = {
    "treasury": ("random_walk_ewma", "naive", "garch_t", "arima"),
    "stations": ("climatology", "seasonal_bootstrap", "random_walk_ewma"),
}
SEASONS = {"treasury": (5,), "stations": (365,)}


def judge(name: str, calls: list[int], paths: int, most: int) -> None:
    model, df = Forecaster.load(name), load_sample(name)
    (end,) = set(model.data_end.values())
    horizon = model.recipe.windows.horizon
    rolls = len(pd.date_range(end, df["ds"].max(), freq=SAMPLES[name].frame["freq"], inclusive="right")) // horizon
    rolls = min(rolls, most)
    print(f"\n{name}: {rolls} windows of {horizon} steps at the end of the data, training up to {end:%Y-%m-%d}, {paths} paths\n")
    print("| method | CRPS | 50 % | 90 % | relative | seconds |\n|---|---|---|---|---|---|")

    def rows(label: str, methods: tuple[str, ...], calls: int | None) -> None:
        started = time.perf_counter()
        found = backtest(df, horizon, rolls, methods=methods, n_paths=paths, forecaster=model, calls=calls, seasons=SEASONS[name])
        seconds = time.perf_counter() - started
        for method, row in found.table.iterrows():
            alone = len(methods) == 1
            relative = "" if alone else f"{row['relative_crps']:.2f} [{row['relative_low']:.2f}, {row['relative_high']:.2f}]"
            print(
                f"| {label if method == 'ours' else method} | {row['crps']:.4f} [{row['crps_low']:.4f}, {row['crps_high']:.4f}] "
                f"| {100 * row['coverage_50']:.0f} | {100 * row['coverage_90']:.0f} "
                f"| {relative} | {f'{seconds:.0f}' if method == 'ours' else ''} |",
                flush=True,
            )

    default = model.recipe.sampler.calls
    rows(f"ours, {default} calls", ("ours", *BASELINES[name]), default)
    for count in calls:
        if count != default:
            rows(f"ours, {count} calls", ("ours",), count)
    model.denoiser.strength.zero_()
    model.denoiser.log_temperature.zero_()
    rows("base law alone", ("ours",), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=sorted(BASELINES), help="of shipped forecasters (default: all)")
    parser.add_argument("--calls", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--paths", type=int, default=100)
    parser.add_argument("--windows", type=int, default=10**6)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for name in options.names:
        judge(name, options.calls, options.paths, options.windows)


if __name__ == "__main__":
    main()
