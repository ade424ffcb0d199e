"""What training and sampling cost, and where more processes stop helping: the constants of docs/scaling.md, measured.

    python benchmarks/scaling.py [--only training settings alone sampling scaling] [--seconds 4] [--threads 1] [--device cpu]

One thread a process, as on a cluster one process has one device. Tables: a step of training against the network's size and the batch; what
one process does while the others wait; sampling against size and batch; adding gradients over two processes; two processes against one,
beside what the arithmetic predicts from the time of a process's share of the batch (alone, and while the other cores do the same without
talking) and from the sums. A cell is the median over a few seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from scidiff.config import load_config
from scidiff.train.checkpoint import CheckpointStore
from scidiff.train.ema import update_ema
from scidiff.train.loop import NoLog
from scidiff.train.ranks import Ranks
from scidiff.train.session import Session
from scidiff.train.step import take_step
from scidiff_molecules.generator import MoleculeGenerator
from scidiff_molecules.model import BackboneConfig, SamplerConfig
from scidiff_molecules.recipe import DataConfig, Recipe
from scidiff_molecules.task import MoleculeTask

SIZES = {
    "small": {"width": 64, "pair_width": 32, "blocks": 3, "irreps": "8x1o+8x2e"},
    "qm9": {"width": 128, "pair_width": 48, "blocks": 6, "irreps": "16x1o+16x2e"},
    "large": {"width": 256, "pair_width": 64, "blocks": 8, "irreps": "32x1o+32x2e"},
}
BATCHES = (16, 32, 64, 128)
ATOMS = 9


def task_of(size: str, batch: int, accumulate: int = 1) -> tuple[MoleculeTask, Recipe]:
    # No self-conditioning: with a second call in half of the steps a step's time would be an average of two.
    train = {"batch_size": batch, "accumulate": accumulate, "steps": 10**6, "self_conditioning": 0.0}
    backbone = BackboneConfig.model_validate({**SIZES[size], "self_conditioning": False})
    recipe = Recipe.model_validate({"data": DataConfig(source="sample", bucket=ATOMS), "backbone": backbone, "train": train})
    return MoleculeTask(recipe), recipe


def median_seconds(action: Callable[[], object], seconds: float) -> float:
    """Of one call; after one that does not count."""
    action()
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(taken) < 3:
        begin = time.perf_counter()
        action()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken)


def step_of(size: str, batch: int, ranks: Ranks, accumulate: int = 1) -> tuple[Callable[[], object], Session]:
    task, recipe = task_of(size, batch, accumulate)
    folder = Path(tempfile.mkdtemp())
    run = Session(task, recipe.train, ranks, CheckpointStore(folder), NoLog(), folder)
    return lambda: take_step(run), run


def training(device: str, seconds: float) -> None:
    print("\n| network | parameters | batch | step, ms | molecules a second | GFLOP a molecule | GFLOP/s |\n|---|---|---|---|---|---|---|")
    for size in SIZES:
        for batch in BATCHES if size == "qm9" else (64,):
            step, run = step_of(size, batch, Ranks(device, "32-true"))
            with FlopCounterMode(display=False) as counter:
                step()
            count = sum(parameter.numel() for parameter in run.parameters)
            took, work = median_seconds(step, seconds), counter.get_total_flops() / 1e9
            rate = f"{batch / took:.0f} | {work / batch:.4f} | {work / took:.1f}"
            print(f"| {size} | {count:,} | {batch} | {1e3 * took:.1f} | {rate} |", flush=True)


def settings(device: str, seconds: float) -> None:
    """Where compiling and half precision pay: the shipped recipes, as they are and changed."""
    from scidiff_timeseries.data import Training
    from scidiff_timeseries.data import task_of as series_task

    configs = Path(__file__).parents[1] / "configs"
    print("\n| recipe | precision | compiled | step, ms | first step, s |\n|---|---|---|---|---|")
    for name in ("molecules/qm9", "timeseries/treasury"):
        for precision, compiled in (("32-true", False), ("bf16-mixed", False), ("32-true", True), ("bf16-mixed", True)):
            changes = [f"train.precision={precision}", f"train.compile={str(compiled).lower()}"]
            if name.startswith("molecules"):
                recipe: Any = load_config(Recipe, configs / f"{name}.yaml", ["data.source=sample", *changes])
                task: Any = MoleculeTask(recipe)
            else:
                recipe = load_config(Training, configs / f"{name}.yaml", changes)
                task = series_task(recipe)
            folder = Path(tempfile.mkdtemp())
            run = Session(task, recipe.train, Ranks(device, precision), CheckpointStore(folder), NoLog(), folder)
            begin = time.perf_counter()
            if compiled:
                task.denoiser.backbone.compile(dynamic=False)
            take_step(run)
            first = time.perf_counter() - begin
            took = median_seconds(lambda run=run: take_step(run), seconds)
            print(f"| {name} | {precision} | {'yes' if compiled else 'no'} | {1e3 * took:.1f} | {first:.1f} |", flush=True)


def alone(device: str, seconds: float) -> None:
    """What the first process does while the others wait, and what does not depend on the batch."""
    print("\n| network | checkpoint, MB | saving it, ms | validation, s | optimiser and average, ms |\n|---|---|---|---|---|")
    for size in SIZES:
        step, run = step_of(size, 16, Ranks(device, "32-true"))
        step()
        save = median_seconds(run.save, seconds)
        megabytes = max(path.stat().st_size for path in run.store.folder.iterdir()) / 1e6
        validation = median_seconds(lambda run=run: run.task.validate(run.average), seconds)
        for parameter in run.parameters:
            parameter.grad = torch.zeros_like(parameter)
        change = median_seconds(lambda run=run: (run.optimizer.step(), update_ema(run.average, run.task.denoiser, 0.999, 1)), seconds)
        print(f"| {size} | {megabytes:.1f} | {1e3 * save:.1f} | {validation:.2f} | {1e3 * change:.1f} |", flush=True)


def sampling(device: str, seconds: float) -> None:
    calls = SamplerConfig().steps
    heads = ("network", "molecules at once", "a call, ms", "a molecule and call, ms", f"molecules a second, {calls} calls")
    print(f"\n| {' | '.join(heads)} |\n{'|---' * len(heads)}|")
    for size in SIZES:
        task, _ = task_of(size, 16)
        generator = MoleculeGenerator(task.denoiser, task.statistics, task.metadata())
        for batch in (1, 10, 50, 200) if size == "qm9" else (50,):
            options = {"batch_size": batch, "atoms": ATOMS}
            few, many = (median_seconds(partial(generator.generate, batch, steps=steps, **options), seconds) for steps in (2, 12))
            call = (many - few) / 10
            whole = few + (calls - 2) * call  # decoding and hydrogens once
            print(f"| {size} | {batch} | {1e3 * call:.1f} | {1e3 * call / batch:.3f} | {batch / whole:.1f} |", flush=True)


def one_rank(plan: dict[str, Any]) -> None:
    """A process of several: what the first one measures goes to standard output."""
    ranks = Ranks(plan["device"], "32-true")
    found: dict[str, Any] = {}
    for count in plan["sums"]:
        values = torch.zeros(count, device=ranks.device)
        found[f"sum {count}"] = measured(lambda values=values: ranks.add(values), plan["rounds"])
    for size, batch in plan["steps"]:
        step, _ = step_of(size, batch, ranks)
        found[f"step {size} {batch}"] = measured(step, plan["rounds"])
    if ranks.is_first:
        print("RESULT", json.dumps(found))
    ranks.close()


def measured(action: Callable[[], object], rounds: int) -> float:
    """Processes take the same number of rounds, so that none waits for another that has stopped."""
    taken: list[float] = []
    for _ in range(rounds + 2):
        begin = time.perf_counter()
        action()
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken[2:])


def processes(world: int, plan: dict[str, Any], strangers: int = 1) -> dict[str, float]:
    """What ``world`` processes measure that train together; or the mean of what ``strangers`` measure, as many single ones at once."""
    command = [sys.executable, __file__, "--rank", json.dumps(plan)]
    if world > 1:
        command[1:1] = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={world}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(strangers)]
    said = [process.communicate()[0].splitlines() for process in started]
    if any(process.returncode for process in started):
        raise SystemExit(f"a process failed: {' '.join(command)}")
    found = [json.loads(line.removeprefix("RESULT")) for lines in said for line in lines if line.startswith("RESULT")]
    return {name: statistics.mean(one[name] for one in found) for name in found[0]}


def scaling(device: str, world: int) -> None:
    sums = [1_000, 100_000, 1_000_000, 10_000_000]
    steps = [("small", 16), ("small", 128), ("qm9", 16), ("qm9", 64), ("qm9", 256)]
    plan = {"device": device, "sums": sums, "steps": steps, "rounds": 15}
    shares = {**plan, "steps": [(size, batch // world) for size, batch in steps]}
    one, many, share, crowded = processes(1, plan), processes(world, plan), processes(1, shares), processes(1, shares, strangers=world)
    print(f"\n| numbers added over {world} processes | ms | GB/s |\n|---|---|---|")
    for count in sums:
        print(f"| {count:,} | {1e3 * many[f'sum {count}']:.2f} | {4e-9 * count / many[f'sum {count}']:.2f} |")
    latency = many[f"sum {sums[0]}"]
    bandwidth = 4 * (sums[-1] - sums[0]) / (many[f"sum {sums[-1]}"] - latency)
    print(f"\nlatency {1e3 * latency:.2f} ms, bandwidth {bandwidth / 1e9:.2f} GB/s")
    columns = ("network", "batch", "one process, ms", "its share, alone", "all cores busy", f"{world} processes", "speed-up", "predicted")
    print(f"\n| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for size, batch in steps:
        parameters = sum(parameter.numel() for parameter in task_of(size, 16)[0].denoiser.parameters())
        single, together = one[f"step {size} {batch}"], many[f"step {size} {batch}"]
        part, busy = (found[f"step {size} {batch // world}"] for found in (share, crowded))
        predicted = busy + 2 * latency + 4 * parameters / bandwidth
        times = " | ".join(f"{1e3 * seconds:.1f}" for seconds in (single, part, busy, together))
        print(f"| {size} | {batch} | {times} | {single / together:.2f} | {single / predicted:.2f} |", flush=True)


TABLES: dict[str, Callable[[argparse.Namespace], None]] = {
    "training": lambda options: training(options.device, options.seconds),
    "settings": lambda options: settings(options.device, options.seconds),
    "alone": lambda options: alone(options.device, options.seconds),
    "sampling": lambda options: sampling(options.device, options.seconds),
    "scaling": lambda options: scaling(options.device, options.world),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--seconds", type=float, default=4.0, help="for each cell")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--world", type=int, default=2, help="processes of the last tables")
    parser.add_argument("--threads", type=int, default=1, help="of every process but those of the last tables, which have one")
    parser.add_argument("--rank", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.rank:
        one_rank(json.loads(options.rank))
        return
    for name, table in TABLES.items():
        if name in options.only:
            table(options)


if __name__ == "__main__":
    main()
