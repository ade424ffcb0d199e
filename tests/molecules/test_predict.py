"""A judge of properties: what it says does not depend on neighbours, motions or hydrogens drawn; its errors are the loss's; its command."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from rdkit import Chem
from support.molecules import SMALL, shake
from typer.testing import CliRunner

from scidiff.errors import UserError
from scidiff.random import Noise
from scidiff.train.weights import save_weights
from scidiff_molecules.card import sections
from scidiff_molecules.cli import app
from scidiff_molecules.generator import MoleculeGenerator
from scidiff_molecules.metrics.adapter import structures
from scidiff_molecules.predict import PropertyJudge
from scidiff_molecules.predict_command import miss
from scidiff_molecules.properties import values_of
from scidiff_molecules.recipe import Recipe
from scidiff_molecules.sdf import SdfWriter, build_mol, with_conformer
from scidiff_molecules.task import MoleculeTask
from scidiff_molecules.tokens import PROPERTIES


@pytest.fixture(scope="module")
def task() -> MoleculeTask:
    data = {"source": "sample", "limit": 400, "valid": 64, "half": "judge", "properties": ["gap", "mu"]}
    backbone = {**SMALL, "irreps": "8x1o", "self_conditioning": False}
    recipe = {"name": "tiny judge", "data": data, "backbone": backbone, "known": {"molecule": True}, "train": {"self_conditioning": 0}}
    made = MoleculeTask(Recipe.model_validate(recipe))
    shake(made.denoiser)
    return made


@pytest.fixture(scope="module")
def model(task: MoleculeTask, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("judge") / "judge.safetensors"
    save_weights(path, dict(task.denoiser.state_dict()), {**task.metadata(), "step": 0})
    return path


@pytest.fixture(scope="module")
def molecules() -> list[Chem.Mol]:
    from scidiff_molecules.data import load_sample

    made = [with_conformer(build_mol(one), one).GetMol() for one in structures(load_sample("valid").select(torch.arange(24)))]
    for mol in made:
        Chem.SanitizeMol(mol)
    return made


def test_a_judges_loss_is_the_squared_error_of_what_it_says(task: MoleculeTask, model: Path) -> None:
    """In standard deviations of its training molecules, summed over properties; whatever the time that is drawn."""
    judge, examples = PropertyJudge.load(model), torch.arange(32)
    with torch.no_grad():
        batch = task.batch(examples)
        loss = task.objective(task.denoiser, batch.state, batch.layouts, Noise(0, examples), torch.rand(32).double())
    part = task.dataset.select(examples)
    std = torch.tensor([one.std for one in task.statistics.properties]).double()
    errors = ((judge.of(part) - values_of(part, judge.names)) / std).square().sum(1)
    torch.testing.assert_close(loss.terms[PROPERTIES], errors, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(loss.total, loss.terms[PROPERTIES])


def test_what_is_said_of_a_molecule_depends_on_it_alone(model: Path, molecules: list[Chem.Mol]) -> None:
    judge = PropertyJudge.load(model)
    together = judge.predict([None, *molecules])
    assert bool(torch.isnan(together[0]).all())
    assert bool(torch.isfinite(together[1:]).all())
    moved = []
    for mol in molecules:
        order = np.random.default_rng(0).permutation(mol.GetNumAtoms()).tolist()
        other = Chem.RenumberAtoms(mol, order)
        conformer = other.GetConformer()
        conformer.SetPositions(-conformer.GetPositions()[:, [1, 0, 2]] + np.array([3.0, -1.0, 7.0]))  # a reflection and a shift
        moved.append(other)
    torch.testing.assert_close(judge.predict(moved), together[1:], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(judge.predict(molecules[5:6]), together[6:7], rtol=1e-4, atol=1e-4)


def test_what_cannot_be_judged_is_nan_and_nothing_else(model: Path, molecules: list[Chem.Mol]) -> None:
    fragments = Chem.CombineMols(molecules[0], molecules[1])
    bromine = Chem.RWMol(molecules[2])
    light = next(atom for atom in bromine.GetAtoms() if atom.GetAtomicNum() == 1)
    light.SetAtomicNum(35)
    nowhere, flat = Chem.Mol(molecules[5], True), Chem.Mol(molecules[5])
    flat.GetConformer().Set3D(False)
    said = PropertyJudge.load(model).predict([molecules[3], fragments, bromine.GetMol(), nowhere, flat, molecules[4]])
    assert torch.isnan(said).all(1).tolist() == [False, True, True, True, True, False]
    alone = PropertyJudge.load(model).predict([molecules[3], molecules[4]])
    torch.testing.assert_close(said[[0, 5]], alone, rtol=1e-4, atol=1e-4)


def test_a_preview_of_a_judge_states_its_errors(task: MoleculeTask, model: Path, tmp_path: Path) -> None:
    preview = task.preview(task.denoiser, tmp_path / "previews", 7)
    judge = PropertyJudge.load(model)
    errors = (values_of(task.valid, judge.names) - judge.of(task.valid)).abs().mean(0)
    assert preview.metrics == pytest.approx({"mae/gap": float(errors[0]), "mae/mu": float(errors[1])}, rel=1e-6)
    assert [path.name for path in preview.files] == ["step-0000007.png"]
    assert imread(preview.files[0]).std() > 0.01


def test_cards_say_what_may_be_asked(task: MoleculeTask, tiny_task: MoleculeTask) -> None:
    judge, plain = (sections(one.metadata(), "")[0].text for one in (task, tiny_task))
    assert "Predicts properties" in judge
    assert "gap, mu" in judge
    whole = "\n".join(section.text for section in sections(task.metadata(), ""))
    assert "the half of it that trains judges of properties" in whole
    assert "generative" not in whole
    assert "predicts no property" not in whole
    assert "come out" not in whole
    assert "knows no property, no target and no scaffold" in plain
    told = {**tiny_task.metadata(), "known": {"substructure": 0.3}, "statistics": task.metadata()["statistics"]}
    assert "May be asked for: properties (gap, mu), as values or ranges; a part that every molecule holds" in sections(told, "")[0].text


def test_a_generator_is_no_judge_and_a_judge_no_generator(tiny_model: Path, model: Path) -> None:
    with pytest.raises(UserError, match=r"generates molecules and predicts nothing"):
        PropertyJudge(MoleculeGenerator.load(tiny_model))
    with pytest.raises(UserError, match=r"predicts properties and generates nothing"):
        MoleculeGenerator.load(model).stream(1)


def test_halves_share_no_molecule_and_are_the_whole() -> None:
    from scidiff_molecules.recipe import DataConfig
    from scidiff_molecules.task import load_data

    judge, generator, whole = (
        load_data(DataConfig.model_validate({"source": "sample", "half": half}))[0].fields["index"] for half in ("judge", "generator", None)
    )
    assert not set(judge.tolist()) & set(generator.tolist())
    assert set(judge.tolist()) | set(generator.tolist()) == set(whole.tolist())


def test_a_miss_is_the_distance_to_the_range() -> None:
    assert [miss((2.0, 3.0), got) for got in (1.5, 2.0, 2.7, 3.0, 4.0)] == [0.5, 0.0, 0.0, 0.0, 1.0]


def test_the_command_writes_what_was_asked_and_got(model: Path, molecules: list[Chem.Mol], tmp_path: Path) -> None:
    path, out, plot = tmp_path / "m.sdf", tmp_path / "p.csv", tmp_path / "p.png"
    with SdfWriter(path) as file:
        for number, mol in enumerate(molecules[:4]):
            file.write(mol, name=str(number), properties={"scidiff_targets": "gap=5.5; mu=2..3"} if number else {})
    asked = CliRunner().invoke(app, ["predict", str(path), "--model", str(model), "--out", str(out), "--plot", str(plot)])
    assert asked.exit_code == 0, asked.output
    lines = [line.split(",") for line in out.read_text().splitlines()]
    assert lines[0] == ["index", "gap", "mu", "asked_gap_low", "asked_gap_high", "asked_mu_low", "asked_mu_high"]
    assert [line[3:] for line in lines[1:]] == [["", "", "", ""]] + [["5.5", "5.5", "2.0", "3.0"]] * 3
    said = PropertyJudge.load(model).predict(molecules[:4])
    np.testing.assert_allclose([[float(value) for value in line[1:3]] for line in lines[1:]], said, rtol=1e-3, atol=2e-3)
    assert imread(plot).std() > 0.01  # there is something on it
    assert "5.5" in asked.output
    refused = CliRunner().invoke(app, ["predict", str(path), "--model", str(model), "--out", "p.txt"])
    assert isinstance(refused.exception, UserError)
