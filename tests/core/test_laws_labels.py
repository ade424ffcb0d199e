"""Law 2: on labels with the exact denoiser a sampler's transition matrices are enumerated; its law approaches the exact one at order 1.

At one position every rule is exact; at two, what is lost is that both positions move at once. For every kind of pi, churn and rule. The
matrices are those of the process's stated laws; ``check_branches`` makes the real sampler draw every branch of them.
"""

from __future__ import annotations

import pytest
import torch

from scidiff.process import Categorical
from scidiff.sampling import FirstOrder, Heun, Multistep, PredictorCorrector, Rule
from scidiff.schedule import Cosine, Polynomial, Schedule, Straight, SubVP, VPLinear, Warp
from scidiff.testing import (
    CategoricalOracle,
    Chain,
    check_branches,
    check_label_order,
    even_grid,
    exact_law,
    label_order,
    plain_labels,
    total_variation,
)


def processes(schedule: Schedule) -> dict[str, Categorical]:
    return {
        "absorbing": Categorical.absorbing(2, schedule),
        "uniform": Categorical.uniform(3, schedule),
        "marginal": Categorical(tuple(((plain_labels(3).sum(0) + plain_labels(3).sum(1)) / 2).tolist()), schedule),
        "a zero in pi": Categorical((0.7, 0.3, 0.0), schedule),
    }


STRAIGHT = processes(Straight())
CHURNS = (0.0, 0.5, 1.0)
RULES: list[tuple[Rule, tuple[int, int]]] = [
    (FirstOrder(), (32, 64)),
    (Multistep(), (32, 64)),
    # Extrapolated posteriors take longer to show the order that they have in the end.
    (Multistep(labels=True), (96, 192)),
    (Heun(), (16, 32)),
    # Three draws a step make K^8 branches.
    (PredictorCorrector(), (6, 12)),
]


@pytest.mark.parametrize("churn", CHURNS)
@pytest.mark.parametrize("name", STRAIGHT)
@pytest.mark.parametrize(("rule", "steps"), RULES, ids=str)
def test_order(rule: Rule, steps: tuple[int, int], name: str, churn: float) -> None:
    process = STRAIGHT[name]
    check_label_order(rule, process, plain_labels(process.data_labels), churn, steps=steps)


LESS_OFTEN = [pytest.param(name, marks=pytest.mark.long) for name in ("uniform", "marginal")]
OTHERS = [pytest.param(rule, steps, marks=pytest.mark.long if steps[0] > 90 else ()) for rule, steps in RULES]


@pytest.mark.parametrize("schedule", [Cosine(), VPLinear(), Polynomial(), SubVP(), Warp(Straight(), 2.0)], ids=str)
@pytest.mark.parametrize("name", ["absorbing", "a zero in pi", *LESS_OFTEN])
@pytest.mark.parametrize(("rule", "steps"), OTHERS, ids=str)
def test_order_on_other_schedules(rule: Rule, steps: tuple[int, int], name: str, schedule: Schedule) -> None:
    process = processes(schedule)[name]
    check_label_order(rule, process, plain_labels(process.data_labels), 0.5, steps=steps)


def test_order_with_four_labels() -> None:
    for process in (Categorical.absorbing(3, Straight()), Categorical((0.1, 0.2, 0.3, 0.4), Straight())):
        check_label_order(FirstOrder(), process, plain_labels(process.data_labels), 1.0)


@pytest.mark.parametrize("churn", CHURNS)
@pytest.mark.parametrize("rule", [FirstOrder(), Multistep(labels=True), Heun(), PredictorCorrector()], ids=str)
def test_the_sampler_draws_what_was_enumerated(rule: Rule, churn: float) -> None:
    for process in STRAIGHT.values():
        check_branches(Chain(rule, CategoricalOracle(process, plain_labels(process.data_labels)), churn), even_grid(3))


@pytest.mark.parametrize("churn", CHURNS)
@pytest.mark.parametrize("rule", [FirstOrder(), PredictorCorrector()], ids=str)
def test_at_one_position_a_sampler_is_exact_in_any_number_of_steps(rule: Rule, churn: float) -> None:
    law = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    for process in (Categorical.absorbing(3, Cosine()), Categorical.uniform(3, Cosine()), Categorical((0.7, 0.3, 0.0), Cosine())):
        oracle = CategoricalOracle(process, law)
        for steps in (1, 3):
            assert total_variation(Chain(rule, oracle, churn).law(even_grid(steps)), exact_law(oracle, 0.2)) < 1e-14


@pytest.mark.parametrize("name", STRAIGHT)
def test_independent_positions_are_exact_too(name: str) -> None:
    process = STRAIGHT[name]
    law = torch.arange(1.0, process.data_labels + 1, dtype=torch.float64)
    oracle = CategoricalOracle(process, (law / law.sum())[:, None] * (law.flip(0) / law.sum()))
    for churn in CHURNS:
        assert total_variation(Chain(FirstOrder(), oracle, churn).law(even_grid(3)), exact_law(oracle, 0.2)) < 1e-14


def test_averaged_and_extrapolated_posteriors_help_but_stay_of_order_one() -> None:
    process = STRAIGHT["uniform"]
    oracle = CategoricalOracle(process, plain_labels(3))
    error = {rule: label_order(Chain(rule, oracle, 0.0), (64, 128))[1][-1] for rule in (FirstOrder(), Heun(), Multistep(labels=True))}
    assert error[Heun()] < error[FirstOrder()]
    assert error[Multistep(labels=True)] < error[FirstOrder()]
