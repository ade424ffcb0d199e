"""What ships to judge against QM9: the test split's distributions, the training split's SMILES, and what QM9 scores itself."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import pytest
import rdkit

from scidiff_molecules.data import load_sample
from scidiff_molecules.metrics import Plan, evaluate, load_reference
from scidiff_molecules.metrics.adapter import molecules
from scidiff_molecules.metrics.cells import ELEMENT, KINDS, QED
from scidiff_molecules.metrics.definitions import DEFINITIONS, JUDGE
from scidiff_molecules.metrics.standard import SMILES_FILE, STANDARD_FILE, Standard, shipped_standard
from scidiff_molecules.metrics.verdict import smiles_hash

TEST = 13_083


@pytest.fixture(scope="module")
def standard() -> Standard:
    return shipped_standard()


def test_it_is_small_and_holds_every_figure(standard: Standard) -> None:
    sizes = [files("scidiff_molecules").joinpath(name).stat().st_size for name in (STANDARD_FILE, SMILES_FILE)]  # type: ignore[attr-defined]
    assert sizes[0] < 3e6
    assert sizes[1] < 1e6
    assert set(standard.own) == {*DEFINITIONS, *JUDGE}
    assert (standard.name, standard.known_name, standard.molecules, standard.activations) == ("QM9 test", "QM9 train", TEST, TEST)


def test_the_smiles_are_those_whose_hashes_novelty_knows(standard: Standard) -> None:
    reference = load_reference("qm9")
    assert reference is not None
    assert sorted(smiles_hash(one) for one in standard.smiles) == reference.b_hashes.tolist()


def test_the_distributions_are_of_all_test_molecules(standard: Standard) -> None:
    assert standard.histograms.of(QED)[0].total == TEST
    assert standard.histograms.of(ELEMENT)[0].total == 235_883  # its atoms
    assert all(standard.histograms.of(kind) for kind in KINDS)
    assert standard.mean is not None
    assert standard.covariance is not None
    assert np.linalg.eigvalsh(standard.covariance).min() > -1e-9


def test_what_qm9_scores_itself_is_what_is_published(standard: Standard) -> None:
    own = {key: scores[-1] for key, scores in standard.own.items()}
    assert own["A/molecule_stability"].value == 12_457 / TEST
    assert own["A/atom_stability"].value == 234_336 / 235_883
    assert own["B/valid_and_connected"].value == 1.0
    for key in JUDGE:
        if key.startswith("W/"):  # distances of the half from the half, and of fewer and fewer molecules
            scores = standard.own[key]
            assert [one.molecules for one in scores] == [100, 300, 1000, 3000, TEST // 2]
            assert scores[0].value > scores[2].value > scores[4].value > 0
    assert 0 < own["E/energy_median"].value < 5


@pytest.mark.skipif(load_reference("qm9").rdkit_version != rdkit.__version__, reason="SMILES of another RDKit version")  # type: ignore[union-attr]
def test_test_molecules_are_as_far_from_qm9_as_qm9_is_from_itself() -> None:
    """Five hundred of them; the shipped sample's test split is part of QM9's."""
    mols = list(molecules(load_sample("test")))
    result = evaluate(mols, "qm9", plan=Plan(poses=0, energies=0, fcd=0, neighbours=0, workers=0))
    assert result["B/novelty"].value == pytest.approx(1.0, abs=0.01)
    for m in result.metrics:
        if m.key.startswith("W/"):
            assert m.own is not None
            assert m.own_molecules in (300, 1000)
            assert m.value is not None
            assert m.value < 2.5 * m.own, m.key
