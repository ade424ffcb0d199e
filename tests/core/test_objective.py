"""Losses in nats: each weight is the loss of its paper, each time law a law, and the ELBO's estimate independent of how t is drawn."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import Tensor

from scidiff import posterior as post
from scidiff.denoiser import Condition
from scidiff.layout import Layout
from scidiff.objective import Loss, Objective, Term, TimeLaw, Weight
from scidiff.process import Categorical, Clocks, Gaussian, Joint, Layouts, State
from scidiff.random import Noise, NoiseSource
from scidiff.schedule import EDM, Cosine, Polynomial, Schedule, Straight, VPLinear
from scidiff.testing import GaussianData, GaussianOracle, GivenFieldNoise, GivenNoise, gaussian_information, plain_gaussians

LAWS = [TimeLaw(), TimeLaw("logit_normal", mean=-0.4, std=1.3), TimeLaw("power", mean=0.5), TimeLaw("power", mean=-1.0)]


def f64(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def density_at(law: TimeLaw, t: float) -> float:
    """The density that ``draw`` reports where it draws t: u is found by bisection."""
    low, high = 0.0, 1 - 2.0**-53
    for _ in range(54):
        mid = (low + high) / 2
        low, high = (mid, high) if float(law.draw(f64(mid))[0]) < t else (low, mid)
    return float(law.draw(f64(low))[1])


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_densities_are_those_of_the_draws(law: TimeLaw) -> None:
    """The density is du/dt of the inversion, and so integrates to one."""
    u = torch.linspace(0.02, 0.98, 49, dtype=torch.float64)
    h = 1e-6
    slope = (law.draw(u + h)[0] - law.draw(u - h)[0]) / (2 * h)
    torch.testing.assert_close(law.draw(u)[1], 1 / slope, rtol=1e-7, atol=0)
    total, _ = integrate.quad(lambda t: density_at(law, t), law.t_min, 1, limit=200, points=[0.01, 0.1], epsabs=1e-4)
    assert total == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_draws_cover_t_min_to_one(law: TimeLaw) -> None:
    t, density = law.draw(f64(0.0, 2.0**-53, 0.5, 1 - 2.0**-53))
    assert float(t[0]) == pytest.approx(law.t_min, abs=1e-7)
    assert bool((t.diff() >= 0).all())
    assert float(t[-1]) <= 1
    assert bool(torch.isfinite(density).all())


def test_logit_normal_is_logit_normal() -> None:
    law = TimeLaw("logit_normal", mean=0.3, std=0.8, t_min=1e-6)
    u = torch.linspace(0.01, 0.99, 21, dtype=torch.float64)
    right = 1 / (1 + np.exp(-stats.norm(0.3, 0.8).ppf(u)))
    torch.testing.assert_close(law.draw(u)[0], torch.from_numpy(right), rtol=1e-6, atol=0)


def test_unknown_names_are_refused() -> None:
    """Types are checked in tests; users have no such check, so the names are put in behind its back."""
    weight, law = Weight(), TimeLaw()
    object.__setattr__(weight, "name", "snr2")
    object.__setattr__(law, "name", "gaussian")
    with pytest.raises(ValueError, match="known: elbo, sigmoid"):
        weight.__post_init__()
    with pytest.raises(ValueError, match="known: uniform"):
        law.draw(f64(0.5))


def weighted(weight: Weight, schedule: Schedule, law: TimeLaw, error: Callable[[Tensor], Tensor]) -> float:
    """E over the time law of w kl_rate / p, for a squared x_0 error that depends on t."""
    # Even in u, midpoints: an expectation over the law itself.
    u = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    t, density = law.draw(u)
    return float((weight(schedule, t, density) * -0.5 * schedule.d_snr(t) * error(t) / density).mean())


def expected(law: TimeLaw, loss: Callable[[Tensor], Tensor]) -> float:
    """E over the time law of a loss."""
    u = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    return float(loss(law.draw(u)[0]).mean())


def some_error(t: Tensor) -> Tensor:
    return t**2 * (2 - t) / (1 + t)


@pytest.mark.parametrize("law", LAWS, ids=str)
@pytest.mark.parametrize("schedule", [VPLinear(), Straight(), EDM()], ids=str)
def test_weights_are_the_losses_of_the_papers(law: TimeLaw, schedule: Schedule) -> None:
    """|eps - eps_hat|^2 = SNR |x_0 - x_0_hat|^2, so a mean squared error of the noise is E SNR e; and so on."""
    e, s2 = some_error, 0.7**2

    def snr(t: Tensor) -> Tensor:
        return torch.exp(schedule.log_snr(t))

    def noise_error(t: Tensor) -> Tensor:
        return (schedule.alpha(t) / schedule.sigma(t)) ** 2 * e(t)

    for weight, loss in (
        (Weight("snr"), noise_error),
        (Weight("mse"), e),
        (Weight("min_snr", gamma=5.0), lambda t: torch.minimum(snr(t), f64(5.0)) * e(t)),
        (Weight("snr_plus_one", sigma_data=0.7), lambda t: (snr(t) + 1 / s2) * e(t)),
    ):
        assert weighted(weight, schedule, law, e) == pytest.approx(expected(law, loss), rel=1e-9), weight.name


def test_v_prediction_on_vp_is_snr_plus_one() -> None:
    """|v - v_hat|^2 = (SNR + 1) |x_0 - x_0_hat|^2 where alpha^2 + sigma^2 = 1 (Salimans & Ho 2022)."""
    schedule, law = Cosine(), TimeLaw()

    def v_error(t: Tensor) -> Tensor:
        a, s = schedule.alpha(t), schedule.sigma(t)
        return (a * a / s + s) ** 2 * some_error(t)  # v = a eps - s x_0 and eps_error = -a/s x_0_error

    assert weighted(Weight("snr_plus_one"), schedule, law, some_error) == pytest.approx(expected(law, v_error), rel=1e-9)


@pytest.mark.parametrize("law", LAWS[:2], ids=str)
def test_edm_weight_is_karras_loss_under_his_lognormal_noise(law: TimeLaw) -> None:
    """E over log sigma ~ N(-1.2, 1.2^2) of (sigma^2 + s^2)/(sigma s)^2 e(sigma), whatever the schedule and the law that draws t."""
    s_data, schedule = 0.5, EDM(1e-4, 1e4)

    def e(sigma: np.ndarray) -> np.ndarray:
        return sigma**2 / (1 + sigma**2)

    def karras(z: float) -> float:
        sigma = math.exp(-1.2 + 1.2 * z)
        return stats.norm.pdf(z) * (sigma**2 + s_data**2) / (sigma * s_data) ** 2 * e(np.asarray(sigma)).item()

    right, _ = integrate.quad(karras, -9, 6)
    found = weighted(Weight("edm", sigma_data=s_data), schedule, law, lambda t: torch.from_numpy(e(schedule.sigma(t).numpy())))
    assert found == pytest.approx(right, rel=1e-4)


def test_sigmoid_weight_is_kingma_and_gaos() -> None:
    """1/2 int sigmoid(b - lambda) |eps - eps_hat|^2 d lambda (Kingma & Gao 2023), with b = 2."""
    schedule = VPLinear()
    ends = [float(schedule.log_snr(f64(t))) for t in (1.0, 1e-3)]

    def integrand(level: float) -> float:
        t = schedule.time(f64(level))
        return 0.5 / (1 + math.exp(level - 2)) * math.exp(level) * float(some_error(t))

    right, _ = integrate.quad(integrand, *ends)
    assert weighted(Weight("sigmoid", bias=2.0), schedule, TimeLaw(), some_error) == pytest.approx(right, rel=1e-6)


@pytest.mark.parametrize("law", [TimeLaw(), TimeLaw("logit_normal", mean=-3.0, std=2.5), TimeLaw("power", mean=0.5)], ids=str)
def test_the_elbos_estimate_does_not_depend_on_the_time_law(law: TimeLaw) -> None:
    """On data whose ELBO is known in closed form, with the exact denoiser, the mean of ``nats`` is I(x_0; x_tmin) - I(x_0; x_1): exact in
    the data and the noise (eight points integrate quadratics), a midpoint rule in u. (A law that hardly ever draws t near t_min, where the
    integrand is largest, has the same mean and a variance that no rule can afford.)"""
    data, count, points = plain_gaussians()[0], 8000, 2 * torch.cat((torch.eye(4), -torch.eye(4))).double()
    data = GaussianData(data.mean[:1], data.covariance[:1])
    u = ((torch.arange(count, dtype=torch.float64) + 0.5) / count).repeat_interleave(8)
    x_0 = data.mean + (points[:, :2] @ torch.linalg.cholesky(data.covariance[0]).T)[..., None]
    noise = GivenNoise({("x", 0): GivenFieldNoise(points[:, 2:, None].repeat(count, 1, 1))})
    layout, process = Layout(torch.ones(len(u), 2, dtype=torch.bool)), Gaussian(Cosine())
    objective = Objective(Joint({"x": process}), {"x": Term(Weight("elbo"))}, law)
    loss = objective(GaussianOracle(process, data), {"x": x_0.repeat(count, 1, 1)}, {"x": layout}, noise, u)
    right = gaussian_information(process, data, layout, law.t_min)[0].diffusion
    assert float(loss.nats["x"].mean()) == pytest.approx(right, rel=1e-3)
    assert torch.equal(loss.total, loss.terms["x"])
    assert loss.is_bound


class Constant:
    """Answers 0 for reals and even odds for labels; remembers whether it was shown an answer of its own."""

    def __init__(self, process: Joint) -> None:
        self.process = process
        self.shown: list[bool] = []

    def __call__(
        self, x_t: State, t: Clocks, layouts: Layouts, condition: Condition | None = None, previous: post.Posteriors | None = None
    ) -> post.Posteriors:
        self.shown.append(previous is not None)
        answers: post.Posteriors = {}
        for f, p in self.process.fields.items():
            if isinstance(p, Categorical):
                answers[f] = post.Categorical(torch.zeros(*x_t[f].shape, p.labels))
            else:
                answers[f] = post.Gaussian(torch.zeros_like(x_t[f]))
        return answers


LAYOUT = Layout.nodes(torch.tensor([2, 3]), 3)
PROCESS = Joint({"x": Gaussian(Polynomial()), "c": Categorical.uniform(4, Straight())})
CLEAN: State = {"x": torch.ones(2, 3, 1) * LAYOUT.mask[..., None], "c": torch.ones(2, 3, dtype=torch.long)}
U = torch.tensor([0.3, 0.7], dtype=torch.float64)


def run(terms: dict[str, Term], *, self_condition: bool = False) -> tuple[Loss, Constant]:
    network, layouts = Constant(PROCESS), {"x": LAYOUT, "c": LAYOUT}
    loss = Objective(PROCESS, terms)(network, CLEAN, layouts, Noise(0, torch.arange(2)), U, self_condition=self_condition)
    return loss, network


def test_terms_by_hand() -> None:
    """The mean squared error is 1 a real entry, the cross-entropy log 4 a label; padding counts nothing; scales multiply."""
    terms = {"x": Term(Weight("mse"), scale=3.0), "c": Term(score="cross_entropy", scale=0.5)}
    loss, _ = run(terms)
    torch.testing.assert_close(loss.terms["x"], f64(6.0, 9.0))
    torch.testing.assert_close(loss.terms["c"], 0.5 * math.log(4) * f64(2.0, 3.0))
    torch.testing.assert_close(loss.total, loss.terms["x"] + loss.terms["c"])


def test_self_conditioning_shows_the_network_its_own_answer() -> None:
    terms = {"x": Term(), "c": Term()}
    assert run(terms)[1].shown == [False]
    assert run(terms, self_condition=True)[1].shown == [False, True]


def test_aligned_noise_bounds_nothing_and_says_so() -> None:
    objective = Objective(PROCESS, {"x": Term(), "c": Term()}, couplings={"x": lambda x, z, layout: -z})
    network, layouts = Constant(PROCESS), {"x": LAYOUT, "c": LAYOUT}
    aligned = objective(network, CLEAN, layouts, Noise(0, torch.arange(2)), U)
    assert not aligned.is_bound


def test_cross_entropy_of_reals_is_refused() -> None:
    with pytest.raises(ValueError, match="field 'x'"):
        run({"x": Term(score="cross_entropy"), "c": Term()})


def test_squared_errors_of_a_held_field_by_hand() -> None:
    """At t = 1 on the straight path nothing of a field is seen, so that its loss is a regression; it has no rate, and no nats."""
    process = Joint({"x": Gaussian(Straight()), "c": Categorical.uniform(4, Straight())})
    terms = {"x": Term(score="squared_error", scale=2.0), "c": Term()}
    network, layouts, noise = Constant(process), {"x": LAYOUT, "c": LAYOUT}, Noise(0, torch.arange(2))
    objective = Objective(process, terms, held={"x": 1.0})
    loss = objective(network, CLEAN, layouts, noise, U)
    torch.testing.assert_close(loss.terms["x"], f64(4.0, 6.0))
    assert set(loss.nats) == {"c"}
    other = objective._diffuse({**CLEAN, "x": 5 * CLEAN["x"]}, {"x": torch.ones(2), "c": U}, layouts, noise, 0)
    same = objective._diffuse(CLEAN, {"x": torch.ones(2), "c": U}, layouts, noise, 0)
    torch.testing.assert_close(other["x"], same["x"], rtol=0, atol=0)
    with pytest.raises(ValueError, match="held at t = 1"):
        Objective(process, {"x": Term(), "c": Term()}, held={"x": 1.0})(network, CLEAN, layouts, noise, U)


def test_what_is_revealed_is_seen_clean_and_has_no_loss() -> None:
    """The network sees known labels as they are, and the loss counts the others alone."""
    known = torch.tensor([[True, False, False], [True, True, False]])

    def reveal(x_0: State, layouts: Layouts, noise: NoiseSource, step: int) -> tuple[State, Layouts]:
        assert step == 7
        return x_0, {**layouts, "c": layouts["c"].with_known(known)}

    class Watching(Constant):
        def __call__(
            self, x_t: State, t: Clocks, layouts: Layouts, condition: Condition | None = None, previous: post.Posteriors | None = None
        ) -> post.Posteriors:
            assert torch.equal(x_t["c"][known], CLEAN["c"][known])
            assert bool((layouts["c"].clock(U)[known] == 0).all())
            return super().__call__(x_t, t, layouts, condition, previous)

    objective = Objective(PROCESS, {"x": Term(Weight("mse")), "c": Term(score="cross_entropy")}, reveal=reveal)
    loss = objective(Watching(PROCESS), CLEAN, {"x": LAYOUT, "c": LAYOUT}, Noise(0, torch.arange(2)), U, step=7)
    torch.testing.assert_close(loss.terms["c"], math.log(4) * f64(1.0, 1.0))
    torch.testing.assert_close(loss.terms["x"], f64(2.0, 3.0))


def test_squared_error_of_labels_is_refused() -> None:
    with pytest.raises(ValueError, match="field 'c'"):
        run({"x": Term(), "c": Term(score="squared_error")})
