"""Screening in what is generated, written and served: what is withheld keeps its number and its place."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from rdkit import Chem
from support.pages import HOSTILE, Page
from typer.testing import CliRunner, Result

from scidiff.cli import app
from scidiff.report import write_page
from scidiff_molecules import MoleculeGenerator
from scidiff_molecules.decode import Generated
from scidiff_molecules.metrics import evaluate
from scidiff_molecules.output import writer
from scidiff_molecules.report import MoleculeView, molecule_grid, molecule_section
from scidiff_molecules.screening import Rule, Rules
from scidiff_molecules.sdf import SCREEN, STATUS, ReadFailure, read_sdf
from scidiff_molecules.service import MoleculeRequest, MoleculeService


@pytest.fixture
def broad(monkeypatch: pytest.MonkeyPatch) -> Rules:
    """Rules that withhold whatever has a double bond, as a few of the tiny model's molecules."""
    examples = {"withheld": {"a": "C=C", "b": "CC=C"}, "passes": {"a": "C", "b": "CC"}}
    rule = {"id": "a", "name": "olefins, and more", "reference": "a list", "smarts": ["*=*"], **examples}
    rules = Rules("2099.01", "f" * 64, (Rule.model_validate(rule),))
    for module in ("screening", "screening.screen", "sharded"):
        monkeypatch.setattr(f"scidiff_molecules.{module}.load_rules", lambda: rules)
    return rules


def asking(model: Path, out: Path, *more: object) -> Result:
    asked = ["-n", 17, "--steps", 1, "--atoms", 3, "--batch-size", 4, "--seed", 5, "--device", "cpu", "--model", model, "--out", out, *more]
    return CliRunner().invoke(app, ["molecules", "generate", *map(str, asked)])


def generate(model: Path, out: Path, *more: object) -> str:
    done = asking(model, out, *more)
    assert done.exit_code == 0, done.output
    return re.sub(r"\s+", " ", done.output)


def log_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.with_name(f"{path.name}.withheld.jsonl").read_text().splitlines()]


def test_a_withheld_molecule_keeps_its_number_and_its_place(tiny_model: Path, tmp_path: Path, broad: Rules) -> None:
    asked = {"seed": 5, "steps": 1, "atoms": 3, "batch_size": 4}
    free = list(MoleculeGenerator.load(tiny_model).stream(17, **asked, screen=False))
    wanted = {one.id for one in free if "=" in one.smiles}
    good = {one.id for one in free if not one.reason} - wanted
    assert wanted
    assert good
    said = generate(tiny_model, tmp_path / "a.sdf")
    assert f"{len(wanted)} withheld by screening rules 2099.01, see " in said
    assert f"{sum(bool(one.reason) for one in free)} do not sanitise" in said
    by = {"rule": "a", "rules": "2099.01", "sha256": "f" * 64}
    assert log_of(tmp_path / "a.sdf") == [{"molecule": number, **by} for number in sorted(wanted)]
    records = dict(read_sdf(tmp_path / "a.sdf"))
    assert len(records) == 17
    for one in free:
        record = records[one.id]
        mol = record.mol if isinstance(record, ReadFailure) else record
        assert mol is not None
        assert mol.GetProp("_Name") == f"molecule {one.id}"
        if one.id in wanted:
            assert isinstance(record, ReadFailure)
            assert (record.reason, record.atoms, mol.GetNumAtoms()) == ("withheld: olefins, and more", 0, 0)
            assert (mol.GetProp(STATUS), mol.GetProp(SCREEN)) == ("withheld: olefins, and more", "rules 2099.01")
        else:
            assert Chem.MolToSmiles(mol) == Chem.MolToSmiles(one.mol)
            assert mol.GetProp(SCREEN) == ("not screened: does not sanitise" if one.reason else "rules 2099.01")
    judged = evaluate(tmp_path / "a.sdf", None)
    assert judged["readable"].numerator == 17 - len(wanted)
    assert judged["B/validity"].numerator == len(good)
    assert {f.index for f in judged.failures if f.reason == "withheld: olefins, and more"} == wanted
    assert judged.provenance["screen"] == "rules 2099.01"
    in_memory = evaluate(MoleculeGenerator.load(tiny_model).generate(17, **asked), None)
    assert in_memory.failures == judged.failures
    generate(tiny_model, tmp_path / "a.smi")
    lines = (tmp_path / "a.smi").read_text().splitlines()
    assert {number for number, line in enumerate(lines) if line == f"# molecule {number} withheld: olefins, and more"} == wanted
    assert log_of(tmp_path / "a.smi") == log_of(tmp_path / "a.sdf")


def test_switched_off_it_says_so_and_removes_an_old_log(tiny_model: Path, tmp_path: Path, broad: Rules) -> None:
    generate(tiny_model, tmp_path / "a.sdf")
    assert log_of(tmp_path / "a.sdf")
    assert "withheld" not in generate(tiny_model, tmp_path / "a.sdf", "--no-screen")
    assert [path.name for path in tmp_path.iterdir()] == ["a.sdf"]
    assert (tmp_path / "a.sdf").read_text().count(">  <scidiff_screen>\noff\n") == 17


def test_shards_are_one_process_with_their_log(tiny_model: Path, tmp_path: Path, broad: Rules) -> None:
    generate(tiny_model, tmp_path / "one.sdf")
    for shard in (2, 0, 1):
        generate(tiny_model, tmp_path / "parts", "--shards", 3, "--shard", shard)
    done = CliRunner().invoke(app, ["merge", str(tmp_path / "parts"), "--out", str(tmp_path / "all.sdf")])
    assert (tmp_path / "all.sdf").read_bytes() == (tmp_path / "one.sdf").read_bytes()
    assert log_of(tmp_path / "all.sdf") == log_of(tmp_path / "one.sdf")
    count = len(log_of(tmp_path / "one.sdf"))
    assert f"{count} of 17 molecules are withheld by screening rules 2099.01; they are in it, marked so" in done.output
    assert f"note: what is withheld ({count}) is listed in {tmp_path / 'all.sdf'}.withheld.jsonl" in done.output
    assert "--no-screen" not in (tmp_path / "parts" / "plan.json").read_text()
    other = asking(tiny_model, tmp_path / "parts", "--shards", 3, "--no-screen")
    assert other.exit_code == 2
    assert "screen (rules 2099.0... there, off here)" in re.sub(r"\s+", " ", other.output)


def test_a_plan_without_screening_repeats_it(tiny_model: Path, tmp_path: Path) -> None:
    generate(tiny_model, tmp_path / "parts", "--shards", 2, "--shard", 0, "--no-screen")
    merged = CliRunner().invoke(app, ["merge", str(tmp_path / "parts"), "--out", str(tmp_path / "all.sdf")])
    assert "--no-screen --shards 2 --shard 1" in re.sub(r"\s+", " ", merged.output)


def test_the_service_withholds(tiny_model: Path, broad: Rules) -> None:
    service = MoleculeService.load(tiny_model)
    rows = list(service.answer(MoleculeRequest(n=17, seed=5, steps=1, atoms=3)).rows)
    kept = [row for row in rows if row["status"] == "withheld: olefins, and more"]
    assert [row["id"] for row in rows] == list(range(17))
    assert kept
    assert {(row["smiles"], row["molblock"].splitlines()[3][:6]) for row in kept} == {("", "  0  0")}


def test_no_log_and_no_file_after_an_error(tmp_path: Path) -> None:
    withheld = Generated(0, Chem.Mol(), "withheld: x", {"rule": "x"})

    def stops() -> None:
        with writer(tmp_path / "a.sdf") as file:
            file.write(withheld, {})
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        stops()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", [*HOSTILE, "a\nb", "a\r\n$$$$\nb", "a\x00b", "\u2028x", "> <scidiff_status>"])
def test_row_18_a_hostile_name_is_one_harmless_line_wherever_it_is_written(tmp_path: Path, text: str) -> None:
    """As a molecule's name, its failure, a property, a rule: neither a record, a field or a line more, nor an element of a page."""
    mol = Chem.AddHs(Chem.MolFromSmiles("CCO"))
    named = Chem.Mol(mol)
    named.SetProp("_Name", text)
    named.SetProp(text.replace("\x00", ""), text)
    stand_ins = [Generated(0, Chem.Mol(mol), text), Generated(1, Chem.Mol(), f"withheld: {text}", {"rule": text}), Generated(2, named)]
    for name in ("a.sdf", "a.smi"):
        with writer(tmp_path / name) as file:
            for one in stand_ins:
                file.write(one, {"model": text})
        content = (tmp_path / name).read_bytes()
        assert b"\x00" not in content
        assert b"\r" not in content
        assert log_of(tmp_path / name) == [{"molecule": 1, "rule": text}]
    assert (tmp_path / "a.smi").read_text(encoding="utf-8").count("\n") == 3
    assert [bool(re.match(r"# molecule \d ", line)) for line in (tmp_path / "a.smi").read_text().split("\n")] == [True, True, False, False]
    statuses = [item.reason if isinstance(item, ReadFailure) else "ok" for _, item in read_sdf(tmp_path / "a.sdf")]
    assert len(statuses) == 3
    assert statuses[1].startswith("withheld: ")
    assert statuses[2] == "ok"
    molecule_grid(stand_ins, tmp_path / "a.png", captions=[text] * 3)
    assert elements_of(tmp_path / "a.html", stand_ins, text) == elements_of(tmp_path / "b.html", stand_ins, "x")


def elements_of(path: Path, molecules: list[Generated], text: str) -> Counter[str]:
    """The elements of a page on which ``text`` stands wherever it can."""
    views = [MoleculeView.of(one, text) for one in molecules]
    section = molecule_section(title=text, molecules=views, tables=[], facts={text: text}, notes=[text])
    write_page(path, title=text, sections=[section])
    return Counter(name for name, _ in Page(path.read_text(encoding="utf-8")).elements)
