"""References: the shipped one, any SDF file, and files that are damaged."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rdkit
from rdkit import Chem
from rdkit.Chem import rdDistGeom
from safetensors.numpy import save_file

from scidiff.errors import UserError
from scidiff_molecules.metrics import QUICK, Plan, evaluate, judge, load_reference, summarise
from scidiff_molecules.metrics.reference import FORMAT, Reference, contained, make_reference, read_reference, write_reference
from scidiff_molecules.metrics.verdict import smiles_hash
from scidiff_molecules.sdf import SdfWriter


def molecule(smiles: str) -> Chem.Mol:
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert rdDistGeom.EmbedMolecule(mol, randomSeed=1) == 0
    return mol


def small() -> Reference:
    return make_reference("small", judge(enumerate(map(molecule, ["CCO", "CC", "C#N"]))))


def test_a_hash_is_the_first_eight_bytes_of_sha256() -> None:
    # FIPS 180: SHA-256 of "abc" begins ba7816bf 8f01cfea
    assert smiles_hash("abc") == 0xBA7816BF8F01CFEA
    assert smiles_hash("CCO") == int(hashlib.sha256(b"CCO").hexdigest()[:16], 16)


def test_contained_counts_exactly_also_at_the_ends_of_the_range() -> None:
    known = np.array([0, 5, 2**63, 2**64 - 1], dtype=np.uint64)
    assert contained([0, 2**64 - 1, 2**63], known) == 3
    assert contained([1, 4, 6, 2**63 - 1, 2**63 + 1, 2**64 - 2], known) == 0
    assert contained([], known) == 0
    assert contained([5], np.zeros(0, dtype=np.uint64)) == 0


def test_the_shipped_reference_is_qm9s_training_set() -> None:
    reference = load_reference("qm9")
    assert reference is not None
    assert (reference.molecules, len(reference.a_hashes), len(reference.b_hashes)) == (100_000, 97_625, 99_953)
    methane, aspirin = "C", "CC(=O)Oc1ccccc1C(=O)O"
    known = [smiles_hash(s) for s in ("CCO", "C#N", "c1ccccc1", aspirin)]  # aspirin has more than nine heavy atoms
    assert contained(known[3:], reference.b_hashes) == 0
    assert contained([smiles_hash(methane), *known[:3]], reference.b_hashes) >= 3  # a tenth of QM9 is in each held-out split


def test_the_shipped_reference_knows_training_molecules_and_counts_others_as_novel() -> None:
    reference = load_reference("qm9")
    assert reference is not None
    mols = [molecule("CC(=O)Oc1ccccc1C(=O)O")]
    result = summarise(list(judge(enumerate(mols))), reference, source="x")
    assert (result["B/novelty"].numerator, result["B/novelty"].denominator) == (1, 1)
    assert result.reference is not None
    assert result.reference.sha256 == reference.sha256


def test_novelty_counts_kinds_not_molecules() -> None:
    generated = [molecule(s) for s in ("CCO", "CCO", "CCCO", "CCCO", "CCCO", "C#N", "CCF")]
    result = evaluate(generated, reference=[molecule(s) for s in ("OCC", "CC", "N#C")])
    for metric in ("A", "B"):
        assert (result[f"{metric}/uniqueness"].numerator, result[f"{metric}/uniqueness"].denominator) == (4, 7)
        assert (result[f"{metric}/novelty"].numerator, result[f"{metric}/novelty"].denominator) == (2, 4)


def test_against_the_ligands_what_is_known_is_their_training_split(monkeypatch: pytest.MonkeyPatch) -> None:
    """With two splits of QM9's sample in their place: all of a training molecule is known; distances are from the test split."""
    from scidiff_molecules.data import load_sample
    from scidiff_molecules.metrics.adapter import molecules

    splits = {"train": load_sample("train").select(range(60)), "test": load_sample("valid").select(range(60))}
    monkeypatch.setattr("scidiff_molecules.data.ligands.load_ligands", splits.__getitem__)
    plan = Plan(poses=0, energies=0, fcd=0, neighbours=60, workers=0)
    trained, held = (evaluate(list(molecules(splits[split])), "ligands", plan=plan) for split in ("train", "test"))
    assert trained["B/novelty"].value == trained["D/scaffold_novelty"].value == 0
    assert trained["N/twins"].value == 1
    assert (held["N/twins"].value or 0) < 0.1
    assert (held["W/bond_lengths"].value, held["W/angles"].value) == (0, 0)
    assert (trained["W/bond_lengths"].value or 0) > 0
    quick = evaluate(list(molecules(splits["train"])), "ligands", plan=replace(QUICK, workers=0))
    assert quick["B/novelty"].value == 0
    assert "W/angles" not in {metric.key for metric in quick.metrics}


def test_any_sdf_file_is_a_reference_and_a_set_is_not_novel_to_itself(tmp_path: Path) -> None:
    with SdfWriter(tmp_path / "r.sdf") as out:
        for smiles in ("CCO", "CC", "c1ccccc1"):
            out.write(molecule(smiles))
    result = evaluate(tmp_path / "r.sdf", reference=str(tmp_path / "r.sdf"))
    assert (result["A/novelty"].value, result["B/novelty"].value) == (0.0, 0.0)
    assert result.reference is not None
    assert (result.reference.name, result.reference.molecules) == (str(tmp_path / "r.sdf"), 3)


def test_a_reference_survives_its_file(tmp_path: Path) -> None:
    reference = small()
    write_reference(tmp_path / "r.safetensors", reference, source="three molecules")
    again = read_reference(tmp_path / "r.safetensors", "small")
    assert (again.a_hashes == reference.a_hashes).all()
    assert (again.b_hashes == reference.b_hashes).all()
    assert (again.molecules, again.rdkit_version, again.sha256) == (3, rdkit.__version__, reference.sha256)
    assert [p.name for p in tmp_path.iterdir()] == ["r.safetensors"]


def test_the_identity_changes_with_any_hash() -> None:
    reference = small()
    for swap in (
        Reference("x", 3, reference.b_hashes, reference.a_hashes, "v"),
        Reference("x", 3, reference.a_hashes[1:], reference.b_hashes, "v"),
    ):
        assert swap.sha256 != reference.sha256
    assert Reference("other", 9, reference.a_hashes, reference.b_hashes, "w").sha256 == reference.sha256


def test_another_rdkit_version_is_noted() -> None:
    reference = small()
    old = Reference("old", 3, reference.a_hashes, reference.b_hashes, "2020.03.1")
    verdicts = list(judge([(0, molecule("CCO"))]))
    assert any("2020.03.1" in note for note in summarise(verdicts, old, source="x").notes)
    assert not summarise(verdicts, reference, source="x").notes


def test_unknown_missing_and_empty_references_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"qm9, ligands, sample.*did you mean 'qm9'"):
        load_reference("qm99")
    with pytest.raises(UserError, match="nor an existing SDF file"):
        load_reference(tmp_path / "absent.sdf")
    with SdfWriter(tmp_path / "bad.sdf") as out:
        out.write(None)
    with pytest.raises(UserError, match="none of its 1 records is a valid molecule"):
        load_reference(tmp_path / "bad.sdf")
    assert load_reference(None) is None


def test_damaged_reference_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.safetensors"
    with pytest.raises(UserError, match="is missing"):
        read_reference(path, "r")
    write_reference(path, small())
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    with pytest.raises(UserError, match="not a readable safetensors file"):
        read_reference(path, "r")
    sorted_, unsorted = np.array([1, 2], dtype=np.uint64), np.array([2, 1], dtype=np.uint64)
    for a, b, header, message in (
        (sorted_, unsorted, {"format": FORMAT, "molecules": "2"}, "'b' is not a sorted list"),
        (sorted_.astype(np.int64), sorted_, {"format": FORMAT, "molecules": "2"}, "'a' is not a sorted list"),
        (sorted_, sorted_, {"format": "else"}, "format 'else'"),
    ):
        save_file({"a": a, "b": b}, path, header)
        with pytest.raises(UserError, match=message):
            read_reference(path, "r")
