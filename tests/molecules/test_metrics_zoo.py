"""A zoo of molecules, made by hand, whose verdicts under every metric are known by counting on one's fingers."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi, sin, sqrt
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem

from scidiff_molecules.metrics import Verdict, evaluate, judge, lookup, valence, verdict
from scidiff_molecules.metrics.lookup import stable_atoms
from scidiff_molecules.sdf import ReadFailure, SdfWriter, Structure, build_mol, with_conformer

Bonds = list[tuple[int, int, float]]
Positions = list[list[float]] | list[tuple[float, float, float]]
Z = {"H": 1, "C": 6, "N": 7, "O": 8, "F": 9, "Cl": 17}


def molecule(symbols: list[str], positions: object, bonds: Bonds, charges: dict[int, int] | None = None) -> Chem.Mol:
    numbers = np.array([Z[s] for s in symbols], dtype=np.int64)
    charge = np.array([(charges or {}).get(i, 0) for i in range(len(symbols))], dtype=np.int64)
    structure = Structure(
        numbers, charge, np.array(positions, dtype=np.float64).reshape(-1, 3), tuple((i, j, float(o)) for i, j, o in bonds)
    )
    return with_conformer(build_mol(structure), structure).GetMol()


def tetrahedron(length: float, at: float = 0.0) -> list[list[float]]:
    t = length / sqrt(3)
    return [[at, 0, 0], [at + t, t, t], [at + t, -t, -t], [at - t, t, -t], [at - t, -t, t]]


def ring(radius: float) -> list[list[float]]:
    return [[radius * cos(k * pi / 3), radius * sin(k * pi / 3), 0.0] for k in range(6)]


def benzene(carbon_carbon: float) -> Chem.Mol:
    bonds: Bonds = [(k, (k + 1) % 6, 1.0 + k % 2) for k in range(6)] + [(k, k + 6, 1.0) for k in range(6)]
    return molecule(["C"] * 6 + ["H"] * 6, ring(carbon_carbon) + ring(carbon_carbon + 1.087), bonds)


def star_bonds(n: int, start: int = 0) -> Bonds:
    return [(start, start + k, 1.0) for k in range(1, n + 1)]


def glycine() -> Chem.Mol:
    """Zwitterion; MMFF geometry. N-H 1.02 and 1.06, C-N 1.51, C-C 1.55, C-O 1.276 (drawn double) and 1.247 (drawn single, charged)."""
    positions = [
        [-1.136, 0.129, -0.019], [0.181, -0.591, -0.22], [1.337, 0.34, 0.215], [0.852, 1.449, 0.62], [2.499, -0.101, 0.113],
        [-1.722, -0.281, 0.707], [-1.624, 0.344, -0.887], [-0.781, 1.046, 0.363], [0.248, -0.839, -1.282], [0.146, -1.495, 0.392],
    ]  # fmt: skip
    bonds: Bonds = [(0, 1, 1), (1, 2, 1), (2, 3, 2), (2, 4, 1), (0, 5, 1), (0, 6, 1), (0, 7, 1), (1, 8, 1), (1, 9, 1)]
    return molecule(["N", "C", "C", "O", "O", "H", "H", "H", "H", "H"], positions, bonds, {0: 1, 4: -1})


def methyl() -> Chem.Mol:
    corners = [[1.08 * cos(2 * pi * k / 3), 1.08 * sin(2 * pi * k / 3), 0.0] for k in range(3)]
    return molecule(["C", "H", "H", "H"], [[0, 0, 0], *corners], star_bonds(3))


def ch5() -> Chem.Mol:
    corners = [[1.09 * cos(2 * pi * k / 3), 1.09 * sin(2 * pi * k / 3), 0.0] for k in range(3)] + [[0, 0, 1.09], [0, 0, -1.09]]
    return molecule(["C"] + ["H"] * 5, [[0, 0, 0], *corners], star_bonds(5))


def methane_and_water() -> Chem.Mol:
    water = [[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]]
    return molecule(["O", "H", "H", "C", "H", "H", "H", "H"], water + tetrahedron(1.09, at=6.0), star_bonds(2) + star_bonds(4, start=3))


def methane(fault: float | None = None) -> Chem.Mol:
    positions = tetrahedron(1.09)
    if fault is not None:
        positions[3][1] = fault
    return molecule(["C", "H", "H", "H", "H"], positions, star_bonds(4))


def stretched_methane() -> Chem.Mol:
    """Drawn as methane, but one hydrogen has left: A and B disagree."""
    positions = tetrahedron(1.09)
    positions[4] = [-5.0, -5.0, 5.0]
    return molecule(["C", "H", "H", "H", "H"], positions, star_bonds(4))


@dataclass(frozen=True)
class Known:
    mol: Chem.Mol
    atoms: int
    a_atoms: int
    a_valid: bool
    strict_atoms: int
    lenient_atoms: int
    valid: bool
    connected: bool
    usable: bool = True


ZOO = {
    "methane": Known(methane(), 5, 5, True, 5, 5, True, True),
    # 139.5 pm is not < 139: all ring bonds single, every carbon 3 bonds short of 4 by one; EDM fills it with hydrogens: valid
    "benzene": Known(benzene(1.395), 12, 6, True, 12, 12, True, True),
    # 138 pm: all ring bonds double, carbons of valence 5: invalid
    "squeezed benzene": Known(benzene(1.38), 12, 6, False, 12, 12, True, True),
    # by A, nitrogen has 4 bonds uncharged (invalid), the oxygen at 1.276 has one single bond; the rest fits
    "zwitterion": Known(glycine(), 10, 8, False, 10, 10, True, True),
    "radical": Known(methyl(), 4, 3, True, 3, 4, True, True),
    "two fragments": Known(methane_and_water(), 8, 8, True, 8, 8, True, False),
    "hypervalent carbon": Known(ch5(), 6, 5, False, 5, 5, False, True),
    # carbon keeps 3, the lost hydrogen has none; valid, as EDM completes both
    "stretched methane": Known(stretched_methane(), 5, 3, True, 5, 5, True, True),
    "one carbon": Known(molecule(["C"], [[0, 0, 0]], []), 1, 0, True, 0, 0, True, True),
    "one proton": Known(molecule(["H"], [[0, 0, 0]], [], {0: 1}), 1, 0, True, 0, 1, True, True),
    "element that A does not know": Known(molecule(["H", "Cl"], [[0, 0, 0], [1.27, 0, 0]], [(0, 1, 1.0)]), 2, 0, False, 1, 2, True, True),
    "NaN": Known(methane(float("nan")), 5, 0, False, 0, 0, False, False, usable=False),
    "infinity": Known(methane(float("inf")), 5, 0, False, 0, 0, False, False, usable=False),
    "1e308": Known(methane(1e308), 5, 0, False, 0, 0, False, False, usable=False),
    "no atoms": Known(Chem.Mol(), 0, 0, False, 0, 0, False, False, usable=False),
}


def check(found: Verdict, known: Known) -> None:
    assert found.usable == known.usable
    assert found.atoms == known.atoms
    assert (found.a_atoms, found.a_stable) == (known.a_atoms, known.usable and known.a_atoms == known.atoms)
    assert (found.a_smiles is not None) == known.a_valid
    assert (found.strict_atoms, found.strict_stable) == (known.strict_atoms, known.usable and known.strict_atoms == known.atoms)
    assert (found.lenient_atoms, found.lenient_stable) == (known.lenient_atoms, known.usable and known.lenient_atoms == known.atoms)
    assert (found.valid, found.connected) == (known.valid, known.connected)
    assert (found.fault is None) == known.valid
    assert (found.b_smiles is not None) == (known.valid and known.connected)


@pytest.mark.parametrize("name", ZOO)
def test_each_animal_alone(name: str) -> None:
    (found,) = judge([(0, ZOO[name].mol)])
    check(found, ZOO[name])


def test_the_whole_zoo_in_one_batch() -> None:
    for found, known in zip(judge(enumerate(k.mol for k in ZOO.values())), ZOO.values(), strict=True):
        check(found, known)


def counts(value: str) -> int:
    return sum(int(getattr(known, value)) for known in ZOO.values())


def check_counts(path: Path | list[Chem.Mol]) -> None:
    result = evaluate(path, reference=None)
    n, atoms = len(ZOO), counts("atoms")
    connected = sum(k.valid and k.connected for k in ZOO.values())
    stable = {
        key: sum(k.usable and getattr(k, key) == k.atoms for k in ZOO.values()) for key in ("a_atoms", "strict_atoms", "lenient_atoms")
    }
    expected = {
        "A/atom_stability": (counts("a_atoms"), atoms),
        "A/molecule_stability": (stable["a_atoms"], n),
        "A/validity": (counts("a_valid"), n),
        # methane twice (alone, and as the larger fragment beside water), CH3 twice (the radical, and methane that lost a hydrogen)
        "A/uniqueness": (counts("a_valid") - 2, counts("a_valid")),
        "A/valid_unique": (counts("a_valid") - 2, n),
        "B/strict_atom_stability": (counts("strict_atoms"), atoms),
        "B/strict_molecule_stability": (stable["strict_atoms"], n),
        "B/lenient_atom_stability": (counts("lenient_atoms"), atoms),
        "B/lenient_molecule_stability": (stable["lenient_atoms"], n),
        "B/validity": (counts("valid"), n),
        "B/valid_and_connected": (connected, n),
        "B/uniqueness": (connected - 2, connected),  # methane twice (once stretched), benzene twice (once squeezed)
        "readable": (counts("usable"), n),
    }
    assert {m.key: (m.numerator, m.denominator) for m in result.metrics} == expected
    assert [f.index for f in result.failures] == [i for i, k in enumerate(ZOO.values()) if not k.valid]


def test_the_counts_are_those_of_the_fingers() -> None:
    check_counts([known.mol for known in ZOO.values()])


def test_a_file_and_memory_give_the_same_figures(tmp_path: Path) -> None:
    with SdfWriter(tmp_path / "zoo.sdf") as out:
        for known in ZOO.values():
            out.write(known.mol)
    check_counts(tmp_path / "zoo.sdf")


def test_a_sanitised_molecule_has_the_verdict_of_its_kekule_form() -> None:
    aromatic = Chem.Mol(ZOO["benzene"].mol)
    Chem.SanitizeMol(aromatic)
    assert aromatic.GetBondWithIdx(0).GetIsAromatic()
    (found,) = judge([(0, aromatic)])
    check(found, ZOO["benzene"])


def test_a_molecule_declared_failed_fails_b_but_keeps_its_geometry() -> None:
    (found,) = judge([(3, ReadFailure(3, "out of patience", methane(), 5))])
    assert (found.a_stable, found.a_smiles is not None, found.valid) == (True, True, False)
    assert (found.index, found.fault) == (3, "out of patience")
    (lost,) = judge([(0, ReadFailure(0, "unreadable", None, 7))])
    assert (lost.atoms, lost.usable, lost.fault) == (7, False, "unreadable")


def test_an_object_that_did_not_fail_is_judged_like_its_molecule_and_a_status_has_its_say() -> None:
    (found,) = judge([(0, ReadFailure(0, "", methane(), 5))])
    check(found, ZOO["methane"])
    marked = methane()
    marked.SetProp("scidiff_status", "ok")
    (found,) = judge([(0, marked)])
    check(found, ZOO["methane"])
    marked.SetProp("scidiff_status", "failed: the builder says so")
    (found,) = judge([(0, marked)])
    assert (found.fault, found.valid, found.a_stable) == ("the builder says so", False, True)


def test_without_coordinates_everything_fails() -> None:
    flat = Chem.AddHs(Chem.MolFromSmiles("C"))
    (found,) = judge([(0, flat)])
    assert (found.usable, found.fault, found.atoms) == (False, "no coordinates", 5)


def test_verdicts_do_not_depend_on_the_order_of_atoms_nor_on_the_frame() -> None:
    rng = np.random.default_rng(1)
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    for known in ZOO.values():
        if not known.usable:
            continue
        moved = Chem.RenumberAtoms(known.mol, rng.permutation(known.atoms).tolist())
        positions = moved.GetConformer().GetPositions() @ rotation.T + [3.0, -1.0, 2.0]
        moved.GetConformer().SetPositions(np.ascontiguousarray(positions))
        (found,) = judge([(0, moved)])
        (original,) = judge([(0, known.mol)])
        assert found == original


def at_most(orders: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    return (orders.sum(2) <= lookup._VALENCES[np.minimum(numbers, 9)]) & (numbers > 0)


FAULTS = {
    "hydrogens never judged": (lookup, "stable_atoms", lambda orders, z: stable_atoms(orders, z) | (z == 1)),
    "valence at most, not exactly": (lookup, "stable_atoms", at_most),
    "strict table replaced by the lenient one": (verdict, "strict_table", lambda: valence.LENIENT),
    "lenient table replaced by the strict one": (verdict, "LENIENT", valence.strict_table()),
    "nothing sanitised": (verdict, "as_generated", lambda s: valence.AsGenerated(None, 1, "C")),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_change_what_the_zoo_says(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, name, wrong = FAULTS[fault]
    monkeypatch.setattr(module, name, wrong)
    with pytest.raises(AssertionError):
        check_counts([known.mol for known in ZOO.values()])
