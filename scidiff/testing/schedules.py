"""Conformance of a schedule: its formulas must be each other's derivatives and inverses."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from scidiff.schedule import Schedule

DERIVATIVE_TOLERANCE = 1e-9
INVERSE_TOLERANCE = 1e-10


def check_schedule(schedule: Schedule, times: Float[Tensor, " time"] | None = None) -> None:
    """At ``times`` (200 on [t_min, 1 - 1e-6] if None): clean at t = 0; the exact derivatives against autograd; log_snr is
    log(alpha^2/sigma^2), falls, and has ``time`` as its inverse; retention in [0, 1], falling, with its derivative (schedules that refuse
    labels are excused).

    Raises AssertionError naming the function, the time and the numbers.
    """
    t = torch.linspace(schedule.t_min, 1 - 1e-6, 200, dtype=torch.float64) if times is None else times.double()
    _check_clean(schedule)
    pairs: list[tuple[str, Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = [
        ("alpha", schedule.alpha, schedule.d_alpha),
        ("sigma", schedule.sigma, schedule.d_sigma),
        ("log_snr", schedule.log_snr, schedule.d_log_snr),
        ("SNR", lambda u: torch.exp(schedule.log_snr(u)), schedule.d_snr),
    ]
    if keeps_labels(schedule):
        pairs.append(("retention", schedule.retention, schedule.d_retention))
        kept = schedule.retention(t)
        _all((kept >= 0) & (kept <= 1) & (schedule.d_retention(t) <= 0), t, kept, f"{schedule}: retention must lie in [0, 1] and fall")
    for name, f, derivative in pairs:
        _check_derivative(f"{schedule}: d {name} / dt", f, derivative, t)
    level, a, s = schedule.log_snr(t), schedule.alpha(t), schedule.sigma(t)
    _close(level, 2 * (a.log() - s.log()), t, DERIVATIVE_TOLERANCE, f"{schedule}: log_snr against log(alpha^2 / sigma^2)")
    _all(schedule.d_log_snr(t) < 0, t, schedule.d_log_snr(t), f"{schedule}: log_snr must fall")
    _close(schedule.time(level), t, t, INVERSE_TOLERANCE, f"{schedule}: time(log_snr(t)) against t")


def keeps_labels(schedule: Schedule) -> bool:
    """Whether labels can be noised under this schedule (not where alpha stays 1)."""
    try:
        schedule.retention(torch.tensor(0.5))
    except ValueError:
        return False
    return True


def _check_clean(schedule: Schedule) -> None:
    zero = torch.zeros(1, dtype=torch.float64)
    found = [float(f(zero)) for f in (schedule.alpha, schedule.sigma, schedule.log_snr, schedule.d_alpha, schedule.d_sigma, schedule.d_snr)]
    right = [1.0, 0.0, float("inf"), 0.0, 0.0, 0.0]
    assert found == right, f"{schedule}: t = 0 is clean: alpha, sigma, log_snr, d_alpha, d_sigma, d_snr must be {right}, are {found}"
    if keeps_labels(schedule):
        kept, falls = float(schedule.retention(zero)), float(schedule.d_retention(zero))
        assert kept == 1, f"{schedule}: t = 0 is clean: retention must be 1, is {kept}"
        assert math.isfinite(falls), f"{schedule}: d_retention at t = 0 must be finite, is {falls}"


def _check_derivative(what: str, f: Callable[[Tensor], Tensor], derivative: Callable[[Tensor], Tensor], t: Tensor) -> None:
    u = t.clone().requires_grad_(True)
    value = f(u)
    # A constant such as alpha of VE has no graph at all.
    right = torch.autograd.grad(value.sum(), u, materialize_grads=True)[0] if value.requires_grad else torch.zeros_like(t)
    _close(derivative(t), right, t, DERIVATIVE_TOLERANCE, f"{what} against autograd")


def _close(found: Tensor, right: Tensor, t: Tensor, tolerance: float, what: str) -> None:
    off = (found - right).abs() / right.abs().clamp(min=1.0)
    at = int(torch.nan_to_num(off, nan=torch.inf).argmax())
    assert float(off[at]) <= tolerance, (
        f"{what}: {float(found[at])!r} at t = {float(t[at])!r}, must be {float(right[at])!r} (off by {float(off[at]):.2e})"
    )


def _all(holds: Tensor, t: Tensor, values: Tensor, what: str) -> None:
    if not bool(holds.all()):
        at = int((~holds).to(torch.uint8).argmax())
        raise AssertionError(f"{what}; it is {float(values[at])!r} at t = {float(t[at])!r}")
