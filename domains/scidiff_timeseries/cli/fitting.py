"""``scidiff timeseries fit``."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from scidiff_timeseries.cli.options import Data, Given, Seed, file_of, open_data, with_columns
from scidiff_timeseries.cli.words import in_words_of
from scidiff_timeseries.output import MODELS, PICTURES, check_out, write_figure

Tracking = Annotated[str | None, typer.Option("--tracking-uri", help="MLflow server or database (default: ./mlruns.db; 'off': none).")]
PATHS = 100


@with_columns
def fit(
    data: Data,
    given: Given,
    horizon: Annotated[int, typer.Option(min=1, max=10_000, help="Steps of the forecasts that it learns; it can be asked for any.")] = 30,
    out: Annotated[Path, typer.Option("--out", "-o", help="The model, a .safetensors file.")] = Path("model.safetensors"),
    steps: Annotated[int | None, typer.Option(min=1, max=1_000_000, help="Optimiser steps (default: 1500).")] = None,
    base_law: Annotated[bool, typer.Option("--base-law", help="Fit the base laws alone, without a network; seconds.")] = False,
    seed: Seed = 0,
    plot: Annotated[Path | None, typer.Option(help="Fan charts of the forecast after the data: a .png, .svg or .pdf file.")] = None,
    runs: Annotated[Path, typer.Option(help="Where the run is recorded; a fit that was killed continues from there.")] = Path("runs"),
    resume: Annotated[bool, typer.Option(help="Continue a fit of the same data and options that was interrupted.")] = True,
    tracking_uri: Tracking = None,
) -> None:
    """Fit one model that forecasts, fills gaps and simulates, to the series of a CSV file."""
    check_out("--out", out, MODELS)
    check_out("--plot", plot, PICTURES)
    from scidiff.tracking import Tracker
    from scidiff_timeseries.charts import fan_charts
    from scidiff_timeseries.cli.show import summary
    from scidiff_timeseries.forecaster import Forecaster
    from scidiff_timeseries.provenance import provenance

    forecaster = Forecaster(horizon, steps=0 if base_law else steps, seed=seed)
    source = open_data(data, given)
    with in_words_of(file_of(data)):
        panel = source.panel()
    forecaster.frame = source.frame
    about = {"data": source.title, "frame": source.frame, "csv": source.csv, "base_law": base_law}
    recipe = forecaster.recipe.model_dump(mode="json")
    key = json.dumps([recipe, about, provenance(panel)["data"]], sort_keys=True)
    folder = runs / f"{out.stem}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"  # other data or options: another run
    tags = {"scidiff.domain": "timeseries"}
    with Tracker.start(out.stem, folder, _flat({**about, **recipe}), tags, tracking_uri, resume=resume) as tracker:
        with in_words_of(file_of(data)):
            forecaster.fit(panel, log=tracker, folder=folder)
        forecaster.metadata["csv"] = source.csv
        figure = fan_charts(forecaster.predict(n_paths=PATHS), panel)
        forecaster.save(out)
        tracker.log_figure(figure, "forecast.png")
        tracker.log_artifact(out)
    if plot is not None:
        write_figure(figure, plot)
    console = Console()
    console.print(summary(panel, forecaster))
    console.print(f"model: {out}" + (f"   fan charts: {plot}" if plot else "") + f"   run: {folder}", soft_wrap=True, highlight=False)


def _flat(values: dict[str, object]) -> dict[str, object]:
    from scidiff.config import flatten

    return dict(flatten(values))
