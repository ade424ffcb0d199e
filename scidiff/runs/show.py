"""A comparison on the screen, and as a page with the runs' curves laid over each other."""

from __future__ import annotations

import math
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from scidiff.report import Curve, Grid, Prose, Section, Series, write_page
from scidiff.runs.compare import Comparison, MetricRow
from scidiff.runs.intervals import Difference, Estimate
from scidiff.runs.record import is_clock

__all__ = ["HOW", "comparison_page", "comparison_tables"]

HOW = (
    "A value with an interval is the run's own where it logged one (its last value), otherwise the mean of the last fifth of the values "
    "logged, with a circular block bootstrap over them (95 %): the scatter late in this training, not that over seeds. A value without one "
    "is the last, where that fifth has fewer than five values. Differences are to the first run, paired step by step where both logged the "
    "same steps."
)
_WIDTH = 64
_MAX_CURVES = 60


def comparison_tables(comparison: Comparison) -> RenderableType:
    """For a rich console: a table for each group of facts, and one of metrics."""
    parts: list[RenderableType] = []
    groups = dict.fromkeys(fact.group for fact in comparison.facts)
    for group in groups:
        table = _table(group, comparison.labels)
        for fact in comparison.facts:
            if fact.group == group:
                table.add_row(Text(fact.name), *(Text(_cut(value)) for value in fact.values))
        parts += [table, Text()]
    if comparison.metrics:
        parts += [_metric_table(comparison), Text(), Text(HOW, style="dim")]
    return Group(*parts) if parts else Text("nothing differs")


def _metric_table(comparison: Comparison) -> Table:
    labels = comparison.labels
    table = _table("metric", [labels[0], *(text for label in labels[1:] for text in (label, "difference"))])
    for row in comparison.metrics:
        cells = [estimate_text(row.estimates[0])]
        for value, change in zip(row.estimates[1:], row.differences, strict=True):
            cells += [estimate_text(value), difference_text(change)]
        larger = any(one is not None and one.verdict == "larger than its interval" for one in row.differences)
        table.add_row(Text(row.name), *map(Text, cells), style="bold" if larger else "")
    return table


def _table(first: str, others: list[str]) -> Table:
    table = Table(box=None, pad_edge=False)
    for text in (first, *others):
        table.add_column(Text(text))  # Text: nothing in a name is markup
    return table


def estimate_text(one: Estimate | None) -> str:
    """``0.0512 [0.049, 0.0533]``; a dash where there is no value."""
    if one is None:
        return "–"
    interval = "" if one.low is None or one.high is None else f" [{number(one.low)}, {number(one.high)}]"
    return f"{number(one.value)}{interval}"


def difference_text(one: Difference | None) -> str:
    """The difference, its interval, and the verdict in a word."""
    if one is None:
        return "–"
    if one.verdict == "equal":
        return "equal"
    interval = "" if one.low is None or one.high is None else f" [{number(one.low)}, {number(one.high)}]"
    word = {"larger than its interval": "larger", "within its interval": "within", "no interval": "no interval"}[one.verdict]
    return f"{one.value:+.3g}{interval} {word}"


def number(value: float) -> str:
    return f"{value:.4g}"


def _cut(value: str | None) -> str:
    text = "–" if value is None else value
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"


def comparison_page(comparison: Comparison, path: Path, whole: Comparison) -> Path:
    """Write the page: what ``comparison`` holds as tables, and the curves of all metrics of ``whole``; returns its path."""
    labels = comparison.labels
    parts: list[Grid | Prose | Curve] = []
    for group in dict.fromkeys(fact.group for fact in comparison.facts):
        found = [fact for fact in comparison.facts if fact.group == group]
        rows = [[fact.name, *("–" if value is None else value for value in fact.values)] for fact in found]
        parts.append(Grid(group.capitalize(), ["", *labels], rows))
    if comparison.metrics:
        columns = ["metric", labels[0], *(text for label in labels[1:] for text in (label, "difference"))]
        parts.append(Grid("Metrics", columns, [_cells(row) for row in comparison.metrics], note=HOW, strong=_strong(comparison)))
    if not parts:
        parts.append(Prose("Nothing differs."))
    curves = [curve for row in whole.metrics if (curve := _curve(whole, row.name)) is not None][:_MAX_CURVES]
    facts = {label: f"{run.run_id}, from {run.source}" for label, run in zip(labels, comparison.runs, strict=True)}
    return write_page(path, title="Runs compared", sections=[Section("Runs compared", [*parts, *curves], facts)])


def _cells(row: MetricRow) -> list[str]:
    pairs = zip(row.estimates[1:], row.differences, strict=True)
    later = (text for value, change in pairs for text in (estimate_text(value), difference_text(change)))
    return [row.name, estimate_text(row.estimates[0]), *later]


def _strong(comparison: Comparison) -> list[int]:
    rows = enumerate(comparison.metrics)
    return [place for place, row in rows if any(one is not None and one.verdict == "larger than its interval" for one in row.differences)]


def _curve(comparison: Comparison, name: str) -> Curve | None:
    """The metric's course in every run that has one; None where no run has two different values, and for clocks."""
    series = [
        Series(label, [one.step for one in values], [one.value for one in values])
        for label, run in zip(comparison.labels, comparison.runs, strict=True)
        if (values := run.metrics.get(name, ()))
    ]
    if is_clock(name) or not any(len({value for value in one.y if math.isfinite(value)}) > 1 for one in series):
        return None
    return Curve(name, "step", name, series)
