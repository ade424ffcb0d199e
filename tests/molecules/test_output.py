"""Files of generated molecules and the command that writes them: whole, with everything in them, or no file and a message that helps."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem
from typer.testing import CliRunner, Result

from scidiff.cli import app
from scidiff.errors import UserError
from scidiff_molecules import MoleculeGenerator
from scidiff_molecules.decode import Generated, finish
from scidiff_molecules.output import writer
from scidiff_molecules.sdf import STATUS, ReadFailure, read_sdf


def molecule(number: int, smiles: str) -> Generated:
    """Of a SMILES, flat, with its hydrogens to be placed; as it is where RDKit refuses it."""
    mol = Chem.RWMol(Chem.MolFromSmiles(smiles, sanitize=False))
    mol.UpdatePropertyCache(strict=False)
    conformer = Chem.Conformer(mol.GetNumAtoms())
    for place in range(mol.GetNumAtoms()):
        conformer.SetAtomPosition(place, (1.5 * place, 0.3 * (place % 2), 0.0))
    mol.AddConformer(conformer)
    return finish(number, mol)


GOOD, BAD = molecule(4, "CCO"), molecule(5, "C(C)(C)(C)(C)C")


def write(path: Path, *molecules: Generated) -> int:
    with writer(path) as file:
        for one in molecules:
            file.write(one, {"seed": 3, "model": "tiny"})
    return file.failed


def test_an_sdf_holds_everything(tmp_path: Path) -> None:
    assert write(tmp_path / "a.sdf", GOOD, BAD, GOOD) == 1
    records = [record for _, record in read_sdf(tmp_path / "a.sdf")]
    first, failed = records[0], records[1]
    assert isinstance(first, Chem.Mol)
    assert Chem.MolToSmiles(Chem.RemoveHs(first)) == "CCO"
    assert np.allclose(first.GetConformer().GetPositions(), GOOD.mol.GetConformer().GetPositions(), atol=1e-4)
    assert first.GetProp("_Name") == "molecule 4"
    assert first.GetPropsAsDict() == {"scidiff_seed": 3, "scidiff_model": "tiny", STATUS: "ok"}
    assert isinstance(failed, ReadFailure)
    assert BAD.reason in failed.reason
    assert failed.mol is not None
    assert failed.mol.GetProp("_Name") == "molecule 5"
    assert failed.atoms == BAD.mol.GetNumAtoms()


def test_smiles_have_a_line_for_every_molecule(tmp_path: Path) -> None:
    assert write(tmp_path / "a.smi", GOOD, BAD, GOOD) == 1
    assert (tmp_path / "a.smi").read_text().splitlines() == ["CCO 4", f"# molecule 5 failed: {BAD.reason}", "CCO 4"]


def stops_halfway(path: Path) -> None:
    with writer(path) as file:
        file.write(GOOD, {})
        raise RuntimeError("stop")


@pytest.mark.parametrize("name", ["a.sdf", "a.smi"])
def test_an_error_on_the_way_leaves_what_was_there(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("old")
    with pytest.raises(RuntimeError, match="stop"):
        stops_halfway(path)
    assert [found.name for found in tmp_path.iterdir()] == [name]
    assert path.read_text() == "old"


@pytest.mark.parametrize("name", ["a.sdf", "a.smi"])
def test_molecules_are_on_the_disk_as_they_come(tmp_path: Path, name: str) -> None:
    with writer(tmp_path / name) as file:
        file.write(GOOD, {})
        (part,) = tmp_path.iterdir()
        assert part.name != name
        assert part.stat().st_size > 0
    assert [found.name for found in tmp_path.iterdir()] == [name]


def scidiff(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def generate(model: Path, out: Path, *more: object) -> Result:
    asked = ["-n", 6, "--steps", 3, "--batch-size", 4, "--device", "cpu"]
    return scidiff("molecules", "generate", *asked, "--model", model, "--out", out, *more)


def said(result: Result) -> str:
    return re.sub(r"[\s│]+", " ", result.output)


def test_the_command_writes_the_generators_molecules(tiny_model: Path, tmp_path: Path) -> None:
    result = generate(tiny_model, tmp_path / "mols.sdf", "--seed", 5)
    assert result.exit_code == 0, result.output
    assert "6 molecules" in said(result)
    expected = list(MoleculeGenerator.load(tiny_model).stream(6, seed=5, steps=3, batch_size=4))
    records = [record for _, record in read_sdf(tmp_path / "mols.sdf")]
    assert len(records) == 6
    for one, record in zip(expected, records, strict=True):
        mol = record.mol if isinstance(record, ReadFailure) else record
        assert mol is not None
        assert mol.GetProp("_Name") == f"molecule {one.id}"
        assert mol.GetProp("scidiff_calls") == "3"
        assert np.allclose(mol.GetConformer().GetPositions(), one.mol.GetConformer().GetPositions(), atol=1e-4)
    failed = sum(bool(one.reason) for one in expected)
    assert not failed or f"{failed} do not sanitise and are in it" in said(result)
    assert [found.name for found in tmp_path.iterdir()] == ["mols.sdf"]


def test_the_command_makes_numbers_again(tiny_model: Path, tmp_path: Path) -> None:
    assert generate(tiny_model, tmp_path / "all.smi").exit_code == 0
    assert generate(tiny_model, tmp_path / "some.smi", "-n", 2, "--first", 3).exit_code == 0
    assert (tmp_path / "some.smi").read_text().splitlines() == (tmp_path / "all.smi").read_text().splitlines()[3:5]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-n", "0"], "n = 0: must lie between 1 and 100,000,000"),
        (["-n", "1000000000"], "n = 1000000000: must lie between 1 and 100,000,000"),
        (["--steps", "0"], "steps = 0: must lie between 1 and 1,000"),
        (["--atoms", "5000"], "atoms = 5000: this model was trained on up to 8"),
        (["--batch-size", "0"], "batch_size = 0: must lie between 1 and 10,000"),
        (["--device", "tpu"], "'tpu' is not one of 'auto', 'cpu', 'cuda'"),
        (["--model", "qm8"], "no model 'qm8'"),
        (["--out", "mols.xyz"], "--out mols.xyz: the name must end in .sdf or .smi"),
        (["--out", "mols.xyz", "--shards", "2"], "--out mols.xyz: the name must end in .sdf or .smi, or be that of a folder"),
        (["--format", "smi", "--shards", "2"], "--format smi: --out mols.sdf says otherwise"),
        (["--shard", "1"], "--shard and --format are for --shards"),
        (["--shards", "2", "--shard", "2"], "--shard 2: of 2 shards give one from 0 to 1"),
        (["--shards", "3"], "3 shards of 6 molecules: these are 2 blocks of 4, and a shard is one or more; give at most 2 shards"),
        (["--shards", "2", "-n", "0"], "n = 0: must lie between 1 and 100,000,000"),
    ],
    ids=str,
)
def test_bad_arguments_exit_2_and_leave_nothing(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = generate(tiny_model, Path("mols.sdf"), *arguments)
    assert result.exit_code == 2
    assert message in said(result)
    assert "Traceback" not in result.output
    assert not list(tmp_path.iterdir())


def test_an_unknown_model_lists_the_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "qm9.safetensors").touch()
    monkeypatch.setattr("scidiff_molecules.registry.WEIGHTS", tmp_path / "weights")
    result = scidiff("molecules", "generate", "--model", "qm8", "--out", tmp_path / "a.sdf")
    assert result.exit_code == 2
    assert "no model 'qm8'; did you mean 'qm9'?: give a shipped name (qm9)" in said(result)


def test_a_missing_folder_is_named(tiny_model: Path, tmp_path: Path) -> None:
    result = generate(tiny_model, tmp_path / "no" / "mols.sdf")
    assert result.exit_code == 2
    assert f"the folder {tmp_path / 'no'} does not exist; make it first" in said(result)
    assert not list(tmp_path.iterdir())


def pickled() -> bytes:
    """As torch.save writes: a zip archive with a pickle in it that would run a command."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("archive/data.pkl", b"cos\nsystem\n(S'touch executed'\ntR.")
    return content.getvalue()


def test_weights_that_cannot_be_trusted_are_refused(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tiny_model.read_bytes()
    flipped = bytearray(whole)
    flipped[-3] ^= 8
    cases = {
        "cut.safetensors": (whole[:-100], "truncated"),
        "empty.safetensors": (b"", "truncated"),
        "flipped.safetensors": (bytes(flipped), "does not match its SHA-256: fetch it again"),
        "model.pt": (pickled(), "files ending in .pt may hold a pickle, which can run code: convert it to safetensors"),
        "renamed.safetensors": (pickled(), "a zip archive, as torch.save writes it"),
    }
    folder = tmp_path / "out"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name, (content, message) in cases.items():
        (tmp_path / name).write_bytes(content)
        result = generate(tmp_path / name, folder / "mols.sdf")
        assert result.exit_code == 2, result.output
        assert name in said(result)
        assert message in said(result)
        assert not list(folder.iterdir())


def test_a_fault_while_generating_leaves_nothing(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = 0

    def breaks(*arguments: object) -> Generated:
        nonlocal made
        made += 1
        if made == 5:
            raise MemoryError
        return GOOD

    monkeypatch.setattr("scidiff_molecules.decode.finish", breaks)
    result = generate(tiny_model, tmp_path / "mols.sdf")
    assert isinstance(result.exception, MemoryError)
    assert made == 5
    assert not list(tmp_path.iterdir())


def test_a_path_is_shown_as_it_is(tiny_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "a [bold] and long name.smi"
    result = generate(tiny_model, path)
    assert result.exit_code == 0
    assert f"written to {path}" in said(result)


def test_an_unwritable_target_is_named(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "mols.sdf").mkdir()
    with pytest.raises(UserError, match="is a folder"):
        write(tmp_path / "mols.sdf", GOOD)
    assert generate(tiny_model, tmp_path / "mols.sdf").exit_code == 2
    assert [found.name for found in tmp_path.iterdir()] == ["mols.sdf"]
