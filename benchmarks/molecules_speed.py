"""Molecules per second of a shipped model, and what of it is the network, the sampler and the chemistry.

    python benchmarks/molecules_speed.py [--model qm9] [--rounds 7] [--threads 2]

Every round generates one block of each size in turn (A B C A B C), so that a busy machine slows all alike; medians are printed. The
network's share is timed by calling it alone as often as the sampler does, on the states the sampler ended with.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from rich.progress import track

from scidiff_molecules.decode import decode
from scidiff_molecules.generator import MoleculeGenerator

BLOCKS = (10, 50, 200)


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="qm9")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    generator = MoleculeGenerator.load(options.model)
    parts: dict[int, dict[str, list[float]]] = {size: {"sample": [], "network": [], "decode": []} for size in BLOCKS}
    for round_number in track(range(options.rounds), description="timing"):
        for size, times in parts.items():
            ids = torch.arange(round_number * size, (round_number + 1) * size)
            started = time.perf_counter()
            drawn, layout = generator.sample(ids, 0, generator.sampler)
            times["sample"].append(time.perf_counter() - started)
            t = torch.full((size,), 0.5, dtype=torch.float64)
            with torch.no_grad():
                previous = generator.denoiser(drawn.state, t, layout)  # which calls after the first are shown too
                call = partial(generator.denoiser, drawn.state, t, layout, previous=previous)
                times["network"].append(drawn.calls * seconds(call))
            law = generator.statistics
            times["decode"].append(seconds(partial(decode, drawn.state, layout, law.vocabulary, law.scale, ids.tolist())))
    machine = f"{options.threads} threads, torch {torch.__version__}, {platform.machine()}"
    print(f"model {options.model}, {generator.calls()} network calls a molecule, {machine}\n")
    print("| molecules a call | a second, end to end | network | rest of the sampler | to RDKit, with hydrogens |")
    print("|---|---|---|---|---|")
    for size, times in parts.items():
        sample, network, chemistry = (statistics.median(times[key]) for key in ("sample", "network", "decode"))
        total = sample + chemistry
        shares = (network / total, max(sample - network, 0) / total, chemistry / total)
        print(f"| {size} | {size / total:.1f} | " + " | ".join(f"{100 * share:.0f} %" for share in shares) + " |")


if __name__ == "__main__":
    main()
