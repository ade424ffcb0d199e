"""Simulated markets: ours beside GARCH-t and a block bootstrap, by the stylised facts of the S&P set's returns.

    SCIDIFF_DATA=FOLDER python benchmarks/market_simulation.py [--steps 0] [--input log_price] [--paths 100] [--out market.html]

One joint system of eight stocks from eight sectors: AAPL (technology), AMZN (retail), BA (industry), JNJ (health), JPM (banks),
NEE (utilities), PG (staples), XOM (energy). Fitted on the first four years, 21 April 2016 to 20 April 2020 with the crash of March 2020;
the last year is seen by the backtests of value at risk alone. ``--steps 0`` is the base law without a network.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from scidiff.report import write_page
from scidiff_timeseries.forecaster import Forecaster
from scidiff_timeseries.literature import sp500
from scidiff_timeseries.recipe import Questions, Recipe, WindowConfig
from scidiff_timeseries.simulation import market_report

TICKERS = ("AAPL", "AMZN", "BA", "JNJ", "JPM", "NEE", "PG", "XOM")
YEAR = pd.Timestamp("2020-04-21")
QUESTIONS = Questions(forecast=0.5, gaps=0.1, blocks=0.1, channels=0.1, everything=0.2)


def log_prices(root: str | None, tickers: tuple[str, ...]) -> pd.DataFrame:
    """Wide: a row for each trading day, a column for each stock."""
    table = sp500(root)
    missing = sorted(set(tickers) - set(table.names))
    if missing:
        sys.exit(f"the S&P set has no {', '.join(missing)}")
    columns = [table.names.index(ticker) for ticker in tickers]
    return pd.DataFrame(table.values[:, columns], index=pd.DatetimeIndex(table.stamps, name="ds"), columns=list(tickers))


def simulated(train: pd.DataFrame, options: argparse.Namespace) -> pd.DataFrame:
    """Paths of log returns."""
    given = {"price": np.exp(train), "log_price": train, "return": train.diff().iloc[1:]}[options.input]
    recipe = Recipe(windows=WindowConfig(horizon=options.horizon, context=options.context), questions=QUESTIONS)
    forecaster = Forecaster(recipe=recipe, steps=options.steps, seed=options.seed, layout="wide", multivariate=True, freq="B")
    started = time.perf_counter()
    forecaster.fit(given)
    print(forecaster.chosen.to_string(), f"\nfitted in {time.perf_counter() - started:.0f} s", file=sys.stderr)
    print(forecaster.metadata.get("calibration", "no network"), file=sys.stderr)
    started = time.perf_counter()
    length = options.length + (options.input != "return")
    values = forecaster.simulate(options.paths, length, seed=options.seed, calls=options.calls).to_array()[0]
    print(f"simulated in {time.perf_counter() - started:.0f} s", file=sys.stderr)
    if options.input == "price":
        values = np.log(np.maximum(values, 1e-12))
    returns = values if options.input == "return" else np.diff(values, axis=1)
    frame = pd.DataFrame(returns.reshape(-1, returns.shape[2]), columns=train.columns)
    return frame.assign(path=np.repeat(np.arange(len(returns)), returns.shape[1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root")
    parser.add_argument("--tickers", nargs="+", default=list(TICKERS))
    parser.add_argument("--input", choices=["price", "log_price", "return"], default="log_price", help="what the model is given")
    parser.add_argument("--steps", type=int, default=0, help="of training; 0 is the base law alone")
    parser.add_argument("--horizon", type=int, default=20)
    parser.add_argument("--context", type=int, default=60)
    parser.add_argument("--calls", type=int)
    parser.add_argument("--paths", type=int, default=100)
    parser.add_argument("--length", type=int, default=250, help="returns of a path")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="an HTML page with the pictures")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    prices = log_prices(options.data_root, tuple(options.tickers))
    train, later = prices[prices.index < YEAR], prices[prices.index >= YEAR]
    later = pd.concat([train.iloc[-1:], later])  # the first held-out return starts from the last price seen
    paths = simulated(train, options)
    name = "base law" if options.steps == 0 else "ours"
    report = market_report(paths, train.diff().iloc[1:], kind="return", held_out=later.diff().iloc[1:], name=name, seed=options.seed)
    print(report.sheet.markdown(), "\n")
    risk = report.risk_table()
    print("| " + " | ".join(risk.columns) + " |\n|" + "---|" * len(risk.columns))
    for row in risk.itertuples(index=False):
        print("| " + " | ".join(f"{value:.4g}" if isinstance(value, float) else str(value) for value in row) + " |")
    print("\n" + report.verdict())
    if options.out is not None:
        print(write_page(options.out, title="Market simulation", sections=[report.section("Market simulation")]))


if __name__ == "__main__":
    main()
