"""Noise on reals: one Markov chain, and the formulas of the papers as special cases."""

from __future__ import annotations

import math

import pytest
import torch

from scidiff import posterior as post
from scidiff.layout import Layout
from scidiff.process import Gaussian, Process
from scidiff.schedule import EDM, SCHEDULES, VE, Cosine, Polynomial, Schedule, Straight, VPLinear, Warp
from scidiff.testing import GivenFieldNoise, check_process

ALL: list[Schedule] = [*(kind() for kind in SCHEDULES.values()), Warp(Cosine(), 2.0)]
LAYOUT = Layout(torch.ones(1, 2, dtype=torch.bool))


def f64(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def at(t: float) -> torch.Tensor:
    return f64(t)


X = f64(0.3, -1.2, 2.0, 0.7).reshape(1, 2, 2)
X_0 = f64(1.0, -0.5, 0.2, 0.4).reshape(1, 2, 2)
Z = f64(-0.6, 0.1, 1.4, -2.0).reshape(1, 2, 2)


@pytest.mark.parametrize("schedule", ALL, ids=str)
def test_is_one_markov_chain(schedule: Schedule) -> None:
    process = Gaussian(schedule)
    assert isinstance(process, Process)
    check_process(process)


def test_churn_one_on_vp_is_ddpm() -> None:
    """Ho et al. 2020, equations 6 and 7, with beta_t and alpha-bar of one step of the chain."""
    schedule, t, s = VPLinear(), 0.62, 0.6
    bar_t, bar_s = (float(schedule.alpha(at(u)) ** 2) for u in (t, s))
    beta = 1 - bar_t / bar_s
    mean = math.sqrt(bar_s) * beta / (1 - bar_t) * X_0 + math.sqrt(1 - beta) * (1 - bar_s) / (1 - bar_t) * X
    right = mean + math.sqrt((1 - bar_s) / (1 - bar_t) * beta) * Z
    found = Gaussian(schedule).bridge(X, post.Gaussian(X_0), at(t), at(s), LAYOUT, GivenFieldNoise(Z), 1.0)
    torch.testing.assert_close(found, right, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_churn_on_vp_is_the_eta_of_ddim(eta: float) -> None:
    """Song et al. 2021, equations 12 and 16."""
    schedule, t, s = Polynomial(), 0.7, 0.45
    bar_t, bar_s = (float(schedule.alpha(at(u)) ** 2) for u in (t, s))
    sigma = eta * math.sqrt((1 - bar_s) / (1 - bar_t)) * math.sqrt(1 - bar_t / bar_s)
    eps = (X - math.sqrt(bar_t) * X_0) / math.sqrt(1 - bar_t)
    right = math.sqrt(bar_s) * X_0 + math.sqrt(1 - bar_s - sigma**2) * eps + sigma * Z
    found = Gaussian(schedule).bridge(X, post.Gaussian(X_0), at(t), at(s), LAYOUT, GivenFieldNoise(Z), eta)
    torch.testing.assert_close(found, right, rtol=1e-12, atol=1e-12)


def test_churn_zero_on_the_straight_path_is_the_euler_step_of_flow_matching() -> None:
    t, s = 0.8, 0.55
    velocity = (X - X_0) / t
    found = Gaussian(Straight()).bridge(X, post.Gaussian(X_0), at(t), at(s), LAYOUT, GivenFieldNoise(Z), 0.0)
    torch.testing.assert_close(found, X + (s - t) * velocity, rtol=1e-13, atol=1e-13)


def test_churn_zero_on_edm_is_karras_euler_step() -> None:
    """Karras et al. 2022, algorithm 1: x + (sigma_s - sigma_t)(x - D)/sigma_t."""
    t, s = 0.8, 0.7
    sigma_t, sigma_s = (float(EDM().sigma(at(u))) for u in (t, s))
    found = Gaussian(EDM()).bridge(X, post.Gaussian(X_0), at(t), at(s), LAYOUT, GivenFieldNoise(Z), 0.0)
    torch.testing.assert_close(found, X + (sigma_s - sigma_t) * (X - X_0) / sigma_t, rtol=1e-12, atol=1e-12)


def test_bridge_leaves_pure_noise_where_alpha_is_zero() -> None:
    """From t = 1 on the straight path x_t says nothing of x_0, and eps = x_t."""
    found = Gaussian(Straight()).bridge(X, post.Gaussian(X_0), at(1.0), at(0.75), LAYOUT, GivenFieldNoise(Z), 1.0)
    torch.testing.assert_close(found, 0.25 * X_0 + 0.75 * Z, rtol=1e-13, atol=1e-13)


def test_kl_rate_on_ve_by_hand() -> None:
    """1/2 g^2 / sigma^4 |x_0 - D|^2 with g^2 = d sigma^2 / dt (Song et al. 2021, likelihood weighting)."""
    schedule, t = VE(), 0.4
    sigma = float(schedule.sigma(at(t)))
    g2 = 2 * sigma**2 * math.log(5000)
    right = 0.5 * g2 / sigma**4 * float(((X_0 - X) ** 2).sum())
    found = Gaussian(schedule).kl_rate(X_0, X, post.Gaussian(X), at(t), LAYOUT)
    assert float(found) == pytest.approx(right, rel=1e-12)


def test_reconstruction_with_and_without_a_stated_variance() -> None:
    t = at(0.01)
    variance = torch.full_like(X, 0.3)
    right = -torch.distributions.Normal(X, 0.3**0.5).log_prob(X_0).sum()
    assert float(Gaussian(VPLinear()).reconstruction(X_0, X, post.Gaussian(X, variance), t, LAYOUT)) == pytest.approx(
        float(right), rel=1e-12
    )
    spread = torch.exp(-0.5 * VPLinear().log_snr(t))
    right = -torch.distributions.Normal(X, spread).log_prob(X_0).sum()
    assert float(Gaussian(VPLinear()).reconstruction(X_0, X, post.Gaussian(X), t, LAYOUT)) == pytest.approx(float(right), rel=1e-12)


def test_each_entry_has_its_own_clock() -> None:
    process, clocks = Gaussian(Cosine()), f64(0.2, 0.6)
    together = process.diffuse(X_0, torch.zeros(1, 2).double(), clocks[None], LAYOUT, GivenFieldNoise(Z))
    for i in range(2):
        alone = process.diffuse(X_0, at(0.0), clocks[i : i + 1], LAYOUT, GivenFieldNoise(Z))
        assert torch.equal(together[:, i], alone[:, i])


def test_known_entries_and_padding_do_not_move() -> None:
    layout = Layout.nodes(torch.tensor([3]), 4, centred=True).with_known(torch.tensor([[True, False, False, False]]))
    x = torch.arange(8.0, dtype=torch.float64).reshape(1, 4, 2) * layout.mask[..., None]
    z, posterior, process = GivenFieldNoise(torch.ones_like(x)), post.Gaussian(-x), Gaussian(Cosine())
    still = ~layout.free[..., None].expand_as(x)
    for moved in (
        process.prior(layout, z, x),
        process.diffuse(x, at(0.2), at(0.7), layout, z),
        process.bridge(x, posterior, at(0.7), at(0.2), layout, z, 1.0),
        process.bridge(x, posterior, at(0.7), at(0.0), layout, z, 0.0),
    ):
        assert torch.equal(moved[still], x[still])
        assert not bool((moved == x)[~still].any())


def test_noise_of_a_centred_field_has_no_mean_and_the_right_variance() -> None:
    """The projection of unit noise has covariance P: 1 - 1/n on the diagonal, -1/n beside it."""
    n = 3
    layout = Layout(torch.ones(n, n, dtype=torch.bool), centred=True)
    unit = torch.eye(n, dtype=torch.float64)[..., None]
    x = Gaussian(VPLinear()).prior(layout, GivenFieldNoise(unit), torch.zeros_like(unit))[..., 0]
    sigma = float(VPLinear().sigma(at(1.0)))
    torch.testing.assert_close(x.T @ x / sigma**2, torch.eye(n).double() - 1 / n, rtol=0, atol=1e-14)


def test_a_coupling_rearranges_the_noise() -> None:
    process = Gaussian(Straight())
    flipped = process.diffuse(X_0, at(0.0), at(0.5), LAYOUT, GivenFieldNoise(Z), lambda x, z, layout: -z)
    torch.testing.assert_close(flipped, 0.5 * X_0 - 0.5 * Z)


def test_the_datas_type_is_kept() -> None:
    x = X.float()
    out = Gaussian(VPLinear()).bridge(x, post.Gaussian(X_0.float()), at(0.5), at(0.4), LAYOUT, GivenFieldNoise(Z), 1.0)
    exact = Gaussian(VPLinear()).bridge(X, post.Gaussian(X_0), at(0.5), at(0.4), LAYOUT, GivenFieldNoise(Z), 1.0)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out.double(), exact, rtol=1e-6, atol=1e-6)
