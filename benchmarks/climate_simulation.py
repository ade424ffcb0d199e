"""Simulated weather: ours beside a seasonal block bootstrap, on the shipped station data (daily minimum and maximum temperature and rain).

    python benchmarks/climate_simulation.py --model stations [--paths 30] [--years 4] [--out climate.html]
    python benchmarks/climate_simulation.py [--steps 0] [--stations 2]

``--model``: a fitted forecaster of the sample, such as the one that ships; it knows each station by itself. Without, one joint system of
all channels of the chosen stations is fitted (``--stations 4`` makes twelve); ``--steps 0`` is the base law without a network. Compared
with 1990 to 2019.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import pandas as pd
import torch

from scidiff.report import write_page
from scidiff_timeseries.forecaster import Forecaster
from scidiff_timeseries.recipe import Questions, Recipe, WindowConfig
from scidiff_timeseries.samples import load_sample
from scidiff_timeseries.simulation import climate_report

END = pd.Timestamp("2020-01-01")
CHANNELS = ("tn", "tx", "rr")
QUESTIONS = Questions(forecast=0.5, gaps=0.1, blocks=0.1, channels=0.1, everything=0.2)


def system(stations: int) -> pd.DataFrame:
    """Wide: a row for each day, a column ``STATION CHANNEL`` for each series."""
    data = load_sample("stations")
    data = data[data["ds"] < END]
    names = list(data["unique_id"].unique())[:stations]
    wide = data[data["unique_id"].isin(names)].pivot(index="ds", columns="unique_id", values=list(CHANNELS))
    wide.columns = [f"{name} {channel}" for channel, name in wide.columns]
    return wide[[f"{name} {channel}" for name in names for channel in CHANNELS]]


def long(wide: pd.DataFrame) -> pd.DataFrame:
    """Columns unique_id, ds, path (if there is one) and the channels."""
    keep = [column for column in ("ds", "path") if column in wide]
    names = list(dict.fromkeys(column.rsplit(" ", 1)[0] for column in wide if column not in keep))
    parts = [wide[keep].assign(unique_id=name, **{channel: wide[f"{name} {channel}"] for channel in CHANNELS}) for name in names]
    return pd.concat(parts, ignore_index=True)


def from_model(options: argparse.Namespace) -> pd.DataFrame:
    started = time.perf_counter()
    forecaster = Forecaster.load(options.model)
    paths = forecaster.simulate(options.paths, round(365.25 * options.years), start="1990-01-01", seed=options.seed, calls=options.calls)
    print(f"simulated in {time.perf_counter() - started:.0f} s", file=sys.stderr)
    return pd.DataFrame(paths)


def simulated(train: pd.DataFrame, options: argparse.Namespace) -> pd.DataFrame:
    recipe = Recipe(windows=WindowConfig(horizon=options.horizon, context=options.context), questions=QUESTIONS)
    forecaster = Forecaster(recipe=recipe, steps=options.steps, seed=options.seed, layout="wide", multivariate=True, freq="D")
    started = time.perf_counter()
    forecaster.fit(train)
    print(forecaster.chosen.to_string(), f"\nfitted in {time.perf_counter() - started:.0f} s", file=sys.stderr)
    print(forecaster.metadata.get("calibration", "no network"), file=sys.stderr)
    started = time.perf_counter()
    paths = forecaster.simulate(options.paths, round(365.25 * options.years), seed=options.seed, calls=options.calls)
    print(f"simulated in {time.perf_counter() - started:.0f} s", file=sys.stderr)
    return long(pd.DataFrame(paths).drop(columns=paths.id_column))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="simulate from this one instead of fitting")
    parser.add_argument("--stations", type=int, default=2)
    parser.add_argument("--steps", type=int, default=0, help="of training; 0 is the base law alone")
    parser.add_argument("--horizon", type=int, default=30)
    parser.add_argument("--context", type=int, default=60)
    parser.add_argument("--calls", type=int)
    parser.add_argument("--paths", type=int, default=30)
    parser.add_argument("--years", type=int, default=4, help="of a path")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="an HTML page with the pictures")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    train = system(4 if options.model else options.stations)
    paths = from_model(options) if options.model else simulated(train, options)
    name = "ours" if options.model or options.steps else "base law"
    report = climate_report(paths, long(train.reset_index()), name=name, seed=options.seed)
    print(report.sheet.markdown(), "\n")
    print(report.verdict())
    if options.out is not None:
        print(write_page(options.out, title="Climate simulation", sections=[report.section("Climate simulation")]))


if __name__ == "__main__":
    main()
