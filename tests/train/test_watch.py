"""The best weights are kept and used, a training that gets worse ends, and one that memorises is told so; also after a restart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support.training import Log, bits, terminate_at, tiny_task, train_config

from scidiff.denoiser import Denoiser
from scidiff.train.checkpoint import CheckpointStore
from scidiff.train.loop import Terminated, TrainWarning, fit
from scidiff.train.weights import load_weights
from scidiff_molecules.task import MoleculeTask


class Scripted(MoleculeTask):
    """A tiny task whose validations come out as written: on validation data, and on training data."""

    def __init__(self, values: Sequence[float], training: Sequence[float] | None = None, done: int = 0) -> None:
        self.__dict__.update(tiny_task().__dict__)
        self.values, self.training = list(values)[done:], list(training or [0.0] * len(values))[done:]
        self.weights: list[Any] = []

    def validate(self, denoiser: Denoiser, training: bool = False) -> dict[str, float]:
        if training:
            return {"loss": float(self.training.pop(0))}
        self.weights.append(bits(denoiser.state_dict()))
        return {"loss": float(self.values.pop(0))}


def config(**changes: Any) -> Any:
    return train_config(**{"validate_every": 1, "save_every": 100, "keep": 1, **changes})


def test_patience_ends_it_and_the_best_weights_are_written(tmp_path: Path) -> None:
    task, log = Scripted([5, 4, 3, 3.5, math.nan, 3.2, 1]), Log()
    path = fit(task, config(patience=3), tmp_path, log, device="cpu")
    tensors, metadata = load_weights(path)
    assert max(log.metrics) == 6
    assert metadata["step"] == 3
    assert bits(tensors) == task.weights[2]
    assert bits(load_weights(tmp_path / "best.safetensors")[0]) == task.weights[2]
    assert CheckpointStore(tmp_path / "checkpoints").steps() == [3, 6]
    assert [log.metrics[step]["valid/steps_since_best"] for step in range(1, 7)] == [0, 0, 0, 1, 2, 3]


def test_what_is_over_stays_over(tmp_path: Path) -> None:
    values = [5, 4, 4.5, 4.6]
    first = fit(Scripted(values), config(patience=2), tmp_path, Log(), device="cpu").read_bytes()
    log = Log()
    assert fit(Scripted([], []), config(patience=2), tmp_path, log, device="cpu").read_bytes() == first
    assert not any("valid/loss" in values for values in log.metrics.values())


def test_a_larger_value_is_better_where_the_task_says_so(tmp_path: Path) -> None:
    task = Scripted([1, 2, 5, 3, 4])
    task.monitor_goal = "maximise"
    assert load_weights(fit(task, config(patience=2), tmp_path, Log(), device="cpu"))[1]["step"] == 3


def test_last_weights_are_last_even_with_patience(tmp_path: Path) -> None:
    task = Scripted([1, 2, 3])
    path = fit(task, config(patience=2, weights="last"), tmp_path, Log(), device="cpu")
    assert bits(load_weights(path)[0]) == task.weights[2]
    assert not (tmp_path / "best.safetensors").exists()


def test_the_memory_of_validations_outlives_a_restart(tmp_path: Path) -> None:
    values = [5, 3, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4]
    task = terminate_at(Scripted(values), 4)
    with pytest.raises(Terminated):
        fit(task, config(patience=5), tmp_path, Log(), device="cpu")
    log = Log()
    path = fit(Scripted(values, done=4), config(patience=5), tmp_path, log, device="cpu")
    assert sorted(log.metrics) == [5, 6, 7]
    assert load_weights(path)[1]["step"] == 2
    assert bits(load_weights(path)[0]) == task.weights[1]


def test_overfitting_is_said_once(tmp_path: Path) -> None:
    """Validation gets worse while the training data get better: the third time in a row, with the numbers."""
    task, log = Scripted([5, 4, 4.1, 4.2, 4.3, 4.4], [5, 4, 3, 2, 1, 0]), Log()
    with pytest.warns(TrainWarning, match="overfitting: loss on validation data was best at step 2") as told:
        fit(task, config(steps=6), tmp_path, log, device="cpu")
    assert len([one for one in told if issubclass(one.category, TrainWarning)]) == 1
    assert [log.metrics[step]["gap/loss"] for step in range(1, 7)] == pytest.approx([0, 0, 1.1, 2.2, 3.3, 4.4])


def test_noise_is_not_called_overfitting(tmp_path: Path) -> None:
    """Worse on both, or worse and better by turns: nothing is said (a warning would be an error here)."""
    fit(Scripted([5, 4, 4.1, 4.2, 4.3, 4.4], [5, 4, 4.1, 4.2, 4.3, 4.4]), config(steps=6), tmp_path / "both", Log(), device="cpu")
    fit(Scripted([5, 4, 4.1, 4.2, 3.9, 4, 4], [5, 4, 3, 2, 1, 1, 0]), config(steps=7), tmp_path / "turns", Log(), device="cpu")
