"""The figures of an evaluation as the page shows them."""

from __future__ import annotations

from scidiff.report import Row, Table
from scidiff_molecules.metrics.report import Evaluation, Metric

_HEADLINE = ("B/valid_and_connected", "A/molecule_stability", "B/uniqueness", "B/novelty", "W/fcd", "P/all", "E/energy_median")


def metric_tables(evaluation: Evaluation) -> list[Table]:
    """The figures of an evaluation: metrics A and B in tables of their own, for they are never in one column."""
    return [Table(title, [_row(metric) for metric in group]) for title, group in evaluation.groups()]


def _row(metric: Metric) -> Row:
    own = "" if metric.own is None else f"; the reference itself: {metric.own_text} (n {metric.own_molecules:,})"
    return Row(
        name=metric.name,
        value=metric.value,
        low=metric.low,
        high=metric.high,
        numerator=metric.numerator,
        denominator=metric.denominator,
        definition=metric.definition + own,
        unit=metric.unit,
        headline=metric.key in _HEADLINE,
    )
