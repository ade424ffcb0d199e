"""Law 4, classifier-free guidance: its posteriors and its sampler's law in closed form; what is asked, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from scidiff import posterior as post
from scidiff.denoiser import Condition, network_calls
from scidiff.errors import UserError
from scidiff.guidance import ClassifierFree, Given, Tilt
from scidiff.layout import Layout
from scidiff.posterior import Posteriors
from scidiff.process import Categorical, Clocks, Gaussian, Joint, Layouts, State
from scidiff.random import Noise
from scidiff.sampling import FirstOrder, Heun, sample
from scidiff.schedule import EDM, Cosine, Straight
from scidiff.testing import (
    CategoricalOracle,
    Chain,
    EntrywiseOracle,
    GaussianData,
    GaussianOracle,
    Moments,
    Setting,
    check_classifier_free,
    even_grid,
    law_by_steps,
    order,
    plain_labels,
)

PROCESS = Joint({"x": Gaussian(Cosine()), "c": Categorical.absorbing(3, Straight())})
MORE, LESS = EntrywiseOracle(PROCESS, 1.5, 0.4, (0.7, 0.2, 0.1)), EntrywiseOracle(PROCESS)
LAYOUT = Layout.nodes(torch.tensor([3, 2, 1, 3]), 3)
LAYOUTS = {"x": LAYOUT.with_known((torch.arange(3) == 0) & LAYOUT.mask), "c": LAYOUT}
STATE = {"x": torch.linspace(-1, 1, 12).double().reshape(4, 3, 1), "c": torch.full((4, 3), 3)}


def test_law_4() -> None:
    check_classifier_free(ClassifierFree)


@pytest.mark.parametrize("churn", [0.0, 1.0])
def test_scale_one_samples_the_conditional_law(churn: float) -> None:
    joint = plain_labels(3)
    conditional = CategoricalOracle(Categorical.uniform(3, Straight()), joint)
    guided = Chain(FirstOrder(), conditional, churn, lambda oracle: ClassifierFree(oracle, CategoricalOracle(oracle.process, joint.T), 1.0))
    assert torch.equal(guided.law(even_grid(4)), Chain(FirstOrder(), conditional, churn).law(even_grid(4)))


def test_the_flow_of_unequal_variances() -> None:
    r"""With alpha = 1 and data N(0, s_i^2) the guided flow is dx/dsigma = x sigma sum_i w_i/(s_i^2 + sigma^2), so that x grows as
    prod_i (s_i^2 + sigma^2)^{w_i/2}: not what noised data of any law do."""
    process, scale, (s, s_free) = Gaussian(EDM()), 3.0, (0.4, 1.7)
    given, free = (GaussianData(torch.zeros(1, 1, 1).double(), torch.full((1, 1, 1), v**2).double()) for v in (s, s_free))

    def guide(oracle: GaussianOracle) -> ClassifierFree:
        return ClassifierFree(oracle, GaussianOracle(process, free), scale)

    setting = Setting(FirstOrder(), process, given, Layout(torch.ones(1, 1, dtype=torch.bool)), 0.0, guide)
    sigma = process.schedule.sigma(torch.tensor([0.9, 0.2]).double()).square()
    growth = ((s**2 + sigma) ** scale * (s_free**2 + sigma) ** (1 - scale)).sqrt()
    right = (growth[1] / growth[0]).square().reshape(1, 1, 1)
    start = Moments(torch.zeros(1, 1).double(), torch.ones(1, 1, 1).double())
    errors = [float((law_by_steps(setting, even_grid(n), start).covariance - right).abs()) for n in (128, 160)]
    assert order((128, 160), errors) == pytest.approx(1.0, abs=0.2)


def test_the_interval_is_kept_entry_by_entry() -> None:
    """Entries in (low, high] are guided as without an interval, others are the conditional's; known entries are as given, to the bit."""
    times = torch.tensor([0.2, 0.2001, 0.7, 0.7001], dtype=torch.float64)
    guided, always = ClassifierFree(MORE, LESS, 3.0, (0.2, 0.7)), ClassifierFree(MORE, LESS, 3.0)
    found, inside, outside = (d(STATE, times, LAYOUTS) for d in (guided, always, MORE))
    for row, right in enumerate((outside, inside, inside, outside)):
        assert torch.equal(found["x"].mean[row], right["x"].mean[row])  # type: ignore[union-attr]
        ours, theirs = (d["c"].probabilities[row][LAYOUT.mask[row]] for d in (found, right))  # type: ignore[union-attr]
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-14)
    assert torch.equal(found["x"].mean[:, 0], STATE["x"][:, 0])  # type: ignore[union-attr]
    assert [network_calls(guided, t[None]) for t in times] == [1, 2, 2, 1]


def test_each_field_has_its_scale() -> None:
    t = torch.full((4,), 0.5, dtype=torch.float64)
    found = ClassifierFree(MORE, LESS, {"x": 1.0, "c": 2.0})(STATE, t, LAYOUTS)
    assert torch.equal(found["x"].mean, MORE(STATE, t, LAYOUTS)["x"].mean)  # type: ignore[union-attr]
    both = ClassifierFree(MORE, LESS, 2.0)(STATE, t, LAYOUTS)
    assert torch.equal(found["c"].logits, both["c"].logits)  # type: ignore[union-attr]


@dataclass(frozen=True)
class Listening:
    """Answers as MORE does, shifted by the condition if there is one; notes what it was asked with."""

    heard: list[tuple[Condition | None, Posteriors | None]] = field(default_factory=list)

    def __call__(
        self, x_t: State, t: Clocks, layouts: Layouts, condition: Condition | None = None, previous: Posteriors | None = None
    ) -> Posteriors:
        self.heard.append((condition, previous))
        answer = MORE(x_t, t, layouts)
        shift = 0.0 if condition is None else condition["shift"]
        return {**answer, "x": post.Gaussian(answer["x"].mean + shift)}  # type: ignore[union-attr]


def test_the_condition_is_dropped_or_replaced_and_the_guided_posterior_shown_to_both() -> None:
    network, condition, null = Listening(), {"shift": torch.tensor(1.0)}, {"shift": torch.tensor(0.25)}
    for other, shift in ((None, 0.0), (null, 0.25)):
        network.heard.clear()
        guided = ClassifierFree(network, Given(network, other), 3.0)
        noise = Noise(0, torch.arange(4))
        sample(guided, PROCESS, LAYOUTS, noise, even_grid(2), FirstOrder(), STATE, condition=condition, self_conditioning=True)
        assert [heard[0] for heard in network.heard] == [condition, other, condition, other]
        first, second = network.heard[2][1], network.heard[3][1]
        assert first is second
        t = torch.full((4,), 0.5, dtype=torch.float64)
        mean = guided(STATE, t, LAYOUTS, condition)["x"].mean - MORE(STATE, t, LAYOUTS)["x"].mean  # type: ignore[union-attr]
        free = LAYOUTS["x"].free
        assert mean[free][:, 0].tolist() == pytest.approx([3.0 * 1.0 - 2.0 * shift] * int(free.sum()))


@pytest.mark.parametrize(
    ("scale", "interval", "rule", "calls"),
    [
        (3.0, (0.0, 1.0), FirstOrder(), 8),
        (1.0, (0.0, 1.0), FirstOrder(), 4),
        (3.0, (0.3, 0.6), FirstOrder(), 6),
        (3.0, (0.0, 1.0), Heun(), 16),
    ],
)
def test_network_calls_are_what_guidance_costs(scale: float, interval: tuple[float, float], rule: FirstOrder, calls: int) -> None:
    """Asked at 0.9, 0.7, 0.5 and 0.4, two of which lie in (0.3, 0.6]; wrappers cost what they wrap."""
    grid, noise = torch.tensor([0.9, 0.7, 0.5, 0.4, 0.2], dtype=torch.float64), Noise(0, torch.arange(4))
    guided = ClassifierFree(MORE, LESS, scale, interval)
    wrapped = Tilt(Given(guided), "c", torch.ones(1, 3, 3, dtype=torch.bool))
    assert sample(guided, PROCESS, LAYOUTS, noise, grid, rule, STATE).calls == calls
    assert sample(wrapped, PROCESS, LAYOUTS, noise, grid, rule, STATE).calls == calls


def test_what_cannot_be_is_refused() -> None:
    for interval in ((0.5, 0.5), (-0.1, 1.0), (0.2, 1.1)):
        with pytest.raises(UserError, match="interval must be"):
            ClassifierFree(MORE, LESS, 2.0, interval)
    with pytest.raises(UserError, match="must be finite"):
        ClassifierFree(MORE, LESS, {"x": float("nan")})
    with pytest.raises(UserError, match=r"Given\(denoiser, None\)"):
        ClassifierFree(MORE, MORE, 2.0)
    t: Tensor = torch.full((4,), 0.5, dtype=torch.float64)
    with pytest.raises(UserError, match="not 'c'"):
        ClassifierFree(MORE, LESS, {"x": 2.0})(STATE, t, LAYOUTS)
    with pytest.raises(UserError, match="no such field; it has x"):
        ClassifierFree(MORE, EntrywiseOracle(Joint({"x": PROCESS.fields["x"]})), 2.0)(STATE, t, LAYOUTS)
