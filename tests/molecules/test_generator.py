"""Generation: a molecule is a function of (seed, number), to the bit in fixed blocks, to rounding otherwise; bad input is refused."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rdkit import Chem
from torch import Tensor

from scidiff.denoiser import Denoiser
from scidiff.errors import UserError
from scidiff.random import Noise
from scidiff.sampling import RULES
from scidiff.train.weights import load_weights, save_weights
from scidiff_molecules import MoleculeGenerator
from scidiff_molecules.decode import Generated
from scidiff_molecules.generator import MAX_MOLECULES
from scidiff_molecules.model import SamplerConfig
from scidiff_molecules.recipe import Recipe
from scidiff_molecules.task import MoleculeTask
from scidiff_molecules.tokens import ELEMENTS, POSITIONS
from scidiff_molecules.wish import NOTHING

SAME = 1e-3  # Angstrom
BLOCK = 20


@pytest.fixture(scope="module")
def generator(tiny_model: Path) -> MoleculeGenerator:
    return MoleculeGenerator.load(tiny_model)


@pytest.fixture(scope="module")
def exact(tiny_model: Path) -> MoleculeGenerator:
    """The same in float64: random weights amplify float32's rounding as trained ones do not, which would hide what is tested."""
    loaded = MoleculeGenerator.load(tiny_model)
    loaded.denoiser.double()
    return loaded


@pytest.fixture(scope="module")
def hundred(generator: MoleculeGenerator) -> list[Generated]:
    return list(generator.stream(100, seed=3, steps=5, batch_size=BLOCK))


def graph(one: Generated) -> tuple[Any, ...]:
    """Elements, charges and bonds: unlike SMILES, there also for molecules that do not sanitise."""
    atoms = tuple((atom.GetAtomicNum(), atom.GetFormalCharge()) for atom in one.mol.GetAtoms())
    return atoms, tuple((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx(), str(bond.GetBondType())) for bond in one.mol.GetBonds())


def places(one: Generated) -> np.ndarray:
    return one.mol.GetConformer().GetPositions()


def test_numbers_40_to_49_alone_are_those_of_the_hundred_to_the_bit(generator: MoleculeGenerator, hundred: list[Generated]) -> None:
    alone = list(generator.stream(10, seed=3, steps=5, first=40, batch_size=BLOCK))
    assert [one.id for one in alone] == list(range(40, 50))
    for one, other in zip(alone, hundred[40:50], strict=True):
        assert graph(one) == graph(other)
        assert (one.smiles, one.reason) == (other.smiles, other.reason)
        assert places(one).tobytes() == places(other).tobytes()


def test_a_piece_across_blocks_in_any_order(generator: MoleculeGenerator, hundred: list[Generated]) -> None:
    for first in (95, 17):
        piece = list(generator.stream(5, seed=3, steps=5, first=first, batch_size=BLOCK))
        assert [one.id for one in piece] == list(range(first, first + 5))
        assert [places(one).tobytes() for one in piece] == [places(one).tobytes() for one in hundred[first : first + 5]]


def test_numbers_and_seeds_differ(generator: MoleculeGenerator, hundred: list[Generated]) -> None:
    other = generator.stream(20, seed=4, steps=5, batch_size=BLOCK)
    seen = {places(one).tobytes() for one in [*hundred, *other]}
    assert len(seen) == 120


def test_another_batch_size_changes_rounding_only(exact: MoleculeGenerator) -> None:
    runs = [list(exact.stream(100, seed=3, steps=5, batch_size=size)) for size in (100, 7)]
    same = 0
    for one, other in zip(*runs, strict=True):
        assert len(graph(one)[0]) == len(graph(other)[0])
        assert one.smiles == other.smiles
        same += graph(one) == graph(other) and float(np.abs(places(one) - places(other)).max()) < SAME
    assert same >= 99


def test_sizes_and_noise_do_not_depend_on_the_batch(generator: MoleculeGenerator) -> None:
    together, _ = generator.sample(torch.arange(12), 3, SamplerConfig(steps=1))
    for start in (0, 4, 8):
        part, layout = generator.sample(torch.arange(start, start + 4), 3, SamplerConfig(steps=1))
        noise = Noise(3, torch.arange(start, start + 4)).at(POSITIONS, 0).normal(layout[POSITIONS], 3)
        whole = Noise(3, torch.arange(12)).at(POSITIONS, 0).normal(layout[POSITIONS], 3)[start : start + 4]
        assert torch.equal(noise, whole)
        width = part.state[ELEMENTS].shape[1]
        assert layout[ELEMENTS].mask.sum(1).max() == width
        assert together.state[ELEMENTS].shape[1] >= width


def test_sizes_follow_the_training_histogram(tiny_task: MoleculeTask) -> None:
    """Drawn by inversion of its cumulative sum, so the counts of 4,000 stay within five standard deviations."""
    law = torch.tensor(tiny_task.statistics.sizes).double()
    sizes = NOTHING.ask(tiny_task.denoiser, tiny_task.statistics, Noise(0, torch.arange(4000))).sizes
    drawn = torch.bincount(sizes, minlength=len(law))
    law /= law.sum()
    assert bool(((drawn - 4000 * law).abs() <= 5 * (4000 * law * (1 - law)).sqrt()).all())


def test_the_number_of_atoms_is_as_asked(generator: MoleculeGenerator) -> None:
    for atoms in (1, 5, 12):
        for one in generator.stream(5, steps=2, atoms=atoms, batch_size=5):
            assert sum(atom.GetAtomicNum() > 1 for atom in one.mol.GetAtoms()) == atoms


def test_generate_gives_the_streams_molecules(generator: MoleculeGenerator, hundred: list[Generated]) -> None:
    molecules = generator.generate(5, seed=3, steps=5, batch_size=BLOCK)
    assert all(isinstance(mol, Chem.Mol) for mol in molecules)
    assert [mol.GetConformer().GetPositions().tobytes() for mol in molecules] == [places(one).tobytes() for one in hundred[:5]]


@pytest.mark.parametrize("rule", sorted(RULES))
def test_calls_are_counted_as_they_are_made(generator: MoleculeGenerator, rule: str) -> None:
    config = SamplerConfig.model_validate({"steps": 3, "rule": rule})
    drawn, _ = generator.sample(torch.arange(2), 0, config)
    assert MoleculeGenerator(generator.denoiser, generator.statistics, generator.metadata, config).calls() == drawn.calls


@contextmanager
def flat_memory() -> Iterator[None]:
    """At most a few megabytes of Python objects inside: the tests' type checker takes one or two, a number a molecule would take 1,000."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


class Refuses(Denoiser):
    """A denoiser that must not be asked."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)

    def forward(self, *args: Any) -> Tensor:
        raise AssertionError("the network was asked")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"n": 0}, "n = 0: must lie between 1 and 100,000,000"),
        ({"n": -3}, "n = -3: must lie between 1"),
        ({"n": 10**9}, "n = 1000000000: must lie between 1 and 100,000,000"),
        ({"steps": 0}, "steps = 0: must lie between 1 and 1,000"),
        ({"steps": 10**6}, "steps = 1000000: must lie between 1 and 1,000"),
        ({"atoms": 0}, "atoms = 0: this model was trained on up to 8; ask for 1 to 32"),
        ({"atoms": 10**6}, "atoms = 1000000: this model was trained on up to 8"),
        ({"first": -1}, "first = -1: must lie between 0"),
        ({"first": 2**63}, "first = 9223372036854775808: must lie between 0"),
        ({"batch_size": 0}, "batch_size = 0: must lie between 1 and 10,000"),
        ({"batch_size": 2000, "atoms": 32}, "batch_size = 2000 with up to 32 atoms: .* use batch_size <= 1953"),
        ({"batch_size": 10**9}, "batch_size = 1000000000: must lie between 1 and 10,000"),
    ],
    ids=str,
)
def test_what_cannot_be_asked_is_refused_at_once(generator: MoleculeGenerator, asked: dict[str, int], message: str) -> None:
    """At the call, before the first molecule is taken, without a network call, and with memory flat."""
    idle = MoleculeGenerator(generator.denoiser, generator.statistics, generator.metadata)
    idle.denoiser = Refuses()
    with flat_memory(), pytest.raises(UserError, match=message):
        idle.stream(**{"n": 5, **asked})


def test_the_largest_run_starts_with_flat_memory(generator: MoleculeGenerator) -> None:
    with flat_memory():
        stream = generator.stream(MAX_MOLECULES, steps=1, batch_size=2)
        assert [next(stream).id for _ in range(4)] == [0, 1, 2, 3]


def test_an_unknown_model_lists_the_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("scidiff_molecules.registry.WEIGHTS", tmp_path)
    for name in ("qm9", "drugs"):
        (tmp_path / f"{name}.safetensors").touch()
    with pytest.raises(UserError, match=r"no model 'qm8'; did you mean 'qm9'\?: give a shipped name \(drugs, qm9\), a .safetensors file"):
        MoleculeGenerator.load("qm8")
    with pytest.raises(UserError, match="no model"):
        MoleculeGenerator.load("x" * 5000)


def test_a_runs_folder_is_a_model(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "weights.safetensors").write_bytes(tiny_model.read_bytes())
    loaded, other = MoleculeGenerator.load(tmp_path), MoleculeGenerator.load(str(tiny_model))
    assert all(torch.equal(a, b) for a, b in zip(loaded.denoiser.parameters(), other.denoiser.parameters(), strict=True))


def changed(metadata: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of the header with one value changed, or removed where it is None."""
    copy = deepcopy(metadata)
    *folders, last = path.split(".")
    place = copy
    for folder in folders:
        place = place[folder]
    place[last] = value
    if value is None:
        del place[last]
    return copy


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("domain", "timeseries", "these weights are not a molecule model"),
        ("domain", None, "these weights are not a molecule model"),
        ("statistics", None, "lacks 'statistics'"),
        ("noise.positions", "os.system", "describes no model that is known here"),
        ("noise.labels", "ve", "describes no model that is known here"),
        ("backbone.irreps", "999999999x1o", "describes no model that is known here"),
        ("backbone.width", 10**9, "describes no model that is known here"),
        ("backbone.heads", 7, "heads"),
        ("backbone.width", 64, "do not fit the model that their header describes"),
        ("backbone.extra", 1, "describes no model that is known here"),
        ("statistics.scale", "2.0; import os", "describes no model that is known here"),
        ("statistics.scale", -1.0, "describes no model that is known here"),
        ("statistics.sizes", [0], "describes no model that is known here"),
        ("statistics.sizes", [0, 0, 0], "at least one molecule"),
        ("statistics.sizes", [0] * 1100 + [1], "describes no model that is known here"),
        ("statistics.element_law", [1.0], "one entry for each of the tokens"),
        ("statistics.tokens", [[6, 0]], "describes no model that is known here"),
        ("statistics.tokens", [[6, 0, 0], [1000, 0, 0]], "describes no model that is known here"),
        ("sampler", {"rule": "os.system"}, "describes no model that is known here"),
        ("sampler", {"steps": 10**9}, "describes no model that is known here"),
    ],
)
def test_a_header_that_names_no_model_is_refused(tiny_model: Path, tmp_path: Path, path: str, value: Any, message: str) -> None:
    tensors, metadata = load_weights(tiny_model)
    altered = tmp_path / "altered.safetensors"
    save_weights(altered, tensors, changed(metadata, path, value))
    with pytest.raises(UserError, match=rf"altered\.safetensors: .*{message}"):
        MoleculeGenerator.load(altered)


def test_the_sampler_of_the_recipe_is_the_models_default(tiny_task: MoleculeTask, tmp_path: Path) -> None:
    """Through the header of the weights; and of what is trained further from them, unless told otherwise."""
    tuned = {"rule": "heun", "steps": 7, "churn_positions": 0.25}
    recipe = Recipe.model_validate({**tiny_task.recipe.model_dump(exclude={"sampler"}), "sampler": tuned})
    path = tmp_path / "tuned.safetensors"
    save_weights(path, dict(tiny_task.denoiser.state_dict()), {**MoleculeTask(recipe).metadata(), "step": 0})
    loaded = MoleculeGenerator.load(path)
    assert loaded.sampler == SamplerConfig.model_validate(tuned)
    assert loaded.calls() == 13
    assert loaded.calls(3) == 5
    assert Recipe.model_validate({"init": str(path)}).sampler == loaded.sampler
    other = Recipe.model_validate({"init": str(path), "sampler": {"steps": 9}})
    assert other.sampler == SamplerConfig.model_validate({**tuned, "steps": 9})


@pytest.mark.parametrize(
    ("device", "message"), [("tpu", "device .tpu.: known are cpu, cuda and auto"), ("cuda", "PyTorch sees no CUDA device")]
)
def test_a_device_that_is_not_there_is_named(tiny_model: Path, device: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=message):
        MoleculeGenerator.load(tiny_model, device=device)
    assert MoleculeGenerator.load(tiny_model, device="auto").device == torch.device("cpu")


def test_bond_lengths_come_out_in_angstrom(tiny_task: MoleculeTask) -> None:
    """States are in units of the data's scale: the same state decoded by a generator of twice the scale is twice as large."""
    small = MoleculeGenerator(tiny_task.denoiser, tiny_task.statistics, tiny_task.metadata())
    drawn, layout = small.sample(torch.arange(4), 0, SamplerConfig(steps=2))
    heavy = next(iter(small.stream(4, steps=2, batch_size=4)))
    size = int(layout[ELEMENTS].mask[0].sum())
    wanted = drawn.state[POSITIONS][0, :size].double() * tiny_task.statistics.scale
    assert np.allclose(places(heavy)[:size], wanted.numpy(), atol=1e-12)
    assert math.isclose(float(wanted.mean()), 0.0, abs_tol=1e-5)


def test_the_shipped_model_in_float32_at_two_batch_sizes() -> None:
    """Trained weights do not amplify rounding: the same SMILES and coordinates for at least 99 of 100."""
    shipped = MoleculeGenerator.load("qm9")
    runs = [list(shipped.stream(100, seed=0, steps=10, batch_size=size)) for size in (100, 30)]
    same = 0
    for one, other in zip(*runs, strict=True):
        alike = graph(one) == graph(other) and one.smiles == other.smiles
        same += alike and float(np.abs(places(one) - places(other)).max()) < SAME
    assert same >= 99
