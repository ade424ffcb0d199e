"""``scidiff timeseries backtest``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from scidiff.cli.options import MODEL, Device
from scidiff.errors import UserError
from scidiff_timeseries.cli.fitting import Tracking
from scidiff_timeseries.cli.options import STEPS, Calls, Data, Given, Number, Seed, file_of, open_data, with_columns
from scidiff_timeseries.cli.words import in_words_of


@with_columns
def backtest(
    data: Data,
    given: Given,
    horizon: Annotated[int, typer.Option(min=1, max=STEPS, help="Steps of a window.")] = 30,
    rolls: Annotated[int, typer.Option(min=1, max=1000, help="Windows, at the end of the data.")] = 5,
    method: Annotated[
        list[str] | None, typer.Option(help="ours or a baseline; repeat it for several (default: ours and eight baselines).")
    ] = None,
    model: Annotated[str | None, typer.Option(help=f"Judge this one instead of fitting one before the first window. {MODEL}")] = None,
    n: Number = 100,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the table, the picture and the page.")] = Path("backtest"),
    steps: Annotated[int | None, typer.Option(min=1, max=1_000_000, help="Optimiser steps of the fit (default: 1500).")] = None,
    base_law: Annotated[bool, typer.Option("--base-law", help="Fit the base laws alone, without a network.")] = False,
    season: Annotated[list[int] | None, typer.Option(min=1, help="Of the baselines, in steps (default: the frequency's).")] = None,
    seed: Seed = 0,
    calls: Calls = None,
    device: Device = "auto",
    tracking_uri: Tracking = None,
) -> None:
    """Rolling windows of ours beside baselines: one table with intervals, one picture, one page; all in MLflow."""
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out}: is a file; a folder is needed")
    from scidiff.tracking import Tracker
    from scidiff_timeseries.backtest import METHODS
    from scidiff_timeseries.backtest import backtest as judge
    from scidiff_timeseries.cli.show import scores
    from scidiff_timeseries.forecaster import Forecaster

    fitted = None if model is None else Forecaster.load(model, device=device)
    source = open_data(data, given, {} if fitted is None else fitted.metadata)
    asked: dict[str, Any] = {"methods": method or METHODS, "n_paths": n, "seed": seed, "calls": calls, "seasons": season}
    with in_words_of(file_of(data)):
        result = judge(source.df, horizon, rolls, forecaster=fitted, steps=0 if base_law else steps, device=device, **asked, **source.frame)
    params, tags = {"data": source.title, "model": model}, {"scidiff.domain": "timeseries"}
    out.mkdir(parents=True, exist_ok=True)
    with Tracker.start(out.name, out, params, tags, tracking_uri, resume=False) as tracker:
        result.log(tracker)
    files = result.save(out)
    console = Console()
    console.print(scores(result, console.width))
    for sentence in result.verdict:
        console.print(sentence, highlight=False)
    console.print(f"page: {files[-1]}", soft_wrap=True, highlight=False)
