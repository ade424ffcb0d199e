"""A product of fields: every field by itself, one clock or one each, draws numbered by field."""

from __future__ import annotations

import torch

from scidiff import posterior as post
from scidiff.layout import Layout
from scidiff.process import Categorical, Gaussian, Joint
from scidiff.random import Noise
from scidiff.schedule import Cosine, Straight

SIZES = torch.tensor([3, 2])
LAYOUTS = {"x": Layout.nodes(SIZES, 3, centred=True), "c": Layout.nodes(SIZES, 3), "b": Layout.symmetric_pairs(SIZES, 3)}
JOINT = Joint({"x": Gaussian(Cosine()), "c": Categorical.absorbing(3, Straight()), "b": Categorical.uniform(2, Cosine())})
NOISE = Noise(0, torch.tensor([5, 9]))
STATE = {
    "x": LAYOUTS["x"].project(torch.arange(18.0, dtype=torch.float64).reshape(2, 3, 3) ** 2),
    "c": torch.tensor([[0, 1, 2], [2, 1, 0]]),
    "b": torch.zeros(2, 3, 3, dtype=torch.long),
}
T, S = torch.tensor([0.6, 0.7], dtype=torch.float64), torch.tensor([0.3, 0.1], dtype=torch.float64)
POSTERIORS: post.Posteriors = {
    "x": post.Gaussian(STATE["x"] / 2),
    "c": post.Categorical(torch.arange(4.0).expand(2, 3, 4)),
    "b": post.Categorical(torch.arange(2.0).expand(2, 3, 3, 2)),
}
CHURN = {"x": 0.5, "c": 1.0, "b": 0.0}


def test_every_verb_is_the_fields_own() -> None:
    zero = torch.zeros(2, dtype=torch.float64)
    prior, noised = JOINT.prior(LAYOUTS, NOISE, STATE, 4), JOINT.diffuse(STATE, zero, T, LAYOUTS, NOISE, 5)
    bridged = JOINT.bridge(STATE, POSTERIORS, T, S, LAYOUTS, NOISE, 6, CHURN)
    rates, ends = JOINT.kl_rate(STATE, STATE, POSTERIORS, T, LAYOUTS), JOINT.kl_prior(STATE, LAYOUTS)
    low = JOINT.reconstruction(STATE, STATE, POSTERIORS, S, LAYOUTS)
    for f, p in JOINT.fields.items():
        lay, x = LAYOUTS[f], STATE[f]
        assert torch.equal(prior[f], p.prior(lay, NOISE.at(f, 4), x))
        assert torch.equal(noised[f], p.diffuse(x, zero, T, lay, NOISE.at(f, 5)))
        assert torch.equal(bridged[f], p.bridge(x, POSTERIORS[f], T, S, lay, NOISE.at(f, 6), CHURN[f]))
        assert torch.equal(rates[f], p.kl_rate(x, x, POSTERIORS[f], T, lay))
        assert torch.equal(ends[f], p.kl_prior(x, lay))
        assert torch.equal(low[f], p.reconstruction(x, x, POSTERIORS[f], S, lay))


def test_fields_may_have_their_own_clocks_and_draws() -> None:
    clocks, starts = {"x": T, "c": S, "b": T}, {"x": S, "c": S / 2, "b": S}
    out = JOINT.bridge(STATE, POSTERIORS, clocks, starts, LAYOUTS, NOISE, {"x": 1, "c": 2, "b": 1}, CHURN)
    right = JOINT.fields["c"].bridge(STATE["c"], POSTERIORS["c"], S, S / 2, LAYOUTS["c"], NOISE.at("c", 2), 1.0)
    assert torch.equal(out["c"], right)


def test_pairs_stay_symmetric() -> None:
    """Both orders of a pair get the same noise; started from symmetric labels and posteriors they never part."""
    wide = torch.arange(40)
    sizes = torch.full((40,), 5)
    layout, noise = Layout.symmetric_pairs(sizes, 5), Noise(1, wide)
    process = Categorical.uniform(4, Straight())
    x = process.prior(layout, noise.at("b", 0), torch.zeros(40, 5, 5, dtype=torch.long))
    for step, churn in enumerate((0.0, 0.5, 1.0)):
        t, s = (torch.full((40,), u, dtype=torch.float64) for u in (0.9 - 0.2 * step, 0.7 - 0.2 * step))
        x = process.bridge(x, post.Categorical(torch.arange(4.0).expand(40, 5, 5, 4)), t, s, layout, noise.at("b", step + 1), churn)
        assert torch.equal(x, x.transpose(1, 2))
    assert len(x.unique()) == 4
