"""The comparison at the end of a sweep: a table on the screen; a page and pictures in ``OUT/comparison``, logged to the sweep's run."""

from __future__ import annotations

import json
import logging
import math
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from scidiff.errors import did_you_mean
from scidiff.files import atomic_write
from scidiff.report import Grid, Picture, Section, figure_png, write_page
from scidiff.sweep.outcome import Outcome, ranked
from scidiff.sweep.pictures import draw_curves, draw_keys
from scidiff.sweep.plan import Plan, shown
from scidiff.tracking import Tracker

__all__ = ["compare"]

LOG = logging.getLogger("scidiff.sweep")
FOLDER = "comparison"


def compare(plan: Plan, out: Path, outcomes: list[Outcome], tracker: Tracker) -> Path:
    """Show and write what came out, the best first; the path of the page. The metric of run K is logged at step K of the sweep's run."""
    config = plan.config
    order = ranked(outcomes, config)
    columns, rows = _cells(plan, order)
    table = Table(box=None)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console(soft_wrap=not sys.stdout.isatty()).print(table)
    folder = out / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    found = [{"run": one.trial.name, "values": one.trial.values, "status": one.status, config.metric: one.value(config)} for one in order]
    atomic_write(folder / "runs.json", json.dumps(found, indent=1).encode())
    page = _write(plan, out, order, Grid("Runs", columns, rows, _note(plan), strong=(0,) if order[0].value(config) is not None else ()))
    for outcome in outcomes:
        value = outcome.value(config)
        if value is not None:
            tracker.log_metrics({config.metric: value}, outcome.trial.number)
    best = order[0]
    if best.value(config) is not None:
        tracker.set_tags({"scidiff.sweep.best": f"{best.trial.name}: {best.trial.text}"})
    elif any(outcome.status == "finished" for outcome in outcomes):
        names = sorted(set[str]().union(*(outcome.metrics for outcome in outcomes)))
        hint = did_you_mean(config.metric, names) or f" (logged were: {', '.join(names)})"
        LOG.warning("no run has logged the metric %r%s; compare by another with: sweep.metric=NAME", config.metric, hint)
    tracker.log_artifact(folder, FOLDER)
    return page


def _cells(plan: Plan, order: list[Outcome]) -> tuple[list[str], list[list[str]]]:
    keys, metric = list(plan.config.over), plan.config.metric
    columns = ["run", *keys, metric if plan.config.use == "last" else f"best {metric}", "step", "seconds", "status"]
    rows = []
    for one in order:
        value = one.value(plan.config)
        rows.append(
            [
                one.trial.name,
                *(shown(one.trial.values[key]) for key in keys),
                "–" if value is None else f"{value:.5g}",
                str(one.points[-1][0]) if one.points else "–",
                "–" if one.seconds is None else f"{one.seconds:.0f}",
                one.status,
            ]
        )
    return columns, rows


def _note(plan: Plan) -> str:
    which = "last" if plan.config.use == "last" else "best"
    return f"The {which} {plan.config.metric} of each run; the best run first ({plan.config.goal})."


def _write(plan: Plan, out: Path, order: list[Outcome], grid: Grid) -> Path:
    """The pictures as files, and the page."""
    config, folder = plan.config, out / FOLDER
    parts: list[Grid | Picture] = [grid]
    if any(one.value(config) is not None for one in order):
        keys = draw_keys(order, config)
        figure_png(keys, folder / "keys.png")
        parts.append(Picture(keys, f"{config.metric} against each value that was varied; one point a run.", "points, one a run"))
    if any(math.isfinite(value) for one in order for _, value in one.points):
        curves = draw_curves(order, config)
        figure_png(curves, folder / "curves.png")
        parts.append(Picture(curves, f"{config.metric} of all runs; the best ones in colour.", "curves of the metric against the step"))
    facts = {
        "recipe": str(plan.source),
        "kind": config.kind if config.kind == "grid" else f"random, seed {config.seed}",
        "runs": f"{sum(one.status == 'finished' for one in order)} of {len(order)} finished",
    }
    return write_page(folder / "index.html", title=f"Sweep {out.name}", sections=[Section(f"Sweep {out.name}", parts, facts)])
