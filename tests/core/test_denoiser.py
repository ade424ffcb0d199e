"""Denoisers: every parametrisation reads the clean data off its own exact target, for every schedule and time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from scidiff import posterior as post
from scidiff.denoiser import Condition, Denoiser, Parametrisation, Target
from scidiff.layout import Layout
from scidiff.process import Categorical, Gaussian, Joint, Layouts, State
from scidiff.schedule import EDM, SCHEDULES, Cosine, Schedule, Straight, VPLinear, Warp

ALL: list[Schedule] = [*(kind() for kind in SCHEDULES.values()), Warp(Cosine(), 2.0)]
T = torch.linspace(1e-3, 0.999, 50, dtype=torch.float64)


def exact_target(target: Target, schedule: Schedule, x_0: Tensor, eps: Tensor, s_data: float) -> Tensor:
    """What the network is to predict, by its definition in the literature."""
    a, s = schedule.alpha(T), schedule.sigma(T)
    x_t = a * x_0 + s * eps
    if target == "x0":
        return x_0
    if target == "noise":
        return eps
    if target == "score":  # of q(x_t | x_0)
        return -(x_t - a * x_0) / s**2
    if target == "v":  # Salimans & Ho 2022
        return a * eps - s * x_0
    if target == "velocity":  # Lipman et al. 2023
        return schedule.d_alpha(T) * x_0 + schedule.d_sigma(T) * eps
    # Karras et al. 2022, equation 8, on x_t / alpha with noise level sigma / alpha.
    level = s / a
    skip = s_data**2 / (s_data**2 + level**2)
    return (x_0 - skip * x_t / a) / (level * s_data / torch.sqrt(level**2 + s_data**2))


@pytest.mark.parametrize("schedule", ALL, ids=str)
@pytest.mark.parametrize("target", get_args(Target))
def test_the_exact_target_gives_the_exact_data(target: Target, schedule: Schedule) -> None:
    generator = torch.Generator().manual_seed(0)
    x_0, eps = (torch.randn(50, generator=generator, dtype=torch.float64) for _ in range(2))
    parametrisation = Parametrisation(target, sigma_data=1.7)
    skip, out = parametrisation.coefficients(schedule, T)
    x_t = schedule.alpha(T) * x_0 + schedule.sigma(T) * eps
    found = skip * x_t + out * exact_target(target, schedule, x_0, eps, 1.7)
    # Noise and score are divided by alpha, which loses what alpha has lost.
    torch.testing.assert_close(found, x_0, rtol=0, atol=1e-9)


@pytest.mark.parametrize("schedule", ALL, ids=str)
def test_inputs_and_edm_targets_have_unit_variance(schedule: Schedule) -> None:
    """For independent x_0 of standard deviation s: Var(c_in x_t) = 1 and Var((x_0 - c_skip x_t)/c_out) = 1, uncorrelated with x_t (so
    that no linear part is left to learn)."""
    s_data = 1.7
    parametrisation = Parametrisation("edm", s_data)
    a, s = schedule.alpha(T), schedule.sigma(T)
    skip, out = parametrisation.coefficients(schedule, T)
    one = torch.ones_like(T)
    variance = a**2 * s_data**2 + s**2
    torch.testing.assert_close(parametrisation.c_in(schedule, T) ** 2 * variance, one, rtol=1e-13, atol=0)
    of_target = ((1 - skip * a) ** 2 * s_data**2 + skip**2 * s**2) / out**2
    torch.testing.assert_close(of_target, one, rtol=1e-9, atol=0)
    torch.testing.assert_close((1 - skip * a) * a * s_data**2, skip * s**2, rtol=1e-9, atol=1e-12)


def test_edm_is_karras_preconditioning() -> None:
    """Karras et al. 2022, table 1."""
    skip, out = Parametrisation("edm", 0.5).coefficients(EDM(), T)
    sigma = EDM().sigma(T)
    torch.testing.assert_close(skip, 0.25 / (sigma**2 + 0.25))
    torch.testing.assert_close(out, sigma * 0.5 / torch.sqrt(sigma**2 + 0.25))


@pytest.mark.parametrize("target", get_args(Target))
def test_clean_entries_are_read_as_they_are(target: Target) -> None:
    for schedule in ALL:
        skip, out = Parametrisation(target).coefficients(schedule, torch.zeros(1, dtype=torch.float64))
        assert (float(skip), float(out)) == (1.0, 0.0)


class Linear(nn.Module):
    """A backbone that shows what it was given: reals come back times 2, labels get logits (0, 1, ...)."""

    def __init__(self, data_labels: int = 3) -> None:
        super().__init__()
        self.data_labels = data_labels
        self.seen: dict[str, Tensor] = {}
        self.times: dict[str, Tensor] = {}

    def forward(
        self, inputs: State, t: Mapping[str, Tensor], layouts: Layouts, condition: Condition | None, previous: post.Posteriors | None
    ) -> State:
        self.seen, self.times = dict(inputs), dict(t)
        logits = torch.arange(float(self.data_labels))
        return {f: x * 2 if x.is_floating_point() else logits.expand(*x.shape, -1) for f, x in inputs.items()}


LAYOUT = Layout.nodes(torch.tensor([3]), 4, centred=True)
PROCESS = Joint({"x": Gaussian(VPLinear()), "c": Categorical.absorbing(3, Straight())})
STATE: State = {"x": LAYOUT.project(torch.arange(8.0).reshape(1, 4, 2) ** 2), "c": torch.tensor([[3, 1, 3, 0]])}


def ask(layout: Layout) -> tuple[post.Gaussian, post.Categorical, Linear]:
    backbone = Linear()
    denoiser = Denoiser(backbone, PROCESS, {"x": Parametrisation("edm", 2.0)})
    answer = denoiser(STATE, torch.tensor([0.4], dtype=torch.float64), {"x": layout, "c": layout})
    x, c = answer["x"], answer["c"]
    assert isinstance(x, post.Gaussian)
    assert isinstance(c, post.Categorical)
    return x, c, backbone


def test_reals_are_scaled_in_and_read_out() -> None:
    x, _, backbone = ask(LAYOUT)
    clock = torch.tensor([0.4, 0.4, 0.4, 0.0], dtype=torch.float64)
    parametrisation = Parametrisation("edm", 2.0)
    c_in = parametrisation.c_in(VPLinear(), clock)
    torch.testing.assert_close(backbone.seen["x"], (c_in[None, :, None] * STATE["x"]).float())
    assert torch.equal(backbone.times["x"], clock[None])
    skip, out = (c[None, :, None] for c in parametrisation.coefficients(VPLinear(), clock))
    right = LAYOUT.project((skip * STATE["x"] + out * 2 * backbone.seen["x"]).float())
    torch.testing.assert_close(x.mean, right)
    assert float(x.mean.sum(1).abs().max()) < 1e-5


def test_masked_labels_are_predicted_and_unmasked_ones_are_certain() -> None:
    _, c, _ = ask(LAYOUT)
    law = torch.arange(3.0).softmax(0).tolist()
    assert c.probabilities[0, 0].tolist() == pytest.approx([*law, 0.0])
    assert c.probabilities[0, 1].tolist() == [0, 1, 0, 0]
    assert c.probabilities[0, 3].tolist() == [1, 0, 0, 0]


def test_known_entries_are_returned_exactly() -> None:
    x, c, _ = ask(LAYOUT.with_known(torch.tensor([[True, False, True, False]])))
    assert torch.equal(x.mean[0, [0, 2]], STATE["x"][0, [0, 2]])
    assert c.point()[0, [0, 2]].tolist() == [3, 3]
    assert float(c.probabilities[0, 0, 3]) == 1


def test_unknown_targets_and_missing_parametrisations_are_refused() -> None:
    parametrisation = Parametrisation()
    object.__setattr__(parametrisation, "target", "epsilon")  # behind the type checker's back
    with pytest.raises(ValueError, match="known: x0, noise"):
        parametrisation.__post_init__()
    with pytest.raises(ValueError, match=r"\['x'\]"):
        Denoiser(Linear(), PROCESS, {})


def test_noise_at_the_end_of_the_straight_path_is_read_without_infinities() -> None:
    skip, out = Parametrisation("noise").coefficients(Straight(), torch.ones(1, dtype=torch.float64))
    assert math.isfinite(float(skip))
    assert math.isfinite(float(out))
