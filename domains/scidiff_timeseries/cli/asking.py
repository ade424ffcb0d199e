"""``scidiff timeseries forecast``, ``impute`` and ``simulate``: one model, three questions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from scidiff.cli.options import Device
from scidiff.errors import UserError
from scidiff_timeseries.cli.options import PATHS, STEPS, Calls, Data, Given, Model, Number, Seed, file_of, open_data, with_columns
from scidiff_timeseries.cli.words import in_words_of
from scidiff_timeseries.output import PICTURES, TABLES, check_out, write_figure, write_paths, write_table

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
    device: Device = "auto",
) -> None:
    """Joint sample paths of the steps that follow the data."""
    _check(out, plot)
    forecaster = _load(model, device)
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
    device: Device = "auto",
) -> None:
    """Joint sample paths of all steps of the data: what is known as it is, what is missing drawn anew in each path."""
    _check(out, plot)
    forecaster = _load(model, device)
    source = _source(data, given, forecaster)
    with in_words_of(file_of(data)):
        paths = forecaster.impute(source.df, n, seed=seed, calls=calls)
    _write(paths, source.panel(), out, plot, quantiles)


def simulate(
    model: Model,
    n: Annotated[int, typer.Option("-n", "--number", min=1, max=2**24, help="How many sample paths.")] = 100,
    length: Annotated[int, typer.Option(min=1, max=STEPS, help="Steps of each path.")] = 250,
    id: Annotated[str | None, typer.Option(help="Of one series (default: all that it was fitted on).")] = None,  # noqa: A002
    start: Annotated[str | None, typer.Option(help="First stamp (default: where the series began).")] = None,
    out: Out = Path("simulated.csv"),
    plot: Plot = None,
    quantiles: Quantiles = False,
    seed: Seed = 0,
    calls: Calls = None,
    device: Device = "auto",
    shards: Annotated[int | None, typer.Option(min=1, help="Write so many files, in any number of processes.")] = None,
    shard: Annotated[int | None, typer.Option(min=0, help="Make this shard alone (default: all, or this rank's share).")] = None,
    format: Annotated[Literal["csv", "parquet"] | None, typer.Option(help="Of the shards in a folder (default: csv).")] = None,  # noqa: A002
    plan: Annotated[bool, typer.Option("--plan", help="Say what --shards would do, in what time and space; do nothing.")] = False,
) -> None:
    """Joint sample paths that never happened, from what was learned alone.

    The files of --shards hold the same paths, to the bit, as one process makes; what is finished is never made again.
    """
    asked: dict[str, Any] = {"length": length, "id": id, "start": start, "seed": seed, "calls": calls}
    if shards is None:
        if shard is not None or format is not None or plan:
            raise UserError("--shard, --format and --plan are for --shards: say how many there are")
        if n > PATHS:
            raise UserError(f"-n {n}: one process makes up to {PATHS:,} at once; cut them into files with --shards")
        _check(out, plot)
        forecaster = _load(model, device)
        with in_words_of():
            paths = forecaster.simulate(n, **asked)
        _write(paths, None, out, plot, quantiles, simulated=True)
        return
    if plot is not None or quantiles:
        raise UserError("--plot and --quantiles need all paths at once: merge the shards, and make them of the one file")
    from scidiff.shards import show_plan, target_of
    from scidiff_timeseries.sharded import sharded

    target = target_of(out, TABLES, format)
    options = {"-n": n, "--out": out, "--model": model, "--device": device, "--format": format}
    options |= {f"--{name}": value for name, value in asked.items()}
    with in_words_of():
        work, trial = sharded(target, n, model, device, asked, shards, shard, options)
        if plan:
            show_plan(work, trial)
        else:
            work.run()


def _check(out: Path, plot: Path | None) -> None:
    check_out("--out", out, TABLES)
    check_out("--plot", plot, PICTURES)


def _load(model: str, device: str) -> Any:
    from scidiff_timeseries.forecaster import Forecaster

    return Forecaster.load(model, device=device)


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


def _write(paths: Any, history: Any, out: Path, plot: Path | None, quantiles: bool, *, simulated: bool = False) -> None:
    from scidiff_timeseries.bars import late_bar
    from scidiff_timeseries.charts import fan_charts

    with late_bar("writing"):
        if plot is not None:
            write_figure(fan_charts(paths, history), plot)
        if simulated and not quantiles and out.suffix.lower() == ".csv":
            write_paths(paths, out)  # as its shards are
        else:
            write_table(paths.quantiles() if quantiles else paths, out)
    first, last = paths[paths.time_column].min(), paths[paths.time_column].max()
    count, series = paths["path"].nunique(), len(paths.ids)
    text = f"{count:,} paths of {series:,} series, {first} to {last}, written to {out}"
    typer.echo(text + (f"; fan charts: {plot}" if plot is not None else ""))
