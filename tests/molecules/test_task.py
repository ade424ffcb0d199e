"""The training task: statistics by hand, batches and losses that are pure functions, a validation that survives rare atoms."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from support.molecules import SMALL
from support.pages import Page, directives

from scidiff.config import validate
from scidiff.config.reader import apply_overrides, read_yaml
from scidiff.errors import UserError
from scidiff.random import Noise
from scidiff.train.task import Task
from scidiff.train.weights import load_weights, save_weights
from scidiff_molecules import MoleculeGenerator
from scidiff_molecules.data import MoleculeDataset
from scidiff_molecules.model import BackboneConfig, Statistics
from scidiff_molecules.recipe import Recipe
from scidiff_molecules.task import MoleculeTask, _usable, measure
from scidiff_molecules.tokens import BONDS, ELEMENTS, POSITIONS, Token, Vocabulary

TINY: dict[str, Any] = {**SMALL, "width": 16, "blocks": 1, "irreps": "8x1o"}


def by_hand() -> MoleculeDataset:
    """Water, carbon monoxide with its charges, and methane, hydrogens implicit; and one molecule without bonds assigned."""
    fields = {
        "pos": torch.tensor([[5.0, 0, 0], [0.0, 0, 0], [0.0, 0, 1.2], [1.0, 1, 1], [0.0, 0, 0]]),
        "z": torch.tensor([8, 6, 8, 6, 6]),
        "charge": torch.tensor([0, -1, 1, 0, 0]),
        "num_h": torch.tensor([2, 0, 0, 4, 0]),
        "bond_index": torch.tensor([[0], [1]]),
        "bond_order": torch.tensor([3]),
        "y": torch.zeros(4, 1),
        "index": torch.arange(4),
        "assigned": torch.tensor([True, True, True, False]),
    }
    return MoleculeDataset(fields, torch.tensor([1, 2, 1, 1]), torch.tensor([0, 1, 0, 0]))


def test_statistics_by_hand() -> None:
    measured = measure(by_hand().select(torch.arange(3)))
    assert set(measured.vocabulary.tokens) == {Token(8, 0, 2), Token(6, -1, 0), Token(8, 1, 0), Token(6, 0, 4)}
    assert measured.element_law == (0.25,) * 4
    assert measured.bond_law == (0.0, 0.0, 0.0, 1.0)
    assert measured.sizes == (0, 2, 1)
    assert measured.scale == pytest.approx((2 * 0.6**2 / 12) ** 0.5, abs=1e-4)  # root mean square over atoms and axes, centred
    assert Statistics.from_json(measured.to_json()) == measured


def test_the_scale_makes_positions_of_unit_variance(heavy: MoleculeDataset, statistics: Statistics, tiny_task: MoleculeTask) -> None:
    batch = tiny_task.batch(torch.arange(len(tiny_task.dataset)))
    real = batch.state[POSITIONS][batch.layouts[POSITIONS].mask]
    assert float(real.square().mean()) == pytest.approx(1, abs=1e-3)
    assert statistics.vocabulary.covers(*(heavy.fields[key] for key in ("z", "charge", "num_h"))).all()
    assert sum(statistics.element_law) == pytest.approx(1)
    assert sum(statistics.sizes) == len(heavy)


def test_a_batch_is_a_pure_function_of_its_examples(tiny_task: MoleculeTask) -> None:
    assert isinstance(tiny_task, Task)
    examples = torch.tensor([200, 3, 77])
    one, again = tiny_task.batch(examples), tiny_task.batch(examples)
    assert all(torch.equal(one.state[name], again.state[name]) for name in (POSITIONS, ELEMENTS, BONDS))
    assert one.layouts[ELEMENTS].mask.sum(1).tolist() == tiny_task.sizes[examples].tolist()
    for row, example in enumerate(examples.tolist()):
        n = int(tiny_task.sizes[example])
        alone = tiny_task.batch(torch.tensor([example]))
        assert torch.equal(one.state[ELEMENTS][row, :n], alone.state[ELEMENTS][0])
        assert torch.equal(one.state[BONDS][row, :n, :n], alone.state[BONDS][0])
        assert torch.allclose(one.state[POSITIONS][row, :n], alone.state[POSITIONS][0], atol=1e-6)


@pytest.mark.parametrize(("bucket", "width"), [(1, 8), (3, 9), (5, 10)])
def test_padding_goes_to_a_multiple_of_the_bucket(tiny_task: MoleculeTask, bucket: int, width: int) -> None:
    task = deepcopy(tiny_task)
    task.recipe = task.recipe.model_copy(update={"data": task.recipe.data.model_copy(update={"bucket": bucket})})
    assert int(task.sizes.max()) == 8
    assert task.batch(torch.arange(len(task.dataset))).state[ELEMENTS].shape[1] == width


def test_a_loss_does_not_depend_on_its_batch(tiny_task: MoleculeTask) -> None:
    """Each example's loss is its own: noise by its number, time by its u, whatever the padding and the neighbours."""
    examples, u = torch.tensor([9, 200, 31, 150]), torch.tensor([0.1, 0.5, 0.9, 0.3]).double()
    denoiser = deepcopy(tiny_task.denoiser).double().eval()

    def losses(chosen: torch.Tensor) -> torch.Tensor:
        batch = tiny_task.batch(examples[chosen])
        x = {**batch.state, POSITIONS: batch.state[POSITIONS].double()}
        with torch.no_grad():
            loss = tiny_task.objective(denoiser, x, batch.layouts, Noise(0, examples[chosen]), u[chosen], step=2, self_condition=True)
        assert not loss.is_bound  # aligned noise
        return loss.total

    together = losses(torch.arange(4))
    assert torch.allclose(losses(torch.tensor([3, 1])), together[[3, 1]], rtol=1e-5)
    for row in range(4):
        assert torch.allclose(losses(torch.tensor([row])), together[row], rtol=1e-5)


def test_the_initial_weights_follow_the_seed_and_disturb_nobody() -> None:
    def task(seed: int) -> MoleculeTask:
        data = {"source": "sample", "limit": 64, "valid": 8}
        return MoleculeTask(Recipe.model_validate({"data": data, "backbone": TINY, "train": {"seed": seed}}))

    before = torch.random.get_rng_state()
    first, again, other = task(1), task(1), task(2)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first.denoiser.parameters(), again.denoiser.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first.denoiser.parameters(), other.denoiser.parameters(), strict=True))


def test_validation_leaves_out_atoms_that_training_never_saw() -> None:
    """Twenty training molecules lack some tokens of the validation split; molecules with these have no loss, the others must."""
    data = {"source": "sample", "limit": 20, "valid": 500}
    task = MoleculeTask(Recipe.model_validate({"data": data, "backbone": TINY}))
    assert 300 < len(task.valid) < 500
    first, again = task.validate(task.denoiser), task.validate(task.denoiser)
    assert first == again
    assert set(first) == {"loss", *(f"{kind}/{name}" for kind in ("loss", "nats") for name in (POSITIONS, ELEMENTS, BONDS))}
    assert first["loss"] == pytest.approx(sum(first[f"loss/{name}"] for name in (POSITIONS, ELEMENTS, BONDS)), rel=1e-6)


def test_molecules_that_cannot_be_trained_on_are_left_out() -> None:
    dataset = by_hand()
    assert _usable(dataset).tolist() == [0, 1, 2]
    assert _usable(dataset, Vocabulary((Token(8, 0, 2), Token(6, 0, 4)))).tolist() == [0, 2]
    assert _usable(dataset.select(torch.tensor([3, 2, 1]))).tolist() == [1, 2]


def test_a_preview_measures_and_draws(tiny_task: MoleculeTask, tmp_path: Path) -> None:
    first = tiny_task.preview(tiny_task.denoiser, tmp_path / "previews", 120)
    assert [path.name for path in first.files] == ["step-0000120.png", "step-0000120.html"]
    with Image.open(first.files[0]) as picture:
        assert picture.format == "PNG"
    again = tiny_task.preview(tiny_task.denoiser, tmp_path, 120)
    assert first.metrics == again.metrics
    assert [path.read_bytes() for path in first.files] == [path.read_bytes() for path in again.files]
    page = first.files[1].read_text()
    parsed = Page(page)
    assert (directives(parsed)["default-src"], directives(parsed)["img-src"]) == (["'none'"], ["data:"])  # it can load nothing
    shown = parsed.data()["molecules"]
    assert [molecule["caption"] for molecule in shown] == [f"molecule {number}" for number in range(8)]
    assert len(page) < 2**20


def test_the_header_builds_the_model_again(tiny_task: MoleculeTask, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_weights(path, dict(tiny_task.denoiser.state_dict()), tiny_task.metadata())
    loaded = MoleculeGenerator.load(path)
    assert loaded.statistics == tiny_task.statistics
    assert loaded.denoiser.process == tiny_task.denoiser.process
    state, other = loaded.denoiser.state_dict(), tiny_task.denoiser.state_dict()
    assert state.keys() == other.keys()
    assert all(torch.equal(state[name], other[name]) for name in other)
    assert "cache" not in load_weights(path)[1]["data"]  # a path of the machine that trained


@pytest.mark.parametrize("recipe", sorted((Path(__file__).parents[2] / "configs" / "molecules").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_of_the_repository_is_valid(recipe: Path) -> None:
    checked = validate(Recipe, read_yaml(recipe))
    assert checked.domain == "molecules"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.n_stpes=3", "n_stpes"),
        ("train.stpes=3", "steps"),
        ("backbone.irreps=32x0e+", "irreps"),
        ("loss.alignment=rotations", "rotation"),
        ("data.hydrogens=some", "implicit"),
        ("data={source: own, path: mine.sdf, half: judge}", "a file of your own has none"),
        ("train.batch_size=0", "greater than or equal to 1"),
        ("noise.hydrogens=token", "give way to what grows, so they need noise.hydrogens: field"),
        ("noise.labels=ve", "noise.labels"),
        ("train.self_conditioning=0", "set both or neither"),
    ],
)
def test_a_typo_in_a_recipe_is_named(override: str, message: str) -> None:
    recipe = Path(__file__).parents[2] / "configs" / "molecules" / "qm9.yaml"
    with pytest.raises(UserError, match=message):
        validate(Recipe, apply_overrides(read_yaml(recipe), [override]))


def test_heads_that_do_not_divide_are_a_users_error() -> None:
    recipe = Recipe.model_validate({"data": {"source": "sample", "limit": 8}, "backbone": BackboneConfig(width=30).model_dump()})
    with pytest.raises(UserError, match=r"heads \(8\) must divide width \(30\)"):
        MoleculeTask(recipe)
