"""The loop: calls counted, steps reported, start and end points, bad input."""

from __future__ import annotations

import pytest
import torch

from scidiff.layout import Layout
from scidiff.process import Categorical, Gaussian, Joint
from scidiff.random import Noise
from scidiff.sampling import RULES, FirstOrder, Heun, Multistep, PredictorCorrector, sample, time_grid
from scidiff.schedule import Cosine, Straight
from scidiff.testing import EntrywiseOracle, even_grid

PROCESS = Joint({"x": Gaussian(Cosine()), "c": Categorical.absorbing(3, Straight())})
ORACLE = EntrywiseOracle(PROCESS)
LAYOUT = Layout.nodes(torch.tensor([3, 2]), 3)
LAYOUTS = {"x": LAYOUT, "c": LAYOUT}
LIKE = {"x": torch.zeros(2, 3, 1, dtype=torch.float64), "c": torch.zeros(2, 3, dtype=torch.long)}
NOISE = Noise(0, torch.tensor([0, 1]))


@pytest.mark.parametrize(
    ("rule", "calls"),
    [(FirstOrder(), 6), (Multistep(), 6), (Heun(), 11), (PredictorCorrector(), 11), (PredictorCorrector(Heun(), corrections=2), 21)],
)
def test_network_calls_are_counted(rule: FirstOrder, calls: int) -> None:
    assert sample(ORACLE, PROCESS, LAYOUTS, NOISE, time_grid(Cosine(), 6), rule, LIKE).calls == calls


def test_every_step_is_reported() -> None:
    seen: list[int] = []
    sample(ORACLE, PROCESS, LAYOUTS, NOISE, time_grid(Cosine(), 4), FirstOrder(), LIKE, on_step=seen.append)
    assert seen == [0, 1, 2, 3]


@pytest.mark.parametrize("name", RULES)
def test_no_label_is_left_masked_at_the_end(name: str) -> None:
    end = sample(ORACLE, PROCESS, LAYOUTS, NOISE, time_grid(Cosine(), 5), RULES[name], LIKE).state
    assert int(end["c"].max()) < 3


def test_a_run_in_two_parts_is_the_run_in_one_where_nothing_is_drawn() -> None:
    """At churn 0 a Gaussian field's first-order walk depends on its state alone."""
    reals, layouts = Joint({"x": PROCESS.fields["x"]}), {"x": LAYOUT}
    like = {"x": LIKE["x"]}
    grid = even_grid(6, (1.0, 0.2))
    whole = sample(EntrywiseOracle(reals), reals, layouts, NOISE, grid, FirstOrder(), like, churn=0.0).state
    half = sample(EntrywiseOracle(reals), reals, layouts, NOISE, grid[:4], FirstOrder(), like, churn=0.0).state
    rest = sample(EntrywiseOracle(reals), reals, layouts, NOISE, grid[3:], FirstOrder(), like, churn=0.0, start=half).state
    assert torch.equal(rest["x"], whole["x"])


def test_churn_may_differ_by_field() -> None:
    grid = even_grid(3, (1.0, 0.2))
    mixed = sample(ORACLE, PROCESS, LAYOUTS, NOISE, grid, FirstOrder(), LIKE, churn={"x": 0.0, "c": 1.0}).state
    zero, one = (sample(ORACLE, PROCESS, LAYOUTS, NOISE, grid, FirstOrder(), LIKE, churn=c).state for c in (0.0, 1.0))
    # The oracle's fields are independent of each other, so each field is as it would be alone.
    assert torch.equal(mixed["x"], zero["x"])
    assert torch.equal(mixed["c"], one["c"])


def test_bad_grids_and_churns_are_refused() -> None:
    for grid in ([0.5, 0.5, 0.0], [0.1, 0.9]):
        with pytest.raises(ValueError, match="must descend"):
            sample(ORACLE, PROCESS, LAYOUTS, NOISE, torch.tensor(grid), FirstOrder(), LIKE)
    for churn in (-0.1, 1.5):
        with pytest.raises(ValueError, match="churn must lie in"):
            sample(ORACLE, PROCESS, LAYOUTS, NOISE, time_grid(Cosine(), 2), FirstOrder(), LIKE, churn=churn)
