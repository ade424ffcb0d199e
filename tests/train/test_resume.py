"""A training that is continued equals one that was never interrupted: what is logged, what is used when a checkpoint is damaged.
(Real kills, for each domain: test_kills.)"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.toy import TRAIN, ToyTask
from support.training import Log, bits, terminate_at

from scidiff.train.checkpoint import CheckpointStore, CheckpointWarning
from scidiff.train.loop import Terminated, TrainConfig, fit
from scidiff.train.weights import load_weights

STEPS: int = TRAIN["steps"]


def config(**changes: Any) -> TrainConfig:
    return TrainConfig.model_validate({**TRAIN, "save_every": 3, **changes})


@dataclass(frozen=True)
class Outcome:
    """All that a training leaves behind: averaged weights, the last checkpoint's tensors, and its optimiser's plain state."""

    weights: Any
    tensors: Any
    optimizer: Any

    @classmethod
    def of(cls, folder: Path) -> Outcome:
        checkpoint = CheckpointStore(folder / "checkpoints").latest()
        assert checkpoint is not None
        assert checkpoint.step == STEPS
        return cls(bits(load_weights(folder / "weights.safetensors")[0]), bits(checkpoint.tensors), checkpoint.state["optimizer"])


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    folder, log = tmp_path_factory.mktemp("uninterrupted"), Log()
    fit(ToyTask(), config(), folder, log, device="cpu")
    assert sorted(log.metrics) == list(range(1, STEPS + 1))
    kinds = {name.split("/")[0] for name in Outcome.of(folder).tensors}
    assert kinds == {"weights", "average", "optimizer"}
    return Outcome.of(folder)


def run_until(folder: Path, last: int, **changes: Any) -> Log:
    """A run that is asked to stop in the middle of step ``last``."""
    log, done = Log(), CheckpointStore(folder / "checkpoints").steps()
    with pytest.raises(Terminated):
        fit(terminate_at(ToyTask(), last - (done[-1] if done else 0)), config(**changes), folder, log, device="cpu")
    return log


def test_metrics_of_an_interrupted_interval_are_equal_to_the_bit(tmp_path: Path) -> None:
    """Means over five steps of which a first process took two and a second three."""
    whole, late = Log(), Log()
    fit(ToyTask(), config(log_every=5), tmp_path / "whole", whole, device="cpu")
    early = run_until(tmp_path / "parts", 7, log_every=5)
    fit(ToyTask(), config(log_every=5), tmp_path / "parts", late, device="cpu")
    assert {**early.losses(), **late.losses()} == whole.losses()
    assert (sorted(early.metrics), sorted(late.metrics)) == ([5], [10])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


FAULTS = {
    "altered": flip,
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-1]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(tmp_path: Path, uninterrupted: Outcome, fault: str) -> None:
    run_until(tmp_path, 8)
    store = CheckpointStore(tmp_path / "checkpoints")
    assert store.steps() == [6, 8]
    newest = store.latest()
    assert newest is not None
    FAULTS[fault](newest.path)
    with pytest.warns(CheckpointWarning, match=rf"{newest.path.name}: {fault}.*Using the checkpoint of step 6 instead"):
        fit(ToyTask(), config(), tmp_path, Log(), device="cpu")
    assert Outcome.of(tmp_path) == uninterrupted


def test_a_measurement_is_not_missed_when_a_kill_follows_the_save(tmp_path: Path) -> None:
    """The checkpoint of a step is written after its validation: a process that finds it has nothing left to measure for that step."""
    order: list[str] = []
    task, log = ToyTask(), Log()
    task.validate = lambda denoiser, training=False: order.append("validate") or {"loss": 0.0}  # type: ignore[method-assign, func-returns-value]
    real = CheckpointStore.save

    def save(self: CheckpointStore, *arguments: Any, **options: Any) -> Path:
        order.append("save")
        return real(self, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CheckpointStore, "save", save)
        fit(task, config(steps=3, validate_every=3), tmp_path, log, device="cpu")
    assert order == ["validate", "validate", "save"]  # on validation and on training data
