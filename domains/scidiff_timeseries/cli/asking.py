"""``scidiff timeseries forecast``, ``impute`` and ``simulate``: one model, three questions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from scidiff.errors import UserError
from scidiff_timeseries.cli.options import STEPS, Calls, Data, Given, Model, Number, Seed, file_of, open_data, with_columns
from scidiff_timeseries.cli.words import in_words_of
from scidiff_timeseries.output import PICTURES, TABLES, check_out, write_figure, write_table

Out = Annotated[Path, typer.Option("--out", "-o", help="A .csv or .parquet file.")]
Plot = Annotated[Path | None, typer.Option(help="Fan charts: a .png, .svg or .pdf file.")]
Quantiles = Annotated[bool, typer.Option("--quantiles", help="Write the nine deciles at each time instead of the paths.")]


@with_columns
def forecast(
    data: Data,
    given: Given,
    model: Model,
    horizon: Annotated[int | None, typer.Option(min=1, max=STEPS, help="Steps after the data (default: as fitted).")] = None,
    n: Number = 100,
    out: Out = Path("paths.csv"),
    plot: Plot = None,
    quantiles: Quantiles = False,
    seed: Seed = 0,
    calls: Calls = None,
) -> None:
    """Joint sample paths of the steps that follow the data."""
    _check(out, plot)
    forecaster = _load(model)
    source = _source(data, given, forecaster)
    with in_words_of(file_of(data)):
        paths = forecaster.predict(horizon, n, df=source.df, seed=seed, calls=calls)
    _write(paths, source.panel(), out, plot, quantiles)


@with_columns
def impute(
    data: Data,
    given: Given,
    model: Model,
    n: Number = 20,
    out: Out = Path("filled.csv"),
    plot: Plot = None,
    quantiles: Quantiles = False,
    seed: Seed = 0,
    calls: Calls = None,
) -> None:
    """Joint sample paths of all steps of the data: what is known as it is, what is missing drawn anew in each path."""
    _check(out, plot)
    forecaster = _load(model)
    source = _source(data, given, forecaster)
    with in_words_of(file_of(data)):
        paths = forecaster.impute(source.df, n, seed=seed, calls=calls)
    _write(paths, source.panel(), out, plot, quantiles)


def simulate(
    model: Model,
    n: Number = 100,
    length: Annotated[int, typer.Option(min=1, max=STEPS, help="Steps of each path.")] = 250,
    id: Annotated[str | None, typer.Option(help="Of one series (default: all that it was fitted on).")] = None,  # noqa: A002
    start: Annotated[str | None, typer.Option(help="First stamp (default: where the series began).")] = None,
    out: Out = Path("simulated.csv"),
    plot: Plot = None,
    quantiles: Quantiles = False,
    seed: Seed = 0,
    calls: Calls = None,
) -> None:
    """Joint sample paths that never happened, from what was learned alone."""
    _check(out, plot)
    forecaster = _load(model)
    with in_words_of():
        paths = forecaster.simulate(n, length, id=id, start=start, seed=seed, calls=calls)
    _write(paths, None, out, plot, quantiles)


def _check(out: Path, plot: Path | None) -> None:
    check_out("--out", out, TABLES)
    check_out("--plot", plot, PICTURES)


def _load(model: str) -> Any:
    from scidiff_timeseries.forecaster import Forecaster

    return Forecaster.load(model)


def _source(data: str, given: Given, forecaster: Any) -> Any:
    """The data, laid out as those the model was fitted on unless the command line says otherwise; their step is the model's."""
    from scidiff_timeseries.frequency import Frequency

    name = forecaster.frequency.name
    if Frequency(given.frame.get("freq", name)).name != name:
        raise UserError(f"--freq {given.frame['freq']}: the model's step is {name}; fit another model for that")
    source = open_data(data, given, forecaster.metadata)
    source.frame["freq"] = name
    forecaster.frame = source.frame
    return source


def _write(paths: Any, history: Any, out: Path, plot: Path | None, quantiles: bool) -> None:
    from scidiff_timeseries.bars import late_bar
    from scidiff_timeseries.charts import fan_charts

    with late_bar("writing"):
        if plot is not None:
            write_figure(fan_charts(paths, history), plot)
        write_table(paths.quantiles() if quantiles else paths, out)
    first, last = paths[paths.time_column].min(), paths[paths.time_column].max()
    count, series = paths["path"].nunique(), len(paths.ids)
    text = f"{count:,} paths of {series:,} series, {first} to {last}, written to {out}"
    typer.echo(text + (f"; fan charts: {plot}" if plot is not None else ""))
