"""``scidiff timeseries fit``."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from scidiff.cli.options import MODEL, Device
from scidiff_timeseries.cli.options import Data, Given, Seed, file_of, open_data, with_columns
from scidiff_timeseries.cli.words import in_words_of
from scidiff_timeseries.output import MODELS, PICTURES, check_out, write_figure

Tracking = Annotated[str | None, typer.Option("--tracking-uri", help="MLflow server or database (default: ./mlruns.db; 'off': none).")]
PATHS, NO_RECIPE = 100, "scidiff.no_recipe"


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
    device: Device = "auto",
    init: Annotated[str | None, typer.Option(help=f"Start from this model's network. {MODEL}")] = None,
    runs: Annotated[Path, typer.Option(help="Where the run is recorded; a fit that was killed continues from there.")] = Path("runs"),
    resume: Annotated[bool, typer.Option(help="Continue a fit of the same data and options that was interrupted.")] = True,
    tracking_uri: Tracking = None,
) -> None:
    """Fit one model that forecasts, fills gaps and simulates, to the series of a CSV file."""
    check_out("--out", out, MODELS)
    check_out("--plot", plot, PICTURES)
    from scidiff.config import to_yaml
    from scidiff.files import atomic_write
    from scidiff.tracking import Tracker
    from scidiff.train.card import how_computed, log_weights
    from scidiff_timeseries.charts import fan_charts
    from scidiff_timeseries.cli.show import summary
    from scidiff_timeseries.domain import DOMAIN
    from scidiff_timeseries.forecaster import Forecaster
    from scidiff_timeseries.provenance import data_info, provenance

    forecaster = Forecaster(horizon, steps=0 if base_law else steps, seed=seed, init=init)
    source = open_data(data, given)
    with in_words_of(file_of(data)):
        panel = source.panel()
    forecaster.frame = source.frame
    about = {"data": source.title, "frame": source.frame, "csv": source.csv, "base_law": base_law}
    recipe = forecaster.recipe.model_dump(mode="json")
    key = json.dumps([recipe, about, provenance(panel)["data"]], sort_keys=True)
    folder = runs / f"{out.stem}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"  # other data or options: another run
    said, untold = _recipe_of(forecaster.recipe, data, given, source, base_law)
    tags = {"scidiff.domain": "timeseries", **how_computed(device), **untold}
    with Tracker.start(out.stem, folder, _flat({**about, **recipe}), tags, tracking_uri, resume=resume) as tracker:
        tracker.log_dataset(data_info(panel, source.title))
        if said is not None:
            atomic_write(folder / "recipe.yaml", to_yaml(said).encode())
            tracker.log_artifact(folder / "recipe.yaml")
        with in_words_of(file_of(data)):
            forecaster.fit(panel, log=tracker, folder=folder, device=device)
        forecaster.metadata |= {"csv": source.csv, "source": source.title}
        figure = fan_charts(forecaster.predict(n_paths=PATHS), panel)
        forecaster.save(out)
        tracker.log_figure(figure, "forecast.png")
        log_weights(tracker, out, DOMAIN, folder)
    if plot is not None:
        write_figure(figure, plot)
    console = Console()
    console.print(summary(panel, forecaster))
    console.print(f"model: {out}" + (f"   fan charts: {plot}" if plot else "") + f"   run: {folder}", soft_wrap=True, highlight=False)


def _recipe_of(recipe: Any, data: str, given: Given, source: Any, base_law: bool) -> tuple[Any, dict[str, str]]:
    """The recipe by which ``scidiff train`` makes the same model, or a tag that says why there is none."""
    from scidiff_timeseries.data import SAMPLE, Training

    path = file_of(data)
    if base_law:
        return None, {NO_RECIPE: "base laws alone were fitted (--base-law), in seconds, and nothing was trained"}
    if path is None and given.frame:
        return None, {NO_RECIPE: "it was fitted to a shipped sample read with options of its own, which a recipe cannot say"}
    where: dict[str, Any] = {"source": "sample", "name": data.removeprefix(SAMPLE)}
    if path is not None:
        where = {"source": "csv", "path": path.absolute(), "csv": source.csv, **source.frame}
    return Training.model_validate({**recipe.model_dump(), "data": where}), {}


def _flat(values: dict[str, object]) -> dict[str, object]:
    from scidiff.config import flatten

    return dict(flatten(values))
