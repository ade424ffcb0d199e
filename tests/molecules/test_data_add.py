"""A user's file as a training set: what goes in comes out, what cannot is named by its place, and no number of processes changes a byte."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from rdkit import Chem
from rdkit.Chem import rdDepictor, rdDistGeom
from scipy.spatial.transform import Rotation
from typer.testing import CliRunner

from scidiff.cli import app
from scidiff.errors import UserError
from scidiff.train.session import TrainWarning
from scidiff_molecules.data import MoleculeDataset, smiles, to_implicit
from scidiff_molecules.data.add import FileJob, add_molecules
from scidiff_molecules.data.build import flat_dataset
from scidiff_molecules.data.embed import embed
from scidiff_molecules.data.gather import BLOCK
from scidiff_molecules.data.own import graph_invariant, load_own, split
from scidiff_molecules.data.records import KINDS, LISTED, LeftOut, Taken, Tally, kind_of, smiles_of, take
from scidiff_molecules.data.smiles import smiles_fault
from scidiff_molecules.metrics.adapter import structures
from scidiff_molecules.recipe import DataConfig
from scidiff_molecules.sdf import build_mol, with_conformer
from scidiff_molecules.task import load_data

DRUGS = {
    "aspirin": "CC(=O)Oc1ccccc1C(=O)O",
    "levodopa": "N[C@@H](Cc1ccc(O)c(O)c1)C(=O)O",
    "chlorothiazide": "NS(=O)(=O)c1cc2c(cc1Cl)N=CNS2(=O)=O",
    "tavaborole": "OB1OCc2cc(F)ccc12",
    "acetylcholine": "CC(=O)OCC[N+](C)(C)C",
    "fumaric acid": "OC(=O)/C=C/C(O)=O",
    "bromisoval": "CC(C)C(Br)C(=O)NC(N)=O",
}


def canonical(text: str) -> str:
    return Chem.MolToSmiles(Chem.MolFromSmiles(text))


def smiles_in(dataset: MoleculeDataset) -> list[str]:
    """The molecules of a set by their bonds and charges, stereochemistry from where their atoms are."""
    found = []
    for structure in structures(dataset):
        mol = with_conformer(build_mol(structure), structure).GetMol()
        Chem.SanitizeMol(mol)
        Chem.AssignStereochemistryFrom3D(mol)
        found.append(smiles_of(mol))
    return found


def made(tmp_path: Path, name: str, content: str, **options: object) -> MoleculeDataset:
    (tmp_path / name).write_bytes(content.encode())
    return add_molecules(tmp_path / name, tmp_path / f"{name}.safetensors", workers=1, progress=False, **options)  # type: ignore[arg-type]


def conformer(text: str, seed: int = 0) -> Chem.Mol:
    mol = embed(canonical(text), seed)
    assert isinstance(mol, Chem.Mol)
    return mol


def record(mol: Chem.Mol) -> str:
    return Chem.MolToMolBlock(mol) + "$$$$\n"


def test_the_set_holds_the_molecules_of_the_smiles(tmp_path: Path) -> None:
    """Elements, bonds, charges and stereochemistry, which a flexible acyclic centre without a mark (bromisoval) may choose."""
    for name, content in {
        "d.smi": "".join(f"{text}\t{drug}\n" for drug, text in DRUGS.items()),
        "d.csv": "id,SMILES,x\n" + "".join(f'"{drug}",{text},1\n' for drug, text in DRUGS.items()),
    }.items():
        dataset = made(tmp_path, name, content)
        found = smiles_in(dataset)
        assert found[:-1] == [canonical(text) for text in DRUGS.values()][:-1]
        assert Chem.MolToSmiles(Chem.MolFromSmiles(found[-1]), isomericSmiles=False) == canonical(DRUGS["bromisoval"])
        assert dataset.fields["index"].tolist() == [k + (name == "d.csv") for k in range(1, 8)]
        about = dataset.metadata
        assert (about["left_out"], about["conformers"]["embedded"], about["conformers"]["file"]) == ({}, 7, 0)
        assert about["conformers"]["how"].startswith("RDKit ")
        again = MoleculeDataset.load(tmp_path / f"{name}.safetensors")
        assert again.metadata == about
        assert torch.equal(again.fields["pos"], dataset.fields["pos"])


@pytest.mark.parametrize(
    ("name", "content", "column"),
    [
        ("a.csv", "id,canonical_smiles\nN,CCO\nC,CCN\n", "canonical_smiles"),
        ("a.csv", '"ChEMBL ID";"Smiles";"Name"\n"CHEMBL1";"CCO";"a, b; c"\n"N";"CCN";\n', "Smiles"),
        ("a.csv", "\ufeffSMILES\tsmiles_of_parent\nCCO\tC\nCCN\tC\n", "SMILES"),
        ("a.csv", "\ufeffCCO,ethanol\nCCN,smiles\n", None),
        ("a.smi", "\ufeffCCO smiles of ethanol\nCCN amine\n", None),
        ("a.smi", "Name SMILES\nN CCO\nC CCN\n", "SMILES"),
    ],
)
def test_the_column_of_smiles_is_found_and_told(tmp_path: Path, name: str, content: str, column: str | None) -> None:
    dataset = made(tmp_path, name, content)
    assert smiles_in(dataset) == ["CCO", "CCN"]
    assert (dataset.metadata["column"], dataset.metadata["left_out"]) == (column, {})


HOSTILE = {
    "CC\u0421O cyrillic": r"character '\u0421' \(U\+0421\) at position 3",
    "CC\x00C": r"character '\\x00' \(U\+0000\) at position 3",
    "": "an empty SMILES",
    "[H][H]": "no heavy atom",
    "[H+]": "no heavy atom",
    "C" * 101: "too many atoms: 101 heavy atoms, the limit is 100",
    "C" * 2001: "a SMILES of 2,001 characters; the limit is 2,000",
    "C" * 100_001: "the line is longer than 100,000 bytes",
    "c1cccc1": "kekulize",
    "CC(C": "RDKit cannot read the SMILES",
    "C[CH2]": "a radical",
    "*CC": "an atom without an element",
    "[Na+].CC(=O)[O-]": "several fragments",
    "N->[Fe]": "a bond that is neither single, double nor triple|no conformer|neither MMFF94 nor UFF",
    "FC(F)(F)(F)F": "valence",
}


def test_hostile_lines_are_left_out_by_their_number(tmp_path: Path) -> None:
    dataset = made(tmp_path, "h.smi", "".join(f"{line}\n" for line in HOSTILE) + "C methane\n")
    listed = dict(dataset.metadata["left_out_records"])
    assert sorted(listed) == list(range(1, len(HOSTILE) + 1))
    for number, expected in enumerate(HOSTILE.values(), start=1):
        assert re.search(expected, listed[number]), (number, listed[number])
    assert sum(dataset.metadata["left_out"].values()) == len(HOSTILE)
    assert smiles_in(dataset) == ["C"]  # one heavy atom is a molecule


def hostile_records() -> dict[str, str]:
    good = Chem.MolToMolBlock(conformer("CCO"))
    lines = good.splitlines()
    atom = lines[4]
    clash = [*lines[:5], lines[4], *lines[6:]]
    return {
        good.replace(atom, f"{'nan':>10}" + atom[10:]): "not finite or out of range: 'nan'",
        good.replace(atom, f"{'1e308':>10}" + atom[10:]): "not finite or out of range: '1e308'",
        good.replace(lines[3], "2000000000 0  0  0  0  0  0  0  0999 V2000"): "claims 2,000,000,000 atoms; the limit is 1,000",
        "\n".join(clash) + "\n": "atoms 1 and 2 are closer than 0.5 Angstrom",
        "\n     RDKit          3D\n\n  0  0  0  0  0  0  0  0  0  0999 V2000\nM  END\n": "no atoms",
        good.replace("M  END", ""): "no 'M  END' line",
    }


def test_hostile_records_are_left_out_by_their_index(tmp_path: Path) -> None:
    hostile = hostile_records()
    dataset = made(tmp_path, "h.sdf", record(conformer("CCN")) + "".join(f"{block}$$$$\n" for block in hostile))
    listed = dict(dataset.metadata["left_out_records"])
    assert list(listed) == list(range(1, len(hostile) + 1))
    for number, expected in enumerate(hostile.values(), start=1):
        assert expected in listed[number]
    assert smiles_in(dataset) == ["CCN"]


@pytest.mark.parametrize("before", ["", "C", "C[C@H](", "C" * 1990])
def test_the_first_letter_that_no_smiles_has_is_named(before: str) -> None:
    """Every ASCII character but the control characters may stand in a SMILES, and nothing beyond them."""
    for code in [*range(0x500), 0x200B, 0xFF23, 0x1F600]:
        fault = smiles_fault(f"{before}{chr(code)}C")
        assert (fault is None) == (32 <= code < 127)
        assert fault is None or f"(U+{code:04X}) at position {len(before) + 1}," in fault


@pytest.mark.parametrize(("largest", "expected"), [(False, []), (True, ["CC(=O)[O-]", "O=C(O)/C=C/C(=O)O"])])
def test_salts_only_when_asked(tmp_path: Path, largest: bool, expected: list[str]) -> None:
    lines = "[Na+].CC(=O)[O-]\nO.OC(=O)/C=C/C(O)=O.O\nCCO\n"
    assert smiles_in(made(tmp_path, "s.smi", lines, largest_fragment=largest)) == [*expected, "CCO"]


def moved(mol: Chem.Mol, seed: int) -> Chem.Mol:
    """Rotated, shifted, its atoms in another order."""
    random = np.random.default_rng(seed)
    copy = Chem.RenumberAtoms(mol, random.permutation(mol.GetNumAtoms()).tolist())
    turned = Rotation.random(rng=random).apply(copy.GetConformer().GetPositions()) + random.normal(size=3)
    copy.GetConformer().SetPositions(np.ascontiguousarray(turned))
    return copy


def test_a_duplicate_is_the_same_graph_in_the_same_geometry(tmp_path: Path) -> None:
    """However it is turned and numbered; other conformers and the mirror image are no duplicates."""
    dopa, flexible = conformer(DRUGS["levodopa"]), conformer("OCCCCCO")
    image = Chem.Mol(dopa)
    image.GetConformer().SetPositions(np.ascontiguousarray(-dopa.GetConformer().GetPositions()))
    other = conformer("OCCCCCO", seed=1)
    file = "".join(record(mol) for mol in (dopa, moved(dopa, 0), image, flexible, other, moved(image, 1), dopa))
    dataset = made(tmp_path, "d.sdf", file)
    assert dataset.fields["index"].tolist() == [0, 2, 3, 4]
    assert [index for index, reason in dataset.metadata["left_out_records"] if reason.startswith("a duplicate")] == [1, 5, 6]
    written = dataset.select([0]).fields["pos"].numpy()
    assert np.array_equal(written, np.round(dopa.GetConformer().GetPositions(), 4).astype(np.float32))  # as the file has them


def test_one_molecule_has_one_conformer_wherever_it_stands(tmp_path: Path) -> None:
    """Written backwards, in another file, and as a drawing with wedges: the same coordinates; another seed: others."""
    text = DRUGS["levodopa"]
    other = Chem.MolToSmiles(Chem.MolFromSmiles(text), rootedAtAtom=5, canonical=False)
    drawing = Chem.MolFromSmiles(other)
    rdDepictor.Compute2DCoords(drawing)
    sets = [made(tmp_path, "a.smi", f"CCO\n{text}\n{other}\n"), made(tmp_path, "b.sdf", record(drawing))]
    assert sets[0].metadata["left_out_records"] == [[3, "a duplicate: an earlier record has the same graph and geometry"]]
    assert torch.equal(sets[0].select([1]).fields["pos"], sets[1].fields["pos"])
    assert smiles_in(sets[1]) == [canonical(text)]
    seeded = made(tmp_path, "c.smi", f"{text}\n", seed=1)
    assert not torch.allclose(seeded.fields["pos"], sets[1].fields["pos"], atol=0.1)


def test_shards_together_are_the_whole(tmp_path: Path) -> None:
    lines = ["[H][H]" if k % 3 else "C" for k in range(2 * BLOCK + 5)]
    (tmp_path / "n.smi").write_text("\n".join(lines))
    job = FileJob(str(tmp_path / "n.smi"), "embed", 0, False, 100)
    parts = [[item.index if isinstance(item, LeftOut) else item.record.index for item in job.items(shard, 3)] for shard in range(3)]
    assert sorted(number for part in parts for number in part) == list(range(1, len(lines) + 1))
    assert [len(part) for part in parts] == [BLOCK - 1, BLOCK, 6]


@pytest.mark.long
def test_two_processes_write_the_bytes_of_one(tmp_path: Path) -> None:
    lines = [text.replace("C", "C" * (k + 1), 1) for k in range(12) for text in DRUGS.values()]
    (tmp_path / "n.smi").write_text("\n".join(lines))
    for workers in (1, 2):
        add_molecules(tmp_path / "n.smi", tmp_path / str(workers) / "n.safetensors", workers=workers, progress=False)
    assert (tmp_path / "1" / "n.safetensors").read_bytes() == (tmp_path / "2" / "n.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("a.smi", "", {}, "the file is empty"),
        ("a.smi", "\n\n", {}, "no molecule can be trained on"),
        ("a.smi", "CCO\n" * 11, {}, "11 lines are over the limit of 10"),
        ("a.smi", "CCO\n", {"conformers": "none"}, "SMILES have no coordinates"),
        ("a.smi", "CCO\n", {"max_atoms": 401}, "between 1 and 400"),
        ("a.xyz", "3\n\nO 0 0 0\n", {}, "SDF files end in .sdf"),
        ("a.sdf", "no molecule", {}, "not an SDF file"),
        ("a.csv", "name,smiles\n,\n", {}, r"record 2: an empty SMILES"),
        ("a.csv", "name,structure\n1,CCO\n", {}, r"line 1 holds no SMILES and names no column so \(name, structure\)"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: str, options: dict[str, object], message: str
) -> None:
    monkeypatch.setattr(smiles, "MAX_LINES", 10)
    with pytest.raises(UserError, match=message):
        made(tmp_path, name, content, **options)
    assert not (tmp_path / f"{name}.safetensors").exists()


def test_a_set_is_replaced_only_when_asked(tmp_path: Path) -> None:
    made(tmp_path, "a.smi", "CCO\n")
    with pytest.raises(UserError, match="there already; choose another name"):
        made(tmp_path, "a.smi", "CCN\n")
    assert smiles_in(made(tmp_path, "a.smi", "CCN\n", force=True)) == ["CCN"]


def test_no_graph_lies_on_both_sides_of_the_split() -> None:
    """Ten molecules in twelve conformers each, their atoms shuffled and so their Kekule forms; the invariant is one to one on them."""
    chance, kinds = np.random.default_rng(0), ["Cc1ccccc1", "CC(C)O", "CCCO", "c1ccncc1", "CC=N"]
    kinds += ["C[NH3+]", "CN", "OC=O", "CC#N", "C1CC1"]
    taken = []
    for kind, text in enumerate(kinds):
        mol = conformer(text)
        for k in range(12):
            shuffled = Chem.RenumberAtoms(mol, chance.permutation(mol.GetNumAtoms()).tolist())
            taken.append(take(12 * kind + k, shuffled))
    dataset = flat_dataset([(one.record, one.bonds) for one in taken], {"hydrogens": "explicit"})
    for some in (dataset, to_implicit(dataset)):
        invariant = graph_invariant(some)
        assert [len(set(invariant[12 * k : 12 * (k + 1)].tolist())) for k in range(10)] == [1] * 10
        assert len(invariant.unique()) == 10
        train, valid = split(some, 1000)
        assert (len(train), len(valid)) == (108, 12)
        assert not set(graph_invariant(train).tolist()) & set(graph_invariant(valid).tolist())
    single = dataset.select(torch.arange(12))
    assert [len(part) for part in split(single, 1000)] == [11, 1]


def test_the_size_of_a_file_is_judged_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "big.smi").open("wb") as file:
        file.truncate(2**30 + 1)  # a hole
    with pytest.raises(UserError, match=r"1.0 GiB is over the limit of 1 GiB"):
        add_molecules(tmp_path / "big.smi", tmp_path / "x.safetensors")


def test_what_a_hostile_file_adds_to_the_metadata_is_bounded() -> None:
    tally = Tally()
    for k in range(1000):
        tally.add(LeftOut(k, f"atom # {k} has '{k}', {k}.5 of {k},000"))
        tally.add(LeftOut(k, "unheard of: " + "abcdefghij"[k % 10] * (k // 10 + 1)))
    assert tally.reasons["atom # ... has ... of ..."] == 1000
    assert len(tally.reasons) <= KINDS + 1
    assert sum(tally.reasons.values()) == 2000
    assert len(tally.records) == LISTED
    assert kind_of("no 3D coordinates") == "no 3D coordinates"


def test_a_record_that_a_library_made_is_judged_alike() -> None:
    mol = Chem.AddHs(Chem.MolFromSmiles("CC[Ga](C)C"))
    rdDistGeom.EmbedMolecule(mol, randomSeed=1)
    got = take(5, mol)
    assert isinstance(got, Taken)
    assert sorted(set(got.record.z.tolist())) == [1, 6, 31]


def test_the_command_names_a_set_that_a_recipe_trains_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCIDIFF_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "drugs.smi"
    file.write_text("".join(f"{text}\n" for text in DRUGS.values()) + "[Na+].[Cl-]\n")
    call = ["molecules", "data", "add", str(file), "--name", "mine", "--report", str(tmp_path / "report.json")]
    done = CliRunner().invoke(app, call, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "with a conformer from RDKit" in done.output
    assert "left out: line 8: several fragments" in done.output
    assert json.loads((tmp_path / "report.json").read_text())["left_out_records"][0][0] == 8
    with pytest.warns(TrainWarning, match="1 records of drugs.smi are left out"):
        train, valid = load_data(DataConfig(source="own", path=Path("mine")))
    assert (len(train), len(valid), train.metadata["hydrogens"]) == (6, 1, "implicit")
    same = load_own(tmp_path / "cache" / "own" / "mine.safetensors", hydrogens="implicit")
    assert sorted(smiles_in_implicit(train) + smiles_in_implicit(valid)) == sorted(smiles_in_implicit(same))
    with pytest.raises(UserError, match=r"no such set \(there: mine\)"):
        load_own("other")
    with pytest.raises(UserError, match="is no name for a data set"):
        load_own("..")
    wrong = CliRunner().invoke(app, ["molecules", "data", "add", str(file), "--name", "../up"])
    assert wrong.exit_code == 2
    assert list((tmp_path / "cache").rglob("*.safetensors")) == [tmp_path / "cache" / "own" / "mine.safetensors"]


def smiles_in_implicit(dataset: MoleculeDataset) -> list[tuple[int, ...]]:
    """Elements and hydrogens of each molecule, which is enough to tell these apart."""
    return [tuple((molecule.z * 10 + molecule.num_h).tolist()) for molecule in dataset]
