"""What one call of each molecule backbone costs, at equal width and depth.

    python benchmarks/molecules_backbones.py [--rounds 7] [--threads 1]

Random weights, the inputs of the ablation's small model, no gradients; and forward with backward, which is what training pays.
Every round times each backbone in turn (A B A B), so that a busy machine slows all alike; medians of CPU time. Prints a markdown table.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time

import torch
from rich.progress import track

from scidiff_molecules.backbone import Network
from scidiff_molecules.model import BACKBONES, BackboneConfig

BATCHES = ((64, 9), (16, 18))
SIZES = {"width": 96, "pair_width": 32, "blocks": 4}
NETWORKS = (("attention", "8x1o"), ("attention", "8x1o+8x2e"), ("tensor_product", "16x0e+8x1o+8x2e"), ("tensor_product", "32x0e+8x1o+8x2e"))
ATOMS, PAIRS, TIMES = 30, 50, 16


def milliseconds(network: Network, batch: int, atoms: int, *, backward: bool) -> float:
    generator = torch.Generator().manual_seed(0)
    shapes = ((batch, atoms, ATOMS), (batch, atoms * (atoms - 1) // 2, PAIRS), (batch, atoms, TIMES), (batch, atoms, 3))
    inputs = [torch.randn(shape, generator=generator) for shape in shapes]
    mask = torch.ones(batch, atoms, dtype=torch.bool)
    started = time.process_time()
    with torch.set_grad_enabled(backward):
        outputs = network(*inputs, lambda vectors: vectors, mask)
        if backward:
            torch.autograd.backward([one.square().mean() for one in outputs])
    return 1000 * (time.process_time() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    networks: list[Network] = []
    for kind, irreps in NETWORKS:
        config = BackboneConfig.model_validate({**SIZES, "kind": kind, "irreps": irreps})
        networks.append(BACKBONES[config.kind](ATOMS, PAIRS, TIMES, 15, 5, **config.sizes()))
    cases = [(batch, atoms, backward) for batch, atoms in BATCHES for backward in (False, True)]
    times = {(case, index): [] for case in cases for index in range(len(networks))}
    for _ in track(range(options.rounds + 1), description="timing"):  # the first round warms up
        for (case, index), found in times.items():
            batch, atoms, backward = case
            found.append(milliseconds(networks[index], batch, atoms, backward=backward))
    medians = {key: statistics.median(found[1:]) for key, found in times.items()}
    print(f"{options.threads} threads, torch {torch.__version__}, {platform.machine()}, {SIZES}, {options.rounds} rounds\n")
    heads = [f"{b} x {n} atoms, {'forward and backward' if back else 'forward'}: ms (ratio)" for b, n, back in cases]
    print("| kind | irreps | parameters | " + " | ".join(heads) + " |\n|" + "---|" * (3 + len(cases)))
    for index, ((kind, irreps), network) in enumerate(zip(NETWORKS, networks, strict=True)):
        count = sum(parameter.numel() for parameter in network.parameters())
        cells = [f"{medians[case, index]:.0f} ({medians[case, index] / medians[case, 0]:.2f})" for case in cases]
        print(f"| {kind} | {irreps} | {count:,} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
