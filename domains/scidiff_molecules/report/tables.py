"""Figures as the page shows them: each with its interval, its denominator and its definition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scidiff_molecules.metrics.report import Evaluation, Metric

_HEADLINE = ("B/valid_and_connected", "A/molecule_stability", "B/uniqueness", "B/novelty")
_GROUPS = (
    ("A/", "Metric A: bonds looked up from distances"),
    ("B/", "Metric B: bonds as the model generated them"),
    ("", "Other figures"),
)


@dataclass(frozen=True)
class Row:
    """One figure.

    Attributes:
        name: what it is called.
        value: the figure; a share lies in [0, 1] and is printed in per cent; None where the denominator is 0.
        low, high: its 95 % interval, or None.
        numerator, denominator: what was counted, over what; None for a figure that is no ratio.
        definition: what it is, exactly.
        unit: ``"%"`` for a share, otherwise the unit printed behind the value (may be empty).
        headline: whether it stands in large type at the top of the page as well.
    """

    name: str
    value: float | int | None
    low: float | int | None = None
    high: float | int | None = None
    numerator: int | None = None
    denominator: int | None = None
    definition: str = ""
    unit: str = "%"
    headline: bool = False

    @property
    def value_text(self) -> str:
        """The value with its unit; an en dash where there is none."""
        if self.value is None:
            return "–"
        return f"{100 * self.value:.1f} %" if self.unit == "%" else f"{self.value:,.4g} {self.unit}".strip()

    @property
    def interval_text(self) -> str:
        """``81.3 to 90.2``, in the value's unit; an en dash where there is none."""
        if self.low is None or self.high is None:
            return "–"
        return f"{100 * self.low:.1f} to {100 * self.high:.1f}" if self.unit == "%" else f"{self.low:,.4g} to {self.high:,.4g}"

    @property
    def count_text(self) -> str:
        """``87 / 100``; an en dash for a figure that is no ratio."""
        return "–" if self.numerator is None or self.denominator is None else f"{self.numerator:,} / {self.denominator:,}"

    @property
    def bar(self) -> tuple[float, float, float] | None:
        """Value, low and width of the interval in per cent, for a share that has an interval."""
        if self.unit != "%" or self.value is None or self.low is None or self.high is None:
            return None
        return round(100 * self.value, 2), round(100 * self.low, 2), round(100 * (self.high - self.low), 2)


@dataclass(frozen=True)
class Table:
    """Figures under one title."""

    title: str
    rows: Sequence[Row]


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
