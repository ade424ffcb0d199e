"""The order of every sampling rule, and its error against network calls, from exact laws: nothing is sampled, so there is no noise in it.

    python benchmarks/sampler_order.py

Prints the markdown tables of docs/samplers.md. Orders are regressed on t from 0.9 to 0.2, as laws 1 and 2 of the tests are; errors on
real data are of whole runs from the prior to t = 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from rich.console import Console
from rich.progress import track

from scidiff.process import Categorical, Gaussian
from scidiff.sampling import FirstOrder, Heun, Multistep, PredictorCorrector, Rule, time_grid
from scidiff.schedule import EDM, SCHEDULES, Cosine, Schedule, Straight, VPLinear
from scidiff.testing import (
    CategoricalOracle,
    Chain,
    Moments,
    Setting,
    even_grid,
    exact_law,
    gaussian_order,
    label_order,
    law_of_sampler,
    plain_gaussians,
    plain_labels,
    total_variation,
)

RULES: dict[str, tuple[Rule, int]] = {
    "first order": (FirstOrder(), 1),
    "multistep": (Multistep(), 1),
    "Heun": (Heun(), 2),
    "corrector": (PredictorCorrector(), 2),
    "corrector on multistep": (PredictorCorrector(Multistep()), 2),
}
"""Rules and their network calls a step."""
LABEL_RULES: dict[str, tuple[Rule, int, tuple[int, int]]] = {
    "first order": (FirstOrder(), 1, (32, 64)),
    "multistep, extrapolating labels": (Multistep(labels=True), 1, (96, 192)),
    "Heun": (Heun(), 2, (16, 32)),
    "corrector": (PredictorCorrector(), 2, (6, 12)),
}
"""Rules, their calls a step, and the numbers of steps to regress over (three draws a step make K^8 branches)."""
CALLS = (4, 8, 16, 32, 64, 128)


def label_processes(schedule: Schedule) -> dict[str, Categorical]:
    marginal = (plain_labels(3).sum(0) + plain_labels(3).sum(1)) / 2
    return {
        "absorbing": Categorical.absorbing(2, schedule),
        "uniform": Categorical.uniform(3, schedule),
        "marginal": Categorical(tuple(marginal.tolist()), schedule),
        "arbitrary, with a zero": Categorical((0.7, 0.3, 0.0), schedule),
    }


Rows = list[tuple[str, Callable[[], list[str]]]]


def table(title: str, head: Sequence[str], rows: Rows) -> None:
    """Print as it is measured; progress on standard error."""
    print(f"\n{title}\n\n| {' | '.join(head)} |\n{'|---' * len(head)}|", flush=True)
    for name, cells in track(rows, description=head[0], console=Console(stderr=True), transient=True):
        print(f"| {name} | {' | '.join(cells())} |", flush=True)


def real_orders(schedule: Schedule) -> list[str]:
    data, layout = plain_gaussians()
    settings = [Setting(rule, Gaussian(schedule), data, layout, churn) for rule, _ in RULES.values() for churn in (0.0, 1.0)]
    found = [f"{gaussian_order(setting)[0]:.2f}" for setting in settings]
    return [" / ".join(found[i : i + 2]) for i in range(0, len(found), 2)]


def label_orders(process: Categorical) -> list[str]:
    oracle = CategoricalOracle(process, plain_labels(process.data_labels))
    cells: list[str] = []
    for rule, _, steps in LABEL_RULES.values():
        cells.append(" / ".join(f"{label_order(Chain(rule, oracle, churn), steps)[0]:.2f}" for churn in (0.0, 1.0)))
    return cells


def real_errors(rule: Rule, per_step: int, schedule: Schedule, churn: float) -> list[str]:
    """The largest 2-Wasserstein distance to the data over three laws, as a share of the data's root mean square, in per cent."""
    data, layout = plain_gaussians()
    target = Moments(data.mean.flatten(1), data.covariance)
    scale = (target.mean.square().sum(1) + target.covariance.diagonal(dim1=1, dim2=2).sum(1)).sqrt()
    cells: list[str] = []
    for calls in CALLS:
        # Where a step asks twice, the last one (to t = 0) asks once; the odd call is left unused.
        grid = time_grid(schedule, calls // per_step, "log_snr")
        found = law_of_sampler(Setting(rule, Gaussian(schedule), data, layout, churn), grid)
        cells.append(f"{100 * float((found.wasserstein(target) / scale).max()):.2g}")
    return cells


def label_errors(rule: Rule, per_step: int, process: Categorical, churn: float) -> list[str]:
    """Total variation from the exact law at t = 0.2, in per cent."""
    chain = Chain(rule, CategoricalOracle(process, plain_labels(process.data_labels)), churn)
    end = exact_law(chain.oracle, 0.2)
    return [f"{100 * total_variation(chain.law(even_grid(calls // per_step)), end):.2g}" for calls in CALLS[:-1]]


def main() -> None:
    torch.set_default_dtype(torch.float64)
    calls, churns = [f"{n} calls" for n in CALLS], (0.0, 1.0)
    rows: Rows = [(name, partial(real_orders, kind())) for name, kind in SCHEDULES.items()]
    table("Orders on real fields, churn 0 / churn 1.", ["schedule", *RULES], rows)
    rows = [(name, partial(label_orders, process)) for name, process in label_processes(Straight()).items()]
    table("Orders on labels, churn 0 / churn 1 (straight schedule, two positions, total variation).", ["pi", *LABEL_RULES], rows)
    for schedule in (VPLinear(), Straight(), EDM()):
        title = f"`{type(schedule).__name__}`, from the prior to t = 0: 2-Wasserstein distance to the data, per cent of their size."
        rows = [(f"{name}, {c:g}", partial(real_errors, rule, n, schedule, c)) for name, (rule, n) in RULES.items() for c in churns]
        table(title, ["rule, churn", *calls], rows)
    for noise in ("absorbing", "uniform"):
        process, title = label_processes(Cosine())[noise], f"Labels, {noise} noise, cosine schedule: total variation at t = 0.2, per cent."
        rows = [(f"{k}, {c:g}", partial(label_errors, rule, n, process, c)) for k, (rule, n, _) in LABEL_RULES.items() for c in churns]
        table(title, ["rule, churn", *calls[:-1]], rows)


if __name__ == "__main__":
    main()
