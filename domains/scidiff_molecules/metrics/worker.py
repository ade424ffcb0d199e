"""What is done with single molecules, in this process or in another: judged, checked by PoseBusters, relaxed, compared.

``TASKS[name](payloads, options)`` gives one JSON answer for each payload. As a program, ``main`` reads one task a line from standard input
and writes one list of answers a line; :mod:`.crew` is its other end.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple
from typing import Any

from rdkit import Chem, rdBase

from scidiff_molecules.metrics.payload import Payload, reduced, structure_in
from scidiff_molecules.metrics.valence import as_generated
from scidiff_molecules.metrics.verdict import Reduced, Verdict, judge_reduced, smiles_hash
from scidiff_molecules.sdf import AS_STATED, Structure, build_mol, with_conformer

Options = Mapping[str, Any]


def judge_payloads(payloads: Sequence[Payload], options: Options) -> list[dict[str, Any]]:
    """Verdicts, as ``v``, and how each was made, ``p``.

    With the option ``details`` also, of a molecule that can be used, ``stable``: the corrected definition's stable atoms; and of one that
    is valid and connected ``smiles``, ``scaffold`` (a hash), ``qed``, ``sa``, ``logp``, and ``cells``.
    """
    first: int = options["first"]
    taken = [reduced(first + k, payload) for k, payload in enumerate(payloads)]
    verdicts = judge_reduced([one for one, _ in taken])
    found = [{"v": list(astuple(verdict)), "p": made} for (_, made), verdict in zip(taken, verdicts, strict=True)]
    if options["details"]:
        _add_details([one for one, _ in taken], found)
    return found


def _add_details(taken: Sequence[Reduced], found: Sequence[dict[str, Any]]) -> None:
    from scidiff_molecules.metrics.cells import descriptor_cells, geometry_cells
    from scidiff_molecules.metrics.druglike import corrected_stable_atoms, describe

    described: list[tuple[dict[str, Any], Chem.Mol]] = []
    for (structure, _), answer in zip(taken, found, strict=True):
        verdict = Verdict(*answer["v"])
        if structure is None or not verdict.usable:
            continue
        answer["stable"] = corrected_stable_atoms(structure)
        if verdict.valid and verdict.connected:
            mol = sanitised(structure)
            known = describe(mol)
            answer |= {
                "smiles": as_generated(structure).smiles,
                "qed": known.qed,
                "sa": known.sa,
                "logp": known.logp,
                "scaffold": smiles_hash(known.scaffold),
            }
            answer["cells"] = descriptor_cells(mol, known).tolist()
            described.append((answer, mol))
    for (answer, _), cells in zip(described, geometry_cells([mol for _, mol in described]), strict=True):
        answer["cells"] += cells.tolist()


def sanitised(structure: Structure) -> Chem.Mol:
    """A valid molecule as generated, with its conformer; neither radicals nor charges are mended."""
    mol = with_conformer(build_mol(structure), structure)
    with rdBase.BlockLogs():
        Chem.SanitizeMol(mol, AS_STATED)
        Chem.AssignStereochemistryFrom3D(mol)
    return mol.GetMol()


def pose_payloads(payloads: Sequence[Payload], options: Options) -> list[dict[str, bool]]:
    """PoseBusters' checks by name."""
    from scidiff_molecules.metrics.poses import check_pose

    return [check_pose(_molecule(payload)) for payload in payloads]


def relax_payloads(payloads: Sequence[Payload], options: Options) -> list[dict[str, Any]]:
    """Relaxation energies (kcal/mol) and displacements (Angstrom), or why there are none; the option ``method`` says by what."""
    from scidiff_molecules.metrics.energy import relax

    found: list[dict[str, Any]] = []
    for payload in payloads:
        one = relax(_molecule(payload), method=options["method"])
        found.append({"energy": one.energy, "rmsd": one.rmsd, "converged": one.converged, "reason": one.reason})
    return found


def nearest_payloads(payloads: Sequence[Payload], options: Options) -> list[list[float]]:
    """Of each of the option ``smiles``, the greatest similarity to one of the payload's ``known`` SMILES."""
    from scidiff_molecules.metrics.neighbours import fingerprints_of_smiles, nearest

    asked = fingerprints_of_smiles(options["smiles"])
    return [nearest(asked, fingerprints_of_smiles(payload["known"])) for payload in payloads]


def _molecule(payload: Payload) -> Chem.Mol:
    structure = structure_in(payload)
    if structure is None:
        raise ValueError("there is no molecule")
    return sanitised(structure)


TASKS: Mapping[str, Callable[[Sequence[Payload], Options], Sequence[Any]]] = {
    "judge": judge_payloads,
    "pose": pose_payloads,
    "relax": relax_payloads,
    "nearest": nearest_payloads,
}


def perform(name: str, payloads: Sequence[Payload], options: Options) -> list[Any]:
    """Do a task here. Raises what the chemistry raises."""
    return list(TASKS[name](payloads, options))


def main() -> None:
    """The program: a line in, a line out; what libraries print goes to standard error."""
    out = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)
    print(json.dumps("ready"), file=out, flush=True)
    for line in sys.stdin:
        task = json.loads(line)
        try:
            answer: dict[str, Any] = {"answers": perform(task["task"], task["payloads"], task["options"])}
        except Exception as error:  # whatever a library raises on one molecule must not end the evaluation of all
            answer = {"error": f"{type(error).__name__}: {error}".strip()[:300]}
        print(json.dumps(answer), file=out, flush=True)
