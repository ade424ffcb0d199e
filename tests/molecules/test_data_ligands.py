"""The ligands: a small dictionary of our own, through biotite's writer and reader, gives back its molecules; every rule on its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rdkit import Chem

from scidiff.errors import UserError
from scidiff_molecules.data import MoleculeDataset, load_ligands
from scidiff_molecules.data.components import Component, Dictionary, name_of, number_of
from scidiff_molecules.data.embed import embed
from scidiff_molecules.data.ligands import SPLITS, geometry_fault, judge, split_of
from scidiff_molecules.data.records import LeftOut, Taken, digest, key_of, smiles_of
from scidiff_molecules.metrics.adapter import structures
from scidiff_molecules.provenance import data_info
from scidiff_molecules.recipe import DataConfig
from scidiff_molecules.sdf import Structure, build_mol, structure_of, with_conformer

LIGANDS = {
    "AIN": "CC(=O)Oc1ccccc1C(=O)O",
    "DAH": "N[C@@H](Cc1ccc(O)c(O)c1)C(=O)O",
    "00D": "N[C@H](Cc1ccc(O)c(O)c1)C(=O)O",
    "ACH": "CC(=O)OCC[N+](C)(C)C",
    "FUM": "OC(=O)/C=C/C(=O)O",
    "MAE": "OC(=O)/C=C\\C(=O)O",
    "A1AAA": "C#CCOc1ccc(Cl)cc1B(O)O",
}
WRONG = {"OBS": "CCCCCCO", "BUT": "CCCC", "SE1": "CCCCC[Se]C", "NIT": "[O-][N+](=O)CCC[N+](C)(C)CC[N+](C)(C)CC[N+](C)(C)C"}


def component(name: str, text: str) -> Component:
    mol = embed(Chem.MolToSmiles(Chem.MolFromSmiles(text)))
    assert isinstance(mol, Chem.Mol)
    symbols = [atom.GetSymbol() for atom in mol.GetAtoms()]
    heavy = sum(symbol != "H" for symbol in symbols)
    return Component(name, name == "OBS", False, frozenset(symbols), heavy, structure_of(mol))


def write_dictionary(path: Path, components: list[Component]) -> None:
    """As biotite keeps it: three categories of columns, elements in capitals, missing values masked."""
    from biotite.structure.io.pdbx import BinaryCIFBlock, BinaryCIFCategory, BinaryCIFFile

    orders = {1.0: "SING", 2.0: "DOUB", 3.0: "TRIP"}
    atoms: dict[str, list[object]] = {key: [] for key in ("comp_id", "atom_id", "type_symbol", "charge")}
    bonds: dict[str, list[object]] = {key: [] for key in ("comp_id", "atom_id_1", "atom_id_2", "value_order")}
    axes: list[np.ndarray] = []
    table = Chem.GetPeriodicTable()
    for one in components:
        assert one.structure is not None
        structure = one.structure
        assert structure.positions is not None
        names = [f"X{k}" for k in range(len(structure))]
        symbols = [table.GetElementSymbol(number).upper() for number in structure.numbers.tolist()]
        for key, values in zip(atoms, ([one.name] * len(names), names, symbols, structure.charges.tolist()), strict=True):
            atoms[key] += values
        axes.append(structure.positions)
        for i, j, order in structure.bonds:
            for key, value in zip(bonds, (one.name, names[i], names[j], orders[order]), strict=True):
                bonds[key].append(value)
    positions = np.concatenate(axes)
    columns = {key: np.array(values) for key, values in atoms.items()}
    columns |= {f"pdbx_model_Cartn_{axis}_ideal": positions[:, k] for k, axis in enumerate("xyz")}
    about = {
        "id": np.array([one.name for one in components]),
        "pdbx_release_status": np.array(["OBS" if one.obsolete else "REL" for one in components]),
        "pdbx_ambiguous_flag": np.array(["Y" if one.ambiguous else "N" for one in components]),
    }
    categories = {"chem_comp": about, "chem_comp_atom": columns, "chem_comp_bond": {key: np.array(values) for key, values in bonds.items()}}
    block = BinaryCIFBlock({name: BinaryCIFCategory(values) for name, values in categories.items()})
    BinaryCIFFile({"components": block}).write(path)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A dictionary of twelve components in biotite's place; the folder to cache in."""
    pytest.importorskip("biotite")
    from biotite.structure.info import ccd

    again = component("ZZZ", "O=C(C)Oc1ccccc1C(=O)O")  # aspirin once more, a little larger
    assert again.structure is not None
    assert again.structure.positions is not None
    again = replace(again, structure=replace(again.structure, positions=1.02 * again.structure.positions))
    write_dictionary(tmp_path / "small.bcif", [*(component(*item) for item in (LIGANDS | WRONG).items()), again])
    before = ccd._CCD_FILE
    ccd.set_ccd_path(tmp_path / "small.bcif")
    yield tmp_path / "cache"
    ccd.set_ccd_path(before)


def smiles_in(dataset: MoleculeDataset) -> list[str]:
    found = []
    for structure in structures(dataset):
        mol = with_conformer(build_mol(structure), structure).GetMol()
        Chem.SanitizeMol(mol)
        Chem.AssignStereochemistryFrom3D(mol)
        found.append(smiles_of(mol))
    return found


def test_the_dictionary_gives_back_the_molecules_it_was_written_with(small: Path) -> None:
    """Stereochemistry included; each split is its part of the whole, and a cached file is what was made."""
    whole = load_ligands(cache=small, progress=False, workers=1)
    named = {name_of(number): text for number, text in zip(whole.fields["index"].tolist(), smiles_in(whole), strict=True)}
    assert named == {name: Chem.MolToSmiles(Chem.MolFromSmiles(text)) for name, text in LIGANDS.items()}
    left_out = whole.metadata["left_out"]
    assert sum(left_out.values()) == 5
    assert {key: left_out[key] for key in ("obsolete", "a net charge of ...", "fewer than ... heavy atoms")} == dict.fromkeys(
        ("obsolete", "a net charge of ...", "fewer than ... heavy atoms"), 1
    )
    assert left_out["the same canonical SMILES as an earlier component"] == 1
    again = load_ligands(cache=small)
    assert again.metadata == whole.metadata
    assert torch.equal(again.fields["pos"], whole.fields["pos"])
    parts = [load_ligands(split, cache=small).fields["index"] for split in SPLITS]
    assert torch.equal(torch.cat(parts), whole.fields["index"])
    bare = load_ligands("train", hydrogens="implicit", cache=small)
    assert bare.metadata["dropped"] == 0
    assert int(bare.sizes.sum() + bare.fields["num_h"].sum()) == int(load_ligands("train", cache=small).sizes.sum())
    about = data_info(DataConfig(source="ligands"), whole, whole)
    assert (about.name, about.licence) == ("PDB ligands", "CC0 1.0")


def test_positions_are_the_dictionarys_to_its_digits(small: Path) -> None:
    whole = load_ligands(cache=small, progress=False, workers=1)
    expected = component("AIN", LIGANDS["AIN"]).structure
    assert expected is not None
    row = whole.fields["index"].tolist().index(number_of("AIN"))
    assert np.allclose(whole.select([row]).fields["pos"], expected.positions, atol=1e-5)


def broken(structure: Structure, **changes: object) -> Structure:
    return replace(structure, **changes)  # type: ignore[arg-type]


def test_each_rule_leaves_out_what_breaks_it_and_nothing_else() -> None:
    good = component("DAH", LIGANDS["DAH"])
    assert isinstance(judge(good), Taken)
    structure = good.structure
    assert structure is not None
    assert structure.positions is not None
    stretched, missing, folded = (structure.positions.copy() for _ in range(3))
    stretched[np.argmax(structure.numbers == 1)] *= 1.5
    missing[3, 1] = np.nan
    far = np.argwhere(Chem.GetDistanceMatrix(build_mol(structure)) == 8)[0]
    folded[far[0]] = folded[far[1]] + 0.6
    cases = {
        "obsolete": replace(good, obsolete=True),
        "ambiguous": replace(good, ambiguous=True),
        "an element other than": replace(good, elements=good.elements | {"Se"}),
        "no carbon": replace(good, elements=good.elements - {"C"}),
        "fewer than 6 heavy atoms": replace(good, heavy=5),
        "more than 50 heavy atoms": replace(good, heavy=51),
        "its atoms and bonds do not fit": replace(good, structure=None, fault="its atoms and bonds do not fit each other"),
        "a net charge of 3": replace(good, structure=component("NIT", WRONG["NIT"]).structure),
        "a radical|several fragments|valence": replace(good, structure=broken(structure, bonds=structure.bonds[:-1])),
        "is not finite": replace(good, structure=broken(structure, positions=missing)),
        "a bond's length is unsound": replace(good, structure=broken(structure, positions=stretched)),
        "unsound|clash": replace(good, structure=broken(structure, positions=folded)),
    }
    for expected, case in cases.items():
        said = judge(case)
        assert isinstance(said, LeftOut), expected
        assert any(part in said.reason for part in expected.split("|")), (expected, said.reason)
        assert said.index == number_of("DAH")


def test_sound_coordinates_are_those_whose_bonds_and_distances_are() -> None:
    """Scaling a molecule scales its bonds: sound between the limits, and nowhere else."""
    structure = component("AIN", LIGANDS["AIN"]).structure
    assert structure is not None
    assert structure.positions is not None
    scaled = {scale: replace(structure, positions=structure.positions * scale) for scale in np.linspace(0.5, 2, 61)}
    sound = [scale for scale, changed in scaled.items() if geometry_fault(changed) is None]
    assert min(sound) < 0.95
    assert max(sound) > 1.05
    assert np.allclose(np.diff(sound), 1.5 / 60)
    assert (min(sound), max(sound)) > (0.7, 1.0)
    assert max(sound) < 1.4


@given(st.text("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=1, max_size=5))
def test_an_identifier_is_a_number_that_a_data_set_can_hold(name: str) -> None:
    assert name_of(number_of(name)) == name
    assert 0 < number_of(name) < 2**31


def test_numbers_count_the_identifiers() -> None:
    known = {1: "0", 10: "9", 11: "A", 36: "Z", 37: "00", 72: "0Z", 73: "10", 36 + 36**2: "ZZ", 37 + 36**2: "000"}
    assert {number: name_of(number) for number in known} == known


def test_stereoisomers_share_a_split_and_the_split_is_the_hash() -> None:
    left, right = (Chem.MolFromSmiles(LIGANDS[name]) for name in ("DAH", "00D"))
    assert key_of(left) != key_of(right)
    assert key_of(left)[:16] == key_of(right)[:16] == digest(Chem.MolToSmiles(left, isomericSmiles=False))
    assert split_of(key_of(left)) == split_of(key_of(right))
    boundaries = {0: "train", 89: "train", 90: "valid", 94: "valid", 95: "test", 99: "test", 100: "train"}
    assert {value: split_of(f"{value:016x}{'0' * 16}") for value in boundaries} == boundaries


def test_what_cannot_be_loaded_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="no split 'all_of_them'; they have train, valid, test, all"):
        load_ligands("all_of_them", cache=tmp_path)
    with pytest.raises(UserError, match="hydrogens must be"):
        load_ligands(hydrogens="some", cache=tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"biotite, which is not installed; install it with `pip install 'biotite>=1.6'`"):
        load_ligands(cache=tmp_path)


@pytest.mark.long
def test_the_whole_dictionary() -> None:
    """Counts in proportion; every molecule within the rules; splits nine to a half to a half."""
    pytest.importorskip("biotite")
    whole = load_ligands()
    total, about = len(whole), whole.metadata
    assert total > 35_000
    assert total + sum(about["left_out"].values()) == len(Dictionary())
    assert {split: round(100 * count / total) for split, count in about["splits"].items()} == SPLITS
    bare = load_ligands(hydrogens="implicit")
    assert len(bare) == total
    assert (int(bare.sizes.min()), int(bare.sizes.max())) == (6, 50)
    assert whole.fields["z"].unique().tolist() == [1, 5, 6, 7, 8, 9, 14, 15, 16, 17, 35, 53]
    which = torch.repeat_interleave(torch.arange(total), whole.sizes)
    net = torch.zeros(total, dtype=torch.int64).index_add_(0, which, whole.fields["charge"])
    assert (int(net.min()), int(net.max())) == (-2, 2)
