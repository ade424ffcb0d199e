"""Peers measured beside this project's molecule model in one run: EDM and SemlaFlow, each from its own published code.

    python benchmarks/molecules/peers.py --edm FOLDER --semla FOLDER [--threads 1 2] [--judge 1000] [--json FILE]

Two comparisons, in one process, each round running every contestant in turn:

- per network call, forward only, float32, at equal batch: at 18 atoms for all, and at what a molecule of QM9 takes in each (18 with
  hydrogens as atoms of their own, which EDM and SemlaFlow need; 9 without, which is what the shipped model sees);
- end to end at each one's default: ours whole (30 calls, to RDKit molecules, screened), theirs a few steps inside their own sampler,
  times how many steps a molecule takes (EDM 1,000 and one call, SemlaFlow 100); their decoding is left out, in their favour.
  EDM is timed with batches as wide as their molecules, and as its own sampler pads them, to the 29 atoms of QM9's largest.

Printed: medians of wall and CPU time, and how many times longer each takes than ours: medians of the rounds' ratios with 95 % intervals.
At the defaults it takes some ten minutes for each number of threads on idle cores, of which compiling takes two.

Nothing of the peers' code is part of this project. The folders are git clones of the public repositories, measured at these commits:

    --edm    {edm}
    --semla  {semla}

Their code is not changed, only what their networks need is imported, and their weights are random at the published sizes. Packages their
code imports but does not use here (lightning, torchmetrics, openbabel) are stood in for if they are not installed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import peer_edm
import peer_semla
import torch
from contestant import Contestant
from interleaved import FEWEST_ROUNDS, Ratio, Times, Work, interleave, ratio
from ours import VARIANTS, Variant, ours
from rich.console import Console
from rich.progress import track

from scidiff import __version__
from scidiff.errors import UserError
from scidiff_molecules.sdf import atomic_text

GOALS = {"EDM": 100, "SemlaFlow": 10}
"""How many times as many molecules a second as each peer are aimed at, end to end."""
BASE = "ours, float32"


@dataclass(frozen=True)
class Row:
    """One line of the tables: what was timed, its times, and ratios to others' by name."""

    name: str
    threads: int
    batch: int
    atoms: str
    times: Times
    wall: dict[str, Ratio]
    cpu: dict[str, Ratio]


def rounds(count: int, what: str) -> Iterable[int]:
    return track(range(count + 1), description=what, console=Console(stderr=True))


def calls(contestants: Sequence[Contestant], options: argparse.Namespace, threads: int, batch: int) -> list[Row]:
    """One network call of each at ``options.atoms``, and of ours at ``options.heavy`` too; ratios to ours at both."""
    works: dict[tuple[str, int], Work] = {}
    for one in contestants:
        if one.call is not None:
            for atoms in (options.atoms, options.heavy) if one.name.startswith("ours") else (options.atoms,):
                works[one.name, atoms] = one.call(batch, atoms)
    taken = interleave(works, rounds(options.rounds, f"calls, batch {batch}, {threads} threads"))
    rows: list[Row] = []
    for (name, atoms), times in taken.items():
        bases = {str(n): taken[BASE, n] for n in (options.atoms, options.heavy)}
        wall = {n: ratio(times.wall, base.wall) for n, base in bases.items()}
        cpu = {n: ratio(times.cpu, base.cpu) for n, base in bases.items()}
        rows.append(Row(name, threads, batch, str(atoms), times, wall, cpu))
    return rows


def end_to_end(contestants: Sequence[Contestant], options: argparse.Namespace, threads: int) -> list[Row]:
    """Making ``options.molecules`` molecules: times of the whole, and ratios to each of ours."""
    pieces = {one.name: one.piece(options.molecules) for one in contestants}
    works = {name: piece.work for name, piece in pieces.items()}
    taken = interleave(works, rounds(options.rounds, f"end to end, {threads} threads"))
    whole = {
        name: Times([pieces[name].times * s for s in times.wall], [pieces[name].times * s for s in times.cpu])
        for name, times in taken.items()
    }
    rows: list[Row] = []
    for name, times in whole.items():
        bases = {base: whole[base] for base in whole if base.startswith("ours")}
        wall = {base: ratio(times.wall, other.wall) for base, other in bases.items()}
        cpu = {base: ratio(times.cpu, other.cpu) for base, other in bases.items()}
        rows.append(Row(name, threads, options.molecules, pieces[name].atoms, times, wall, cpu))
    return rows


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    print(f"\n| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")


def print_contestants(contestants: Sequence[Contestant]) -> None:
    heads = ("network", "parameters", "weights", "code", "calls a molecule", "quality at that")
    table(heads, ([one.name, f"{one.parameters:,}", one.weights, one.source, f"{one.calls:,}", one.quality] for one in contestants))


def print_calls(rows: Sequence[Row], options: argparse.Namespace) -> None:
    against = [f"{kind} / ours at {n}" for n in (options.atoms, options.heavy) for kind in ("wall", "CPU")]
    shown: list[list[str]] = []
    for row in rows:
        medians = [f"{1000 * statistics.median(times):.1f}" for times in (row.times.wall, row.times.cpu)]
        ratios = [str(one[str(n)]) for n in (options.atoms, options.heavy) for one in (row.wall, row.cpu)]
        shown.append([str(row.threads), str(row.batch), row.name, row.atoms, *medians, *ratios])
    table(("threads", "batch", "one network call of", "atoms", "ms", "CPU ms", *against), shown)


def print_end_to_end(rows: Sequence[Row]) -> None:
    shown: list[list[str]] = []
    for row in rows:
        speed = f"{row.batch / statistics.median(row.times.wall):.3g}"
        cost = f"{statistics.median(row.times.cpu) / row.batch:.3g}"
        shown.append([str(row.threads), str(row.batch), row.name, row.atoms, speed, cost, str(row.wall[BASE]), str(row.cpu[BASE])])
    heads = ("threads", "batch", "end to end", "atoms", "molecules a second", "CPU s a molecule", "wall / ours", "CPU / ours")
    table(heads, shown)


def verdict(found: Ratio, goal: float) -> str:
    """Whether a goal is met, by the interval."""
    if found.low >= goal:
        return "met"
    return "missed" if found.high < goal else "undecided: the goal lies in the interval"


def goals(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Ours, in float32 and not compiled as the peers are, against every peer that has a goal, by wall and by CPU time."""
    found: list[dict[str, Any]] = []
    for row in rows:
        if row.name in GOALS:
            reached = {"wall": row.wall[BASE], "cpu": row.cpu[BASE]}
            verdicts = {kind: verdict(one, GOALS[row.name]) for kind, one in reached.items()}
            found.append({"ours": BASE, "peer": row.name, "threads": row.threads, "goal": GOALS[row.name], **reached, "met": verdicts})
    return found


def print_goals(found: Sequence[dict[str, Any]]) -> None:
    shown: list[list[str]] = []
    for one in found:
        reached = [f"{one[kind]}: {one['met'][kind]}" for kind in ("wall", "cpu")]
        shown.append([str(one["threads"]), one["ours"], one["peer"], f">= {one['goal']} x", *reached])
    table(("threads", "molecules a second of", "against", "goal", "by wall time", "by CPU time"), shown)


def machine() -> dict[str, str]:
    """What the figures depend on."""
    processor = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.is_file():
        names = [line.partition(":")[2].strip() for line in information.read_text().splitlines() if line.startswith("model name")]
        processor = names[0] if names else processor
    load = f"{os.getloadavg()[0]:.1f} at the start" if hasattr(os, "getloadavg") else "unknown"
    versions = {"torch": torch.__version__, "numpy": np.__version__, "python": platform.python_version(), "scidiff": __version__}
    vectors = torch.backends.cpu.get_cpu_capability()
    return {"processor": processor, "cores": str(os.cpu_count()), "vector instructions": vectors, "load": load, **versions}


def build(options: argparse.Namespace, threads: int, judged: int) -> list[Contestant]:
    variants: list[Variant] = [one for one in VARIANTS if one == "float32" or one in options.ours]
    contestants = [ours(options.model, one, threads=threads, judged=judged) for one in variants]
    if options.edm is not None:
        contestants += peer_edm.edm(options.edm, atoms=options.atoms, steps=options.steps)
    if options.semla is not None:
        contestants.append(peer_semla.semla(options.semla, atoms=options.atoms, steps=options.steps))
    return contestants


def arguments() -> argparse.Namespace:
    known = {name: f"{peer.REPOSITORY} at {peer.COMMIT}" for name, peer in (("edm", peer_edm), ("semla", peer_semla))}
    parser = argparse.ArgumentParser(description=(__doc__ or "").format(**known), formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edm", type=Path, metavar="FOLDER", help="EDM's code; left out, EDM is not measured")
    parser.add_argument("--semla", type=Path, metavar="FOLDER", help="SemlaFlow's code; left out, SemlaFlow is not measured")
    parser.add_argument("--model", default="qm9", help="ours: a shipped model's name or a file of weights (%(default)s)")
    parser.add_argument("--ours", nargs="*", choices=VARIANTS, default=VARIANTS, help="variants of ours beside float32 (all)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1], help="each in turn (%(default)s)")
    parser.add_argument("--batch", type=int, nargs="*", default=[16, 64], help="of the network calls (%(default)s); none: end to end alone")
    parser.add_argument("--atoms", type=int, default=18, help="of a molecule of QM9 with its hydrogens (%(default)s; the mean is 18.03)")
    parser.add_argument("--heavy", type=int, default=9, help="of one without them (%(default)s; the mean is 8.8)")
    parser.add_argument("--molecules", type=int, default=50, help="made at once end to end (%(default)s, the default of ours)")
    parser.add_argument("--steps", type=int, default=2, help="steps of the peers' samplers that are timed (%(default)s)")
    parser.add_argument("--rounds", type=int, default=9, help="after one that warms up (%(default)s; at least 7)")
    parser.add_argument("--judge", type=int, default=0, metavar="N", help="measure the quality of N molecules of each of ours (none)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there too, every round's times included")
    options = parser.parse_args()
    if options.rounds < FEWEST_ROUNDS:
        parser.error(f"--rounds {options.rounds}: at least {FEWEST_ROUNDS}, which an interval of the median takes")
    if min(options.steps, options.molecules, options.atoms, options.heavy, *options.threads, *options.batch) < 1:
        parser.error("--steps, --molecules, --atoms, --heavy, --threads and --batch count from 1")
    return options


def write(file: Path, contestants: Sequence[Contestant], **rest: Any) -> None:
    """Everything that was printed and every round's times, as JSON."""
    shown = ("name", "parameters", "weights", "source", "calls", "quality")
    listed = [{name: getattr(one, name) for name in shown} for one in contestants]
    with atomic_text(file) as out:
        out.write(json.dumps({"contestants": listed, **rest}, default=asdict, indent=1) + "\n")


def measure(options: argparse.Namespace) -> tuple[list[Contestant], list[Row], list[Row]]:
    """Who took part, the network calls' rows and the end-to-end ones. Raises UserError for a folder or model that will not do."""
    contestants: list[Contestant] = []
    one_call: list[Row] = []
    whole: list[Row] = []
    for threads in options.threads:
        torch.set_num_threads(threads)
        torch.compiler.reset()
        built = build(options, threads, 0 if contestants else options.judge)
        contestants = contestants or built
        for batch in options.batch:
            one_call += calls(built, options, threads, batch)
        whole += end_to_end(built, options, threads)
    return contestants, one_call, whole


@torch.no_grad()
def main() -> None:
    options = arguments()
    torch.manual_seed(0)
    facts = machine()
    try:
        contestants, one_call, whole = measure(options)
    except UserError as error:
        raise SystemExit(str(error)) from error
    print(", ".join(f"{name} {value}" for name, value in facts.items()) + f", {options.rounds} rounds")
    print_contestants(contestants)
    if one_call:
        print_calls(one_call, options)
    print_end_to_end(whole)
    reached = goals(whole)
    print_goals(reached)
    if options.json is not None:
        write(options.json, contestants, machine=facts, rounds=options.rounds, calls=one_call, end_to_end=whole, goals=reached)


if __name__ == "__main__":
    main()
