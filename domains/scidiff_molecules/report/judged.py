"""The page of an evaluation: figures, histograms against the reference, the worst molecules and why, failures counted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rdkit import Chem

from scidiff.report import Grid, Part, Picture, Prose, Section, write_page
from scidiff_molecules.metrics.payload import structure_in
from scidiff_molecules.metrics.report import Evaluation, Histogram, Shown
from scidiff_molecules.report.histograms import draw_histograms
from scidiff_molecules.report.tables import metric_tables
from scidiff_molecules.report.viewer import viewer
from scidiff_molecules.report.views import MoleculeView
from scidiff_molecules.sdf import Failed, build_mol, with_conformer

_TYPES, _REASONS = 12, 20  # rows of a table
_CAPTIONS = {
    "bond lengths": "Bond lengths of the commonest types, in Angstrom (hydrogens included).",
    "angles": "Angles of the commonest types, in degrees.",
    "torsions": "Absolute torsions of the commonest types, in degrees.",
}


def write_judge_page(path: str | Path, evaluation: Evaluation) -> Path:
    """Write the page; returns its path.

    Raises:
        UserError: the folder does not exist, or ``path`` is a folder.
        OSError: the file cannot be written.
    """
    title = f"{Path(evaluation.source).name}, judged"
    return write_page(path, title=title, sections=[judge_section(title, evaluation)])


def judge_section(title: str, evaluation: Evaluation) -> Section:
    """The section of an evaluation; without distributions it is the tables alone."""
    parts: list[Part] = list(metric_tables(evaluation))
    parts += _pictures(evaluation)
    if evaluation.worst:
        words = (
            "The worst: the largest relaxation energies and the most failed PoseBusters checks of the random subsets, and some molecules, "
            "drawn at random, that are not valid and connected. Beside the number of each, its place in the file, stands why it is here."
        )
        parts += [Prose(words), viewer([_view(shown) for shown in evaluation.worst])]
    parts += _grids(evaluation)
    against = f" against {evaluation.standard}" if evaluation.standard else ""
    lead = f"{evaluation.samples:,} molecules{against}. Every figure has its 95 % interval and its definition; nothing is dropped."
    return Section(title, parts, _facts(evaluation), evaluation.notes, lead=lead)


def _facts(evaluation: Evaluation) -> dict[str, str]:
    facts = {"source": evaluation.source, **evaluation.provenance}
    if evaluation.reference is not None:
        known = evaluation.reference
        facts["reference of novelty"] = f"{known.name}, {known.molecules:,} molecules, sha256 {known.sha256[:12]}"
    if evaluation.standard is not None:
        facts["reference of distributions"] = evaluation.standard
        facts["seed of random subsets"] = str(evaluation.plan["seed"])
    return facts | {"versions": f"scidiff {evaluation.scidiff_version}, rdkit {evaluation.rdkit_version}"}


def _pictures(evaluation: Evaluation) -> list[Part]:
    groups: dict[str, list[Histogram]] = {}
    for histogram in evaluation.histograms:
        groups.setdefault(histogram.kind if histogram.type else "others", []).append(histogram)
    found: list[Part] = []
    for kind, histograms in groups.items():
        caption = _CAPTIONS.get(kind, f"{_sentence([one.kind for one in histograms])}.")
        others = ", the reference grey." if any(one.reference is not None for one in histograms) else "."
        said = f"{caption} What was judged is the blue line{others}"
        found.append(Picture(draw_histograms(histograms), said, f"Histograms: {caption}"))
    return found


def _sentence(words: Sequence[str]) -> str:
    text = ", ".join(words)
    return text[:1].upper() + text[1:]


def _grids(evaluation: Evaluation) -> list[Part]:
    found: list[Part] = []
    if evaluation.reasons:
        total = sum(evaluation.reasons.values())
        rows = [(reason, f"{count:,}", f"{100 * count / evaluation.samples:.2f} %") for reason, count in evaluation.reasons.items()]
        note = f"{total:,} of {evaluation.samples:,} molecules are not valid and connected"
        found.append(_grid("Why molecules fail", ("reason", "molecules", "of all"), rows, _REASONS, note))
    if evaluation.checks:
        rows = [(c.name.replace("_", " "), f"{c.passed:,} / {c.of:,}", f"{100 * c.passed / c.of:.1f} %") for c in evaluation.checks]
        found.append(
            _grid("PoseBusters, check by check", ("check", "passed", "share"), rows, len(rows), "A check that cannot run is failed.")
        )
    for kind in dict.fromkeys(one.kind for one in evaluation.types):
        types = [one for one in evaluation.types if one.kind == kind]
        rows = [(t.type, f"{t.value:.4g}", f"{t.low:.4g} to {t.high:.4g}", f"{t.generated:,}", f"{t.reference:,}") for t in types]
        columns = ("type", "Wasserstein-1", "95 % interval", "judged", "reference")
        unit = "Angstrom" if kind == "bond lengths" else "degrees"
        found.append(_grid(f"{kind.capitalize()} by type", columns, rows, _TYPES, f"In {unit}, the reference's commonest types first"))
    return found


def _grid(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], most: int, note: str) -> Grid:
    left = len(rows) - most
    more = f"{note.rstrip('.')}; {left:,} more rows are in the JSON file." if left > 0 else f"{note.rstrip('.')}."
    return Grid(title, columns, rows[:most], more)


class _Exhibit:
    """A molecule that is shown for a reason; see :class:`~scidiff_molecules.sdf.Failed`."""

    def __init__(self, mol: Chem.Mol | None, reason: str) -> None:
        self.mol = mol
        self.reason = reason


def _view(shown: Shown) -> MoleculeView:
    structure = None if shown.structure is None else structure_in(shown.structure)
    mol = None if structure is None else with_conformer(build_mol(structure), structure).GetMol()
    if shown.smiles and mol is not None:  # it is valid and connected: what is wrong with it stands beside its number
        return MoleculeView.of(mol, f"{shown.index:,}: {shown.why}")
    item: Failed = _Exhibit(mol, shown.why)
    return MoleculeView.of(item, f"{shown.index:,}")
