"""What an evaluation hands back: figures with their definitions, as a table, as JSON, or flat for a tracker."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict
from rich.console import Console
from rich.table import Table

from scidiff_molecules.metrics.definitions import GROUPS


class Metric(BaseModel):
    """One figure and its 95 % interval; None where there was nothing to count.

    A share that is a ratio is numerator / denominator (and ``unit`` is ``"%"``); any other figure has no numerator, and its denominator is
    how many molecules it was measured on. ``own`` is what the reference itself scores, on ``own_molecules``.
    """

    model_config = ConfigDict(frozen=True)

    key: str
    name: str
    definition: str
    value: float | None
    numerator: int | None
    denominator: int
    low: float | None
    high: float | None
    interval: str
    unit: str = "%"
    own: float | None = None
    own_molecules: int | None = None

    @property
    def value_text(self) -> str:
        """The value in its unit: ``66.67 %``, ``0.01234 Å``."""
        return "-" if self.value is None else f"{self._text(self.value)} {self.unit}".strip()

    @property
    def interval_text(self) -> str:
        """``61.20 to 71.80``, in the value's unit."""
        return "-" if self.low is None or self.high is None else f"{self._text(self.low)} to {self._text(self.high)}"

    @property
    def count_text(self) -> str:
        """``87 / 100``, or of how many molecules."""
        return f"{self.denominator:,}" if self.numerator is None else f"{self.numerator:,} / {self.denominator:,}"

    @property
    def own_text(self) -> str:
        """What the reference scores, in the value's unit; empty where that is not known."""
        return "" if self.own is None else self._text(self.own)

    def _text(self, value: float) -> str:
        return f"{100 * value:.2f}" if self.unit == "%" else f"{value:.4g}"


class Failure(BaseModel):
    """A molecule that is not valid as generated: its place in the source, from 0, and why."""

    model_config = ConfigDict(frozen=True)

    index: int
    reason: str


class ReferenceInfo(BaseModel):
    """What novelty was measured against."""

    model_config = ConfigDict(frozen=True)

    name: str
    molecules: int
    rdkit_version: str
    sha256: str


class TypeDistance(BaseModel):
    """Wasserstein-1 of one type of bond length (Angstrom), angle or torsion (degrees) from the reference's, and how many each has."""

    model_config = ConfigDict(frozen=True)

    kind: str
    type: str
    value: float
    low: float
    high: float
    generated: int
    reference: int
    counted: bool


class Histogram(BaseModel):
    """Shares (densities, where there are no labels) in bins of equal width from ``low`` on, of what was judged and of the reference."""

    model_config = ConfigDict(frozen=True)

    kind: str
    type: str
    unit: str
    low: float
    width: float
    labels: tuple[str, ...] | None
    generated: tuple[float, ...]
    reference: tuple[float, ...] | None


class Check(BaseModel):
    """One of PoseBusters' checks: how many molecules pass it."""

    model_config = ConfigDict(frozen=True)

    name: str
    passed: int
    of: int


class Shown(BaseModel):
    """A molecule to look at: its place in the source, why it is shown, and what it is (a payload of :mod:`.payload`)."""

    model_config = ConfigDict(frozen=True)

    index: int
    why: str
    smiles: str
    structure: dict[str, Any] | None


class Evaluation(BaseModel):
    """All figures of one set of molecules, with what is needed to compare them with others.

    ``plan`` is what was asked for (:class:`~scidiff_molecules.metrics.plan.Plan`), but for the processes, on which nothing depends.
    ``reasons`` counts the failures by kind; ``types``, ``checks``, ``histograms`` and ``worst`` are of a judge's plan, empty otherwise.
    """

    model_config = ConfigDict(frozen=True)

    source: str
    samples: int
    metrics: tuple[Metric, ...]
    failures: tuple[Failure, ...]
    notes: tuple[str, ...]
    reference: ReferenceInfo | None
    rdkit_version: str
    scidiff_version: str
    provenance: dict[str, str]
    plan: dict[str, Any]
    standard: str | None = None
    reasons: dict[str, int] = {}
    types: tuple[TypeDistance, ...] = ()
    checks: tuple[Check, ...] = ()
    histograms: tuple[Histogram, ...] = ()
    worst: tuple[Shown, ...] = ()

    def __getitem__(self, key: str) -> Metric:
        for metric in self.metrics:
            if metric.key == key:
                return metric
        raise KeyError(f"no metric {key!r}; there are {', '.join(m.key for m in self.metrics)}")

    def to_json(self) -> str:
        """Everything, as JSON."""
        return self.model_dump_json(indent=2)

    def to_metrics(self) -> dict[str, float]:
        """Flat figures for a tracker: ``key``, ``key_low``, ``key_high``; metrics with an empty denominator are absent."""
        flat: dict[str, float] = {"samples": float(self.samples)}
        for m in self.metrics:
            if m.value is not None and m.low is not None and m.high is not None:
                flat |= {m.key: m.value, f"{m.key}_low": m.low, f"{m.key}_high": m.high}
        return flat

    def groups(self) -> Iterator[tuple[str, list[Metric]]]:
        """(title, metrics) of each table; metrics A and B are never in one."""
        left = list(self.metrics)
        for prefix, title in GROUPS.items():
            group, left = [m for m in left if m.key.startswith(prefix)], [m for m in left if not m.key.startswith(prefix)]
            if group:
                yield title, group

    def table(self, *, definitions: bool = True) -> Table:
        """A rich table: metric, value, 95 % interval, what was counted, what the reference itself scores, and the definitions."""
        from scidiff_molecules.metrics.screen import table

        return table(self, definitions=definitions)

    def print(self, console: Console) -> None:
        """Print the table; on a narrow console the definitions follow below it."""
        from scidiff_molecules.metrics.screen import show

        show(self, console)
