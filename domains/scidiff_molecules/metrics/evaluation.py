"""Generated molecules judged: every figure with its definition, its denominator and its 95 % interval.

    >>> result = evaluate("mols.sdf", reference="qm9")        # doctest: +SKIP
    >>> result["A/molecule_stability"].value, result["A/molecule_stability"].low   # doctest: +SKIP

Nothing is dropped: what cannot be read or sanitised stays in the denominators and is listed with its index and reason. Metrics A and B are
always there; a :class:`~scidiff_molecules.metrics.plan.Plan` asks for more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import rdkit
from numpy.typing import NDArray

from scidiff.errors import UserError
from scidiff_molecules.metrics.calculations import Calculated, calculate
from scidiff_molecules.metrics.collect import collect, progress_bar
from scidiff_molecules.metrics.figures import basic_metrics, judge_metrics, type_distances, with_own
from scidiff_molecules.metrics.plan import QUICK, Plan
from scidiff_molecules.metrics.reference import Reference
from scidiff_molecules.metrics.references import prepare
from scidiff_molecules.metrics.report import Evaluation, Failure, ReferenceInfo
from scidiff_molecules.metrics.standard import Standard
from scidiff_molecules.metrics.tally import Tally, rows_of
from scidiff_molecules.metrics.verdict import Item, Verdict
from scidiff_molecules.sdf import checked


def evaluate(
    source: str | Path | Iterable[Item],
    reference: str | Path | Iterable[Item] | None = "qm9",
    *,
    plan: Plan = QUICK,
    name: str | None = None,
    progress: bool = False,
) -> Evaluation:
    """Judge molecules by metrics A and B, and by whatever else the plan asks for.

    Args:
        source: an SDF file, or an iterable of RDKit molecules with explicit hydrogens and a conformer; a failed one may be
            an object with ``mol`` and ``reason``, or None.
        reference: of novelty and distributions: ``"qm9"``, ``"ligands"``, ``"sample"``, an SDF file, molecules, or None.
        plan: what else is done, on how many molecules; default nothing. ``Plan()`` is what the command does.
        name: how the source is called in the output; default its path.
        progress: show a progress bar.

    Raises:
        UserError: the file is missing, empty, too large or no SDF file; there is no molecule; the reference is unknown.
    """
    label = name or (str(source) if isinstance(source, str | Path) else "molecules")
    if isinstance(source, str | Path):
        checked(source)  # before a reference is judged, which may take minutes
    with progress_bar(progress) as bar:
        known, standard = prepare(reference, plan, bar)
        tally = collect(source, plan, bar)
        if not len(tally.table):
            raise UserError(f"{label}: no molecules to evaluate")
        found = calculate(tally, standard, plan, bar)
    return assemble(tally, known, standard, found, source=label, plan=plan)


def summarise(verdicts: list[Verdict], reference: Reference | None, *, source: str, provenance: dict[str, str] | None = None) -> Evaluation:
    """Count verdicts into an :class:`Evaluation` of metrics A and B."""
    tally = Tally.empty()
    tally.put(rows_of(verdicts))
    tally.faults = {v.index: v.fault for v in verdicts if v.fault is not None}
    tally.properties = provenance or {}
    return assemble(tally, reference, None, Calculated(), source=source)


def assemble(
    tally: Tally, reference: Reference | None, standard: Standard | None, found: Calculated, *, source: str, plan: Plan = QUICK
) -> Evaluation:
    """Figures, and what there is to look at, from what was counted."""
    from scidiff_molecules.metrics import exhibits

    info = None
    if reference is not None:
        info = ReferenceInfo(
            name=reference.name,
            molecules=reference.molecules,
            rdkit_version=reference.rdkit_version,
            sha256=reference.sha256,
        )
    metrics = [*basic_metrics(tally.table, reference), *judge_metrics(tally, standard, found)]
    judged = tally.histograms is not None
    return Evaluation(
        source=source,
        samples=len(tally.table),
        metrics=tuple(metrics if standard is None else with_own(metrics, standard)),
        failures=tuple(Failure(index=index, reason=reason) for index, reason in tally.faults.items()),
        notes=(*_notes(tally, reference), *found.notes),
        reference=info,
        rdkit_version=rdkit.__version__,
        scidiff_version=_scidiff_version(),
        provenance=tally.properties,
        plan={key: value for key, value in asdict(plan).items() if key not in ("workers", "patience")},
        standard=None if standard is None else f"{standard.name}, {standard.molecules:,} molecules",
        reasons=exhibits.reasons(tally),
        types=tuple(type_distances(tally.histograms, standard)) if tally.histograms is not None and standard is not None else (),
        checks=tuple(exhibits.checks(found)),
        histograms=tuple(exhibits.pictures(tally, standard, found)) if judged else (),
        worst=tuple(exhibits.worst(tally, found)) if judged else (),
    )


def _notes(tally: Tally, reference: Reference | None) -> Iterator[str]:
    table: NDArray[Any] = tally.table
    usable = table[table["usable"]]
    if len(usable) and not usable["hydrogens"].any():
        yield "no molecule has a hydrogen; both metrics need explicit hydrogens, so their figures mean little here"
    if foreign := int(usable["foreign"].sum()):
        yield f"molecules with elements outside H, C, N, O, F, which metric A and the strict table do not know: {foreign:,}"
    if flat := int(usable["flat"].sum()):
        yield f"molecules that lie in a plane though they cannot: {flat:,}; drawings have no geometry to judge, give them conformers"
    if unknown := int(np.sum(table["atoms"] == 0)):
        yield f"records without readable atoms: {unknown:,}; they count among the molecules, but their atoms cannot be counted"
    if reference is not None and reference.rdkit_version != rdkit.__version__:
        yield (
            f"the reference's SMILES were written by rdkit {reference.rdkit_version}, these by {rdkit.__version__}; "
            "novelty may read too high where the two differ"
        )
    if tally.histograms is not None and tally.histograms.left_out:
        yield f"observations of types beyond the number that is kept, left out of the distances: {tally.histograms.left_out:,}"


def _scidiff_version() -> str:
    try:
        return version("scidiffusion")
    except PackageNotFoundError:  # running from a source tree
        from scidiff import __version__

        return __version__
