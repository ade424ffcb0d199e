"""What a step does when memory does not suffice or numbers are not finite; clipping and the course of the rate, by hand."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import pytest
import torch
from support.training import Log, bits, terminate_at, tiny_task, train_config
from torch import nn

from scidiff.memory import is_out_of_memory
from scidiff.train.checkpoint import CheckpointStore
from scidiff.train.clipping import Clipper
from scidiff.train.loop import Diverged, Terminated, TrainWarning, fit
from scidiff.train.rates import rate_factor
from scidiff.train.weights import load_weights
from scidiff_molecules.task import MoleculeTask
from scidiff_molecules.tokens import POSITIONS

ROOT = Path(__file__).parents[2]
ROUNDING = 1e-5
"""Relative: of losses, when float32 sums are taken in another order for twelve steps."""


def cramped(rows: int, backward: bool = False) -> MoleculeTask:
    """A task on a device on which so many molecules fit: more run out of memory, in the network or when its gradient is taken."""
    task = tiny_task()

    def check(tensor: torch.Tensor) -> None:
        if len(tensor) > rows:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    def hook(module: nn.Module, arguments: Any, output: Any) -> None:
        mean = output[POSITIONS].mean
        if not backward:
            check(mean)
        elif mean.requires_grad:
            mean.register_hook(check)

    task.denoiser.register_forward_hook(hook)
    return task


@pytest.mark.parametrize("backward", [False, True])
def test_a_batch_that_does_not_fit_is_split_and_gives_the_same(tmp_path: Path, backward: bool) -> None:
    whole, split = Log(), Log()
    fit(tiny_task(), train_config(), tmp_path / "whole", whole, device="cpu")
    with pytest.warns(UserWarning, match="memory does not suffice for more than 8 at a time"):
        fit(cramped(9, backward), train_config(), tmp_path / "split", split, device="cpu")
    for step, values in whole.losses().items():
        for name, value in values.items():
            assert split.metrics[step][name] == pytest.approx(value, rel=ROUNDING)


def test_what_fits_is_remembered_through_a_restart_so_that_it_is_equal_to_the_bit(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    with pytest.warns(UserWarning, match="memory does not suffice"):
        fit(cramped(9), train_config(), whole, Log(), device="cpu")
    with pytest.warns(UserWarning, match="memory does not suffice"), pytest.raises(Terminated):
        fit(terminate_at(cramped(9), 12), train_config(), parts, Log(), device="cpu")
    fit(cramped(9), train_config(), parts, Log(), device="cpu")  # no warning, which would be an error: it knows what fits
    weights = [bits(load_weights(folder / "weights.safetensors")[0]) for folder in (whole, parts)]
    assert weights[0] == weights[1]


def test_one_example_that_does_not_fit_ends_it(tmp_path: Path) -> None:
    with pytest.raises(torch.OutOfMemoryError) as raised:
        fit(cramped(0), train_config(), tmp_path, Log(), device="cpu")
    assert is_out_of_memory(raised.value)
    assert "one alone of the examples of a batch does not fit in memory" in "".join(raised.value.__notes__)


LIMITED = """
import resource, sys
import torch
torch.set_num_threads(1)
from pathlib import Path
from support.training import Log, tiny_task, train_config
from scidiff.train.loop import fit
task = tiny_task()
fit(task, train_config(steps=1), Path(sys.argv[1]) / "first", Log(), device="cpu")  # whatever is loaded late is loaded now
grown = [int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmSize")][0] * 1024
room = grown + int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_AS, (room, room))
log = Log()
fit(tiny_task(), train_config(steps=1, batch_size=150), Path(sys.argv[1]) / "second", log, device="cpu")
print(log.metrics[1]["train/loss"])
"""


@pytest.mark.long  # what an allocator can do with little differs between machines
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs RLIMIT_AS")
def test_with_too_little_memory_indeed(tmp_path: Path) -> None:
    """A process that may not grow by more than 4 MB takes the step all the same."""
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "domains", ROOT / "tests")))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths, "MALLOC_ARENA_MAX": "1"}
    command = [sys.executable, "-c", LIMITED, str(tmp_path), str(4 << 20)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "memory does not suffice for more than" in done.stderr
    log = Log()
    fit(tiny_task(), train_config(steps=1, batch_size=150), tmp_path / "whole", log, device="cpu")
    assert float(done.stdout.splitlines()[-1]) == pytest.approx(log.metrics[1]["train/loss"], rel=ROUNDING)


def poisoned(*steps: int) -> MoleculeTask:
    """A task in whose batches of these steps one position is not a number."""
    task = tiny_task()
    real, count = task.batch, 0

    def batch(examples: Any) -> Any:
        nonlocal count
        made, count = real(examples), count + 1
        if count - 1 in steps:
            made.state[POSITIONS][3, 0, 1] = math.nan
        return made

    task.batch = batch  # type: ignore[method-assign]
    return task


def test_batches_with_nan_are_left_out_within_the_budget(tmp_path: Path) -> None:
    log = Log()
    with pytest.warns(TrainWarning, match=r"loss nan .* at step (2|5): left out \([12] of 2 that are allowed\); the batch is in .*json"):
        fit(poisoned(2, 5), train_config(on_nan="skip", nan_budget=2), tmp_path, log, device="cpu")
    assert log.metrics[12]["train/skipped"] == 2
    assert all(math.isfinite(value) for values in log.metrics.values() for value in values.values())
    for step in (2, 5):
        assert json.loads((tmp_path / f"diverged-step-{step}.json").read_text())["step"] == step
    with pytest.warns(TrainWarning), pytest.raises(Diverged, match=r"2 batches were left out before, as many as train\.nan_budget allows"):
        fit(poisoned(2, 5, 7), train_config(on_nan="skip", nan_budget=2), tmp_path / "spent", Log(), device="cpu")


def test_a_batch_that_is_left_out_changes_nothing(tmp_path: Path) -> None:
    """Weights, average and optimiser after step 3 are those after step 2; only the rate's course goes on."""
    fit(tiny_task(), train_config(steps=2, rate="constant"), tmp_path / "two", Log(), device="cpu")
    with pytest.warns(TrainWarning):
        fit(poisoned(2), train_config(steps=3, rate="constant", on_nan="skip"), tmp_path / "three", Log(), device="cpu")
    two, three = (CheckpointStore(tmp_path / name / "checkpoints").latest() for name in ("two", "three"))
    assert two is not None
    assert three is not None
    assert (two.step, three.step) == (2, 3)
    assert bits(two.tensors) == bits(three.tensors)


def test_the_limit_follows_the_norms_seen() -> None:
    parameter = nn.Parameter(torch.zeros(2))
    clipper, limits, clipped = Clipper(train_config(clip="seen", clip_norm=10.0)), [], []
    for norm in (3.0, 4.0, 100.0, 5.0):
        parameter.grad = torch.tensor([0.6, 0.8]) * norm
        limits.append(clipper.limit)
        assert clipper.clip([parameter]) == pytest.approx(norm)
        clipped.append(float(parameter.grad.norm()))
    seen = [3.0, 4.0]
    expected = [10.0, 4.5, 1.5 * fmean(seen) + 2 * pstdev(seen)]
    assert limits[:3] == pytest.approx(expected)
    assert clipped == pytest.approx([3.0, 4.0, expected[2], 5.0], rel=1e-5)
    assert limits[3] == pytest.approx(1.5 * fmean([3.0, 4.0, expected[2]]) + 2 * pstdev([3.0, 4.0, expected[2]]))
    parameter.grad = torch.tensor([math.nan, 0.0])
    before = list(clipper.seen)
    assert math.isnan(clipper.clip([parameter]))
    assert list(clipper.seen) == before


def test_a_fixed_limit_is_the_one_given() -> None:
    clipper = Clipper(train_config(clip="fixed", clip_norm=2.5), [1.0, 1.0])
    assert clipper.limit == 2.5


def test_what_was_seen_goes_on_after_a_restart(tmp_path: Path) -> None:
    whole, late = Log(), Log()
    config = {"clip": "seen", "save_every": 5}
    fit(tiny_task(), train_config(**config), tmp_path / "whole", whole, device="cpu")
    fit(tiny_task(), train_config(**config, max_seconds=1e-9), tmp_path / "parts", Log(), device="cpu")
    fit(tiny_task(), train_config(**config), tmp_path / "parts", late, device="cpu")
    assert late.losses() == {step: values for step, values in whole.losses().items() if step > 1}
    assert all("train/clip_limit" in values for values in late.metrics.values())


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        ("trapezoid", [0.5, 1, 1, 1, 1, 1, 1, 2 / 3, 1 / 3]),
        ("constant", [0.5, 1, 1, 1, 1, 1, 1, 1, 1]),
        ("cosine", [0.5, 1, *(0.5 * (1 + math.cos(math.pi * k / 7)) for k in range(7))]),
        ("inverse_sqrt", [0.5, 1, *(math.sqrt(2 / s) for s in range(3, 10))]),
    ],
)
def test_the_course_of_the_rate(rate: str, expected: list[float]) -> None:
    config = train_config(steps=9, warmup=2, cooldown=1 / 3, rate=rate)
    assert [rate_factor(config, step) for step in range(9)] == pytest.approx(expected)
