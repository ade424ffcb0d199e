"""The ELBO: its quadrature, and what it is for a denoiser that knows nothing. (Its value for the exact posterior: test_laws_entropy.)"""

from __future__ import annotations

import math

import pytest
import torch

from scidiff import posterior as post
from scidiff.denoiser import Condition
from scidiff.layout import Layout
from scidiff.likelihood import elbo, quadrature
from scidiff.process import Categorical, Clocks, Gaussian, Joint, Layouts, State
from scidiff.random import Noise
from scidiff.schedule import Cosine, Straight, VPLinear
from scidiff.testing import CategoricalOracle, EntrywiseOracle, entropy, label_elbo, plain_labels


@pytest.mark.parametrize("t_min", [1e-5, 1e-3, 0.1])
def test_quadrature_integrates_what_rates_look_like(t_min: float) -> None:
    t, w = quadrature(t_min, 40)
    assert bool((t > t_min).all())
    assert bool((t < 1).all())
    for found, right in (
        (w.sum(), 1 - t_min),
        ((w * t**3).sum(), (1 - t_min**4) / 4),
        ((w / t).sum(), -math.log(t_min)),
        ((w * -t.log()).sum(), 1 - t_min + t_min * math.log(t_min)),
    ):
        assert float(found) == pytest.approx(right, rel=1e-10)


class Ignorant:
    """States the same law whatever it sees."""

    def __init__(self, logits: torch.Tensor) -> None:
        self.logits = logits

    def __call__(
        self, x_t: State, t: Clocks, layouts: Layouts, condition: Condition | None = None, previous: post.Posteriors | None = None
    ) -> post.Posteriors:
        x = x_t["x"]
        blind = post.Categorical(self.logits.expand(*x.shape, -1))
        return {"x": blind.replace(x < 2, x)}


def test_masked_diffusion_with_an_ignorant_denoiser_costs_its_cross_entropy() -> None:
    """-a'/(1-a) log p(x_0) where masked, which is the case with probability 1 - a: the integral is -log p(x_0) (a(t_min) - a(1)), the
    rest is the reconstruction's. So the whole is the cross-entropy, for any law p, exactly."""
    process = Categorical.absorbing(2, Straight())
    logits = torch.tensor([0.3, -0.9, -math.inf], dtype=torch.float64)
    joint = torch.tensor([[0.4, 0.1], [0.2, 0.3]], dtype=torch.float64)
    nats = -logits[:2].log_softmax(0)
    right = float((joint * (nats[:, None] + nats)).sum())
    found = label_elbo(process, joint, nodes=32, t_min=1e-3, denoiser=Ignorant(logits))
    assert found.total == pytest.approx(right, abs=1e-10)
    assert found.prior == 0


def test_a_worse_posterior_costs_its_divergence() -> None:
    """E[ELBO] exceeds the entropy for every law but the data's own."""
    process, joint = Categorical.uniform(2, Cosine()), plain_labels(2)
    exact = label_elbo(process, joint, nodes=64, t_min=1e-4).total
    assert exact == pytest.approx(entropy(joint), abs=1e-6)
    for other in (joint.mT.flip(0), torch.full((2, 2), 0.25, dtype=torch.float64)):
        worse = label_elbo(process, joint, nodes=64, t_min=1e-4, denoiser=CategoricalOracle(process, other)).total
        divergence = float((joint * (joint / other).log()).sum())
        assert worse == pytest.approx(entropy(joint) + divergence, abs=1e-6)


def test_fields_and_ends_add_up_and_known_entries_are_free() -> None:
    process = Joint({"x": Gaussian(VPLinear()), "c": Categorical.uniform(3, Cosine())})
    layout = Layout.nodes(torch.tensor([3, 2]), 3)
    known = layout.with_known(layout.mask)
    x_0: State = {"x": torch.ones(2, 3, 1, dtype=torch.float64) * layout.mask[..., None], "c": torch.zeros(2, 3, dtype=torch.long)}
    noise = Noise(0, torch.arange(2))
    bound = elbo(EntrywiseOracle(process), process, x_0, {"x": layout, "c": layout}, noise, nodes=8)
    parts = [*bound.prior.values(), *bound.diffusion.values(), *bound.reconstruction.values()]
    torch.testing.assert_close(bound.total, torch.stack(parts).sum(0))
    free = elbo(EntrywiseOracle(process), process, x_0, {"x": known, "c": known}, noise, nodes=8)
    assert free.total.tolist() == [0, 0]
