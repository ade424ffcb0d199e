"""An evaluation on a console: one table in groups, readable on 80 columns and on 200."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from scidiff_molecules.metrics.report import Evaluation

_WIDE = 150  # columns from which the definitions fit beside the figures
_MIN_DEFINITION = 44


def table(evaluation: Evaluation, *, definitions: bool) -> Table:
    """The figures in groups; ``itself`` is what the reference scores."""
    title = Text(f"{evaluation.source}: {evaluation.samples:,} molecules")  # Text: nothing in it is markup
    made = Table(title=title, caption=Text(_caption(evaluation)), caption_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    own = any(m.own is not None for m in evaluation.metrics)
    made.add_column("metric", min_width=14)
    for column in ("value", "95 % interval", "n / of", *(["itself"] if own else [])):
        made.add_column(column, justify="right", no_wrap=True)
    if definitions:
        made.add_column("definition", style="dim", min_width=_MIN_DEFINITION)
    for title, metrics in evaluation.groups():
        made.add_row(Text(title, "bold"))
        for m in metrics:
            row = [Text(f" {m.name}"), m.value_text, m.interval_text, m.count_text, *([m.own_text] if own else [])]
            made.add_row(*row, *([Text(m.definition)] if definitions else []))
        made.add_section()
    return made


def show(evaluation: Evaluation, console: Console) -> None:
    """Print the table; on a narrow console the definitions follow below it."""
    wide = console.width >= _WIDE
    console.print(table(evaluation, definitions=wide))
    if not wide:
        for m in evaluation.metrics:
            console.print(Text.assemble((m.name, "bold"), f": {m.definition}"))


def _caption(evaluation: Evaluation) -> str:
    reference = evaluation.reference
    lines = [f"rdkit {evaluation.rdkit_version}, scidiff {evaluation.scidiff_version}"]
    if evaluation.provenance:
        lines.append(", ".join(f"{key} {value}" for key, value in evaluation.provenance.items()))
    if reference is not None:
        lines.append(f"reference {reference.name}: {reference.molecules:,} molecules, sha256 {reference.sha256[:12]}")
    if evaluation.standard is not None:
        lines.append(f"distributions: {evaluation.standard}")
        counts = sorted({m.own_molecules for m in evaluation.metrics if m.key.startswith("W/") and m.own_molecules})
        some = " or ".join(f"{count:,}" for count in counts) or "some"
        lines.append(f"itself: what the reference scores; on a distance, {some} of its molecules from others of them (fewer read higher)")
        lines.append(f"random subsets and resamples: seed {evaluation.plan['seed']}")
    lines += [f"note: {note}" for note in evaluation.notes]
    if evaluation.failures:
        shown = "; ".join(f"{f.index}: {f.reason}" for f in evaluation.failures[:3])
        lines.append(f"{len(evaluation.failures):,} not valid as generated (index: reason), the first: {shown}")
    return "\n".join(lines)
