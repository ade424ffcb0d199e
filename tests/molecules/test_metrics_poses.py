"""PoseBusters' verdicts: its own DataFrame's, always the same, and some on any molecule."""

from __future__ import annotations

import io
from functools import cache
from typing import Any

import numpy as np
import pytest
from rdkit import Chem, rdBase
from rdkit.Chem import rdDistGeom
from support.zoo import as_stated, embedded, zoo

from scidiff_molecules.metrics import poses
from scidiff_molecules.metrics.poses import CHECKS, MAX_ATOMS, check_pose, examine_pose

pytest.importorskip("posebusters")


@cache
def pose_busters() -> Any:
    poses._modules()  # imports PoseBusters and undoes what that does to the log
    from posebusters import PoseBusters

    return PoseBusters(config="mol")


def their_answer(mol: Chem.Mol) -> dict[str, bool]:
    """The row of PoseBusters' own DataFrame; what it leaves open (NaN, NA) is no pass."""
    with poses._hushed():
        frame = pose_busters().bust(Chem.Mol(mol))
    return {str(name): bool(value) for name, value in frame.astype(object).fillna(False).iloc[0].items()}


SANE = ("sanitization", "inchi_convertible", "all_atoms_connected", "no_radicals", "mol_pred_loaded")
NEED_SANE = tuple(name for name in CHECKS if name not in SANE)
# An energy of a handful of atoms is near zero, and so is the mean PoseBusters divides it by: the ratio says nothing, and often fails.
FAILS = {
    "benzene": set[str](),
    "zwitterion": set[str](),
    "drug": set[str](),
    "nitro": set[str](),
    "bromine and chlorine": set[str](),
    "radical": {"no_radicals"},
    "two fragments": {"all_atoms_connected"},
    "hypervalent": {"sanitization", "inchi_convertible", *NEED_SANE},
    "one atom": {"no_radicals"},
}


def failures(mol: Chem.Mol) -> set[str]:
    return {name for name, passes in check_pose(mol).items() if not passes}


@pytest.mark.parametrize("name", FAILS)
def test_the_zoo_fails_what_it_should(name: str) -> None:
    tolerated = {"internal_energy"} if name in ("radical", "two fragments") else set[str]()
    assert failures(as_stated(zoo()[name])) - tolerated == FAILS[name] - tolerated


@pytest.mark.parametrize("name", zoo())
def test_the_answers_are_those_of_posebusters(name: str) -> None:
    mol = as_stated(zoo()[name])
    found, theirs = check_pose(mol), their_answer(mol)
    assert list(found) == list(theirs) == list(CHECKS)
    assert found == theirs


def bent(name: str, atom: int, move: list[float]) -> Chem.Mol:
    mol = as_stated(zoo()[name])
    positions = mol.GetConformer().GetPositions()
    positions[atom] += move
    mol.GetConformer().SetPositions(positions)
    return mol


def normal(name: str) -> np.ndarray:
    """The normal of a planar molecule's plane."""
    positions = zoo()[name].positions
    assert positions is not None
    return np.linalg.svd(positions - positions.mean(axis=0))[2][2]


def test_planted_faults_of_the_geometry_are_found() -> None:
    assert "bond_lengths" in failures(bent("drug", 0, [1.2, 0.0, 0.0]))
    assert "aromatic_ring_flatness" in failures(bent("benzene", 0, (0.8 * normal("benzene")).tolist()))
    drug = as_stated(zoo()["drug"])
    positions = drug.GetConformer().GetPositions()
    positions[0] = positions[10] + [0.3, 0.0, 0.0]  # the methyl carbon onto the hydroxyl's oxygen
    drug.GetConformer().SetPositions(positions)
    assert {"internal_steric_clash", "internal_energy"} <= failures(drug)


def test_a_check_that_cannot_run_says_why() -> None:
    pose = examine_pose(as_stated(zoo()["hypervalent"]))
    assert not pose.passes
    assert set(pose.reasons) == set(NEED_SANE)
    assert "5, is greater than permitted" in pose.reasons["bond_lengths"]
    assert "does not sanitize" in pose.reasons["internal_energy"]
    assert examine_pose(as_stated(zoo()["drug"])).reasons == {}


def test_an_exception_is_that_checks_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(mol: Chem.Mol) -> dict[str, bool]:
        raise RuntimeError("odd molecule\nand more")

    monkeypatch.setattr(poses, "_modules", lambda: ((breaks, {"a": "first"}), (lambda mol: {"b": True}, {"b": "second"})))
    pose = examine_pose(as_stated(zoo()["methane"]))
    assert (pose.checks, pose.reasons) == ({"first": False, "second": True}, {"first": "RuntimeError: odd molecule"})


def test_sizes_and_coordinates_are_bounded_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poses, "_modules", lambda: pytest.fail("computed"))
    large = Chem.AddHs(Chem.MolFromSmiles("C" * (MAX_ATOMS // 3 + 1)))
    large.AddConformer(Chem.Conformer(large.GetNumAtoms()))
    infinite = as_stated(zoo()["methane"])
    infinite.GetConformer().SetAtomPosition(2, (0.0, float("inf"), 0.0))
    cases = {
        "no atoms": Chem.Mol(),
        f"{large.GetNumAtoms()} atoms; the limit is {MAX_ATOMS}": large,
        "no coordinates": Chem.MolFromSmiles("C"),
        "a coordinate of atom 3 is not finite": infinite,
    }
    for reason, mol in cases.items():
        pose = examine_pose(mol)
        assert (pose.checks, pose.reasons) == (dict.fromkeys(CHECKS, False), dict.fromkeys(CHECKS, reason))


def test_one_conformer_alone_is_the_first_of_many_on_any_number_of_threads() -> None:
    """What trying one conformer first, and computing in one thread, rest on."""
    from posebusters.modules.energy_ratio import new_conformation

    mol = Chem.MolFromSmiles("CC(=O)NC1CC1")
    alone = new_conformation(mol, 1, 1)["energies"]
    four = new_conformation(mol, 4, 1)["energies"]
    assert alone == four[:1]
    assert new_conformation(mol, 4, 2)["energies"] == four


def test_what_cannot_be_embedded_once_is_not_tried_fifty_times(monkeypatch: pytest.MonkeyPatch) -> None:
    from posebusters.modules import energy_ratio

    asked: list[int] = []

    def nothing(mol: Chem.Mol, count: int, parameters: rdDistGeom.EmbedParameters) -> list[int]:
        asked.append(count)
        return []

    energy_ratio.get_energies.cache_clear()
    monkeypatch.setattr(energy_ratio, "EmbedMultipleConfs", nothing)
    pose = examine_pose(as_stated(zoo()["drug"]))
    assert asked == [1]
    assert not pose.checks["internal_energy"]
    assert "Failed to generate conformations" in pose.reasons["internal_energy"]


def test_the_same_molecule_gets_the_same_answer_whatever_came_before(monkeypatch: pytest.MonkeyPatch) -> None:
    from posebusters.modules.energy_ratio import get_energies

    names = ["charged", "nitro", "radical", "hypervalent", "methane"]
    once = {name: examine_pose(as_stated(zoo()[name])) for name in names}
    monkeypatch.setattr(poses, "_MAX_REMEMBERED", 0)
    get_energies.cache_clear()
    for name in reversed(names):
        assert examine_pose(as_stated(zoo()[name])) == once[name]
        assert get_energies.cache_info().currsize <= 2  # forgotten in between


def test_it_is_quiet_and_leaves_the_log_and_the_molecule_alone(capfd: pytest.CaptureFixture[str]) -> None:
    before = rdBase.LogStatus()
    for name in ("charged", "hypervalent", "one atom"):
        mol = as_stated(zoo()[name])
        binary = mol.ToBinary()
        check_pose(mol)
        assert mol.ToBinary() == binary
    assert rdBase.LogStatus() == before
    assert capfd.readouterr() == ("", "")
    Chem.MolFromSmiles("C(C)(C)(C)(C)C")
    assert "greater than permitted" in capfd.readouterr().err  # RDKit's own log still speaks


def test_a_closed_standard_error_fails_no_molecule(monkeypatch: pytest.MonkeyPatch) -> None:
    once = check_pose(as_stated(zoo()["drug"]))
    with io.StringIO() as gone:
        monkeypatch.setattr("sys.stderr", gone)
        assert check_pose(as_stated(zoo()["drug"])) == once
        monkeypatch.undo()
    assert check_pose(as_stated(zoo()["drug"])) == once


def test_a_sanitised_molecule_is_judged_like_its_stated_form() -> None:
    stated = as_stated(embedded("Cc1ccncc1"))
    clean = Chem.Mol(stated)
    Chem.SanitizeMol(clean)
    assert check_pose(clean) == check_pose(stated)
