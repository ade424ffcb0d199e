"""Metrics A and B of generated molecules, each with its definition, denominator and 95 % interval.

    >>> result = evaluate("mols.sdf", reference="qm9")        # doctest: +SKIP
    >>> result["A/molecule_stability"].value, result["A/molecule_stability"].low   # doctest: +SKIP

Nothing is dropped: what cannot be read or sanitised stays in the denominators and is listed with its index and reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import rdkit
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from scidiff.errors import UserError
from scidiff_molecules.metrics.definitions import DEFINITIONS
from scidiff_molecules.metrics.intervals import Interval, ratio_over_molecules, wilson
from scidiff_molecules.metrics.reference import Reference, contained, load_reference
from scidiff_molecules.metrics.report import Evaluation, Failure, Metric, ReferenceInfo
from scidiff_molecules.metrics.verdict import Item, Verdict, items_of, judge
from scidiff_molecules.screening import UNSANITISED
from scidiff_molecules.sdf import STATUS, unpack

_PROVENANCE = "scidiff_"
_MAX_PROVENANCE = 20


def evaluate(
    source: str | Path | Iterable[Item],
    reference: str | Path | Iterable[Item] | None = "qm9",
    *,
    name: str | None = None,
    progress: bool = False,
) -> Evaluation:
    """Judge molecules by metrics A and B.

    Args:
        source: an SDF file, or an iterable of RDKit molecules with explicit hydrogens and a conformer; a failed one may be
            an object with ``mol`` and ``reason``, or None.
        reference: what novelty is measured against: ``"qm9"``, ``"sample"``, an SDF file, molecules, or None for no novelty.
        name: how the source is called in the output; default its path.
        progress: show a progress bar.

    Raises:
        UserError: the file is missing, empty, too large or no SDF file; there is no molecule; the reference is unknown.
    """
    known = load_reference(reference)
    properties: dict[str, str] = {}
    label = name or (str(source) if isinstance(source, str | Path) else "molecules")
    total = len(source) if isinstance(source, Sized) and not isinstance(source, str) else None
    items = _collect(items_of(source), properties)
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        disable=not progress,
        transient=True,
    ) as bar:
        verdicts = list(bar.track(judge(items), total=total, description="judging molecules"))
    if not verdicts:
        raise UserError(f"{label}: no molecules to evaluate")
    return summarise(verdicts, known, source=label, provenance=properties)


def summarise(verdicts: list[Verdict], reference: Reference | None, *, source: str, provenance: dict[str, str] | None = None) -> Evaluation:
    """Count verdicts into an :class:`Evaluation`."""
    info = None
    if reference is not None:
        info = ReferenceInfo(
            name=reference.name,
            molecules=reference.molecules,
            rdkit_version=reference.rdkit_version,
            sha256=reference.sha256,
        )
    return Evaluation(
        source=source,
        samples=len(verdicts),
        metrics=tuple(_metrics(verdicts, reference)),
        failures=tuple(Failure(index=v.index, reason=v.fault) for v in verdicts if v.fault is not None),
        notes=tuple(_notes(verdicts, reference)),
        reference=info,
        rdkit_version=rdkit.__version__,
        scidiff_version=_scidiff_version(),
        provenance=provenance or {},
    )


def _metrics(verdicts: list[Verdict], reference: Reference | None) -> Iterator[Metric]:
    n = len(verdicts)
    atoms = [v.atoms for v in verdicts]
    a_smiles = [v.a_smiles for v in verdicts if v.a_smiles is not None]
    b_smiles = [v.b_smiles for v in verdicts if v.b_smiles is not None]
    a_distinct, b_distinct = set(a_smiles), set(b_smiles)
    yield _atoms("A/atom_stability", [v.a_atoms for v in verdicts], atoms)
    yield _share("A/molecule_stability", sum(v.a_stable for v in verdicts), n)
    yield _share("A/validity", len(a_smiles), n)
    yield _share("A/uniqueness", len(a_distinct), len(a_smiles))
    yield _share("A/valid_unique", len(a_distinct), n)
    if reference is not None:
        yield _share("A/novelty", len(a_distinct) - contained(a_distinct, reference.a_hashes), len(a_distinct))
    yield _atoms("B/strict_atom_stability", [v.strict_atoms for v in verdicts], atoms)
    yield _share("B/strict_molecule_stability", sum(v.strict_stable for v in verdicts), n)
    yield _atoms("B/lenient_atom_stability", [v.lenient_atoms for v in verdicts], atoms)
    yield _share("B/lenient_molecule_stability", sum(v.lenient_stable for v in verdicts), n)
    yield _share("B/validity", sum(v.valid for v in verdicts), n)
    yield _share("B/valid_and_connected", sum(v.valid and v.connected for v in verdicts), n)
    yield _share("B/uniqueness", len(b_distinct), len(b_smiles))
    if reference is not None:
        yield _share("B/novelty", len(b_distinct) - contained(b_distinct, reference.b_hashes), len(b_distinct))
    yield _share("readable", sum(v.usable for v in verdicts), n)


def _share(key: str, numerator: int, denominator: int) -> Metric:
    return _metric(key, numerator, denominator, wilson(numerator, denominator))


def _atoms(key: str, numerators: list[int], denominators: list[int]) -> Metric:
    return _metric(key, sum(numerators), sum(denominators), ratio_over_molecules(numerators, denominators))


def _metric(key: str, numerator: int, denominator: int, interval: Interval | None) -> Metric:
    name, definition = DEFINITIONS[key]
    return Metric(
        key=key,
        name=name,
        definition=definition,
        value=numerator / denominator if denominator else None,
        numerator=numerator,
        denominator=denominator,
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        interval=interval.method if interval else "none: the denominator is 0",
    )


def _notes(verdicts: list[Verdict], reference: Reference | None) -> Iterator[str]:
    usable = [v for v in verdicts if v.usable]
    if usable and not any(v.hydrogens for v in usable):
        yield "no molecule has a hydrogen; both metrics need explicit hydrogens, so their figures mean little here"
    foreign = sum(v.foreign for v in usable)
    if foreign:
        yield f"molecules with elements outside H, C, N, O, F, which metric A and the strict table do not know: {foreign:,}"
    unknown = sum(v.atoms == 0 for v in verdicts)
    if unknown:
        yield f"records without readable atoms: {unknown:,}; they count among the molecules, but their atoms cannot be counted"
    if reference is not None and reference.rdkit_version != rdkit.__version__:
        yield (
            f"the reference's SMILES were written by rdkit {reference.rdkit_version}, these by {rdkit.__version__}; "
            "novelty may read too high where the two differ"
        )


def _collect(items: Iterable[tuple[int, Item]], properties: dict[str, str]) -> Iterator[tuple[int, Item]]:
    """Pass items on, noting in ``properties`` how they were made: their ``scidiff_`` fields (seed, steps, model, ...)."""
    for index, item in items:
        mol, _ = unpack(item)
        if mol is not None:
            for field in mol.GetPropNames():
                key = field.removeprefix(_PROVENANCE)
                if key != field and field != STATUS and (key in properties or len(properties) < _MAX_PROVENANCE):
                    value = mol.GetProp(field)[:80]
                    if value != UNSANITISED:  # says of this molecule, not of how all were made
                        properties[key] = value if properties.get(key, value) == value else "varies"
        yield index, item


def _scidiff_version() -> str:
    try:
        return version("scidiffusion")
    except PackageNotFoundError:  # running from a source tree
        from scidiff import __version__

        return __version__
