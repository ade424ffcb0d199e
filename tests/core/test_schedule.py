"""Schedules: exact derivatives against autograd, inverses against numerical inversion, and the formulas of the papers."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq

from scidiff.schedule import EDM, SCHEDULES, VE, Cosine, Polynomial, Schedule, Straight, SubVP, VPLinear, Warp
from scidiff.testing import check_schedule

ALL: list[Schedule] = [
    *(kind() for kind in SCHEDULES.values()),
    VPLinear(0.01, 60.0),
    Polynomial(3.0, 1e-4),
    EDM(0.01, 20.0, 3.0),
    Warp(Cosine(), 2.0),
    Warp(Straight(), 0.5),
    Warp(VE(), 1.5),
    Warp(Warp(VPLinear(), 2.0), 0.75),
]
VARIANCE_PRESERVING = [VPLinear(), Cosine(), Polynomial(), Warp(VPLinear(), 2.0)]


def f64(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("schedule", ALL, ids=str)
def test_conforms(schedule: Schedule) -> None:
    check_schedule(schedule)


# Where alpha^2 = 1 - s - 2 t^3 the log-SNR no longer tells t = 1e-5 from 0 in float64: nothing to invert.
@pytest.mark.parametrize("schedule", [s for s in ALL if s != Polynomial(3.0, 1e-4)], ids=str)
def test_conforms_near_the_ends(schedule: Schedule) -> None:
    check_schedule(
        schedule, torch.cat((torch.logspace(-5, -2, 40, dtype=torch.float64), 1 - torch.logspace(-5, -2, 40, dtype=torch.float64)))
    )


@pytest.mark.parametrize("schedule", ALL, ids=str)
def test_time_agrees_with_numerical_inversion(schedule: Schedule) -> None:
    low, high = (float(schedule.log_snr(f64(t))) for t in (1 - 1e-9, 1e-6))
    for level in torch.linspace(low, high, 23, dtype=torch.float64)[1:-1].tolist():
        root = brentq(lambda t, level=level: float(schedule.log_snr(f64(t))) - level, 1e-6, 1 - 1e-9, xtol=1e-15, rtol=1e-14)
        assert float(schedule.time(f64(level))) == pytest.approx(root, abs=1e-10)


@given(st.floats(1e-4, 1 - 1e-4), st.sampled_from(ALL))
def test_time_inverts_log_snr(t: float, schedule: Schedule) -> None:
    assert float(schedule.time(schedule.log_snr(f64(t)))) == pytest.approx(t, abs=1e-10)


@pytest.mark.parametrize("schedule", VARIANCE_PRESERVING, ids=str)
def test_variance_is_preserved(schedule: Schedule) -> None:
    t = torch.linspace(0, 1, 101, dtype=torch.float64)
    torch.testing.assert_close(schedule.alpha(t) ** 2 + schedule.sigma(t) ** 2, torch.ones_like(t), rtol=0, atol=1e-14)


def test_vp_is_the_integral_of_beta() -> None:
    t = 0.37
    integral = 0.1 * t + 0.5 * (20.0 - 0.1) * t**2
    assert float(VPLinear().alpha(f64(t))) == pytest.approx(math.exp(-0.5 * integral), rel=1e-14)
    assert float(SubVP().sigma(f64(t))) == pytest.approx(1 - math.exp(-integral), rel=1e-14)


def test_polynomial_is_edm_for_molecules() -> None:
    """Hoogeboom et al. 2022: alpha^2 = (1 - 2s)(1 - t^2)^2 + s."""
    assert float(Polynomial().alpha(f64(0.6)) ** 2) == pytest.approx((1 - 2e-5) * (1 - 0.36) ** 2 + 1e-5, rel=1e-14)


def test_even_times_of_edm_are_karras_noise_levels() -> None:
    """Karras et al. 2022, equation 5, at their sigma_min, sigma_max and rho; N = 18 gives their published grid's ends."""
    n = 18
    i = torch.arange(n, dtype=torch.float64)
    karras = (80 ** (1 / 7) + i / (n - 1) * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    # t > 0 only: at t = 0 the schedule is clean by definition.
    torch.testing.assert_close(EDM().sigma(1 - i / (n - 1))[:-1], karras[:-1], rtol=1e-12, atol=0)


def test_straight_and_cosine_end_in_pure_noise() -> None:
    for schedule in (Straight(), Cosine()):
        assert float(schedule.alpha(f64(1.0))) == 0
        assert float(schedule.log_snr(f64(1.0))) == -math.inf


def test_labels_are_kept_with_alpha_squared_but_linearly_on_the_straight_path() -> None:
    t = f64(0.0, 0.3, 1.0)
    torch.testing.assert_close(Cosine().retention(t), Cosine().alpha(t) ** 2)
    torch.testing.assert_close(Straight().retention(t), 1 - t)
    torch.testing.assert_close(Warp(Straight(), 2.0).retention(t), 1 - t**2)


@pytest.mark.parametrize("schedule", [VE(), EDM(), Warp(VE(), 2.0)], ids=str)
def test_constant_alpha_refuses_labels(schedule: Schedule) -> None:
    for ask in (schedule.retention, schedule.d_retention):
        with pytest.raises(ValueError, match="Straight"):
            ask(f64(0.5))


@pytest.mark.parametrize("schedule", ALL, ids=str)
def test_clean_entries_give_no_nan_gradient(schedule: Schedule) -> None:
    t = f64(0.0, 0.5).requires_grad_(True)
    (schedule.alpha(t) + schedule.sigma(t)).sum().backward()
    assert t.grad is not None
    assert bool(torch.isfinite(t.grad).all())


def test_coefficients_are_float64_whatever_comes_in() -> None:
    half = torch.tensor([0.25], dtype=torch.bfloat16)
    assert float(Cosine().alpha(half)) == float(Cosine().alpha(f64(0.25)))
