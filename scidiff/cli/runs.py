"""``scidiff compare``, ``scidiff reproduce``, and ``scidiff models card``."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from scidiff.cli.app import app
from scidiff.cli.models import models
from scidiff.cli.options import MODEL, TrackingUri
from scidiff.errors import UserError

RUN = "A run's folder, its id in MLflow, or runs:/ID."
WHERE = "Where the data are now: data.path=FILE; or the model to start from: init=MODEL."
STATES = {"same": "green", "differs": "yellow", "unknown": "dim"}


@app.command()
def compare(
    runs: Annotated[list[str], typer.Argument(metavar="RUN RUN...", help=f"Two runs or more. {RUN}")],
    everything: Annotated[bool, typer.Option("--all", help="Show what is equal as well.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    page: Annotated[Path | None, typer.Option(help="Write an HTML page with the curves of all runs laid over each other.")] = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Lay runs side by side: configuration, data, versions, machine, and metrics with their intervals."""
    if len(runs) < 2:
        raise UserError("compare needs two runs or more")
    if page is not None and not page.parent.is_dir():
        raise UserError(f"--page {page}: the folder {page.parent} does not exist; make it first")
    from rich.console import Console

    from scidiff.runs import compare as compare_runs
    from scidiff.runs import read_run
    from scidiff.runs.show import comparison_page, comparison_tables

    with Console(stderr=True).status("reading the runs"):
        whole = compare_runs([read_run(run, tracking_uri) for run in runs])
    shown = whole if everything else whole.only_what_differs()
    if as_json:
        typer.echo(json.dumps(shown.to_json(), indent=1))
    else:
        _console().print(comparison_tables(shown))
    if page is not None:
        typer.echo(f"page: {comparison_page(shown, page, whole)}", err=as_json)


@app.command()
def reproduce(
    run: Annotated[str, typer.Argument(help=RUN)],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help=WHERE)] = None,
    out: Annotated[Path | None, typer.Option(help="The repetition's folder (default: runs/NAME-again-ID).")] = None,
    device: Annotated[Literal["auto", "cpu", "cuda"] | None, typer.Option(help="Where to compute (default: as the run).")] = None,
    force: Annotated[bool, typer.Option("--force", help="Repeat it although the data are others.")] = False,
    tracking_uri: TrackingUri = None,
) -> None:
    """Make a run again from what its record holds, and say where it differs. Exits with 0 where all is equal to the bit, else with 1."""
    from rich.console import Console

    from scidiff.domain import missing_extra_named
    from scidiff.runs import read_run
    from scidiff.runs import reproduce as again

    console = _console()
    with Console(stderr=True).status("reading the run"):
        record = read_run(run, tracking_uri)
    with tempfile.TemporaryDirectory() as folder, missing_extra_named(record.tags.get("scidiff.domain", "")):
        planned = again.plan(record, Path(folder), overrides or [], device)
        console.print(f"run {record.label} from {record.source}: {planned.step:,} steps", markup=False, soft_wrap=True)
        for condition in planned.conditions:
            _show(console, condition)
        for condition in again.pose(planned, force):
            _show(console, condition)
        place = out or Path("runs") / f"{record.name}-again-{record.run_id[:8]}"
        console.print(f"training again to step {planned.step:,}, in {place}", markup=False, soft_wrap=True)
        again.repeat(planned, place, tracking_uri)
        found = again.judge(planned, place)
    _tell(console, found)
    if not found.equal:
        raise typer.Exit(1)


@models.command("card")
def model_card(
    model: Annotated[str, typer.Argument(help=MODEL)],
    write: Annotated[bool, typer.Option("--write", help="Write it beside the weights, as NAME.card.md, instead of showing it.")] = False,
) -> None:
    """Show a model's card: data, licence, recipe, what was measured, limits, intended use. Made anew from what the weights hold."""
    import sys

    from scidiff.domain import find_weights, load_domain, models_at_hand
    from scidiff.train.card import make_card, write_card
    from scidiff.train.weights import load_weights

    known = {one.name: one.path for _, one in models_at_hand(lambda error: typer.echo(f"skipped: {error}", err=True))}
    path = find_weights(model, known)
    domain = load_domain(str(load_weights(path)[1].get("domain")))
    if write:
        typer.echo(f"card: {write_card(path, domain)}")
        return
    text = make_card(path, domain)
    if not sys.stdout.isatty():
        typer.echo(text, nl=False)
        return
    from rich.markdown import Markdown

    _console().print(Markdown(text))


def _console() -> Any:
    """For tables: as wide as they need, where nobody looks."""
    import sys

    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=240, highlight=False)


def _show(console: Any, condition: Any) -> None:
    from rich.text import Text

    line = Text.assemble(f"  {condition.name:<10}", (f"{condition.state:<8}", STATES[condition.state]), condition.text)
    console.print(line, soft_wrap=True)


def _tell(console: Any, found: Any) -> None:
    """What came of a repetition."""
    from rich.table import Table
    from rich.text import Text

    course = found.course
    if course.parted:
        table = Table("metric", "first at step", "steps that differ", "largest, relative", "in units in the last place", "", box=None)
        for one in course.parted:
            relative = "–" if one.relative is None else f"{one.relative:.3g}"
            ulps = "–" if one.ulps is None else f"{one.ulps:,}" if one.ulps < 10**6 else f"{one.ulps:.1e}"
            table.add_row(Text(one.name), f"{one.first:,}", f"{one.steps:,} of {one.of:,}", relative, ulps, Text(one.note))
        console.print(table)
    if course.clocks:
        machine = sum(name.startswith("system/") for name in course.clocks)
        names = [name for name in course.clocks if not name.startswith("system/")] + [f"system/… ({machine})"] * bool(machine)
        console.print(f"not compared, as no run repeats them: {', '.join(names)}", markup=False, soft_wrap=True, style="dim")
    weights = {True: "equal", False: "different", None: "not recorded by the run"}[found.same_weights]
    if found.equal:
        what = "weights, " if found.same_weights else ""
        unsaid = "" if found.same_weights else " (the run recorded no final weights)"
        console.print(f"equal to the bit: {what}{course.values:,} values of {course.metrics:,} metrics{unsaid}", style="bold green")
        return
    equal = course.metrics - len(course.parted)
    parted = f"{len(course.parted):,} of {course.metrics:,} metrics differ"
    console.print(f"not equal: weights {weights}; {parted}, {equal:,} are equal to the bit", soft_wrap=True)
    if found.same_weights is False:
        console.print(f"weights of the run {found.weights[0]}, of the repetition {found.weights[1]}", style="dim", soft_wrap=True)
