"""``scidiff demo``: one model of US Treasury yields forecasts and fills a gap, and is judged beside baselines on days it has not seen."""

from __future__ import annotations

import platform
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from rich.console import Console

from scidiff import __version__
from scidiff.report import Picture, Prose, Row, Section, figure_png
from scidiff.tracking import Tracker
from scidiff_timeseries.backtest import Backtest, backtest, section
from scidiff_timeseries.charts import fan_charts
from scidiff_timeseries.cli.show import scores
from scidiff_timeseries.forecaster import Forecaster
from scidiff_timeseries.output import write_table
from scidiff_timeseries.panel import read_frame
from scidiff_timeseries.paths import SamplePaths
from scidiff_timeseries.registry import shipped_models
from scidiff_timeseries.samples import SAMPLES, load_sample

NAME, ROWS, ROLLS, PATHS, HORIZON, GAP = "treasury", 700, 5, 100, 20, 15
METHODS = ("ours", "naive", "random_walk", "random_walk_ewma", "seasonal_bootstrap")


def demo(folder: Path, tracker: Tracker) -> list[Section]:
    """The tour; see the module. Everything is written to ``folder``."""
    console = Console()
    folder.mkdir(parents=True, exist_ok=True)
    sample, df = SAMPLES[NAME], load_sample(NAME).tail(ROWS).reset_index(drop=True)
    console.rule("forecasting US Treasury yields")
    forecaster, model = _forecaster(df)
    began = time.perf_counter()
    forecast = _forecast(forecaster, df, folder)
    gap = _gap(forecaster, df)
    seconds = time.perf_counter() - began
    figure_png(forecast, folder / "forecast.png")
    console.print(f"{PATHS} joint paths of {len(forecaster.channels)} yields, and a gap filled as often, in {seconds:.1f} s")
    console.rule(f"judging it on {ROLLS} windows beside {len(METHODS) - 1} baselines")
    judged = backtest(df, forecaster.recipe.windows.horizon, ROLLS, methods=METHODS, n_paths=PATHS, forecaster=forecaster, **sample.frame)
    console.print(scores(judged, console.width))
    judged.log(tracker)
    for name in ("forecast.png", "paths.csv"):
        tracker.log_artifact(folder / name)
    scored = section(judged)
    words = f"Each path runs through all {len(forecaster.channels)} tenors at once: any figure of a curve, such as a spread, has its law."
    follow = "What may follow, in per cent: the median, 50 and 90 % intervals, and a few paths whole."
    hidden = f"{GAP} days that the model was not shown, filled by the same model, over what happened."
    parts = [
        Prose(words),
        Picture(forecast, follow, "Fan charts of yields after the end of the data"),
        Picture(gap, hidden, "Fan charts over a gap in the yields"),
        *scored.parts,
    ]
    facts = {
        "model": model,
        "data": f"{sample.title}; {sample.source}",
        "time": f"{seconds:.1f} s for forecast and gap, on {torch.get_num_threads()} threads",
        **scored.facts,
        "versions": f"scidiff {__version__}, pandas {pd.__version__}, torch {torch.__version__}, Python {platform.python_version()}",
    }
    return [Section("US Treasury yields: forecast, filled, judged", parts, facts, scored.notes, tiles=_tiles(judged))]


def _tiles(judged: Backtest) -> list[Row]:
    """Ours in large type."""
    row = judged.table.loc["ours"]

    def figure(key: str) -> float | None:
        return None if row[key] is None or pd.isna(row[key]) else float(row[key])

    crps = Row(f"CRPS over {ROLLS} windows", figure("crps"), figure("crps_low"), figure("crps_high"), unit="")
    relative = Row("CRPS / best baseline's", figure("relative_crps"), figure("relative_low"), figure("relative_high"), unit="")
    return [crps, relative, *(Row(f"of values inside {level} % intervals", figure(f"coverage_{level}")) for level in (50, 90))]


def _forecaster(df: pd.DataFrame) -> tuple[Forecaster, str]:
    """The shipped model; where there is none, base laws fitted on what comes before the windows."""
    if NAME in shipped_models():
        made = Forecaster.load(NAME)
        return made, f"{NAME}, {made.metadata.get('step', 0):,} training steps"
    train = df.iloc[: len(df) - ROLLS * HORIZON]
    return Forecaster(HORIZON, steps=0, **SAMPLES[NAME].frame).fit(train), "base laws alone, fitted here"


def _forecast(forecaster: Forecaster, df: pd.DataFrame, folder: Path) -> Figure:
    paths = forecaster.predict(n_paths=PATHS, df=df)
    write_table(paths, folder / "paths.csv")
    return fan_charts(paths, read_frame(df, **SAMPLES[NAME].frame), 3, columns=3)


def _gap(forecaster: Forecaster, df: pd.DataFrame) -> Figure:
    """Three tenors over a gap in half a year's data, drawn over what happened."""
    seen = df.tail(130).reset_index(drop=True)
    gap = slice(len(seen) - 30 - GAP, len(seen) - 30)
    hidden = seen.copy()
    hidden.loc[hidden.index[gap], list(forecaster.channels)] = np.nan
    paths = forecaster.impute(hidden, PATHS)
    inside = paths["ds"].between(seen["ds"].iloc[gap.start], seen["ds"].iloc[gap.stop - 1])
    return fan_charts(SamplePaths(paths[inside]), read_frame(seen, **SAMPLES[NAME].frame), 3, columns=3)
