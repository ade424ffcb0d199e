"""The expensive parts of a judge, on random subsets: PoseBusters, relaxation energies, ChemNet's activations, nearest neighbours.

A part whose package is missing is left out, with a note; MMFF94 takes GFN2-xTB's place if tblite is missing, with a note too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, rdBase

from scidiff_molecules.metrics.collect import Bar, worker_count
from scidiff_molecules.metrics.crew import Chunk, Crew, Lost
from scidiff_molecules.metrics.plan import Plan
from scidiff_molecules.metrics.standard import Standard
from scidiff_molecules.metrics.tally import Drawn, Tally

SLICE = 5000
"""Known molecules that neighbours are looked for among at once."""
_BATCH = 500  # SMILES between two moves of the bar
FCD_RESAMPLES = 40
METHODS = {"gfn2": "GFN2-xTB in vacuum", "mmff": "MMFF94"}


@dataclass
class Calculated:
    """What the expensive parts gave; empty or None where one was not done.

    Attributes:
        poses: PoseBusters' checks of each molecule, or why there are none.
        energies: relaxations, likewise; ``method`` did them.
        activations: ChemNet's (n, 512), of ``read`` molecules; ``frechet``: their distance from the reference's, and those of resamples.
        similarities: of each molecule to its nearest known one.
        notes: what was left out or replaced, and why.
    """

    poses: list[tuple[Drawn, dict[str, bool] | Lost]] = field(default_factory=list[tuple[Drawn, dict[str, bool] | Lost]])
    energies: list[tuple[Drawn, dict[str, Any] | Lost]] = field(default_factory=list[tuple[Drawn, dict[str, Any] | Lost]])
    method: str = "gfn2"
    activations: NDArray[np.float64] | None = None
    frechet: NDArray[np.float64] | None = None
    similarities: list[float] | None = None
    notes: list[str] = field(default_factory=list[str])

    @property
    def read(self) -> int:
        """Molecules that ChemNet read."""
        return 0 if self.activations is None else len(self.activations)


def calculate(tally: Tally, standard: Standard | None, plan: Plan, bar: Bar) -> Calculated:
    """Do what the plan asks for, on the subsets of a tally."""
    found = Calculated(method=plan.method)
    drawn, compared = tally.calculated.items(), [one.smiles for one in tally.compared.items()]
    with Crew(worker_count(plan, len(drawn)), plan.patience) as crew:
        if plan.poses and _there(found, "posebusters", "PoseBusters' checks"):
            found.poses = list(_each(crew, "pose", drawn[: plan.poses], {}, bar, "PoseBusters"))
        if plan.energies:
            if plan.method == "gfn2" and find_spec("tblite") is None:
                found.method = "mmff"
                found.notes.append("tblite is not installed (extra xtb): energies are MMFF94's, which do not compare with GFN2-xTB's")
            options = {"method": found.method}
            found.energies = list(_each(crew, "relax", drawn[: plan.energies], options, bar, f"relaxing ({METHODS[found.method]})"))
        if plan.neighbours and standard is not None and standard.smiles and compared:
            found.similarities = _similarities(crew, compared[: plan.neighbours], standard.smiles, bar, found)
    if plan.fcd and standard is not None and compared and _there(found, "fcd_torch", "the Frechet ChemNet distance"):
        found.activations = chemnet(compared[: plan.fcd], bar, "ChemNet")
        if standard.mean is not None and found.read > 1:
            found.frechet = _frechet(found.activations, standard, plan.seed, bar)
    return found


def _there(found: Calculated, package: str, what: str) -> bool:
    if find_spec(package) is None:
        found.notes.append(f"{package} is not installed (extra molecules): {what} left out")
        return False
    return True


def _each(
    crew: Crew, task: str, drawn: Sequence[Drawn], options: dict[str, Any], bar: Bar, description: str
) -> Iterator[tuple[Drawn, Any]]:
    """Each molecule and the answer to it, one at a time, so that one that takes long holds up no other."""
    shown = bar.start(description, len(drawn))
    chunks = (Chunk([one.payload], options, one) for one in drawn)
    for done, (chunk, answers) in enumerate(crew.run(task, chunks), start=1):
        bar.update(shown, done, f"{done:,} of {len(drawn):,}")
        yield chunk.context, answers[0]
    bar.finish(shown)


def _similarities(crew: Crew, asked: list[str], known: Sequence[str], bar: Bar, found: Calculated) -> list[float]:
    shown = bar.start("nearest neighbours", len(known))
    best: NDArray[np.float64] | None = None
    slices = (Chunk([{"known": list(known[at : at + SLICE])}], {"smiles": asked}, SLICE) for at in range(0, len(known), SLICE))
    for done, (_, answers) in enumerate(crew.run("nearest", slices), start=1):
        bar.update(shown, min(done * SLICE, len(known)), f"{min(done * SLICE, len(known)):,} of {len(known):,}")
        if isinstance(answers[0], Lost):
            found.notes.append(f"neighbours were not looked for among {SLICE:,} known molecules: {answers[0].reason}")
            continue
        values = np.array(answers[0], dtype=np.float64)
        best = values if best is None else np.maximum(best, values)
    bar.finish(shown)
    return [] if best is None else best.tolist()


def chemnet(smiles: Sequence[str], bar: Bar, description: str) -> NDArray[np.float64]:
    """ChemNet's activations (n, 512) of those SMILES that RDKit reads back."""
    from scidiff_molecules.metrics.chemnet import activations

    with rdBase.BlockLogs():
        smiles = [one for one in smiles if one and Chem.MolFromSmiles(one) is not None]
    shown = bar.start(description, len(smiles))
    parts: list[NDArray[np.float64]] = []
    for at in range(0, len(smiles), _BATCH):
        parts.append(np.asarray(activations(list(smiles[at : at + _BATCH])), dtype=np.float64))
        bar.update(shown, at + len(parts[-1]), f"{at + len(parts[-1]):,} of {len(smiles):,}")
    bar.finish(shown)
    return np.concatenate(parts) if parts else np.zeros((0, 512))


def frechet_distance(activations: NDArray[np.float64], standard: Standard) -> float:
    """Frechet distance of activations (n, 512) from a standard's."""
    from scidiff_molecules.metrics.chemnet import Moments, chemnet_distance

    assert standard.mean is not None
    assert standard.covariance is not None
    return chemnet_distance(Moments.of(activations), Moments(standard.mean, standard.covariance, standard.activations))


def _frechet(activations: NDArray[np.float64], standard: Standard, seed: int, bar: Bar) -> NDArray[np.float64]:
    """The distance, and those of molecules drawn with replacement (1 + resamples,)."""
    random, n = np.random.default_rng(seed), len(activations)
    values = [frechet_distance(activations, standard)]
    shown = bar.start("FCD, resamples", FCD_RESAMPLES)
    for done in range(1, FCD_RESAMPLES + 1):
        values.append(frechet_distance(activations[random.integers(0, n, n)], standard))
        bar.update(shown, done, f"{done} of {FCD_RESAMPLES}")
    bar.finish(shown)
    return np.array(values)
