"""A reference made ready: what novelty is measured against, and what distributions are compared with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import rdkit
from numpy.typing import NDArray

from scidiff.errors import UserError
from scidiff_molecules.metrics.calculations import Calculated, chemnet, frechet_distance
from scidiff_molecules.metrics.collect import Bar, collect
from scidiff_molecules.metrics.figures import basic_metrics, distance_metrics, judge_metrics
from scidiff_molecules.metrics.histograms import Histograms, halved
from scidiff_molecules.metrics.plan import MAX_SUBSET, Plan
from scidiff_molecules.metrics.reference import Reference, check_name, load_reference
from scidiff_molecules.metrics.standard import Own, Standard, shipped_standard
from scidiff_molecules.metrics.tally import Tally
from scidiff_molecules.metrics.verdict import Item

Source = str | Path | Iterable[Item]


def prepare(reference: Source | None, plan: Plan, bar: Bar) -> tuple[Reference | None, Standard | None]:
    """The reference for novelty, and the distributions if the plan asks for them.

    Raises:
        UserError: as :func:`~scidiff_molecules.metrics.reference.load_reference`.
    """
    if reference == "ligands":
        return _ligands(plan, bar)
    if reference is None or not plan.distributions:
        return load_reference(reference), None
    if reference == "qm9":
        return load_reference("qm9"), shipped_standard()
    name = "molecules given"
    if isinstance(reference, str | Path):
        check_name(reference)
        name = str(reference)
    source = _sample() if reference == "sample" else reference
    tally = collect(source, _described(plan), bar, weighing=halved(plan.seed), description="judging the reference")
    made = reference_of(name, tally)
    if not len(made.a_hashes) and not len(made.b_hashes):
        raise UserError(f"reference {name!r}: none of its {made.molecules:,} records is a valid molecule")
    return made, standard_of(name, tally, plan, bar)


def _ligands(plan: Plan, bar: Bar) -> tuple[Reference, Standard | None]:
    """As of QM9: what is known, scaffolds and neighbours included, is the training split; distributions are those of the test split."""
    from scidiff_molecules.data.ligands import Split, load_ligands
    from scidiff_molecules.metrics.adapter import molecules

    def judged(split: Split) -> Tally:
        some = list(molecules(load_ligands(split)))
        return collect(some, _described(plan), bar, weighing=halved(plan.seed), description=f"judging the {split} split")

    known = judged("train")
    if not plan.distributions:
        return reference_of("ligands", known), None
    tally = judged("test")
    scaffolds = np.unique(known.table["scaffold"][known.table["described"]])
    smiles = tuple(one.smiles for one in known.compared.items()) if plan.neighbours else ()
    standard = standard_of("the ligands' test split", tally, plan, bar)
    return reference_of("ligands", known), replace(standard, known_name="the ligands' training split", scaffolds=scaffolds, smiles=smiles)


def _described(plan: Plan) -> Plan:
    """What is asked of a reference's molecules: as many SMILES as neighbours are looked for among."""
    return replace(plan, poses=0, energies=0, neighbours=MAX_SUBSET if plan.neighbours else 0)


def _sample() -> list[Item]:
    from scidiff_molecules.data import load_sample
    from scidiff_molecules.metrics.adapter import molecules

    return list(molecules(load_sample()))


def reference_of(name: str, tally: Tally) -> Reference:
    """What novelty is measured against, of judged molecules."""
    table = tally.table
    a, b = (np.unique(table[f"{metric}_smiles"][table[valid]]) for metric, valid in (("a", "a_valid"), ("b", "b_counted")))
    return Reference(name, len(table), a, b, rdkit.__version__)


def standard_of(name: str, tally: Tally, plan: Plan, bar: Bar) -> Standard:
    """Distributions of judged molecules, and what they score themselves: their shares and means, and one half's distance from the other."""
    assert tally.histograms is not None
    described = int(tally.table["described"].sum())
    smiles = [one.smiles for one in tally.compared.items()]
    possible = plan.fcd and len(smiles) > 1 and find_spec("fcd_torch") is not None
    activations = chemnet(smiles[: plan.fcd], bar, "ChemNet, reference") if possible else None
    scaffolds = np.unique(tally.table["scaffold"][tally.table["described"]])
    bare = Standard(name, name, described, tally.histograms, scaffolds, smiles if plan.neighbours else ())
    if activations is not None:
        bare = with_moments(bare, activations)
    halves = distance_metrics(column_of(tally.histograms, 1), bare, column=2)
    scores = [*basic_metrics(tally.table, None), *judge_metrics(tally, None, Calculated()), *halves]
    own = {m.key: (Own(m.value, m.denominator),) for m in scores if m.value is not None}
    if activations is not None and len(activations) >= 4:
        half = len(activations) // 2
        own["W/fcd"] = (Own(frechet_distance(activations[:half], with_moments(bare, activations[half:])), half),)
    return replace(bare, own=own)


def with_moments(standard: Standard, activations: NDArray[np.float64]) -> Standard:
    """The standard with the moments of activations (n, 512)."""
    from scidiff_molecules.metrics.chemnet import Moments

    moments = Moments.of(activations)
    return replace(standard, mean=moments.mean, covariance=moments.covariance, activations=moments.count)


def column_of(histograms: Histograms, column: int) -> Histograms:
    """One column alone."""
    keys, counts = histograms.items()
    made, present = Histograms(1), counts[:, column] > 0
    made.put(keys[present], counts[present][:, [column]])
    return made
