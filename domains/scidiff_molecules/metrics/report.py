"""What an evaluation hands back: figures with their definitions, as a table, as JSON, or flat for a tracker."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from rich.console import Console
from rich.table import Table
from rich.text import Text

_WIDE = 130  # columns from which the definitions fit beside the figures
_MIN_DEFINITION = 40


class Metric(BaseModel):
    """One figure: value = numerator / denominator, and its 95 % interval; None where the denominator is 0."""

    model_config = ConfigDict(frozen=True)

    key: str
    name: str
    definition: str
    value: float | None
    numerator: int
    denominator: int
    low: float | None
    high: float | None
    interval: str


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


class Evaluation(BaseModel):
    """All figures of one set of molecules, with what is needed to compare them with others."""

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

    def table(self, *, definitions: bool = True) -> Table:
        """A rich table: metric, value, 95 % interval, numerator / denominator, and the definition unless it is not wanted."""
        title, caption = Text(f"{self.source}: {self.samples:,} molecules"), Text(self._caption())  # Text: nothing in them is markup
        table = Table(title=title, caption=caption, caption_justify="left")
        table.add_column("metric")
        for column in ("%", "95 % interval", "n / of"):
            table.add_column(column, justify="right", no_wrap=True)
        if definitions:
            table.add_column("definition", style="dim", min_width=_MIN_DEFINITION)
        for m in self.metrics:
            value = "-" if m.value is None else f"{100 * m.value:.2f}"
            interval = "-" if m.low is None or m.high is None else f"{100 * m.low:.2f} to {100 * m.high:.2f}"
            row = [m.name, value, interval, f"{m.numerator:,} / {m.denominator:,}"]
            table.add_row(*row, *([m.definition] if definitions else []))
        return table

    def print(self, console: Console) -> None:
        """Print the table; on a narrow console the definitions follow below it."""
        wide = console.width >= _WIDE
        console.print(self.table(definitions=wide))
        if not wide:
            for m in self.metrics:
                console.print(Text.assemble((m.name, "bold"), f": {m.definition}"))

    def _caption(self) -> str:
        reference = self.reference
        lines = [f"rdkit {self.rdkit_version}, scidiff {self.scidiff_version}"]
        if self.provenance:
            lines.append(", ".join(f"{key} {value}" for key, value in self.provenance.items()))
        if reference is not None:
            lines.append(f"reference {reference.name}: {reference.molecules:,} molecules, sha256 {reference.sha256[:12]}")
        lines += [f"note: {note}" for note in self.notes]
        if self.failures:
            shown = "; ".join(f"{f.index}: {f.reason}" for f in self.failures[:3])
            lines.append(f"{len(self.failures):,} not valid as generated (index: reason), the first: {shown}")
        return "\n".join(lines)
