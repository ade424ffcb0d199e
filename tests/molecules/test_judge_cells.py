"""Observations and distances of distributions: against RDKit's own geometry, scipy's own distances, and numbers worked by hand."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rdkit import Chem
from rdkit.Chem import rdDistGeom, rdMolTransforms
from scipy.optimize import linear_sum_assignment
from scipy.stats import wasserstein_distance, wasserstein_distance_nd

from scidiff_molecules.metrics.cells import (
    ANGLE,
    BOND,
    ELEMENT,
    KINDS,
    LOGP,
    QED,
    RING,
    SA,
    TORSION,
    Kind,
    descriptor_cells,
    geometry_cells,
    split,
    type_name,
)
from scidiff_molecules.metrics.histograms import (
    CHUNK,
    MAX_TYPES,
    RESAMPLES,
    Histograms,
    dense,
    distances,
    halved,
    priorities,
    resampled,
    total_variation,
    wasserstein,
)
from scidiff_molecules.sdf import build_mol, structure_of, with_conformer


def molecule(smiles: str, seed: int = 1) -> Chem.Mol:
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert rdDistGeom.EmbedMolecule(mol, randomSeed=seed) == 0
    return mol


def observed(mol: Chem.Mol) -> Counter[tuple[str, str, float]]:
    """(kind, type, middle of the bin) of a molecule's geometry."""
    (keys,) = geometry_cells([mol])
    found: Counter[tuple[str, str, float]] = Counter()
    for number, code, place in zip(*(part.tolist() for part in split(keys)), strict=True):
        kind = KINDS[number]
        found[kind.name, type_name(kind, code), round(float(kind.centres()[place]), 6)] += 1
    return found


def middle(kind: Kind, value: float) -> float:
    return round(kind.low + kind.width * (np.floor((value - kind.low) / kind.width) + 0.5), 6)


@pytest.mark.parametrize("smiles", ["CCO", "c1ccncc1", "C#CC=O", "CC(=O)[O-]", "C1CC1F", "OC1=NC=NN1", "[NH3+]CC(=O)[O-]"])
def test_lengths_angles_and_torsions_are_rdkits(smiles: str) -> None:
    """Every bond, every pair of bonds at an atom, every chain of three bonds, once, with RDKit's value."""
    mol = molecule(smiles)
    conformer, symbol = mol.GetConformer(), [atom.GetSymbol() for atom in mol.GetAtoms()]
    sign = {Chem.BondType.SINGLE: "-", Chem.BondType.DOUBLE: "=", Chem.BondType.TRIPLE: "#", Chem.BondType.AROMATIC: ":"}
    expected: Counter[tuple[str, str, float]] = Counter()

    def between(*atoms: int) -> list[str]:
        return [sign[mol.GetBondBetweenAtoms(a, b).GetBondType()] for a, b in pairwise(atoms)]

    def count(kind: Kind, atoms: tuple[int, ...], signs: list[str], value: float) -> None:
        numbers = [mol.GetAtomWithIdx(a).GetAtomicNum() for a in atoms]
        order = ["~-=#:".index(s) for s in signs]
        inner = order[1:2] if kind is TORSION else order
        atoms, signs = (atoms, signs) if (numbers, inner) <= (numbers[::-1], inner[::-1]) else (atoms[::-1], signs[::-1])
        shown = ["~", signs[1], "~"] if kind is TORSION else signs
        name = symbol[atoms[0]] + "".join(s + symbol[a] for s, a in zip(shown, atoms[1:], strict=True))
        expected[kind.name, name, middle(kind, value)] += 1

    for pattern, kind in (("*~*", BOND), ("*~*~*", ANGLE), ("*~*~*~*", TORSION)):
        for atoms in mol.GetSubstructMatches(Chem.MolFromSmarts(pattern), uniquify=False, maxMatches=10_000):
            if atoms[0] > atoms[-1]:
                continue  # the same read backwards
            if kind is BOND:
                count(kind, atoms, between(*atoms), rdMolTransforms.GetBondLength(conformer, *atoms))
            elif kind is ANGLE:
                count(kind, atoms, between(*atoms), rdMolTransforms.GetAngleDeg(conformer, *atoms))
            elif max(rdMolTransforms.GetAngleDeg(conformer, *atoms[k : k + 3]) for k in (0, 1)) < 175:
                count(kind, atoms, between(*atoms), abs(rdMolTransforms.GetDihedralDeg(conformer, *atoms)))
    assert observed(mol) == expected


def test_observations_do_not_depend_on_the_frame_the_mirror_or_the_order_of_atoms() -> None:
    rng = np.random.default_rng(3)
    for smiles in ("CC(O)C#N", "c1ccc(N)cc1", "C[C@H](F)O"):
        mol = molecule(smiles)
        (original,) = geometry_cells([mol])
        turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        for sign in (1, -1):
            moved = Chem.RenumberAtoms(mol, rng.permutation(mol.GetNumAtoms()).tolist())
            positions = sign * moved.GetConformer().GetPositions() @ turn.T + [1.0, -2.0, 3.0]
            moved.GetConformer().SetPositions(np.ascontiguousarray(positions))
            assert sorted(geometry_cells([moved])[0].tolist()) == sorted(original.tolist())


def test_molecules_end_to_end_give_what_each_gives_alone() -> None:
    mols = [molecule(s) for s in ("C", "CCO", "O", "c1ccccc1", "[H][H]")]
    alone = [geometry_cells([mol])[0].tolist() for mol in mols]
    assert [cells.tolist() for cells in geometry_cells(mols)] == alone
    assert geometry_cells([]) == []


def test_what_is_undefined_is_left_out() -> None:
    """A lone atom; atoms that coincide; a torsion about a straight end."""
    argon = with_conformer(build_mol(structure_of(Chem.AddHs(Chem.MolFromSmiles("[Ar]")))), structure_of(molecule("[Ar]"))).GetMol()
    argon.UpdatePropertyCache()
    assert geometry_cells([argon])[0].tolist() == []
    water = molecule("O")
    water.GetConformer().SetPositions(np.zeros((3, 3)))
    assert {kind for kind, _, _ in observed(water)} == {"bond lengths"}
    alkyne = Chem.AddHs(Chem.MolFromSmiles("C#C"))
    rdDistGeom.EmbedMolecule(alkyne, randomSeed=1)
    alkyne.GetConformer().SetPositions(np.array([[0.6, 0.0, 0.0], [-0.6, 0.0, 0.0], [1.66, 0.0, 0.0], [-1.66, 0.0, 0.0]]))
    assert observed(alkyne) == {
        ("bond lengths", "C#C", middle(BOND, 1.2 + 1e-9)): 1,
        ("bond lengths", "H-C", middle(BOND, 1.06 + 1e-9)): 2,
        ("angles", "H-C#C", 179.75): 2,
    }


def test_descriptors_count_every_atom_and_every_ring() -> None:
    pytest.importorskip("scidiff_molecules.metrics.druglike")
    from scidiff_molecules.metrics.druglike import describe

    mol = molecule("C1CC1c1ccccc1")
    known = describe(mol)
    number, _, place = split(descriptor_cells(mol, known))
    by_kind = {kind.number: kind.centres()[place[number == kind.number]] for kind in KINDS}
    assert sorted(by_kind[RING.number].tolist()) == [3, 6]
    assert Counter(by_kind[ELEMENT.number].tolist()) == {1: 10, 6: 9}
    for kind, value in ((QED, known.qed), (SA, known.sa), (LOGP, known.logp)):
        assert by_kind[kind.number] == pytest.approx([value], abs=kind.width / 2 + 1e-8)


def filled(kind: Kind, values: list[float], code: int = 0) -> Histograms:
    made = Histograms(1)
    made.add(np.arange(len(values)), kind.keys(code, np.array(values, dtype=np.float64)), np.ones((len(values), 1), dtype=np.int64))
    return made


@given(st.lists(st.floats(0, 180), min_size=1, max_size=30), st.lists(st.floats(0, 180), min_size=1, max_size=30))
def test_wasserstein_is_scipys_at_the_bins_places(some: list[float], other: list[float]) -> None:
    centres = TORSION.centres()
    one, two = ([float(centres[min(int(value / 2 + 1e-9), 89)]) for value in values] for values in (some, other))
    ((_, _, found),) = distances(filled(TORSION, some, 5), filled(TORSION, other, 5), TORSION)
    assert found[0] == pytest.approx(wasserstein_distance(one, two), abs=1e-9)
    assert abs(found[0] - wasserstein_distance(some, other)) <= TORSION.width + 1e-9  # each value lies within half a bin of its place


def test_the_folded_line_has_the_circles_distances() -> None:
    """Torsions and their mirror images on the circle, by linear programming, against absolute values on the line."""
    rng = np.random.default_rng(0)
    for _ in range(5):
        p, q = (TORSION.centres()[rng.integers(0, 90, 6)] for _ in range(2))
        circle = [np.radians(np.concatenate([x, -x])) for x in (p, q)]
        gap = np.abs((circle[0][:, None] - circle[1][None] + np.pi) % (2 * np.pi) - np.pi)
        on_circle = np.degrees(gap[linear_sum_assignment(gap)].mean())
        ((_, _, found),) = distances(filled(TORSION, p.tolist(), 1), filled(TORSION, q.tolist(), 1), TORSION)
        assert found[0] == pytest.approx(on_circle, abs=1e-9)


def test_total_variation_by_hand_and_as_transport() -> None:
    p, q = (dense(filled(RING, values).of(RING)[0], RING) for values in ([3, 3, 5, 6], [5, 5, 6, 6]))
    assert total_variation(p, q).tolist() == [0.5]
    unit = np.eye(32)[:, [3, 5, 6]].T / np.sqrt(2)  # all categories at distance one
    assert wasserstein_distance_nd(unit, unit, [0.5, 0.25, 0.25], [1e-12, 0.5, 0.5]) == pytest.approx(0.5)


def test_weights_repeat_molecules() -> None:
    """A molecule of weight two counts as two; a column of weight nought has no shares."""
    weights = np.array([[1, 2, 0], [1, 0, 0], [1, 1, 0]])
    made = Histograms(3)
    made.add(np.array([0, 0, 1, 2]), BOND.keys(7, [1.0, 1.1, 1.2, 1.0]), weights)
    shares = dense(made.of(BOND)[7], BOND)
    places = [round((value - BOND.low) / BOND.width) for value in (1.0, 1.1, 1.2)]
    np.testing.assert_allclose(shares[places, 0], [0.5, 0.25, 0.25])
    np.testing.assert_allclose(shares[places, 1], [0.6, 0.4, 0.0])
    assert np.isnan(shares[:, 2]).all()
    assert wasserstein(shares[:, :1], shares[:, 1:2], BOND)[0] == pytest.approx(wasserstein_distance(
        [1.0, 1.1, 1.2], [1.0, 1.1], [0.5, 0.25, 0.25], [0.6, 0.4]
    ))  # fmt: skip


def test_a_histogram_survives_its_items_and_keeps_a_bounded_number_of_types() -> None:
    made = Histograms(2)
    rng = np.random.default_rng(0)
    for _ in range(3):
        keys = BOND.keys(rng.integers(0, 400, 3000), rng.uniform(0.5, 3, 3000))
        made.add(rng.integers(0, 50, 3000), keys, np.ones((50, 2), dtype=np.int64))
    assert len(made.of(BOND)) == MAX_TYPES[BOND.number]
    kept = sum(counts.total for counts in made.of(BOND).values())
    assert kept + made.left_out == 9000
    keys, counts = made.items()
    again = Histograms(2)
    again.put(keys, counts)
    for one, two in zip(made.items(), again.items(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_the_resamples_are_poissons_and_a_function_of_the_place_alone() -> None:
    weigh = resampled(5)
    drawn = np.concatenate([weigh(chunk) for chunk in range(8)])
    assert (drawn[:, 0] == 1).all()
    assert drawn.shape == (8 * CHUNK, 1 + RESAMPLES)
    values = drawn[:, 1:]
    n = values.size
    for count, probability in enumerate((0.36788, 0.36788, 0.18394, 0.06131)):
        assert (values == count).mean() == pytest.approx(probability, abs=5 * np.sqrt(probability / n))
    np.testing.assert_array_equal(weigh(3), drawn[3 * CHUNK : 4 * CHUNK])
    assert (resampled(6)(3) != drawn[3 * CHUNK : 4 * CHUNK]).any()
    halves = halved(5)(0)
    assert (halves[:, 1] + halves[:, 2] == 1).all()
    assert not np.array_equal(priorities(5, 0), priorities(5, 1))
