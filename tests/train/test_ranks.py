"""Several processes train what one trains: to the bit where sums are taken in one order, through changes of their number and real kills."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import ranks
from support.training import STEPS, Log, bits, terminate_at, tiny_task, train_config

from scidiff.errors import UserError
from scidiff.train.checkpoint import CheckpointStore
from scidiff.train.gradients import parts_of
from scidiff.train.loop import Terminated, fit
from scidiff.train.place import place
from scidiff.train.weights import load_weights

ROOT = Path(__file__).parents[2]
HALVES: dict[str, Any] = {"accumulate": 2, "save_every": 2}
ROUNDING = 1e-5
"""Relative: of losses, when float32 sums are taken in another order for twelve steps."""


def torchrun(folder: Path, plan: dict[str, Any], *options: str) -> subprocess.CompletedProcess[str]:
    """Two processes on this machine, as torchrun starts them."""
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "domains", ROOT / "tests")))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *options]
    command += [ranks.__file__, str(folder), json.dumps({"changes": HALVES, **plan})]
    folder.mkdir(exist_ok=True)
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)


def srun(folder: Path, plan: dict[str, Any]) -> list[int]:
    """Two processes with the variables that srun sets; their exit statuses."""
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "domains", ROOT / "tests")))
    step = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_NODES": "1", "SLURM_NODELIST": "localhost"}
    step |= {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "1", "SLURM_NODEID": "0", "MASTER_ADDR": "127.0.0.1"}
    command = [sys.executable, ranks.__file__, str(folder), json.dumps({"changes": HALVES, **plan})]
    environments = [{**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths, **step} for _ in range(2)]
    started = [
        subprocess.Popen(command, env={**environment, "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)})
        for rank, environment in enumerate(environments)
    ]
    return [process.wait(timeout=300) for process in started]


def outcome(folder: Path) -> tuple[Any, Any, Any]:
    """Averaged weights, the last checkpoint's tensors, its optimiser's plain state."""
    checkpoint = CheckpointStore(folder / "checkpoints").latest()
    assert checkpoint is not None
    assert checkpoint.step == STEPS
    return bits(load_weights(folder / "weights.safetensors")[0]), bits(checkpoint.tensors), checkpoint.state["optimizer"]


def logged(folder: Path) -> dict[int, dict[str, float]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return {line.pop("step"): line for line in lines}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Log]:
    """One process that computes its batches in two halves."""
    folder, log = tmp_path_factory.mktemp("alone"), Log()
    fit(tiny_task(), train_config(**HALVES), folder, log, device="cpu")
    return folder, log


@pytest.mark.long
@pytest.mark.slow
def test_two_ranks_one_killed_and_restarted_equal_one_process_to_the_bit(alone: tuple[Path, Log], tmp_path: Path) -> None:
    """Elastic restart: torchrun ends both processes when one dies, and starts two new ones, which continue."""
    done = torchrun(tmp_path / "two", {"kill": 6}, "--max-restarts=1")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "two" / "ended-once").exists()
    assert outcome(tmp_path / "two") == outcome(alone[0])
    lines = logged(tmp_path / "two")
    assert max(lines) == STEPS
    assert all(lines[step] == alone[1].losses()[step] for step in lines)


@pytest.mark.slow
def test_two_ranks_then_one_equal_one_process_to_the_bit(alone: tuple[Path, Log], tmp_path: Path) -> None:
    """SIGTERM to one rank: all finish the step, the first saves, and a single process goes on."""
    folder, log = tmp_path / "changing", Log()
    stopped = torchrun(folder, {"term": 6})
    assert stopped.returncode != 0
    assert CheckpointStore(folder / "checkpoints").steps()[-1] == 6
    assert sorted(logged(folder)) == [1, 2, 3, 4, 5, 6]
    fit(tiny_task(), train_config(**HALVES), folder, log, device="cpu")
    assert sorted(log.losses()) == list(range(7, STEPS + 1))
    assert {**logged(folder), **log.losses()} == alone[1].losses()
    assert outcome(folder) == outcome(alone[0])


@pytest.mark.long
@pytest.mark.slow
def test_one_process_then_two_ranks_of_srun_equal_one_process_to_the_bit(alone: tuple[Path, Log], tmp_path: Path) -> None:
    folder = tmp_path / "growing"
    with pytest.raises(Terminated):  # in the second half of the fifth step
        fit(terminate_at(tiny_task(), 10), train_config(**HALVES), folder, Log(), device="cpu")
    assert srun(folder, {}) == [0, 0]
    assert sorted(logged(folder)) == list(range(6, STEPS + 1))
    assert outcome(folder) == outcome(alone[0])


@pytest.mark.parametrize("parts", [3, 8])
def test_any_number_of_parts_gives_the_same_to_rounding(alone: tuple[Path, Log], parts: int, tmp_path: Path) -> None:
    log = Log()
    fit(tiny_task(), train_config(accumulate=parts), tmp_path, log, device="cpu")
    for step, values in alone[1].losses().items():
        for name, value in values.items():
            assert log.metrics[step][name] == pytest.approx(value, rel=ROUNDING)


@given(batch=st.integers(1, 500), accumulate=st.integers(1, 100), world=st.integers(1, 16))
def test_parts_cover_the_batch_and_every_rank_has_as_many(batch: int, accumulate: int, world: int) -> None:
    if batch < world:
        with pytest.raises(UserError, match="need at least one example each"):
            parts_of(batch, accumulate, world)
        return
    parts = parts_of(batch, accumulate, world)
    assert [begin for begin, _ in parts] == [0, *(end for _, end in parts[:-1])]
    assert parts[-1][1] == batch
    assert len(parts) % world == 0
    assert len(parts) >= min(accumulate, batch // world * world)
    sizes = [end - begin for begin, end in parts]
    assert min(sizes) >= 1
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, (0, 1, 1, 1)),
        (
            {"TORCHELASTIC_RUN_ID": "x", "RANK": "5", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4", "GROUP_WORLD_SIZE": "2"},
            (5, 8, 4, 2),
        ),
        ({"SLURM_STEP_ID": "0", "SLURM_PROCID": "3", "SLURM_NTASKS": "8", "SLURM_STEP_NUM_NODES": "2"}, (3, 8, 4, 2)),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "8"}, (0, 1, 1, 1)),  # in a batch script, but not started by srun
    ],
)
def test_the_place_of_a_process(variables: dict[str, str], expected: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("SLURM_", "TORCHELASTIC_")):
            monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert place() == expected
