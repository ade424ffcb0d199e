"""Samples that repeat the training data are told from samples that do not."""

from __future__ import annotations

import pytest
import torch
from rdkit import Chem
from rdkit.Chem import rdDistGeom

from scidiff_molecules.data import load_sample
from scidiff_molecules.memorisation import TrainingSet
from scidiff_molecules.metrics.adapter import structures
from scidiff_molecules.metrics.neighbours import fingerprints, nearest
from scidiff_molecules.sdf import build_mol


@pytest.mark.parametrize("hydrogens", ["explicit", "implicit"])
def test_copies_are_twins_and_others_are_not(hydrogens: str) -> None:
    """The training molecules themselves have similarity 1; validation molecules what is called usual."""
    train, valid = (load_sample(split, hydrogens=hydrogens) for split in ("train", "valid"))
    train, valid = train.select(range(300)), valid.select(range(100))
    known = TrainingSet.of(train, valid)
    copies, others = ([build_mol(one, implicit_hydrogens=True) for one in structures(part)] for part in (train, valid))
    copied = known.measure(copies[:50])
    assert copied["nearest_training"] == copied["training_twins"] == 1.0
    fresh = known.measure([*others, None])
    assert fresh["nearest_training"] == pytest.approx(known.usual)
    assert fresh["nearest_training"] < 0.7
    assert known.measure([]) == {}


def test_a_molecule_is_its_own_twin_whatever_its_stereochemistry_says() -> None:
    for smiles in ("CC=N", "CC(=N)N", "C[C@H](O)F", "C/C=C/O"):
        full = Chem.AddHs(Chem.MolFromSmiles(smiles))
        assert rdDistGeom.EmbedMolecule(full, randomSeed=1) == 0
        Chem.AssignStereochemistryFrom3D(full)
        assert nearest(fingerprints([full]), fingerprints([Chem.MolFromSmiles(smiles)])) == [1.0]


def test_the_similarity_is_tanimotos() -> None:
    """Shared bits over bits of either, by hand."""
    from rdkit.Chem import rdFingerprintGenerator

    made = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    one, two, three = (made.GetFingerprint(Chem.MolFromSmiles(smiles)) for smiles in ("CCO", "CCN", "c1ccccc1"))
    bits = [set(print_.GetOnBits()) for print_ in (one, two, three)]
    expected = max(len(bits[0] & other) / len(bits[0] | other) for other in bits[1:])
    assert nearest([one], [two, three]) == pytest.approx([expected])
    assert torch.tensor(nearest([one], [one])).item() == 1.0
