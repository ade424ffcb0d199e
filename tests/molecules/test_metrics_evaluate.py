"""The evaluation as a user meets it: nothing dropped, everything named, on any SDF file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import rdkit
import typer
from rdkit import Chem
from rdkit.Chem import rdDistGeom
from rich.console import Console
from typer.testing import CliRunner

import scidiff
from scidiff.errors import UserError
from scidiff_molecules.metrics import Evaluation, evaluate
from scidiff_molecules.metrics.command import evaluate_command
from scidiff_molecules.metrics.definitions import DEFINITIONS
from scidiff_molecules.metrics.intervals import wilson
from scidiff_molecules.metrics.plan import Plan
from scidiff_molecules.sdf import ReadFailure, SdfWriter

HUGE_CLAIM = "x\n\n\n2000000000  0  0  0  0  0  0  0999 V2000\nM  END\n$$$$\n"


def molecule(smiles: str, *, hydrogens: bool = True) -> Chem.Mol:
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert rdDistGeom.EmbedMolecule(mol, randomSeed=1) == 0
    return mol if hydrogens else Chem.RemoveHs(mol)


def write(path: Path, *smiles: str, **properties: str | int) -> Path:
    with SdfWriter(path) as out:
        for s in smiles:
            out.write(molecule(s), properties=properties)
    return path


def test_nothing_is_dropped(tmp_path: Path) -> None:
    """Adding records that cannot be used changes no numerator and raises every denominator over molecules."""
    path = write(tmp_path / "m.sdf", "CCO", "CC", "CCO", "C#N")
    good = evaluate(path, reference=None)
    record = path.read_text().split("$$$$\n")[1]
    lines = record.split("\n")
    lines[4] = "       nan" + lines[4][10:]
    nan = "\n".join(lines) + "$$$$\n"
    path.write_text(HUGE_CLAIM + path.read_text() + nan + "garbage\n$$$$\n")
    result = evaluate(path, reference=None)
    assert result.samples == 7
    assert [f.index for f in result.failures] == [0, 5, 6]
    assert ["claims" in result.failures[0].reason, "atom 1" in result.failures[1].reason] == [True, True]
    per_valid = {"A/uniqueness", "B/uniqueness"}
    for before, after in zip(good.metrics, result.metrics, strict=True):
        assert after.numerator == before.numerator
        extra = 0 if after.key in per_valid else 8 if "atom_stability" in after.key else 3  # eight: ethane's atoms, known though unusable
        assert after.denominator == before.denominator + extra
    assert any("records without readable atoms: 2;" in note for note in result.notes)


def test_memory_accepts_molecules_failures_and_none() -> None:
    mol = molecule("CCO")
    result = evaluate([mol, None, ReadFailure(1, "declared", mol, 9), mol], reference=None)
    assert result.samples == 4
    assert [(f.index, f.reason) for f in result.failures] == [(1, "no molecule"), (2, "declared")]
    assert (result["B/validity"].numerator, result["B/validity"].denominator) == (2, 4)
    assert (result["B/strict_atom_stability"].numerator, result["B/strict_atom_stability"].denominator) == (27, 27)


def test_a_stream_is_judged_like_a_list() -> None:
    def stream() -> Iterator[Chem.Mol]:
        for smiles in ("CCO", "C", "CCO"):
            yield molecule(smiles)

    assert evaluate(stream(), reference=None).metrics == evaluate(list(stream()), reference=None).metrics


def test_every_figure_names_its_definition_interval_and_provenance(tmp_path: Path) -> None:
    path = write(tmp_path / "m.sdf", "CCO", "CC", scidiff_seed=3, scidiff_steps=50, other="x")
    result = evaluate(path, reference="qm9")
    assert [m.key for m in result.metrics] == list(DEFINITIONS)
    for m in result.metrics:
        assert (m.name, m.definition) == DEFINITIONS[m.key]
        assert m.value == m.numerator / m.denominator
        assert m.low is not None
        assert m.high is not None
        assert 0 <= m.low <= m.value <= m.high <= 1
    interval = wilson(2, 2)
    assert interval is not None
    assert (result["A/validity"].low, result["A/validity"].high) == (interval.low, interval.high)
    assert result.rdkit_version == rdkit.__version__
    assert result.scidiff_version == scidiff.__version__
    assert result.provenance == {"seed": "3", "steps": "50"}
    assert result.reference is not None
    assert result.reference.molecules == 100_000


def test_provenance_that_varies_is_said_to_vary(tmp_path: Path) -> None:
    with SdfWriter(tmp_path / "m.sdf") as out:
        for seed in (1, 2, 1):
            out.write(molecule("C"), properties={"scidiff_seed": seed, "scidiff_model": "qm9"})
    assert evaluate(tmp_path / "m.sdf", reference=None).provenance == {"seed": "varies", "model": "qm9"}


def test_an_empty_denominator_has_no_value() -> None:
    result = evaluate([None], reference=None)
    unique = result["A/uniqueness"]
    assert (unique.value, unique.low, unique.denominator) == (None, None, 0)
    assert "A/uniqueness" not in result.to_metrics()
    assert result.to_metrics()["A/molecule_stability"] == 0.0
    with pytest.raises(KeyError, match="no metric 'nope'"):
        result["nope"]


def test_json_and_flat_metrics(tmp_path: Path) -> None:
    result = evaluate(write(tmp_path / "m.sdf", "CCO", "CC"), reference="qm9")
    assert Evaluation.model_validate_json(result.to_json()) == result
    flat = result.to_metrics()
    assert flat["B/validity"] == 1.0
    assert flat["B/validity_low"] == result["B/validity"].low
    assert flat["samples"] == 2.0
    assert all(re.fullmatch(r"[A-Za-z0-9_\-./]+", key) and isinstance(value, float) for key, value in flat.items())


def test_notes_on_missing_hydrogens_and_other_elements() -> None:
    bare = evaluate([molecule("CCO", hydrogens=False)], reference=None)
    assert any("no molecule has a hydrogen" in note for note in bare.notes)
    sulphur = evaluate([molecule("CCS"), molecule("CCO")], reference=None)
    assert [note for note in sulphur.notes if "elements outside" in note and note.endswith(": 1")]
    assert not evaluate([molecule("CCO")], reference=None).notes
    drawn = molecule("CCO")
    drawn.GetConformer().SetPositions(drawn.GetConformer().GetPositions() * [1, 1, 0])
    flat = evaluate([drawn, molecule("CCO")], reference=None)
    assert [note for note in flat.notes if note.startswith("molecules that lie in a plane though they cannot: 1;")]


def test_empty_sources_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.sdf").write_text("")
    with pytest.raises(UserError, match=r"empty\.sdf: the file is empty"):
        evaluate(tmp_path / "empty.sdf", reference=None)
    with pytest.raises(UserError, match="no molecules to evaluate"):
        evaluate([], reference=None)
    with pytest.raises(UserError, match="no such file"):
        evaluate(tmp_path / "absent.sdf", reference=None)
    with pytest.raises(UserError, match=r"absent\.sdf: no such file"):  # before the reference is looked at
        evaluate(tmp_path / "absent.sdf", reference=tmp_path / "empty.sdf", plan=Plan(poses=0, energies=0))


def test_the_table_shows_every_figure(tmp_path: Path) -> None:
    console = Console(width=250, record=True, file=(tmp_path / "out.txt").open("w"))
    result = evaluate([molecule("CCO"), molecule("CC"), None], reference="qm9", name="[red]three[/red]")
    console.print(result.table())
    text = console.export_text()
    console.file.close()
    row = next(line for line in text.splitlines() if "A molecule stability" in line)
    assert "66.67" in row
    assert "2 / 3" in row
    interval = wilson(2, 3)
    assert interval is not None
    assert f"{100 * interval.low:.2f} to {100 * interval.high:.2f}" in row
    assert all(name in text for name, _ in DEFINITIONS.values())
    assert f"rdkit {rdkit.__version__}" in text
    assert "2: no molecule" in text
    assert "[red]three[/red]: 3 molecules" in text


@pytest.mark.parametrize("width", [80, 200])
def test_definitions_are_printed_whole_at_any_width(tmp_path: Path, width: int) -> None:
    with (tmp_path / "out.txt").open("w") as file:
        console = Console(width=width, record=True, file=file)
        evaluate([molecule("CCO")], reference="qm9").print(console)
        words = re.sub(r"[\s\u2500-\u257f]+", " ", console.export_text())
    for name, definition in DEFINITIONS.values():
        assert name.split()[0] in words
        if width == 80:
            assert f"{name}: {definition}" in words
        else:
            assert definition.split("; ")[-1].split()[-1] in words


def run(*arguments: str | Path) -> tuple[int, str, BaseException | None]:
    app = typer.Typer()
    app.command("evaluate")(evaluate_command)
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    return result.exit_code, result.output, result.exception


def test_the_command_prints_the_table_and_writes_json(tmp_path: Path) -> None:
    path = write(tmp_path / "m.sdf", "CCO", "CC")
    code, output, _ = run(path, "--quick", "--reference", "none", "--json", tmp_path / "out.json")
    assert code == 0
    assert "95 % interval" in output
    stored = json.loads((tmp_path / "out.json").read_text())
    assert (stored["samples"], stored["plan"]["seed"], stored["plan"]["poses"]) == (2, 0, 0)
    assert {m["key"] for m in stored["metrics"]} == set(DEFINITIONS) - {"A/novelty", "B/novelty"}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.sdf", "out.json"]


def test_the_command_refuses_bad_input_and_leaves_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "m.sdf", "CCO")
    for arguments in ((tmp_path / "absent.sdf",), (path, "--reference", "qm99"), (path, "--json", tmp_path / "no" / "out.json")):
        code, _, error = run(*arguments)
        assert code != 0
        assert isinstance(error, UserError)
    assert [p.name for p in tmp_path.iterdir()] == ["m.sdf"]
