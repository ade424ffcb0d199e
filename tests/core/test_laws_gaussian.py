"""Law 1: on Gaussian data with the exact denoiser a sampler's law is computed, not sampled, and approaches the exact one at its order.

For every schedule, rule and churn; on plain entries and in the zero-mean subspace; through single steps composed and, for one schedule,
through whole runs of ``sample`` as a black box. At churn 0 the orders are those of the ODE solvers in the literature; at churn > 0 they are
orders of the law, and of *this* law: with affine posteriors the multistep and Heun rules keep order 2 (docs/samplers.md says what that
does and does not claim). A corrector has the order of its own first-order bridges, unless the predictor is multistep.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from scidiff.denoiser import Condition
from scidiff.layout import Layout
from scidiff.posterior import Gaussian as GaussianPosterior
from scidiff.posterior import Posteriors
from scidiff.process import Clocks, Gaussian, Joint, Layouts, State
from scidiff.sampling import FirstOrder, Heun, Multistep, PredictorCorrector, Rule, sample, time_grid
from scidiff.schedule import EDM, SCHEDULES, Cosine, Schedule, Straight, VPLinear, Warp
from scidiff.testing import (
    FIRST_ORDER,
    SECOND_ORDER,
    GaussianData,
    GaussianOracle,
    GivenFieldNoise,
    GivenNoise,
    Moments,
    Setting,
    centred_gaussians,
    check_gaussian_order,
    even_grid,
    gaussian_order,
    law_by_steps,
    law_of_sampler,
    order,
    plain_gaussians,
    projection_matrix,
)

SCHEDULES_AND_WARP: list[Schedule] = [*(kind() for kind in SCHEDULES.values()), Warp(Cosine(), 2.0)]
ORDERS: list[tuple[Rule, tuple[float, float]]] = [
    (FirstOrder(), FIRST_ORDER),
    (Multistep(), SECOND_ORDER),
    (Heun(), SECOND_ORDER),
    (PredictorCorrector(), FIRST_ORDER),
]
ROUNDING = 1e-12


@pytest.mark.parametrize("schedule", SCHEDULES_AND_WARP, ids=str)
@pytest.mark.parametrize("churn", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(("rule", "expected"), ORDERS, ids=str)
def test_order(rule: Rule, expected: tuple[float, float], churn: float, schedule: Schedule) -> None:
    check_gaussian_order(rule, Gaussian(schedule), churn, expected)


@pytest.mark.parametrize(("rule", "expected"), ORDERS, ids=str)
def test_order_in_the_zero_mean_subspace(rule: Rule, expected: tuple[float, float]) -> None:
    data, layout = centred_gaussians()
    for churn in (0.0, 1.0):
        found, errors = gaussian_order(Setting(rule, Gaussian(VPLinear()), data, layout, churn))
        assert abs(found - expected[0]) <= expected[1], (found, errors)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (PredictorCorrector(Multistep()), SECOND_ORDER),
        (PredictorCorrector(Heun()), FIRST_ORDER),
        (PredictorCorrector(back=0.5), FIRST_ORDER),
    ],
    ids=str,
)
def test_order_of_other_correctors(rule: Rule, expected: tuple[float, float]) -> None:
    for churn in (0.0, 1.0):
        check_gaussian_order(rule, Gaussian(Straight()), churn, expected)


@pytest.mark.parametrize("rule", [FirstOrder(), Multistep(), Heun(), PredictorCorrector(Multistep())], ids=str)
def test_steps_composed_are_the_sampler_as_it_runs(rule: Rule) -> None:
    """Whatever is proved of composed steps is proved of ``sample``."""
    for data, layout in (plain_gaussians(), centred_gaussians()):
        setting = Setting(rule, Gaussian(VPLinear()), data, layout, 0.5)
        grid = torch.tensor([0.9, 0.8, 0.65, 0.5, 0.2], dtype=torch.float64)
        start = setting.exact(0.9)
        assert law_by_steps(setting, grid, start).distance(law_of_sampler(setting, grid, start)) < ROUNDING


@pytest.mark.parametrize("schedule", [VPLinear(), EDM()], ids=str)
def test_the_whole_way_from_the_prior_to_the_data(schedule: Schedule) -> None:
    """From the process's own prior to t = 0, even in log-SNR, ancestral: within 3 per cent of the data in 2-Wasserstein distance."""
    data, layout = plain_gaussians()
    setting = Setting(Multistep(), Gaussian(schedule), data, layout, 1.0)
    found = law_of_sampler(setting, time_grid(schedule, 40, "log_snr"))
    target = Moments(data.mean.flatten(1), data.covariance)
    scale = (target.mean.square().sum(1) + target.covariance.diagonal(dim1=1, dim2=2).sum(1)).sqrt()
    assert float((found.wasserstein(target) / scale).max()) < 0.03


@pytest.mark.parametrize("schedule", SCHEDULES_AND_WARP, ids=str)
def test_the_priors_own_gap(schedule: Schedule) -> None:
    """The prior is N(0, sigma_1^2) on the field's subspace; what it lacks of q(x_1) is alpha_1 m and alpha_1^2 S, no more."""
    for data, layout in (plain_gaussians(), centred_gaussians()):
        setting = Setting(FirstOrder(), Gaussian(schedule), data, layout, 0.0)
        t = torch.tensor([1.0, 1.0 - 1e-12], dtype=torch.float64)
        # A step of no length to speak of: the law of the prior itself, as sample draws it.
        prior = law_of_sampler(setting, t)
        exact, subspace = setting.exact(1.0), projection_matrix(layout, data.mean.shape[-1])
        alpha, sigma = (float(f(torch.ones((), dtype=torch.float64))) for f in (schedule.alpha, schedule.sigma))
        assert float(prior.mean.abs().max()) < 1e-8 * sigma
        torch.testing.assert_close(prior.covariance, sigma**2 * subspace.expand_as(exact.covariance), rtol=1e-8, atol=1e-8 * sigma**2)
        torch.testing.assert_close(exact.covariance - alpha**2 * data.covariance, sigma**2 * subspace.expand_as(exact.covariance))


def test_known_entries_condition_the_rest() -> None:
    """Inpainting: with one entry given, the law of the other is the data's *conditional* law,
    N(m_2 + S_21/S_11 (x_1 - m_1), S_22 - S_21^2/S_11)."""
    mean = torch.tensor([[[0.3], [-0.8]]], dtype=torch.float64)
    s = torch.tensor([[[1.0, 0.9], [0.9, 1.5]]], dtype=torch.float64)
    data, given = GaussianData(mean, s), 1.7
    process = Gaussian(VPLinear())
    count = 1 + 80
    layout = Layout(torch.ones(count, 2, dtype=torch.bool)).with_known(torch.tensor([True, False]).expand(count, 2))
    like = torch.tensor([given, 0.0], dtype=torch.float64).reshape(1, 2, 1).expand(count, 2, 1)
    # Row 0 gets no noise, row 1 + n one unit in the free entry at draw n; churn 1 draws at every step and once for the prior.
    draws: dict[tuple[str, int], GivenFieldNoise] = {}
    for n in range(80):
        z = torch.zeros(count, 2, 1, dtype=torch.float64)
        z[1 + n, 1] = 1
        draws["x", n] = GivenFieldNoise(z)
    grid = time_grid(VPLinear(), 79, "log_snr")
    oracle = GaussianOracle(process, data)
    end = sample(oracle, Joint({"x": process}), {"x": layout}, GivenNoise(draws), grid, Multistep(), {"x": like}, churn=1.0).state["x"]
    assert bool((end[:, 0] == given).all())
    free = end[:, 1, 0]
    assert float(free[0]) == pytest.approx(-0.8 + 0.9 * (given - 0.3), abs=5e-3)
    assert float((free[1:] - free[0]).square().sum()) == pytest.approx(1.5 - 0.81, abs=2e-2)


class RealMixture:
    """The exact denoiser of 0.3 N(-1, 0.4^2) + 0.7 N(0.8, 0.4^2)."""

    def mean(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        centres, law = torch.tensor([-1.0, 0.8], dtype=torch.float64), torch.tensor([0.3, 0.7], dtype=torch.float64)
        variance = alpha**2 * 0.16 + sigma**2
        surprise = x[..., None] - alpha[..., None] * centres
        odds = (law.log() - 0.5 * surprise**2 / variance[..., None]).softmax(-1)
        return (odds * (centres + (alpha * 0.16 / variance)[..., None] * surprise)).sum(-1)

    def __call__(
        self, x_t: State, t: Clocks, layouts: Layouts, condition: Condition | None = None, previous: Posteriors | None = None
    ) -> Posteriors:
        assert isinstance(t, Tensor)
        alpha, sigma = (f(t)[:, None, None] for f in (Cosine().alpha, Cosine().sigma))
        return {"x": GaussianPosterior(self.mean(x_t["x"], alpha, sigma))}


def test_order_on_data_that_are_not_gaussian() -> None:
    """At churn 0 a walk solves dx/dt = sigma'/sigma x + (alpha' - alpha sigma'/sigma) D(x, t), whatever the data: the order against scipy's
    solution of that equation."""
    schedule, network = Cosine(), RealMixture()
    x_start = np.linspace(-2, 2, 9)

    def slope(t: float, x: np.ndarray) -> np.ndarray:
        u = torch.tensor([t], dtype=torch.float64)
        a, s, da, ds = schedule.alpha(u), schedule.sigma(u), schedule.d_alpha(u), schedule.d_sigma(u)
        y = torch.from_numpy(x)
        return (ds / s * y + (da - a * ds / s) * network.mean(y, a, s)).numpy()

    right = torch.from_numpy(solve_ivp(slope, (0.9, 0.2), x_start, method="DOP853", rtol=1e-9, atol=1e-10).y[:, -1])
    start, layouts = {"x": torch.from_numpy(x_start).reshape(9, 1, 1)}, {"x": Layout(torch.ones(9, 1, dtype=torch.bool))}
    process, noise, steps = Joint({"x": Gaussian(schedule)}), GivenNoise(), (32, 64)
    for rule, expected in ORDERS[:3]:
        runs = [sample(network, process, layouts, noise, even_grid(n), rule, start, churn=0.0, start=start) for n in steps]
        errors = [float((run.state["x"].flatten() - right).norm()) for run in runs]
        assert abs(order(steps, errors) - expected[0]) < 0.1, (rule, errors)
