"""SDF files: round trips, hostile input, and nothing half-written."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rdkit import Chem

from scidiff.errors import UserError
from scidiff_molecules import sdf as package
from scidiff_molecules.sdf import STATUS, ReadFailure, SdfWriter, atomic_text, read_sdf, reading, structure_of

METHANE = """methane
  by hand

  5  4  0  0  0  0  0  0  0  0999 V2000
    0.0000    0.0000    0.0000 C   0  0  0  0  0  0  0  0  0  0  0  0
    0.6293    0.6293    0.6293 H   0  0  0  0  0  0  0  0  0  0  0  0
    0.6293   -0.6293   -0.6293 H   0  0  0  0  0  0  0  0  0  0  0  0
   -0.6293    0.6293   -0.6293 H   0  0  0  0  0  0  0  0  0  0  0  0
   -0.6293   -0.6293    0.6293 H   0  0  0  0  0  0  0  0  0  0  0  0
  1  2  1  0
  1  3  1  0
  1  4  1  0
  1  5  1  0
M  END
$$$$
"""
V3000 = """big
  by hand

  0  0  0     0  0            999 V3000
M  V30 BEGIN CTAB
M  V30 COUNTS 1 0 0 0 0
M  V30 BEGIN ATOM
M  V30 1 C 0.0 0.0 0.0 0
M  V30 END ATOM
M  V30 END CTAB
M  END
$$$$
"""
FIRST_X = "    0.6293    0.6293    0.6293 H"


def with_coordinate(text: str) -> str:
    """Methane whose second atom has this as its x coordinate, in ten columns."""
    return METHANE.replace(FIRST_X, f"{text:>10}" + FIRST_X[10:], 1)


def records(path: Path, content: str | bytes) -> list[Chem.Mol | ReadFailure]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    found = list(read_sdf(path))
    assert [index for index, _ in found] == list(range(len(found)))
    return [item for _, item in found]


def embedded(smiles: str) -> Chem.Mol:
    """A molecule with explicit hydrogens and made-up, distinct coordinates."""
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    conformer = Chem.Conformer(mol.GetNumAtoms())
    conformer.SetPositions(np.random.default_rng(0).normal(0, 3, (mol.GetNumAtoms(), 3)))
    mol.AddConformer(conformer)
    return mol


def pentavalent() -> Chem.RWMol:
    mol = Chem.RWMol()
    for number in (6, 1, 1, 1, 1, 1):
        mol.AddAtom(Chem.Atom(number))
    for i in range(1, 6):
        mol.AddBond(0, i, Chem.BondType.SINGLE)
    conformer = Chem.Conformer(6)
    conformer.SetPositions(np.arange(18.0).reshape(6, 3))
    mol.AddConformer(conformer)
    return mol


@dataclass
class Lost:
    mol: Chem.Mol | None
    reason: str


# ---------------------------------------------------------------- round trips


@pytest.mark.parametrize(
    "smiles", ["C", "c1ccccc1", "[NH3+]CC(=O)[O-]", "C[N+](=O)[O-]", "[H][H]", "N#CC#N", "c1nnn[nH]1", "C.O", "[CH3]", "OC1=CC=CC=C1F"]
)
def test_what_is_written_is_read_back(tmp_path: Path, smiles: str) -> None:
    mol = embedded(smiles)
    with SdfWriter(tmp_path / "m.sdf") as out:
        out.write(mol, name="a name", properties={"seed": 7, "note": "x y"})
    assert (out.written, out.failed) == (1, 0)
    ((_, back),) = read_sdf(tmp_path / "m.sdf")
    assert isinstance(back, Chem.Mol)
    assert (back.GetProp("_Name"), back.GetProp("seed"), back.GetProp("note"), back.GetProp(STATUS)) == ("a name", "7", "x y", "ok")
    before, after = structure_of(mol), structure_of(back)
    assert (before.numbers == after.numbers).all()
    assert (before.charges == after.charges).all()
    assert before.positions is not None
    assert after.positions is not None
    assert np.abs(before.positions - after.positions).max() <= 0.5001e-4
    assert Chem.MolToSmiles(back, isomericSmiles=False) == Chem.MolToSmiles(mol, isomericSmiles=False)
    assert [a.GetTotalNumHs() for a in back.GetAtoms()] == [a.GetTotalNumHs() for a in mol.GetAtoms()]


def test_kekule_bonds_are_written_as_they_were_generated(tmp_path: Path) -> None:
    """A builder's Kekule structure is data of the model: neither aromatised, nor swapped for the other one, nor cleaned up."""
    mol = Chem.RWMol(embedded("c1ccccc1"))
    Chem.Kekulize(mol, clearAromaticFlags=True)
    for bond in mol.GetBonds():
        if bond.GetBondType() != Chem.BondType.SINGLE or not (bond.GetBeginAtomIdx() > 5 or bond.GetEndAtomIdx() > 5):
            double = bond.GetBondType() == Chem.BondType.DOUBLE
            bond.SetBondType(Chem.BondType.SINGLE if double else Chem.BondType.DOUBLE)
    nitro = Chem.RWMol(embedded("C[N+](=O)[O-]"))
    nitro.GetBondBetweenAtoms(1, 3).SetBondType(Chem.BondType.DOUBLE)
    for i in (1, 3):
        nitro.GetAtomWithIdx(i).SetFormalCharge(0)
    with SdfWriter(tmp_path / "m.sdf") as out:
        out.write(mol)
        out.write(nitro)
    for (_, back), given_mol in zip(read_sdf(tmp_path / "m.sdf", sanitize=False), (mol, nitro), strict=True):
        assert isinstance(back, Chem.Mol)
        assert structure_of(back).bonds == structure_of(given_mol).bonds
        assert (structure_of(back).charges == structure_of(given_mol).charges).all()


def test_stereochemistry_comes_from_the_coordinates(tmp_path: Path) -> None:
    from rdkit.Chem import rdDistGeom

    mol = Chem.AddHs(Chem.MolFromSmiles("C[C@H](N)C(=O)O"))
    assert rdDistGeom.EmbedMolecule(mol, randomSeed=1) == 0
    with SdfWriter(tmp_path / "m.sdf") as out:
        out.write(mol)
    ((_, back),) = read_sdf(tmp_path / "m.sdf")
    assert isinstance(back, Chem.Mol)
    assert Chem.MolToSmiles(Chem.RemoveHs(back)) == "C[C@H](N)C(=O)O"


def test_failed_molecules_are_written_whole_and_recognised(tmp_path: Path) -> None:
    not_finite = embedded("C")
    not_finite.GetConformer().SetAtomPosition(2, (float("nan"), 0.0, float("inf")))
    with SdfWriter(tmp_path / "m.sdf") as out:
        out.write(pentavalent())
        out.write(Lost(embedded("O"), "the sampler gave up"))
        out.write(None)
        out.write(Lost(None, "nothing\nleft"))
        out.write(not_finite)
        out.write(embedded("N"))
    assert (out.written, out.failed) == (6, 5)
    found = [item for _, item in read_sdf(tmp_path / "m.sdf")]
    reasons = [item.reason for item in found if isinstance(item, ReadFailure)]
    assert "valence" in reasons[0]
    assert reasons[1:4] == ["the sampler gave up", "no molecule", "nothing left"]
    assert "not finite" in reasons[4]
    assert isinstance(found[5], Chem.Mol)
    first, second = found[0], found[1]
    assert isinstance(first, ReadFailure)
    assert isinstance(second, ReadFailure)
    assert first.mol is not None
    assert structure_of(first.mol).bonds == tuple((0, i, 1.0) for i in range(1, 6))
    positions = structure_of(first.mol).positions
    assert positions is not None
    assert positions.tolist() == np.arange(18.0).reshape(6, 3).tolist()
    assert second.mol is not None
    assert second.mol.GetNumAtoms() == 3
    assert [item.atoms for item in found if isinstance(item, ReadFailure)] == [6, 3, 0, 0, 5]


def test_an_object_that_did_not_fail_is_written_as_ok(tmp_path: Path) -> None:
    with SdfWriter(tmp_path / "m.sdf") as out:
        out.write(Lost(embedded("O"), ""))
        out.write(Lost(None, ""))
    assert (out.written, out.failed) == (2, 1)
    assert [type(item) for _, item in read_sdf(tmp_path / "m.sdf")] == [Chem.Mol, ReadFailure]


@pytest.mark.parametrize(("number", "charge"), [(1, 2), (1, 3), (0, 1), (2, 3)])
def test_charges_beyond_the_atomic_number_are_written(tmp_path: Path, number: int, charge: int) -> None:
    mol = Chem.RWMol()
    atom = Chem.Atom(number)
    atom.SetFormalCharge(charge)
    atom.SetNoImplicit(True)
    mol.AddAtom(atom)
    with SdfWriter(tmp_path / "a.sdf") as file:
        file.write(mol)
    (_, found), = read_sdf(tmp_path / "a.sdf", sanitize=False)
    atom = (found.mol if isinstance(found, ReadFailure) else found).GetAtomWithIdx(0)
    assert (atom.GetAtomicNum(), atom.GetFormalCharge()) == (number, charge)


def test_unsanitised_reading_gives_the_molecule_as_it_stands(tmp_path: Path) -> None:
    (tmp_path / "m.sdf").write_text(Chem.MolToMolBlock(pentavalent(), kekulize=False) + "$$$$\n")
    ((_, raw),) = read_sdf(tmp_path / "m.sdf", sanitize=False)
    assert isinstance(raw, Chem.Mol)
    ((_, failed),) = read_sdf(tmp_path / "m.sdf")
    assert isinstance(failed, ReadFailure)
    assert "valence" in failed.reason


# ---------------------------------------------------------------- properties


@given(name=st.text(max_size=100), value=st.text(max_size=200), title=st.text(max_size=100))
def test_no_name_or_value_can_break_a_record(tmp_path_factory: pytest.TempPathFactory, name: str, value: str, title: str) -> None:
    path = tmp_path_factory.mktemp("p") / "m.sdf"
    mol = embedded("O")
    with SdfWriter(path) as out:
        out.write(mol, name=title, properties={name: value})
        out.write(mol)
    found = [item for _, item in read_sdf(path)]
    assert len(found) == 2
    assert all(isinstance(item, Chem.Mol) and item.GetNumAtoms() == 3 for item in found)
    assert isinstance(found[0], Chem.Mol)
    names = set(found[0].GetPropNames()) - {STATUS}
    assert len(names) <= 1
    assert all(re.fullmatch(r"[A-Za-z0-9_.\-]{1,64}", n) for n in names)


@pytest.mark.parametrize("value", ["$$$$", "$$$$\nM  END", "> <scidiff_status>\nok", "a\n\n> <b>\nc", "x" * 10_000])
def test_values_cannot_smuggle_records_or_fields(tmp_path: Path, value: str) -> None:
    with SdfWriter(tmp_path / "m.sdf") as out:
        out.write(Lost(embedded("O"), value), name=value, properties={"a": value, STATUS: "ok"})
    ((_, back),) = read_sdf(tmp_path / "m.sdf")
    assert isinstance(back, ReadFailure)  # the status is ours and cannot be overwritten
    assert back.mol is not None
    assert set(back.mol.GetPropNames()) == {"a", STATUS}
    assert len(back.mol.GetProp("a")) <= 4001


# ---------------------------------------------------------------- hostile files


@pytest.mark.parametrize("text", ["nan", "NaN", "inf", "-inf", "1e308", "-1e308", "1e400", "abc", "", "0x1p4"])
def test_bad_coordinates_are_failures_with_index_and_place(tmp_path: Path, text: str) -> None:
    found = records(tmp_path / "m.sdf", METHANE + with_coordinate(text) + METHANE)
    assert [isinstance(item, ReadFailure) for item in found] == [False, True, False]
    failure = found[1]
    assert isinstance(failure, ReadFailure)
    assert (failure.index, failure.atoms) == (1, 5)
    assert "atom 2" in failure.reason


def test_bad_coordinates_in_v3000(tmp_path: Path) -> None:
    for text in ("nan", "inf", "1e308"):
        (failure,) = records(tmp_path / "m.sdf", V3000.replace("C 0.0", f"C {text}"))
        assert isinstance(failure, ReadFailure)
        assert "atom 1" in failure.reason
    assert isinstance(records(tmp_path / "m.sdf", V3000)[0], Chem.Mol)


@pytest.mark.parametrize(
    "record",
    [
        METHANE.replace("  5  4  0", "2000000000"),
        METHANE.replace("  5  4  0", "2000000000  4  0"),
        METHANE.replace("  5  4  0", "999999  0"),
        METHANE.replace("  5  4  0", "  5999  0"),
        V3000.replace("COUNTS 1 0", "COUNTS 2000000000 0"),
        V3000.replace("COUNTS 1 0", "COUNTS 1 2000000000"),
        V3000.replace("COUNTS 1 0", "COUNTS " + "9" * 400 + " 0"),
        V3000.replace("M  V30 COUNTS 1 0 0 0 0\n", ""),
        METHANE.replace("  5  4  0", " -5  4  0"),
        METHANE.replace("  5  4  0", "  x  4  0"),
        METHANE[: METHANE.index("M  END")] + "$$$$\n",
        "\n\n$$$$\n",
        METHANE.replace(" C ", " \x00 "),
    ],
)
def test_claims_are_refused_before_rdkit_allocates(tmp_path: Path, record: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytes] = []
    original = Chem.ForwardSDMolSupplier

    def spy(stream, **options):  # type: ignore[no-untyped-def]
        seen.append(stream.getvalue())
        return original(stream, **options)

    monkeypatch.setattr(reading.Chem, "ForwardSDMolSupplier", spy)
    found = records(tmp_path / "m.sdf", METHANE + record + METHANE)
    assert [isinstance(item, ReadFailure) for item in found] == [False, True, False]
    assert len(seen) == 2  # the two good records; RDKit never saw the claim


def test_the_claim_is_named(tmp_path: Path) -> None:
    (failure,) = records(tmp_path / "m.sdf", METHANE.replace("  5  4  0", "2000000000"))
    assert isinstance(failure, ReadFailure)
    assert "claims 2,000,000,000 atoms; the limit is 1,000" in failure.reason


def test_what_rdkit_itself_refuses_is_a_failure(tmp_path: Path) -> None:
    unknown = METHANE.replace(" C ", " Xx")
    bad_bond = METHANE.replace("  1  5  1  0", "  1  9  1  0")
    loop = METHANE.replace("  1  5  1  0", "  1  1  1  0")
    found = records(tmp_path / "m.sdf", unknown + bad_bond + loop + METHANE)
    assert [isinstance(item, ReadFailure) for item in found] == [True, True, True, False]


def test_zero_atoms_and_one_atom(tmp_path: Path) -> None:
    none = "empty\n\n\n  0  0  0  0  0  0  0  0  0  0999 V2000\nM  END\n$$$$\n"
    one = (
        "one\n\n\n  1  0  0  0  0  0  0  0  0  0999 V2000\n"
        "    0.0000    0.0000    0.0000 He  0  0  0  0  0  0  0  0  0  0  0  0\nM  END\n$$$$\n"
    )
    empty, helium = records(tmp_path / "m.sdf", none + one)
    assert isinstance(empty, ReadFailure)
    assert (empty.reason, empty.atoms) == ("no atoms", 0)
    assert isinstance(helium, Chem.Mol)
    assert helium.GetNumAtoms() == 1


def test_a_huge_record_is_passed_over_without_being_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_RECORD_BYTES", 2000)
    one_line, many_lines = METHANE[:-5] + "x" * 100_000 + "\n$$$$\n", METHANE[:-5] + "x\n" * 50_000 + "$$$$\n"
    found = records(tmp_path / "m.sdf", METHANE + one_line + many_lines + METHANE)
    assert [isinstance(item, ReadFailure) for item in found] == [False, True, True, False]
    assert all("larger than 2,000 bytes" in item.reason for item in found if isinstance(item, ReadFailure))


def test_line_ends_missing_terminator_and_odd_bytes(tmp_path: Path) -> None:
    path = tmp_path / "m.sdf"
    assert [type(item) for item in records(path, METHANE.replace("\n", "\r\n") * 2)] == [Chem.Mol] * 2
    assert [type(item) for item in records(path, (METHANE * 2).removesuffix("$$$$\n"))] == [Chem.Mol] * 2
    assert [type(item) for item in records(path, METHANE + "\n\n  \n")] == [Chem.Mol]
    odd = METHANE.encode().replace(b"methane", b"m\xff\xfe\xe2\x80\xa8th").replace(b"M  END\n", b"M  END\n> <a>\n\xff\xfe\n\n")
    (mol,) = records(path, odd)
    assert isinstance(mol, Chem.Mol)
    assert mol.GetNumAtoms() == 5


@given(data=st.data())
def test_no_bytes_crash_the_reader(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Random damage to a good file: every record comes back as a molecule or a failure."""
    base = bytearray((METHANE + V3000 + METHANE).encode())
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(base) - 1))
        base[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    path = tmp_path_factory.mktemp("f") / "m.sdf"
    path.write_bytes(bytes(base) or b"x")
    try:
        found = list(read_sdf(path))
    except UserError:  # the damage has made it no SDF file at all
        return
    assert len(found) == len(re.findall(rb"(?m)^\$\$\$\$", bytes(base))) + bool(re.split(rb"(?m)^\$\$\$\$.*\n?", bytes(base))[-1].strip())
    for _, item in found:
        assert isinstance(item, Chem.Mol | ReadFailure)
        if isinstance(item, Chem.Mol):
            assert np.isfinite(item.GetConformer().GetPositions()).all()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"hello\nworld\n", "not an SDF file"),
        (b"\x80\x05\x95pickle" * 1000, "not an SDF file"),
        (b"x" * 5_000_000, "not an SDF"),
    ],
)
def test_files_that_are_no_sdf(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        records(tmp_path / "m.sdf", content)


def test_bounds_and_missing_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_sdf(tmp_path / "absent.sdf")
    with pytest.raises(UserError, match="not a file"):
        read_sdf(tmp_path)
    monkeypatch.setattr(reading, "MAX_RECORDS", 2)
    assert len(records(tmp_path / "m.sdf", METHANE * 2)) == 2
    with pytest.raises(UserError, match=r"more than 2 records; split"):
        records(tmp_path / "m.sdf", METHANE * 3)
    monkeypatch.setattr(reading, "MAX_FILE_BYTES", 100)
    with pytest.raises(UserError, match=r"over the limit"):
        records(tmp_path / "m.sdf", METHANE)


# ---------------------------------------------------------------- atomic writing


def test_an_error_leaves_nothing_and_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "m.sdf"
    path.write_text("old")
    for fault in (RuntimeError, KeyboardInterrupt):
        with pytest.raises(fault):
            _write_and_raise(path, fault)
        assert [p.name for p in tmp_path.iterdir()] == ["m.sdf"]
        assert path.read_text() == "old"
    with SdfWriter(path) as out:
        out.write(embedded("C"))
    assert path.read_text().endswith("$$$$\n")
    assert [p.name for p in tmp_path.iterdir()] == ["m.sdf"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~_umask()


def _write_and_raise(path: Path, fault: type[BaseException]) -> None:
    with SdfWriter(path) as out:
        out.write(embedded("C"))
        raise fault


def test_molecules_reach_the_file_as_they_come(tmp_path: Path) -> None:
    with SdfWriter(tmp_path / "m.sdf") as out:
        for count in range(1, 4):
            out.write(embedded("C"))
            (part,) = tmp_path.iterdir()
            assert part.name != "m.sdf"
            assert part.read_text().count("$$$$\n") == count


def test_bad_targets_are_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"), SdfWriter(tmp_path / "no" / "m.sdf"):
        pass
    with pytest.raises(UserError, match="is a folder"), SdfWriter(tmp_path):
        pass
    with pytest.raises(ValueError, match="outside of its with block"):
        SdfWriter(tmp_path / "m.sdf").write(None)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(package.writing.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"), atomic_text(tmp_path / "m.json") as out:
        out.write("{}")
    assert not list(tmp_path.iterdir())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
