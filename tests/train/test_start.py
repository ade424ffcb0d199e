"""Starting from a model that exists, on data of one's own: the same weights, the start's own noise and tokens, and clear refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from rdkit import Chem
from typer.testing import CliRunner

from scidiff.cli import app
from scidiff.config import ConfigError, load_config
from scidiff.errors import UserError
from scidiff.train.session import TrainWarning
from scidiff.train.weights import load_weights, weights_sha256
from scidiff_molecules import MoleculeGenerator
from scidiff_molecules.data import load_sample
from scidiff_molecules.data.own import load_sdf
from scidiff_molecules.metrics.adapter import structures
from scidiff_molecules.model import NoiseConfig
from scidiff_molecules.recipe import Recipe
from scidiff_molecules.registry import find_model
from scidiff_molecules.sdf import SdfWriter, build_mol, with_conformer
from scidiff_molecules.task import MoleculeTask
from scidiff_timeseries import samples
from scidiff_timeseries.forecaster import Forecaster


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty molecules of the sample as a chemist's file, with one that holds sulphur, one flat and one salt among them."""
    path = tmp_path_factory.mktemp("own") / "own.sdf"
    dataset = load_sample("test")
    good = dataset.select(torch.arange(len(dataset))[dataset.fields["assigned"][dataset.rows]][:40])
    with SdfWriter(path) as file:
        for structure in structures(good):
            file.write(with_conformer(build_mol(structure), structure).GetMol())
    thiol = Chem.AddHs(Chem.MolFromSmiles("CCS"))
    salt = Chem.AddHs(Chem.MolFromSmiles("C[NH3+].[Cl-]"))
    from rdkit.Chem import rdDepictor, rdDistGeom

    for mol in (thiol, salt):
        rdDistGeom.EmbedMolecule(mol, randomSeed=0)
    flat = Chem.MolFromSmiles("CCO")
    rdDepictor.Compute2DCoords(flat)
    with path.open("a") as file:
        for mol in (thiol, salt, flat):
            file.write(Chem.MolToMolBlock(mol) + "$$$$\n")
    return path


def recipe(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    return path


def test_a_users_file_becomes_the_molecules_it_holds(own: Path) -> None:
    dataset = load_sdf(own)
    known = load_sample("test")
    first = [known.select(torch.arange(len(known))[known.fields["assigned"][known.rows]][:40])[i] for i in range(40)]
    assert len(dataset) == 41  # the sulphur is fine as such
    reasons = dataset.metadata["left_out"]
    assert sorted(reason.split(":")[0] for reason in reasons) == ["no 3D coordinates", "several fragments"]
    assert [index for index, _ in dataset.metadata["left_out_records"]] == [41, 42]
    for number, molecule in enumerate(first):
        mine = dataset[number]
        for field in ("z", "charge", "num_h", "bond_index"):  # the orders of an aromatic ring may be its other Kekule form
            assert torch.equal(mine[field], molecule[field]), field
        assert int(mine["bond_order"].sum()) == int(molecule["bond_order"].sum())
        assert torch.allclose(mine["pos"], molecule["pos"], atol=1e-4)


def test_a_training_starts_where_the_model_stands(own: Path, tmp_path: Path) -> None:
    """The first loss on the user's molecules is the shipped model's, far below that of fresh weights."""
    path = recipe(tmp_path, f"domain: molecules\nname: mine\ndata: {{source: sdf, path: {own}}}\ninit: qm9\n")
    made = load_config(Recipe, path)
    with pytest.warns(TrainWarning) as told:
        task = MoleculeTask(made)
    messages = " ".join(str(one.message) for one in told)
    assert "2 records of own.sdf are left out" in messages
    assert "init = qm9: 1 of 37 molecules are left out: they hold atoms for which it has no token" in messages
    shipped = MoleculeGenerator.load("qm9")
    assert (made.known.substructure, made.loss.alignment) == (0.33, "permutation_rotation")  # as it was trained, not as recipes default
    assert made.noise == NoiseConfig.model_validate(shipped.metadata["noise"])
    assert task.statistics.vocabulary == shipped.statistics.vocabulary
    assert sum(task.statistics.sizes) == len(task.dataset)
    assert task.validate(task.denoiser.eval()) == task.validate(shipped.denoiser)
    before = task.validate(task.denoiser)["loss"]
    for parameter in task.denoiser.parameters():
        torch.nn.init.normal_(parameter, std=0.02, generator=torch.Generator().manual_seed(0))
    assert before < 0.5 * task.validate(task.denoiser)["loss"]


def test_the_command_and_what_the_new_model_says_of_its_start(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = f"domain: molecules\nname: mine\ndata: {{source: sdf, path: {own}}}\n"
    text += "train: {steps: 2, batch_size: 8, warmup: 0, learning_rate: 1e-5, validate_every: 100, preview_every: 100, ema_decay: 0}\n"
    command = ["train", str(recipe(tmp_path, text)), "--init", "qm9", "--out", "run", "--tracking-uri", "off", "--device", "cpu"]
    with pytest.warns(TrainWarning):
        done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    tensors, metadata = load_weights("run/weights.safetensors")
    start = load_weights(find_model("qm9"))[0]
    assert metadata["init"] == {"model": "qm9", "sha256": weights_sha256(start)}
    assert tensors.keys() == start.keys()
    moved = {name: float((tensors[name] - start[name]).abs().max()) for name in start if start[name].numel()}
    assert 0 < max(moved.values()) < 1e-3
    assert "init: qm9" in Path("run/recipe.yaml").read_text()
    assert MoleculeGenerator.load("run").generate(1, steps=2)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("noise: {positions: vp}", r"init = qm9: its noise.positions is 'straight', the recipe's 'vp': leave the section 'noise' out"),
        ("data: {source: sample, hydrogens: explicit}", "init = qm9: it was trained with implicit hydrogens"),
        ("init: qm99", "no model 'qm99'; did you mean 'qm9'"),
        ("init: OTHER", "this is a model of the domain 'timeseries', not of 'molecules'"),
    ],
)
def test_a_recipe_that_does_not_fit_the_start_is_refused(line: str, message: str, tmp_path: Path) -> None:
    from scidiff_timeseries.registry import find_model as find_forecaster

    lines = {"domain": "domain: molecules", "data": "data: {source: sample}", "init": "init: qm9"}
    lines[line.partition(":")[0]] = line.replace("OTHER", str(find_forecaster("treasury")))
    with pytest.raises((ConfigError, UserError), match=message):
        load_config(Recipe, recipe(tmp_path, "\n".join(lines.values()) + "\n"))


def rates(columns: int) -> pd.DataFrame:
    """Made-up yields of business days: random walks."""
    values = 3 + 0.05 * np.random.default_rng(0).standard_normal((400, columns)).cumsum(0)
    frame = pd.DataFrame(values, columns=[f"y{k}" for k in range(columns)])
    return frame.assign(ds=pd.bdate_range("2020-01-01", periods=400), unique_id="mine")


def made(init: str, **changes: Any) -> Forecaster:
    from scidiff_timeseries.recipe import Recipe as SeriesRecipe

    train = {"steps": 1, "batch_size": 4, "learning_rate": 1e-9, "ema_decay": 0, "warmup": 0}
    values = {"windows": {"horizon": 20, "rolls": 2, "selection_rolls": 2}, "train": train, "init": init, **changes}
    return Forecaster(recipe=SeriesRecipe.model_validate(values))


def test_a_forecaster_starts_from_another() -> None:
    """Its network, on base laws and a calibration of its own."""
    assert "treasury" in samples.SAMPLES
    forecaster, treasury = made("treasury"), Forecaster.load("treasury")
    forecaster.fit(rates(8))
    mine, start = forecaster.denoiser.state_dict(), treasury.denoiser.state_dict()
    network = [name for name in start if name.startswith("backbone.")]
    assert network
    assert all(torch.allclose(mine[name], start[name], atol=1e-6) for name in network)
    assert forecaster.metadata["init"]["model"] == "treasury"
    assert list(forecaster.chosen["series"].unique()) == ["mine"]


def test_data_that_do_not_fit_the_start_are_refused() -> None:
    with pytest.raises(UserError, match="init = treasury: its number of channels is 8, that of these data 3"):
        made("treasury").fit(rates(3))
    weekly = rates(8).assign(ds=pd.date_range("2010-01-03", periods=400, freq="W"))
    with pytest.raises(UserError, match="init = treasury: its step is B, that of these data W"):
        made("treasury").fit(weekly)


def test_the_forecasters_own_argument_and_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Forecaster(20, init="treasury").recipe.init == "treasury"
    rates(8).to_csv("rates.csv", index=False)
    command = ["timeseries", "fit", "rates.csv", "--init", "treasury", "--base-law", "--tracking-uri", "off"]
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert load_weights("model.safetensors")[1]["init"]["model"] == "treasury"
