"""Rules against the formulas of their papers, on one step by hand. (How fast they converge: test_laws_*.)"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from scidiff import posterior as post
from scidiff.denoiser import Condition
from scidiff.layout import Layout
from scidiff.process import Categorical, Clocks, Gaussian, Joint, Layouts, State
from scidiff.random import Noise
from scidiff.sampling import FirstOrder, Heun, Multistep, PredictorCorrector, Walk, sample
from scidiff.schedule import EDM, Cosine, Schedule, Straight, VPLinear
from scidiff.testing import GivenNoise

LAYOUTS = {"x": Layout(torch.ones(1, 1, dtype=torch.bool))}
START = {"x": torch.tensor([[[1.3]]], dtype=torch.float64)}


def network(x: Tensor, t: float) -> Tensor:
    """Some nonlinear denoiser."""
    return torch.tanh(x) + t * x**2 / 5


class Denoise:
    def __call__(
        self, x_t: State, t: Clocks, layouts: Layouts, condition: Condition | None = None, previous: post.Posteriors | None = None
    ) -> post.Posteriors:
        assert isinstance(t, Tensor)
        return {"x": post.Gaussian(network(x_t["x"], float(t[0])))}


def run(rule: FirstOrder | Multistep | Heun | PredictorCorrector, schedule: Schedule, *times: float, churn: float = 0.0) -> float:
    grid = torch.tensor(times, dtype=torch.float64)
    end = sample(Denoise(), Joint({"x": Gaussian(schedule)}), LAYOUTS, GivenNoise(), grid, rule, START, churn=churn, start=START)
    return float(end.state["x"])


def coefficients(schedule: Schedule, t: float) -> tuple[float, float, float]:
    u = torch.tensor(t, dtype=torch.float64)
    return float(schedule.alpha(u)), float(schedule.sigma(u)), float(schedule.log_snr(u)) / 2


@pytest.mark.parametrize("schedule", [VPLinear(), Cosine(), EDM()], ids=str)
@pytest.mark.parametrize("last", [0.4, 0.05])
def test_multistep_is_dpm_solver_pp_2m(schedule: Schedule, last: float) -> None:
    """Lu et al. 2022, algorithm 2 (with half log-SNRs, as they write lambda); the slope is followed as far as steps even in them go."""
    t0, t1, t2 = 0.8, 0.55, last
    (_, s0, l0), (a1, s1, l1), (a2, s2, l2) = (coefficients(schedule, t) for t in (t0, t1, t2))
    x0 = START["x"]
    d0 = network(x0, t0)
    x1 = s1 / s0 * x0 - a1 * math.expm1(-(l1 - l0)) * d0
    d1, h, r = network(x1, t1), l2 - l1, (l1 - l0) / (l2 - l1)
    for rule, w in ((Multistep(most=math.inf), 1 / (2 * r)), (Multistep(), min(1 / (2 * r), 1 / 2))):
        x2 = s2 / s1 * x1 - a2 * math.expm1(-h) * ((1 + w) * d1 - w * d0)
        assert run(rule, schedule, t0, t1, t2) == pytest.approx(float(x2), rel=1e-12)
    assert (w < 1 / (2 * r)) == (last < 0.1)


def test_multistep_at_churn_one_is_sde_dpm_solver_pp_2m() -> None:
    """Lu et al. 2022, equation 13 and after, with z = 0: sigma_s/sigma_t e^-h x + alpha_s (1 - e^-2h)(D + (D - D')/(2r))."""
    schedule = VPLinear()
    t0, t1, t2 = 0.8, 0.55, 0.4
    (_, s0, l0), (a1, s1, l1), (a2, s2, l2) = (coefficients(schedule, t) for t in (t0, t1, t2))
    d0 = network(START["x"], t0)
    h0, h = l1 - l0, l2 - l1
    x1 = s1 / s0 * math.exp(-h0) * START["x"] + a1 * -math.expm1(-2 * h0) * d0
    d1 = network(x1, t1)
    x2 = s2 / s1 * math.exp(-h) * x1 + a2 * -math.expm1(-2 * h) * (d1 + (d1 - d0) * h / (2 * h0))
    assert run(Multistep(), schedule, t0, t1, t2, churn=1.0) == pytest.approx(float(x2), rel=1e-12)


def test_multistep_starts_from_pure_noise_and_ends_clean_at_first_order() -> None:
    """From t = 1 the log-SNR has no slope on the straight path, to t = 0 it never has: those steps take the posterior as it is."""
    first, multi = (run(rule, Straight(), 1.0, 0.6) for rule in (FirstOrder(), Multistep()))
    assert first == multi
    x = torch.tensor([[[run(Multistep(), Straight(), 1.0, 0.6)]]], dtype=torch.float64)
    assert run(Multistep(), Straight(), 1.0, 0.6, 0.0) == pytest.approx(float(network(x, 0.6)), rel=1e-14)


def test_heun_averages_the_posteriors_at_both_ends() -> None:
    schedule, t, s = Straight(), 0.7, 0.5
    x = START["x"]
    d = network(x, t)
    x_s = x + (s - t) * (x - d) / t
    mean = (d + network(x_s, s)) / 2
    assert run(Heun(), schedule, t, s) == pytest.approx(float(x + (s - t) * (x - mean) / t), rel=1e-13)
    # To t = 0 there is nothing to ask at the far end.
    assert run(Heun(), schedule, t, 0.0) == pytest.approx(float(d), rel=1e-14)


def test_a_corrector_goes_back_and_down_again() -> None:
    """At zero noise: down, up with alpha_t/alpha_s, down again; half of the way back if asked."""
    schedule, t, s = Cosine(), 0.7, 0.5
    for back in (1.0, 0.5):
        up = s + back * (t - s)

        def down(x: float, high: float) -> float:
            (a_h, s_h, _), (a_s, s_s, _) = coefficients(schedule, high), coefficients(schedule, s)
            d = float(network(torch.tensor(x, dtype=torch.float64), high))
            return a_s * d + s_s * (x - a_h * d) / s_h

        low = down(1.3, t)
        right = down(low * coefficients(schedule, up)[0] / coefficients(schedule, s)[0], up)
        assert run(PredictorCorrector(back=back), schedule, t, s) == pytest.approx(right, rel=1e-12)


class LabelNetwork:
    """Posteriors that depend on the state, so that asking twice gives two answers."""

    def __call__(
        self, x_t: State, t: Clocks, layouts: Layouts, condition: Condition | None = None, previous: post.Posteriors | None = None
    ) -> post.Posteriors:
        x = x_t["c"]
        return {"c": post.Categorical(torch.nn.functional.one_hot(x, 3).double() * 2), "x": post.Gaussian(torch.zeros_like(x_t["x"]))}


def test_drawing_again_repeats_the_normals_but_never_the_uniforms() -> None:
    """A label that jumped did so because of its uniform: to draw with it again, given what was asked after the jump, is no longer a draw
    from the law (Heun on labels then does not converge: test_planted_faults plants it)."""
    process = Joint({"x": Gaussian(VPLinear()), "c": Categorical.uniform(3, Straight())})
    layout, ids = Layout(torch.ones(400, 1, dtype=torch.bool)), torch.arange(400)
    layouts = {"x": layout, "c": layout}
    walk = Walk(LabelNetwork(), process, layouts, Noise(0, ids), {"x": 1.0, "c": 1.0})
    x: State = {"x": torch.zeros(400, 1, 1, dtype=torch.float64), "c": torch.zeros(400, 1, dtype=torch.long)}
    posteriors = walk.ask(x, 0.8)
    first, second = walk.bridge(x, posteriors, 0.8, 0.3), walk.bridge(x, posteriors, 0.8, 0.3, again=True)
    assert torch.equal(first["x"], second["x"])
    moved = [(y["c"] != 0).double().flatten() for y in (first, second)]
    correlation = float(torch.corrcoef(torch.stack(moved))[0, 1])
    assert abs(correlation) < 4 / 400**0.5
    third = walk.bridge(x, posteriors, 0.8, 0.3)
    assert not torch.equal(third["x"], second["x"])


def test_self_conditioning_shows_the_latest_answer() -> None:
    shown: list[post.Posteriors | None] = []

    class Watching(Denoise):
        def __call__(
            self, x_t: State, t: Clocks, layouts: Layouts, condition: Condition | None = None, previous: post.Posteriors | None = None
        ) -> post.Posteriors:
            shown.append(previous)
            return super().__call__(x_t, t, layouts, condition, previous)

    grid = torch.tensor([1.0, 0.5, 0.2], dtype=torch.float64)
    for on in (False, True):
        sample(Watching(), Joint({"x": Gaussian(Cosine())}), LAYOUTS, GivenNoise(), grid, FirstOrder(), START, self_conditioning=on)
    assert [p is None for p in shown] == [True, True, True, False]
