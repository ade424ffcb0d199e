"""Relaxation against known energies, scans, symmetries, and RDKit's own superposition and force field."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rdkit import Chem
from rdkit.Chem import rdForceFieldHelpers, rdMolAlign
from scipy.optimize import minimize_scalar
from scipy.spatial.transform import Rotation
from support.zoo import apart, as_stated, embedded, star, zoo

from scidiff_molecules.metrics import energy
from scidiff_molecules.metrics.energy import BOHR, GRADIENT_NORM, HARTREE, MAX_ATOMS, Relaxation, model_hessian, relax, rmsd, unpaired
from scidiff_molecules.sdf import Structure

pytest.importorskip("tblite")


def surface(structure: Structure, charge: int = 0, uhf: int = 0) -> energy._Surface:
    assert structure.positions is not None
    return energy._Surface(structure.numbers, structure.positions / BOHR, charge, uhf)


def moved(structure: Structure, positions: NDArray[np.float64] | None) -> Structure:
    assert positions is not None
    return replace(structure, positions=positions)


def diatomic(number: int, other: int, distance: float, order: float = 1.0) -> Structure:
    numbers = np.array([number, other], dtype=np.int64)
    return Structure(numbers, np.zeros(2, dtype=np.int64), np.array([[0.0, 0, 0], [0.0, 0, distance]]), ((0, 1, order),))


def test_the_energy_of_silane_is_that_of_tblites_documentation() -> None:
    a = 1.617683897558 * BOHR
    silane = star(14, [[a, a, -a], [-a, -a, -a], [a, -a, a], [-a, a, a]])
    assert silane.positions is not None
    found, gradient = surface(silane)(silane.positions.ravel() / BOHR)
    assert found == pytest.approx(-3.7632337506836944, abs=1e-7)
    assert gradient.shape == (15,)


def test_relaxed_water_has_the_energy_xtb_finds() -> None:
    water = embedded("O")
    assert water.positions is not None
    found = relax(as_stated(water))
    start, _ = surface(water)(water.positions.ravel() / BOHR)
    assert found.converged
    assert start - found.energy / HARTREE == pytest.approx(-5.0705444, abs=5e-6)  # xtb 6.7, --opt


def test_the_gradient_is_the_slope() -> None:
    water = embedded("O")
    assert water.positions is not None
    at, x = surface(water), water.positions.ravel() / BOHR
    way, h = np.random.default_rng(0).normal(size=9), 1e-3
    slope = (at(x + h * way)[0] - at(x - h * way)[0]) / (2 * h)
    assert at(x)[1] @ way == pytest.approx(slope, abs=1e-5)


@pytest.mark.parametrize(("number", "other", "order", "start"), [(1, 1, 1.0, 1.3), (1, 1, 1.0, 0.55), (9, 1, 1.0, 1.3), (7, 7, 3.0, 0.9)])
def test_a_stretched_bond_relaxes_to_the_minimum_a_scan_finds(number: int, other: int, order: float, start: float) -> None:
    at = surface(diatomic(number, other, start, order))

    def height(distance: float) -> float:
        return at(np.array([0.0, 0.0, 0.0, 0.0, 0.0, distance / BOHR]))[0]

    scan = minimize_scalar(height, bracket=(0.8 * start, start), tol=1e-8)
    found = relax(as_stated(diatomic(number, other, start, order)))
    assert found.converged
    assert found.positions is not None
    assert np.linalg.norm(found.positions[1] - found.positions[0]) == pytest.approx(scan.x, abs=2e-3)
    assert found.energy == pytest.approx((height(start) - scan.fun) * HARTREE, abs=5e-3)
    assert found.rmsd == pytest.approx(abs(start - scan.x) / 2, abs=1e-3)


def test_methane_breathes_back() -> None:
    methane = zoo()["methane"]
    assert methane.positions is not None
    rest = relax(as_stated(methane))
    for factor in (0.85, 1.25):
        swollen = relax(as_stated(moved(methane, methane.positions[0] + factor * (methane.positions - methane.positions[0]))))
        assert swollen.converged
        assert swollen.energy > 10
        assert rmsd(ending(swollen), ending(rest)) < 5e-3


def ending(found: Relaxation) -> NDArray[np.float64]:
    assert found.positions is not None
    return found.positions


RELAXED = ["methane", "benzene", "charged", "radical", "two fragments", "hypervalent", "one atom", "nitro"]


@pytest.mark.parametrize("name", RELAXED)
def test_the_criterion_holds_at_the_end_and_relaxing_again_finds_nothing(name: str) -> None:
    found = relax(as_stated(zoo()[name]))
    assert (found.converged, found.reason) == (True, "")
    assert found.energy >= 0
    end = moved(zoo()[name], found.positions)
    assert end.positions is not None
    charge = int(end.charges.sum())
    at = surface(end, charge, unpaired(int(end.numbers.sum()) - charge, {"radical": 1, "one atom": 4}.get(name, 0)))
    assert np.linalg.norm(at(end.positions.ravel() / BOHR)[1]) < GRADIENT_NORM
    if name == "two fragments":  # what holds them together is weaker than the criterion sees
        return
    again = relax(as_stated(end))
    assert again.converged
    assert 0 <= again.energy < 0.02
    assert again.rmsd < 0.02


@pytest.mark.parametrize("name", ["zwitterion", "radical", "charged"])
def test_frame_and_order_of_the_atoms_change_nothing(name: str) -> None:
    structure, rng = zoo()[name], np.random.default_rng(3)
    assert structure.positions is not None
    order = rng.permutation(len(structure))
    place = np.argsort(order)
    turned = Rotation.from_rotvec([0.4, -2.0, 1.1]).apply(structure.positions) + [3.0, -7.0, 11.0]
    other = Structure(
        structure.numbers[order],
        structure.charges[order],
        turned[order],
        tuple((int(place[i]), int(place[j]), bond) for i, j, bond in structure.bonds),
    )
    one, two = relax(as_stated(structure)), relax(as_stated(other))
    assert one.converged
    assert two.converged
    assert two.energy == pytest.approx(one.energy, abs=1e-3)
    assert two.rmsd == pytest.approx(one.rmsd, abs=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_a_bad_start_comes_back(seed: int) -> None:
    """Noise of 0.3 Angstrom on every coordinate: what comes out is a minimum far below, and no atom has flown off."""
    structure = zoo()["charged"]
    assert structure.positions is not None
    noisy = moved(structure, structure.positions + np.random.default_rng(seed).normal(0, 0.3, structure.positions.shape))
    found = relax(as_stated(noisy))
    assert found.converged
    assert found.energy > 50
    assert found.rmsd < 2


def test_charge_and_unpaired_electrons_reach_the_hamiltonian(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    def spy(numbers: NDArray[np.int64], positions: NDArray[np.float64], charge: int, uhf: int) -> energy._Surface:
        asked.append((charge, uhf))
        return real(numbers, positions, charge, uhf)

    real = energy._Surface
    monkeypatch.setattr(energy, "_Surface", spy)
    for smiles in ("[NH4+]", "[OH-]", "[CH3]", "C[NH2+][CH2]"):
        assert relax(as_stated(embedded(smiles))).converged
    relax(as_stated(apart(embedded("[CH3]"), embedded("[CH3]"), 8.0)), max_steps=1)
    assert asked == [(1, 0), (-1, 0), (0, 1), (1, 1), (0, 2)]


def test_unpaired_electrons_leave_pairs() -> None:
    assert [unpaired(n, r) for n, r in ((10, 0), (10, 2), (9, 1), (9, 0), (10, 1), (0, 0), (1, 3), (6, 4))] == [0, 2, 1, 1, 0, 0, 1, 4]


def fail_on(calls: set[int], monkeypatch: pytest.MonkeyPatch) -> None:
    from tblite.exceptions import TBLiteRuntimeError

    real = energy._Surface.__call__

    def breaks(self: energy._Surface, x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        found = real(self, x)
        if self.calls in calls:
            raise TBLiteRuntimeError("SCF not converged in 250 cycles")
        return found

    monkeypatch.setattr(energy._Surface, "__call__", breaks)


def test_a_field_that_does_not_converge_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    fail_on({1}, monkeypatch)
    found = relax(as_stated(zoo()["methane"]))
    assert (found.converged, found.calls, found.positions) == (False, 1, None)
    assert "SCF not converged" in found.reason
    assert np.isnan([found.energy, found.rmsd]).all()


def test_a_field_that_fails_on_the_way_costs_a_shorter_step(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = relax(as_stated(zoo()["zwitterion"]))
    fail_on({3, 6}, monkeypatch)
    found = relax(as_stated(zoo()["zwitterion"]))
    assert found.converged
    assert found.energy == pytest.approx(whole.energy, abs=0.05)


def test_a_limit_on_the_steps_is_told() -> None:
    found = relax(as_stated(zoo()["zwitterion"]), max_steps=2)
    assert not found.converged
    assert found.reason.startswith("not converged in 2 steps: gradient norm")
    assert found.energy > 0


@pytest.mark.parametrize("method", ["gfn2", "mmff"])
def test_what_cannot_be_computed_has_its_reason(method: energy.Method) -> None:
    methane = zoo()["methane"]
    assert methane.positions is not None
    chain = Chem.AddHs(Chem.MolFromSmiles("C" * (MAX_ATOMS // 3 + 1)))
    implicit = Chem.MolFromSmiles("C")
    implicit.AddConformer(Chem.Conformer(1))
    far = methane.positions.copy()
    far[2] = np.nan
    cases = {
        "no atoms": Chem.Mol(),
        f"{chain.GetNumAtoms()} atoms; the limit is {MAX_ATOMS}": chain,
        "no coordinates": Chem.MolFromSmiles("[H][H]", sanitize=False),
        "hydrogens are implicit": implicit,
        "a coordinate of atom 3 is not finite": as_stated(moved(methane, far)),
        "no parameters for *": as_stated(replace(methane, numbers=np.array([6, 1, 1, 1, 0]))),
        "no parameters for U": as_stated(replace(methane, numbers=np.array([92, 1, 1, 1, 1]))),
    }
    for reason, mol in cases.items():
        found = relax(mol, method)
        assert (found.reason, found.converged, found.positions) == (reason, False, None)


def test_two_atoms_in_one_place_do_not_raise() -> None:
    methane = zoo()["methane"]
    assert methane.positions is not None
    clash = methane.positions.copy()
    clash[1] = clash[2]
    assert isinstance(relax(as_stated(moved(methane, clash)), max_steps=20), Relaxation)


def test_nothing_is_printed_and_the_molecule_is_not_changed(capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("charged", "hypervalent"):
        for method in ("gfn2", "mmff"):
            mol = as_stated(zoo()[name])
            before = mol.ToBinary()
            relax(mol, method)
            assert mol.ToBinary() == before
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("smiles", ["CCO", "c1ccccc1O", "C[NH3+]"])
def test_mmff_agrees_with_rdkit(smiles: str) -> None:
    structure = embedded(smiles)
    assert structure.positions is not None
    shaken = moved(structure, structure.positions + np.random.default_rng(0).normal(0, 0.1, structure.positions.shape))
    mol = as_stated(shaken)
    Chem.SanitizeMol(mol)
    properties = rdForceFieldHelpers.MMFFGetMoleculeProperties(mol)
    before = rdForceFieldHelpers.MMFFGetMoleculeForceField(mol, properties).CalcEnergy()
    ((_, after),) = rdForceFieldHelpers.MMFFOptimizeMoleculeConfs(mol, maxIters=500)
    found = relax(as_stated(shaken), "mmff")
    assert found.converged
    assert found.energy == pytest.approx(before - after, abs=1e-6)
    assert found.rmsd == pytest.approx(rmsd(shaken.positions, mol.GetConformer().GetPositions()), abs=1e-6)


@pytest.mark.parametrize("name", ["hypervalent", "one atom"])
def test_mmff_says_what_it_cannot_do(name: str) -> None:
    found = relax(as_stated(zoo()[name]), "mmff")
    assert not found.converged
    assert ("greater than permitted" if name == "hypervalent" else "no parameters") in found.reason


@given(st.integers(0, 10_000), st.floats(0.0, 1.0))
@settings(max_examples=30)
def test_the_rmsd_is_rdkits(seed: int, size: float) -> None:
    structure, rng = zoo()["zwitterion"], np.random.default_rng(seed)
    assert structure.positions is not None
    turn = Rotation.random(rng=rng)
    other = moved(structure, turn.apply(structure.positions + size * rng.normal(size=structure.positions.shape)) + rng.normal(size=3))
    theirs = rdMolAlign.AlignMol(as_stated(other), as_stated(structure), atomMap=[(i, i) for i in range(len(structure))])
    # RDKit takes the root of a difference of large numbers, and finds some 1e-6 where the points are equal: the squares agree, everywhere.
    assert rmsd(structure.positions, positions_of(other)) ** 2 == pytest.approx(theirs**2, abs=4e-10)


def positions_of(structure: Structure) -> NDArray[np.float64]:
    assert structure.positions is not None
    return structure.positions


def test_the_rmsd_knows_left_from_right() -> None:
    hand = np.array([[0.0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3]])
    assert rmsd(hand, Rotation.from_rotvec([1.0, 2, 3]).apply(hand)) < 1e-12
    assert rmsd(hand, hand * [-1, 1, 1]) > 0.3
    assert np.isnan(rmsd(hand[:0], hand[:0]))


def test_the_model_hessian_is_symmetric_turns_with_the_molecule_and_resists_no_translation() -> None:
    structure, turn = zoo()["drug"], Rotation.from_rotvec([0.3, 1.0, -2.0])
    assert structure.positions is not None
    x, n = structure.positions / BOHR, len(structure)
    hessian = model_hessian(structure.numbers, x)
    np.testing.assert_array_equal(hessian, hessian.T)
    assert np.linalg.eigvalsh(hessian).min() > -1e-10
    np.testing.assert_allclose(hessian @ np.tile(np.eye(3), (n, 1)), 0.0, atol=1e-12)
    whole = np.kron(np.eye(n), turn.as_matrix())
    np.testing.assert_allclose(model_hessian(structure.numbers, turn.apply(x)), whole @ hessian @ whole.T, atol=1e-10)
