"""The figures of an evaluation as the page shows them."""

from __future__ import annotations

from scidiff.report import Row, Table
from scidiff_molecules.metrics.report import Evaluation, Metric

_HEADLINE = ("B/valid_and_connected", "A/molecule_stability", "B/uniqueness", "B/novelty")
_GROUPS = (
    ("A/", "Metric A: bonds looked up from distances"),
    ("B/", "Metric B: bonds as the model generated them"),
    ("", "Other figures"),
)


def metric_tables(evaluation: Evaluation) -> list[Table]:
    """The figures of an evaluation: metrics A and B in tables of their own, for they are never in one column."""
    left = list(evaluation.metrics)
    tables: list[Table] = []
    for prefix, title in _GROUPS:
        group, left = [m for m in left if m.key.startswith(prefix)], [m for m in left if not m.key.startswith(prefix)]
        if group:
            tables.append(Table(title, [_row(metric) for metric in group]))
    return tables


def _row(metric: Metric) -> Row:
    return Row(
        name=metric.name,
        value=metric.value,
        low=metric.low,
        high=metric.high,
        numerator=metric.numerator,
        denominator=metric.denominator,
        definition=metric.definition,
        headline=metric.key in _HEADLINE,
    )
