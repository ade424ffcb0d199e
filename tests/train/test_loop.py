"""The fit loop on the shipped sample: it learns, logs what it did, stops when it must, and never steps on what is not finite."""

from __future__ import annotations

import copy
import json
import math
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.training import STEPS, TRAIN, Log, bits, tiny_task, train_config
from torch import Tensor

from scidiff.denoiser import Denoiser
from scidiff.errors import UserError
from scidiff.random import Noise
from scidiff.train.checkpoint import CheckpointStore
from scidiff.train.loop import Diverged, Terminated, fit
from scidiff.train.task import Batch, Preview
from scidiff.train.weights import decode, load_weights
from scidiff_molecules import MoleculeGenerator
from scidiff_molecules.couplings import COUPLINGS
from scidiff_molecules.task import MoleculeTask
from scidiff_molecules.tokens import POSITIONS


class Watched(MoleculeTask):
    """A tiny task that calls back before every batch, with the step's number, and may change the batch."""

    def __init__(self, on_batch: Callable[[int, Batch], Batch] | None = None) -> None:
        self.__dict__.update(tiny_task().__dict__)
        self.on_batch, self.step = on_batch, 0
        self.validated: list[dict[str, Any]] = []

    def batch(self, examples: Tensor) -> Batch:
        batch, self.step = super().batch(examples), self.step + 1
        return batch if self.on_batch is None else self.on_batch(self.step - 1, batch)

    def validate(self, denoiser: Denoiser, training: bool = False) -> dict[str, float]:
        self.validated.append(bits(denoiser.state_dict()))
        return {"loss": 1.0 if training else 1.5}

    def preview(self, denoiser: Denoiser, folder: Path, step: int) -> Preview:
        return Preview({"good": float(step)}, (folder / f"{step}.png",))


def part_of(store: CheckpointStore, part: str) -> dict[str, Tensor]:
    """One part of the newest checkpoint: weights, average or optimizer."""
    newest = store.latest()
    assert newest is not None
    return {name.removeprefix(f"{part}/"): tensor for name, tensor in newest.tensors.items() if name.startswith(f"{part}/")}


def test_it_learns(tmp_path: Path) -> None:
    """The averaged weights predict molecules that were never trained on much better than before."""
    task, log = tiny_task(), Log()
    before = task.validate(task.denoiser)
    weights = fit(task, train_config(steps=40), tmp_path, log, device="cpu")
    loaded = MoleculeGenerator.load(weights)
    after = task.validate(loaded.denoiser)
    assert after["loss"] < 0.8 * before["loss"]
    assert all(after[f"loss/{name}"] < before[f"loss/{name}"] for name in ("positions", "elements", "bonds"))
    losses = [log.metrics[step]["train/loss"] for step in range(1, 41)]
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])


def test_the_weights_file_holds_the_average_and_how_it_came_about(tmp_path: Path) -> None:
    task = tiny_task()
    weights = fit(task, train_config(steps=3), tmp_path, Log(), device="cpu")
    assert weights == tmp_path / "weights.safetensors"
    tensors, metadata = load_weights(weights)
    checkpoint = CheckpointStore(tmp_path / "checkpoints").latest()
    assert checkpoint is not None
    assert bits(tensors) == bits(part_of(CheckpointStore(tmp_path / "checkpoints"), "average"))
    assert bits(tensors) != bits(task.denoiser.state_dict())
    assert metadata["step"] == checkpoint.step == 3
    assert metadata["train"] == train_config(steps=3).model_dump(mode="json")
    assert {name: metadata[name] for name in task.metadata()} == json.loads(json.dumps(task.metadata()))


def test_an_interval_logs_the_mean_of_its_steps(tmp_path: Path) -> None:
    every, third = Log(), Log()
    fit(tiny_task(), train_config(steps=6), tmp_path / "1", every, device="cpu")
    fit(tiny_task(), train_config(steps=6, log_every=3), tmp_path / "3", third, device="cpu")
    assert sorted(third.metrics) == [3, 6]
    for step in (3, 6):
        for name, value in third.losses()[step].items():
            parts = [every.metrics[one][name] for one in range(step - 2, step + 1)]
            expected = parts[-1] if name == "train/learning_rate" else sum(parts) / 3
            assert value == pytest.approx(expected, rel=1e-12)


def test_the_first_steps_by_hand(tmp_path: Path) -> None:
    """Step 0 is one AdamW step on the clipped gradient of the loss of epoch 0's first batch, at the warm-up's rate."""
    task, log = Watched(lambda step, batch: seen.append((step, batch)) or batch), Log()  # type: ignore[func-returns-value]
    seen: list[tuple[int, Batch]] = []
    reference = copy.deepcopy(task.denoiser)
    config = train_config(steps=1, warmup=4, self_conditioning=0.0, clip_norm=0.5, cooldown=0.0)
    fit(task, config, tmp_path, log, device="cpu")
    from scidiff.random import stratified
    from scidiff.train.order import epoch_batches

    examples = epoch_batches(7, 0, task.sizes, 32)[0]
    batch, u = seen[0][1], stratified(7, 0, torch.arange(32), 32)
    loss = task.objective(reference.train(), batch.state, batch.layouts, Noise(7, examples), u, step=0).total.mean()
    loss.backward()
    gradients = torch.cat([parameter.grad.flatten() for parameter in reference.parameters() if parameter.grad is not None])
    assert log.metrics[1]["train/loss"] == pytest.approx(loss.item(), rel=1e-6)
    assert log.metrics[1]["train/gradient_norm"] == pytest.approx(gradients.norm().item(), rel=1e-5)
    assert log.metrics[1]["train/learning_rate"] == pytest.approx(3e-3 / 4)
    scale = min(1.0, 0.5 / gradients.norm().item())
    for parameter, trained in zip(reference.parameters(), task.denoiser.parameters(), strict=True):
        # AdamW's first step is -rate * g / (|g| + eps), after the decay of the weight.
        grad = (parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)) * scale
        rate = 3e-3 / 4
        expected = parameter.detach() * (1 - rate * 0.01) - rate * grad / (grad.abs() + 1e-8)
        assert torch.allclose(trained, expected, atol=2e-6)


def test_the_rate_warms_up_stays_and_falls(tmp_path: Path) -> None:
    log = Log()
    fit(tiny_task(), train_config(steps=10, warmup=4, cooldown=0.3), tmp_path, log, device="cpu")
    rates = [log.metrics[step]["train/learning_rate"] / 3e-3 for step in range(1, 11)]
    assert rates == pytest.approx([1 / 4, 2 / 4, 3 / 4, 1, 1, 1, 1, 1, 2 / 3, 1 / 3])


@pytest.mark.parametrize(("probability", "calls"), [(0.0, 1), (1.0, 2)])
def test_self_conditioning_asks_twice(tmp_path: Path, probability: float, calls: int) -> None:
    task, asked = tiny_task(), 0

    def count(*arguments: Any) -> None:
        nonlocal asked
        asked += 1

    task.denoiser.register_forward_hook(count)
    fit(task, train_config(steps=3, self_conditioning=probability), tmp_path, Log(), device="cpu")
    assert asked == 3 * calls


def test_things_happen_at_their_intervals_with_the_averaged_weights(tmp_path: Path) -> None:
    task, log = Watched(), Log()
    fit(task, train_config(steps=6, validate_every=3, preview_every=2, save_every=4, keep=5), tmp_path, log, device="cpu")
    assert [step for step, values in log.metrics.items() if "valid/loss" in values] == [3, 6]
    assert {step: values["sample/good"] for step, values in log.metrics.items() if "sample/good" in values} == {2: 2, 4: 4, 6: 6}
    assert log.artifacts == [tmp_path / "previews" / f"{step}.png" for step in (2, 4, 6)]
    store = CheckpointStore(tmp_path / "checkpoints")
    assert store.steps() == [3, 4, 6]  # at 3 the validation was the best so far
    assert [log.metrics[step]["gap/loss"] for step in (3, 6)] == [0.5, 0.5]
    at_3, on_training, at_6, _ = task.validated
    assert at_3 == on_training != at_6 == bits(part_of(store, "average"))


@pytest.fixture
def nan_at_5() -> Watched:
    def plant(step: int, batch: Batch) -> Batch:
        if step != 5:
            return batch
        positions = batch.state[POSITIONS].clone()
        positions[3, 0, 1] = math.nan
        return replace(batch, state={**batch.state, POSITIONS: positions})

    return Watched(plant)


@pytest.mark.parametrize("alignment", ["rotation", "permutation"])
def test_nan_stops_before_the_step(nan_at_5: Watched, tmp_path: Path, alignment: str) -> None:
    log = Log()
    nan_at_5.objective = replace(nan_at_5.objective, couplings={POSITIONS: COUPLINGS[alignment]})
    with pytest.raises(Diverged, match=r"at step 5: stopped before the step.*diverged-step-5\.json.*lower train\.learning_rate"):
        fit(nan_at_5, train_config(save_every=1), tmp_path, log, device="cpu")
    saved = CheckpointStore(tmp_path / "checkpoints").latest()
    assert saved is not None
    assert saved.step == 5
    assert max(log.metrics) == 5
    assert bits(nan_at_5.denoiser.state_dict()) == bits(part_of(CheckpointStore(tmp_path / "checkpoints"), "weights"))
    assert not (tmp_path / "weights.safetensors").exists()

    report = json.loads((tmp_path / "diverged-step-5.json").read_text())
    assert (report["step"], report["loss"]) == (5, "nan")
    written, state = decode("report", (tmp_path / "diverged-step-5.safetensors").read_bytes())
    assert state["examples"] == report["examples"]
    assert int(written["batch/positions"].isnan().sum()) == 1
    batch = tiny_task().batch(torch.tensor(report["examples"]))
    assert torch.equal(written["batch/elements"], batch.state["elements"])
    assert {name: one for name, one in bits(written).items() if not name.startswith("batch/")} == bits(saved.tensors)


def test_a_gradient_that_is_not_finite_stops_too(tmp_path: Path) -> None:
    """The loss is fine, its gradient is not."""
    task = tiny_task()
    weight = next(iter(task.denoiser.parameters()))
    weight.register_hook(lambda gradient: gradient * math.inf)
    before = bits(task.denoiser.state_dict())
    with pytest.raises(Diverged, match=r"loss \d.* gradient norm (inf|nan) at step 0"):
        fit(task, train_config(), tmp_path / "new", Log(), device="cpu")
    assert bits(task.denoiser.state_dict()) == before
    assert (tmp_path / "new" / "diverged-step-0.json").exists()


def test_time_is_up(tmp_path: Path) -> None:
    """Any time at all has passed after the first step; everything is saved, and the next call goes on from there."""
    log = Log()
    for step in (1, 2):
        weights = fit(tiny_task(), train_config(max_seconds=1e-9), tmp_path, log, device="cpu")
        assert load_weights(weights)[1]["step"] == step
        assert CheckpointStore(tmp_path / "checkpoints").steps()[-1] == step
    assert sorted(log.metrics) == [1, 2]


def test_a_finished_run_is_left_as_it_is(tmp_path: Path) -> None:
    first = fit(tiny_task(), train_config(steps=2), tmp_path, Log(), device="cpu").read_bytes()
    log = Log()
    weights = fit(tiny_task(), train_config(steps=2), tmp_path, log, device="cpu")
    assert weights.read_bytes() == first
    assert not log.metrics


def test_a_run_can_begin_anew(tmp_path: Path) -> None:
    logs = [Log(), Log()]
    for log in logs:
        fit(tiny_task(), train_config(steps=2), tmp_path, log, device="cpu", resume=False)
    assert logs[0].losses() == logs[1].losses()
    assert sorted(logs[1].metrics) == [1, 2]


@pytest.fixture
def handler() -> Iterator[list[int]]:
    """A handler that was there before."""
    caught: list[int] = []
    previous = signal.signal(signal.SIGTERM, lambda number, frame: caught.append(number))
    yield caught
    signal.signal(signal.SIGTERM, previous)


def test_sigterm_saves_and_exits_143(handler: list[int], tmp_path: Path) -> None:
    def terminate(step: int, batch: Batch) -> Batch:
        if step == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return batch

    with pytest.raises(Terminated) as stopped:
        fit(Watched(terminate), train_config(), tmp_path, Log(), device="cpu")
    assert stopped.value.code == 143
    assert CheckpointStore(tmp_path / "checkpoints").steps()[-1] == 5  # the step that was under way is finished
    assert not handler
    os.kill(os.getpid(), signal.SIGTERM)
    assert handler == [signal.SIGTERM]


def test_a_batch_larger_than_the_data_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"number of training examples \(150\), got 151"):
        fit(tiny_task(), train_config(batch_size=151), tmp_path / "run", Log(), device="cpu")
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    fit(tiny_task(), train_config(steps=1), tmp_path, Log(), device="cpu")
    other = tiny_task()
    other.denoiser = torch.nn.Linear(2, 2)  # type: ignore[assignment]
    with pytest.raises(UserError, match=r"step-000000001-\w+\.safetensors: the checkpoint is of another model: continue with the config"):
        fit(other, train_config(steps=2), tmp_path, Log(), device="cpu")


@pytest.mark.parametrize("alignment", sorted(COUPLINGS))
def test_mixed_precision_trains_nearly_the_same(alignment: str, tmp_path: Path) -> None:
    """bfloat16 keeps eight bits: the first loss agrees to a few per cent, whatever aligns the noise."""
    logs = [Log(), Log()]
    for precision, log in zip(("32-true", "bf16-mixed"), logs, strict=True):
        task = tiny_task()
        task.objective = replace(task.objective, couplings={POSITIONS: COUPLINGS[alignment]})
        fit(task, train_config(steps=1, precision=precision), tmp_path / precision, log, device="cpu")
    single, mixed = (log.metrics[1]["train/loss"] for log in logs)
    assert mixed == pytest.approx(single, rel=0.05)
    assert mixed != single


def test_the_recipe_in_these_tests_is_the_one_that_is_killed() -> None:
    assert TRAIN["steps"] == STEPS == train_config().steps
