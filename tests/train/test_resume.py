"""Law 6: killed at random points, also in the middle of a save, a continued training equals the uninterrupted one bit for bit."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support import training
from support.training import STEPS, Log, bits, logged, tiny_task, train_config

from scidiff.train.checkpoint import CheckpointStore, CheckpointWarning
from scidiff.train.loop import Terminated, fit
from scidiff.train.weights import load_weights

SEEDS = range(2)
KILLED, TERMINATED = -signal.SIGKILL, 128 + signal.SIGTERM


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
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, dict[int, dict[str, float]]]:
    folder, log = tmp_path_factory.mktemp("uninterrupted"), Log()
    fit(tiny_task(), train_config(), folder, log, device="cpu")
    assert sorted(log.metrics) == list(range(1, STEPS + 1))
    kinds = {name.split("/")[0] for name in Outcome.of(folder).tensors}
    assert kinds == {"weights", "average", "optimizer"}
    return Outcome.of(folder), log.losses()


def plan(seed: int) -> list[dict[str, Any]]:
    """How each process ends. A save has four fsyncs: of the file, of the folder, of the manifest, of the folder again."""
    rng = random.Random(seed)
    return [
        {"sync": 1 + seed % 4},  # in the first save
        {"after": 1, "term": True},
        {"after": 3, "delay": rng.uniform(0, 0.05)},  # anywhere
        {"sync": rng.randint(1, 4)},  # in a save
        {"after": 1, "delay": rng.uniform(0, 0.05)},
        {"sync": rng.randint(5, 8)},  # in the save after
        {},
    ]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> dict[int, tuple[Path, list[int]]]:
    """Real processes, really killed: the folder of each training, and how its processes ended."""
    base = tmp_path_factory.mktemp("killed")
    plans = {str(base / str(seed)): plan(seed) for seed in SEEDS}
    root = Path(__file__).parents[2]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{root}{os.pathsep}{root / 'domains'}"}
    command = [sys.executable, training.__file__, json.dumps(plans)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    statuses = json.loads(done.stdout.splitlines()[-1])
    return {seed: (base / str(seed), statuses[str(base / str(seed))]) for seed in SEEDS}


@pytest.mark.parametrize("seed", SEEDS)
def test_after_real_kills_everything_is_equal_to_the_bit(
    seed: int, killed: dict[int, tuple[Path, list[int]]], uninterrupted: tuple[Outcome, dict[int, dict[str, float]]]
) -> None:
    folder, statuses = killed[seed]
    assert statuses == [KILLED, TERMINATED, KILLED, KILLED, KILLED, KILLED, 0]
    assert Outcome.of(folder) == uninterrupted[0]


@pytest.mark.parametrize("seed", SEEDS)
def test_every_loss_before_and_after_a_kill_is_equal_to_the_bit(
    seed: int, killed: dict[int, tuple[Path, list[int]]], uninterrupted: tuple[Outcome, dict[int, dict[str, float]]]
) -> None:
    lines = logged(killed[seed][0])
    assert len(lines) > STEPS  # steps that a kill lost are taken again
    assert {line["step"] for line in lines} == set(range(1, STEPS + 1))
    for line in lines:
        known = uninterrupted[1][int(line["step"])]
        assert {name: line[name] for name in known} == known


@pytest.mark.parametrize("seed", SEEDS)
def test_kills_leave_no_litter(seed: int, killed: dict[int, tuple[Path, list[int]]]) -> None:
    """Temporary files of interrupted saves are gone, and two checkpoints are kept."""
    folder, _ = killed[seed]
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoints", "log.jsonl", "weights.safetensors"]
    assert len(list((folder / "checkpoints").iterdir())) == 4


def run_until(folder: Path, last: int, **changes: Any) -> Log:
    """A run that is asked to stop in the middle of step ``last``."""
    log, real = Log(), tiny_task()
    original = real.batch
    done = CheckpointStore(folder / "checkpoints").steps()
    count = done[-1] if done else 0

    def batch(examples: Any) -> Any:
        nonlocal count
        count += 1
        if count == last:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(examples)

    real.batch = batch  # type: ignore[method-assign]
    with pytest.raises(Terminated):
        fit(real, train_config(**changes), folder, log, device="cpu")
    return log


def test_metrics_of_an_interrupted_interval_are_equal_to_the_bit(tmp_path: Path) -> None:
    """Means over five steps of which a first process took two and a second three."""
    whole, late = Log(), Log()
    fit(tiny_task(), train_config(log_every=5), tmp_path / "whole", whole, device="cpu")
    early = run_until(tmp_path / "parts", 7, log_every=5)
    fit(tiny_task(), train_config(log_every=5), tmp_path / "parts", late, device="cpu")
    assert {**early.losses(), **late.losses()} == whole.losses()
    assert (sorted(early.metrics), sorted(late.metrics)) == ([5], [10])


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(
    tmp_path: Path, uninterrupted: tuple[Outcome, dict[int, dict[str, float]]]
) -> None:
    run_until(tmp_path, 8)
    store = CheckpointStore(tmp_path / "checkpoints")
    assert store.steps() == [6, 8]
    newest = store.latest()
    assert newest is not None
    content = bytearray(newest.path.read_bytes())
    content[len(content) // 2] ^= 1
    newest.path.write_bytes(content)
    with pytest.warns(CheckpointWarning, match=rf"{newest.path.name}: altered.*Using the checkpoint of step 6 instead"):
        fit(tiny_task(), train_config(), tmp_path, Log(), device="cpu")
    assert Outcome.of(tmp_path) == uninterrupted[0]


def test_a_measurement_is_not_missed_when_a_kill_follows_the_save(tmp_path: Path) -> None:
    """The checkpoint of a step is written after its validation: a process that finds it has nothing left to measure for that step."""
    order: list[str] = []
    task, log = tiny_task(), Log()
    task.validate = lambda denoiser: order.append("validate") or {"loss": 0.0}  # type: ignore[method-assign, func-returns-value]
    real = CheckpointStore.save

    def save(self: CheckpointStore, *arguments: Any) -> Path:
        order.append("save")
        return real(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CheckpointStore, "save", save)
        fit(task, train_config(steps=3, validate_every=3), tmp_path, log, device="cpu")
    assert order == ["validate", "save", "save"]
