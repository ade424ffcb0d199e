"""The judge as a user meets it: known verdicts, distances of nought to itself, stated subsets, hostile files, the page and the command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rdkit import Chem
from support.pages import HOSTILE, Page, references
from support.zoo import as_stated, zoo
from typer.testing import CliRunner

import scidiff_molecules
from scidiff.errors import UserError
from scidiff_molecules.cli import app
from scidiff_molecules.data import load_sample
from scidiff_molecules.metrics import Evaluation, Plan, calculations, evaluate
from scidiff_molecules.metrics.adapter import molecules
from scidiff_molecules.metrics.calculations import Calculated
from scidiff_molecules.metrics.cells import BOND
from scidiff_molecules.metrics.definitions import DEFINITIONS, JUDGE
from scidiff_molecules.metrics.histograms import Histograms
from scidiff_molecules.metrics.standard import Own, Standard, read_smiles, read_standard, write_smiles, write_standard
from scidiff_molecules.metrics.tally import Drawn, Subset
from scidiff_molecules.report.judged import write_judge_page
from scidiff_molecules.sdf import SdfWriter

LIBRARY = (Path(scidiff_molecules.__file__).parent / "report" / "3Dmol-min.js").read_text()
CHEAP = Plan(poses=0, energies=0, fcd=0, neighbours=0, workers=0)


@pytest.fixture(scope="module")
def sdf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("judge") / "m.sdf"
    with SdfWriter(path) as out:
        for mol in molecules(load_sample("test").select(range(60))):
            out.write(mol)
    return path


@pytest.fixture(scope="module")
def itself(sdf: Path) -> Evaluation:
    """A file judged against itself, with everything."""
    return evaluate(sdf, sdf, plan=Plan(poses=3, energies=4, method="mmff", fcd=50, neighbours=20, workers=2))


def counted(result: Evaluation, key: str) -> tuple[int | None, int]:
    return result[key].numerator, result[key].denominator


def test_the_zoo_has_the_verdicts_of_the_fingers() -> None:
    """Thirteen animals: nine valid and connected ones, three in the benzene ring; a piece too many, a bond too many, NaN, and none."""
    animals = {name: as_stated(structure) for name, structure in zoo().items()}
    lost = Chem.Mol(animals["methane"])
    lost.GetConformer().SetAtomPosition(0, [float("nan"), 0.0, 0.0])
    result = evaluate([*animals.values(), lost, Chem.Mol()], None, plan=replace(CHEAP, energies=20, method="mmff"))
    assert set(animals) == {
        "methane", "benzene", "charged", "zwitterion", "radical", "bromine and chlorine", "nitro", "drug", "two fragments", "hypervalent",
        "one atom",
    }  # fmt: skip
    assert counted(result, "B/valid_and_connected") == (9, 13)
    assert counted(result, "D/corrected_molecule_stability") == (8, 13)  # not the radical, five bonds, the bare atom, NaN, none
    assert counted(result, "D/scaffold_diversity") == (2, 9)
    assert [result[f"D/{name}"].denominator for name in ("qed", "sa", "logp")] == [9, 9, 9]
    rings, elements = (next(h for h in result.histograms if h.kind == kind) for kind in ("ring sizes", "elements"))
    assert (rings.labels, rings.generated) == (("6",), (1.0,))
    assert elements.labels == ("H", "C", "N", "O", "Cl", "Br")
    # 4 + 6 + 6 + 5 + 5 + 4 + 3 + 9 hydrogens, 1 + 6 + 1 + 2 + 2 + 6 + 1 + 8 + 1 carbons, and so on, of 82 atoms
    assert np.array(elements.generated) * 82 == pytest.approx([42, 28, 4, 6, 1, 1])
    assert result["E/converged"].denominator == 9
    assert result.reasons == {
        "Explicit valence for atom C, 5, is greater than permitted": 1, "a coordinate of atom N is not finite": 1, "no atoms": 1,
        "not connected: several fragments": 1,
    }  # fmt: skip
    why = {shown.index: shown.why for shown in result.worst if not shown.smiles}
    names = list(animals)
    assert why[names.index("two fragments")] == "not connected: several fragments"
    assert set(why) == {names.index("two fragments"), names.index("hypervalent"), 11, 12}


def test_a_set_has_no_distance_from_itself(itself: Evaluation) -> None:
    for key in JUDGE:
        if key.startswith("W/"):
            assert itself[key].value == pytest.approx(0.0, abs=1e-6), key
            assert itself[key].low == 0.0
            assert itself[key].own is not None
            assert itself[key].own > 0.0
    assert counted(itself, "D/scaffold_novelty")[0] == 0
    assert counted(itself, "N/twins") == (20, 20)
    assert itself["N/similarity"].value == 1.0
    assert all(one.value == 0.0 and one.generated == one.reference for one in itself.types)
    assert all(one.generated == one.reference for one in itself.histograms if one.kind != "relaxation energies")


def test_every_figure_is_there_with_its_definition_filled_in(itself: Evaluation, sdf: Path) -> None:
    assert {m.key for m in itself.metrics} == {*DEFINITIONS, *JUDGE}
    for m in itself.metrics:
        assert "{" not in m.definition
        assert m.value is not None
        assert m.low is not None
        assert m.high is not None
        assert m.low <= m.value <= m.high, m.key
    assert "MMFF94; 4 random valid and connected molecules" in itself["E/energy_median"].definition
    assert "50 random" in itself["W/fcd"].definition
    assert "configuration mol; 3 random" in itself["P/all"].definition
    assert str(sdf) in itself["D/scaffold_novelty"].definition
    assert (itself["P/all"].denominator, itself["E/converged"].denominator, itself["W/fcd"].denominator) == (3, 4, 50)
    assert {check.of for check in itself.checks} == {3}
    assert Evaluation.model_validate_json(itself.to_json()) == itself


def test_other_molecules_are_further_than_the_reference_from_itself(sdf: Path) -> None:
    """Stretched by a twentieth: lengths move by that, angles and torsions stay."""
    mols = list(Chem.SDMolSupplier(str(sdf), sanitize=False, removeHs=False))
    for mol in mols:
        mol.GetConformer().SetPositions(1.05 * mol.GetConformer().GetPositions())
    result = evaluate(mols, sdf, plan=CHEAP)
    lengths = {one.type: one.value for one in result.types if one.kind == "bond lengths"}
    assert lengths["H-C"] == pytest.approx(0.05 * 1.09, abs=0.002)
    assert lengths["C-C"] == pytest.approx(0.05 * 1.52, abs=0.004)
    assert result["W/bond_lengths"].value == pytest.approx(0.06, abs=0.01)
    assert result["W/angles"].value == pytest.approx(0.0, abs=0.05)
    assert result["W/torsions"].value == pytest.approx(0.0, abs=0.2)
    assert result["W/elements"].value == result["W/ring_sizes"].value == 0.0


def test_a_subset_is_the_smallest_priorities_whatever_the_order() -> None:
    priorities = np.random.default_rng(0).random(200)
    expected = np.argsort(priorities)[:7].tolist()
    for order in (range(200), reversed(range(200))):
        subset = Subset(7)
        for index in order:
            subset.offer(float(priorities[index]), Drawn(index, {}, ""))
        assert [one.index for one in subset.items()] == expected
    empty = Subset(0)
    empty.offer(0.1, Drawn(0, {}, ""))
    assert empty.items() == []


def test_missing_packages_are_notes_and_not_errors(sdf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calculations, "find_spec", lambda name: None)
    result = evaluate(sdf, sdf, plan=replace(CHEAP, poses=5, energies=2, fcd=20))
    assert {m.key for m in result.metrics} & {"P/all", "W/fcd"} == set()
    assert "MMFF94" in result["E/energy_median"].definition
    assert [note.split(":")[0] for note in result.notes] == [
        "posebusters is not installed (extra molecules)", "tblite is not installed (extra xtb)",
        "fcd_torch is not installed (extra molecules)",
    ]  # fmt: skip


def test_sizes_of_nought_switch_parts_off(sdf: Path) -> None:
    keys = {m.key for m in evaluate(sdf, None, plan=CHEAP).metrics}
    assert not {key for key in keys if key[:2] in ("W/", "N/", "P/", "E/")}
    assert "D/qed" in keys
    assert "D/scaffold_novelty" not in keys


@pytest.mark.parametrize(("changes", "said"), [
    ({"poses": -1}, "poses: a subset of -1"), ({"fcd": 10**9}, "fcd: a subset of 1,000,000,000"),
    ({"workers": -1}, "workers -1"), ({"patience": 0.0}, "patience 0.0"), ({"seed": -1}, "seed -1"),
])  # fmt: skip
def test_plans_that_cannot_be_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Plan(**changes)


def hostile(path: Path, sdf: Path) -> Path:
    """Rows 9, 10, 12 and 13 of the promises' table: one good record first and last."""
    good = sdf.read_text().split("$$$$\n")[0]

    def at(number: int, text: str) -> str:
        lines = good.split("\n")
        lines[4] = text.rjust(10) + lines[4][10:]
        return "\n".join([f"{number}", *lines[1:]])

    lone = "one atom\n\n\n  1  0  0  0  0  0  0  0  0  0999 V2000\n    0.0000    0.0000    0.0000 He  0  0\nM  END\n"
    none = "no atom\n\n\n  0  0  0  0  0  0  0  0  0  0999 V2000\nM  END\n"
    many = "many\n\n\n  0  0  0  0  0  0  0  0  0  0999 V3000\nM  V30 BEGIN CTAB\nM  V30 COUNTS 5000 0 0 0 0\nM  V30 END CTAB\nM  END\n"
    claim = "claim\n\n\n2000000000  0  0  0  0  0  0  0999 V2000\nM  END\n"
    records = [good, at(1, "nan"), at(2, "inf"), at(3, "1e308"), claim, none, lone, many, "garbage\n", good[: len(good) // 2] + "\n", good]
    path.write_text("$$$$\n".join([*records, ""]))
    return path


def test_hostile_records_are_counted_and_named(sdf: Path, tmp_path: Path) -> None:
    path = hostile(tmp_path / "h.sdf", sdf)
    plan = Plan(poses=2, energies=3, method="mmff", fcd=0, neighbours=5, workers=1)
    result = evaluate(path, sdf, plan=plan)
    assert result.samples == 11
    assert [f.index for f in result.failures] == [1, 2, 3, 4, 5, 7, 8, 9]
    assert counted(result, "readable") == (3, 11)
    assert counted(result, "B/valid_and_connected") == (3, 11)
    reasons = {f.index: f.reason for f in result.failures}
    assert all("atom 1" in reasons[index] for index in (1, 2, 3))
    assert "claims 2,000,000,000 atoms" in reasons[4]
    assert reasons[5] == "no atoms"
    assert "5,000 atoms" in reasons[7]

    def refuse(text: str) -> None:
        raise AssertionError(f"{text} is no JSON")

    json.loads(result.to_json(), parse_constant=refuse)
    write_judge_page(tmp_path / "p.html", result)


def test_an_only_record_of_nothing_is_judged_too(tmp_path: Path) -> None:
    with SdfWriter(tmp_path / "n.sdf") as out:
        out.write(None)
    result = evaluate(tmp_path / "n.sdf", None, plan=replace(CHEAP, poses=2, energies=2))
    assert result.samples == 1
    assert all(m.value is None for m in result.metrics if m.key in ("D/qed", "D/scaffold_diversity", "D/corrected_atom_stability"))
    write_judge_page(tmp_path / "n.html", result)


def test_the_page_holds_the_figures_loads_nothing_and_escapes_everything(itself: Evaluation, tmp_path: Path) -> None:
    text = write_judge_page(tmp_path / "p.html", itself).read_text()
    page = Page(text)
    words = " ".join(" ".join(page.text).split())
    assert all(m.name in words for m in itself.metrics)
    assert f"(n {itself['W/angles'].own_molecules:,})" in words
    assert len(page.data()["molecules"]) == len(itself.worst)
    assert all(f"{shown.index}: {shown.why}" in words for shown in itself.worst)
    assert text.count('<img src="data:image/png') == 4
    assert references(text.replace(LIBRARY, "")) == []
    assert text == write_judge_page(tmp_path / "again.html", itself).read_text()
    rude = itself.model_copy(update={
        "source": HOSTILE[0], "reasons": dict.fromkeys(HOSTILE, 1), "notes": tuple(HOSTILE), "provenance": {HOSTILE[0]: HOSTILE[1]},
        "worst": tuple(shown.model_copy(update={"why": HOSTILE[k % 5]}) for k, shown in enumerate(itself.worst)),
    })  # fmt: skip
    rude_page = write_judge_page(tmp_path / "rude.html", rude).read_text()
    assert references(rude_page.replace(LIBRARY, "")) == []
    assert all(f'"{name}"' not in rude_page for name in HOSTILE[:2])


def test_the_command_does_all_of_it(sdf: Path, tmp_path: Path) -> None:
    options = ["--reference", str(sdf), "--poses", "0", "--energy", "none", "--fcd", "0", "--neighbours", "5", "--workers", "0"]
    files = ["--json", str(tmp_path / "o.json"), "--page", str(tmp_path / "o.html")]
    result = CliRunner().invoke(app, ["evaluate", str(sdf), *options, *files])
    assert result.exit_code == 0, result.exception
    assert "Distance to the reference's distributions" in " ".join(result.output.split())
    stored = Evaluation.model_validate_json((tmp_path / "o.json").read_text())
    assert {"W/angles", "N/twins"} <= {m.key for m in stored.metrics}
    assert "E/energy_median" not in {m.key for m in stored.metrics}
    assert (tmp_path / "o.html").stat().st_size > 100_000
    quick = CliRunner().invoke(app, ["evaluate", str(sdf), "--reference", "none", "--quick", "--json", str(tmp_path / "q.json")])
    assert quick.exit_code == 0
    assert {m.key for m in Evaluation.model_validate_json((tmp_path / "q.json").read_text()).metrics} <= set(DEFINITIONS)
    early = CliRunner().invoke(app, ["evaluate", str(sdf), "--page", str(tmp_path / "no" / "p.html")])
    assert isinstance(early.exception, UserError)


def small_standard() -> Standard:
    histograms = Histograms(3)
    histograms.put(BOND.keys(5, [1.0, 1.1, 2.0]), np.array([[3, 1, 2], [4, 4, 0], [5, 0, 5]]))
    moments = np.random.default_rng(0).normal(size=(600, 512))
    return Standard(
        "a", "b", 12, histograms, np.array([1, 2**63], dtype=np.uint64), (), moments.mean(0), np.cov(moments, rowvar=False), 600,
        {"W/fcd": (Own(3.0, 100), Own(1.0, 1000))}, (1.0, 2.5),
    )  # fmt: skip


def test_a_standard_survives_its_file_and_damaged_ones_are_refused(tmp_path: Path) -> None:
    one, path, smiles = small_standard(), tmp_path / "s.safetensors", tmp_path / "s.xz"
    write_standard(path, one, {"source": "hand"})
    write_smiles(smiles, ["CC", "C"])
    back = read_standard(path, smiles)
    (cells, counts), (cells_read, counts_read) = one.histograms.items(), back.histograms.items()
    np.testing.assert_array_equal(cells, cells_read)
    np.testing.assert_array_equal(counts[:, :1], counts_read)
    np.testing.assert_array_equal(one.covariance, back.covariance)
    np.testing.assert_array_equal(one.mean, back.mean)
    np.testing.assert_array_equal(one.scaffolds, back.scaffolds)
    assert (back.name, back.known_name, back.molecules, back.activations, back.smiles) == ("a", "b", 12, 600, ["C", "CC"])
    assert (dict(back.own), list(back.energies)) == (dict(one.own), list(one.energies))
    whole = path.read_bytes()
    for content, said in ((whole[:-7], "not a readable file"), (whole.replace(b"distributions/1", b"distributions/9"), "expected")):
        path.write_bytes(content)
        with pytest.raises(UserError, match=said):
            read_standard(path)
    path.unlink()
    with pytest.raises(UserError, match="missing"):
        read_standard(path)
    smiles.write_bytes(smiles.read_bytes()[:-9])
    with pytest.raises(UserError, match="not a readable list"):
        read_smiles(smiles)


@pytest.mark.parametrize(("molecules", "value"), [(1, 3.0), (300, 3.0), (330, 1.0), (10**6, 1.0)])
def test_the_own_score_is_that_of_the_nearest_number(molecules: int, value: float) -> None:
    own = small_standard().own_score("W/fcd", molecules)
    assert own is not None
    assert own.value == value
    assert small_standard().own_score("absent", 5) is None


def test_nothing_calculated_is_nothing_shown() -> None:
    empty = Calculated()
    assert (empty.poses, empty.energies, empty.activations, empty.similarities, empty.notes) == ([], [], None, None, [])
