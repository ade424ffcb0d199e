"""Law 4 for labels: a tilt by the evidence about each entry, against the enumerated law."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from scidiff import posterior as post
from scidiff.errors import UserError
from scidiff.guidance import Tilt
from scidiff.layout import Layout
from scidiff.process import Categorical, Joint
from scidiff.random import Noise
from scidiff.sampling import FirstOrder, sample
from scidiff.schedule import Straight
from scidiff.testing import CategoricalOracle, Chain, EntrywiseOracle, check_branches, even_grid, exact_law, plain_labels, total_variation

PROCESSES = {
    "absorbing": Categorical.absorbing(3, Straight()),
    "uniform": Categorical.uniform(3, Straight()),
    "a zero in pi": Categorical((0.7, 0.3, 0.0), Straight()),
}
EVIDENCE = {
    "graded": torch.tensor([[0.1, -1.0, 0.7], [0.0, 0.4, -2.0]], dtype=torch.float64),
    "allowed": torch.tensor([[True, False, True], [True, True, False]]),
}


def likelihood(evidence: Tensor) -> Tensor:
    return evidence.double() if evidence.dtype == torch.bool else evidence.exp()


def tilted(joint: Tensor, evidence: Tensor) -> Tensor:
    law = joint * likelihood(evidence)[0][:, None] * likelihood(evidence)[1]
    return law / law.sum()


@pytest.mark.parametrize("churn", [0.0, 1.0])
@pytest.mark.parametrize("evidence", EVIDENCE)
@pytest.mark.parametrize("name", PROCESSES)
def test_independent_labels_are_sampled_from_the_tilted_law(name: str, evidence: str, churn: float) -> None:
    """From the exact q(x_0.9) of the tilted law to its exact q(x_0.2), in any number of steps; and the sampler draws what is enumerated."""
    process, table = PROCESSES[name], EVIDENCE[evidence]
    one = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    joint = one[:, None] * one.flip(0)
    target = CategoricalOracle(process, tilted(joint, table))

    def guide(oracle: CategoricalOracle) -> Tilt:
        return Tilt(CategoricalOracle(process, joint), "x", table[None])

    chain = Chain(FirstOrder(), target, churn, guide)
    for steps in (1, 4):
        assert total_variation(chain.law(even_grid(steps)), exact_law(target, 0.2)) < 1e-14
    check_branches(chain, even_grid(2))


def test_evidence_about_one_entry_is_exact_for_that_entry_and_does_not_reach_the_other() -> None:
    process, joint, table = PROCESSES["uniform"], plain_labels(3), EVIDENCE["graded"] * torch.tensor([[1.0], [0.0]]).double()
    oracle, target = CategoricalOracle(process, joint), CategoricalOracle(process, tilted(joint, table))
    x, t, layouts = {"x": torch.tensor([[0, 2]])}, torch.tensor([0.6]).double(), {"x": Layout(torch.ones(1, 2, dtype=torch.bool))}
    found, right, before = (
        d(x, t, layouts)["x"].probabilities[0]  # type: ignore[union-attr]
        for d in (Tilt(oracle, "x", table[None]), target, oracle)
    )
    assert torch.allclose(found[0], right[0], rtol=0, atol=1e-14)
    assert torch.equal(found[1], before[1])
    assert float((found[1] - right[1]).abs().max()) > 0.01  # the negative control: entries that depend on each other


def test_only_allowed_labels_are_drawn_and_known_ones_stay() -> None:
    process = Joint({"c": Categorical.absorbing(3, Straight())})
    oracle, layout = EntrywiseOracle(process, law=(0.98, 0.01, 0.01)), Layout.nodes(torch.full((64,), 4), 4)
    layout = layout.with_known((torch.arange(4) == 3).expand(64, 4))
    allowed = torch.tensor([[True, True, True], [False, True, True], [False, False, True], [False, True, False]])
    start = {"c": torch.zeros(64, 4, dtype=torch.long)}
    grid, noise = even_grid(5, (1.0, 0.0)), Noise(0, torch.arange(64))
    end = sample(Tilt(oracle, "c", allowed[None]), process, {"c": layout}, noise, grid, FirstOrder(), start).state["c"]
    assert bool(allowed.expand(64, 4, 3).gather(-1, end[..., None])[:, :3].all())
    assert bool((end[:, 3] == 0).all())
    assert end[:, 1].unique().tolist() == [1, 2]


def test_where_nothing_allowed_is_possible_the_table_decides() -> None:
    sure = post.Categorical(torch.tensor([[[0.0, -torch.inf, -torch.inf]]]))
    table = torch.tensor([[[-torch.inf, 0.0, 1.0]]])
    layouts = {"c": Layout(torch.ones(1, 1, dtype=torch.bool))}
    found = Tilt(lambda *asked: {"c": sure}, "c", table).change({"c": sure}, torch.tensor([0.5]), layouts)["c"]
    assert isinstance(found, post.Categorical)
    assert torch.allclose(found.probabilities, table.softmax(-1))


def test_what_cannot_be_is_refused() -> None:
    oracle = CategoricalOracle(PROCESSES["uniform"], plain_labels(3))
    with pytest.raises(UserError, match="no label at all"):
        Tilt(oracle, "x", torch.tensor([[[True, False, False], [False, False, False]]]))
    x, t, layouts = {"x": torch.tensor([[0, 2]])}, torch.tensor([0.6]).double(), {"x": Layout(torch.ones(1, 2, dtype=torch.bool))}
    for table in (torch.zeros(1, 2, 4), torch.zeros(1, 3, 3)):
        with pytest.raises(UserError, match="the table is"):
            Tilt(oracle, "x", table)(x, t, layouts)
    with pytest.raises(UserError, match="labels take a table"):
        Tilt(oracle, "x", lambda x_0: x_0.sum(1))(x, t, layouts)
