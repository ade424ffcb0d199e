r"""Noise schedules: how much of the data and how much noise a diffusion holds at time t.

A schedule is a pair of functions on (0, 1] with :math:`x_t = \alpha_t x_0 + \sigma_t \varepsilon`. Time runs from
t = 0 (clean) to t = 1 (prior). **t = 0 is clean by definition**: alpha = 1, sigma = 0, log-SNR = +inf, whatever the formula's
limit; the formula is used on [t_min, 1]. Everything else follows from the four primitives alpha, sigma and their derivatives:

.. math::
   \lambda_t = \log\frac{\alpha_t^2}{\sigma_t^2}, \qquad
   \dot{\mathrm{SNR}}_t = 2\,\frac{\alpha_t}{\sigma_t^3}\,(\dot\alpha_t \sigma_t - \alpha_t \dot\sigma_t), \qquad
   \dot\lambda_t = 2\left(\frac{\dot\alpha_t}{\alpha_t} - \frac{\dot\sigma_t}{\sigma_t}\right).

Coefficients are computed in float64 whatever the data's type: differences of log-SNRs decide how exact a small step is.

References: Song et al. 2021 (VP, VE, sub-VP), Nichol & Dhariwal 2021 (cosine), Hoogeboom et al. 2022 (polynomial),
Karras et al. 2022 (EDM), Lipman et al. 2023 (straight), Kingma et al. 2021 (log-SNR).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

Times = Float[Tensor, "*shape"]


@dataclass(frozen=True)
class Schedule(ABC):
    """alpha(t), sigma(t), their exact derivatives, and the inverse of the log-SNR. All tensors in, float64 tensors of the same
    shape out."""

    @property
    def t_min(self) -> float:
        """Where the ELBO's integral and a sampler's last step before t = 0 stop."""
        return 1e-3

    @abstractmethod
    def _alpha_sigma(self, t: Times) -> tuple[Times, Times]:
        """The formula on (0, 1]."""

    @abstractmethod
    def _derivatives(self, t: Times) -> tuple[Times, Times]:
        """(d alpha / dt, d sigma / dt) on (0, 1]."""

    @abstractmethod
    def _log_snr(self, t: Times) -> Times:
        """log(alpha^2 / sigma^2) on (0, 1], without cancellation."""

    @abstractmethod
    def time(self, log_snr: Times) -> Times:
        """The inverse of :meth:`log_snr`: the t at which the log-SNR has the given value."""

    def alpha(self, t: Times) -> Times:
        """Coefficient of the data; 1 at t = 0."""
        t = t.double()
        return torch.where(t > 0, self._alpha_sigma(_inside(t))[0], 1.0)

    def sigma(self, t: Times) -> Times:
        """Standard deviation of the noise; 0 at t = 0."""
        t = t.double()
        return torch.where(t > 0, self._alpha_sigma(_inside(t))[1], 0.0)

    def log_snr(self, t: Times) -> Times:
        """lambda(t) = log(alpha^2 / sigma^2); +inf at t = 0."""
        t = t.double()
        return torch.where(t > 0, self._log_snr(_inside(t)), math.inf)

    def d_alpha(self, t: Times) -> Times:
        """d alpha / dt; 0 at t = 0, where nothing moves by definition."""
        t = t.double()
        return torch.where(t > 0, self._derivatives(_inside(t))[0], 0.0)

    def d_sigma(self, t: Times) -> Times:
        """d sigma / dt; 0 at t = 0."""
        t = t.double()
        return torch.where(t > 0, self._derivatives(_inside(t))[1], 0.0)

    def d_snr(self, t: Times) -> Times:
        """d SNR / dt (negative); 0 at t = 0. Finite where alpha = 0, unlike d log-SNR / dt."""
        t = t.double()
        inside = _inside(t)
        (a, s), (da, ds) = self._alpha_sigma(inside), self._derivatives(inside)
        return torch.where(t > 0, 2 * a * (da * s - a * ds) / s**3, 0.0)

    def d_log_snr(self, t: Times) -> Times:
        """d log-SNR / dt (negative; -inf where alpha = 0); 0 at t = 0."""
        t = t.double()
        inside = _inside(t)
        (a, s), (da, ds) = self._alpha_sigma(inside), self._derivatives(inside)
        return torch.where(t > 0, 2 * (da / a - ds / s), 0.0)

    def retention(self, t: Times) -> Times:
        """a(t): the probability that a label is still its own at time t: alpha^2; 1 at t = 0."""
        return self.alpha(t) ** 2

    def d_retention(self, t: Times) -> Times:
        """d a / dt."""
        return 2 * self.alpha(t) * self.d_alpha(t)


def _inside(t: Times) -> Times:
    """Replace t = 0 by a harmless interior time, so that the branch not taken yields no NaN (nor a NaN gradient)."""
    return torch.where(t > 0, t, 0.5)


@dataclass(frozen=True)
class VPLinear(Schedule):
    r"""Variance preserving with :math:`\beta(t)` linear:
    :math:`\log\alpha_t = -\tfrac14 t^2(\beta_1-\beta_0) - \tfrac12 t\beta_0`, :math:`\sigma^2 = 1-\alpha^2`."""

    beta_min: float = 0.1
    beta_max: float = 20.0

    def _log_alpha(self, t: Times) -> Times:
        return -0.25 * t**2 * (self.beta_max - self.beta_min) - 0.5 * t * self.beta_min

    def _d_log_alpha(self, t: Times) -> Times:
        return -0.5 * (self.beta_min + t * (self.beta_max - self.beta_min))

    def _time_of_log_alpha(self, log_alpha: Times) -> Times:
        # The root of the quadratic in the form that does not cancel for small t.
        c = -log_alpha
        return 4 * c / (self.beta_min + torch.sqrt(self.beta_min**2 + 4 * (self.beta_max - self.beta_min) * c))

    def _alpha_sigma(self, t: Times) -> tuple[Times, Times]:
        log_alpha = self._log_alpha(t)
        return log_alpha.exp(), torch.sqrt(-torch.expm1(2 * log_alpha))

    def _derivatives(self, t: Times) -> tuple[Times, Times]:
        alpha, sigma = self._alpha_sigma(t)
        d_log = self._d_log_alpha(t)
        return alpha * d_log, -(alpha**2) * d_log / sigma

    def _log_snr(self, t: Times) -> Times:
        log_alpha = self._log_alpha(t)
        return 2 * log_alpha - torch.log(-torch.expm1(2 * log_alpha))

    def time(self, log_snr: Times) -> Times:
        return self._time_of_log_alpha(-0.5 * torch.nn.functional.softplus(-log_snr.double()))


@dataclass(frozen=True)
class SubVP(VPLinear):
    r"""Sub-variance-preserving: alpha of :class:`VPLinear`, :math:`\sigma = 1 - \alpha^2`."""

    def _alpha_sigma(self, t: Times) -> tuple[Times, Times]:
        log_alpha = self._log_alpha(t)
        return log_alpha.exp(), -torch.expm1(2 * log_alpha)

    def _derivatives(self, t: Times) -> tuple[Times, Times]:
        alpha = self._log_alpha(t).exp()
        d_log = self._d_log_alpha(t)
        return alpha * d_log, -2 * alpha**2 * d_log

    def _log_snr(self, t: Times) -> Times:
        log_alpha = self._log_alpha(t)
        return 2 * (log_alpha - torch.log(-torch.expm1(2 * log_alpha)))

    def time(self, log_snr: Times) -> Times:
        # alpha / (1 - alpha^2) = exp(lambda / 2)  <=>  log alpha = -asinh(exp(-lambda / 2) / 2)
        return self._time_of_log_alpha(-torch.asinh(0.5 * torch.exp(-0.5 * log_snr.double())))


@dataclass(frozen=True)
class Cosine(Schedule):
    r"""Variance preserving on the circle: :math:`\alpha = \cos(\pi t/2)`, :math:`\sigma = \sin(\pi t/2)`; alpha is exactly 0 at t = 1."""

    def _alpha_sigma(self, t: Times) -> tuple[Times, Times]:
        return torch.sin(0.5 * math.pi * (1 - t)), torch.sin(0.5 * math.pi * t)

    def _derivatives(self, t: Times) -> tuple[Times, Times]:
        alpha, sigma = self._alpha_sigma(t)
        return -0.5 * math.pi * sigma, 0.5 * math.pi * alpha

    def _log_snr(self, t: Times) -> Times:
        alpha, sigma = self._alpha_sigma(t)
        return 2 * (torch.log(alpha) - torch.log(sigma))

    def time(self, log_snr: Times) -> Times:
        return 2 / math.pi * torch.atan(torch.exp(-0.5 * log_snr.double()))


@dataclass(frozen=True)
class Polynomial(Schedule):
    r"""EDM's schedule for molecules: :math:`\alpha^2 = (1-2s)(1-t^p)^2 + s`, variance preserving; s is the precision, p the power."""

    power: float = 2.0
    precision: float = 1e-5

    def _alpha_sigma(self, t: Times) -> tuple[Times, Times]:
        # 1 - alpha^2 written as a sum of positive terms: (1 - 2 s)(1 - (1 - t^p)^2) + s.
        u = t**self.power
        keep = 1 - 2 * self.precision
        return torch.sqrt(keep * (1 - u) ** 2 + self.precision), torch.sqrt(keep * u * (2 - u) + self.precision)

    def _derivatives(self, t: Times) -> tuple[Times, Times]:
        alpha, sigma = self._alpha_sigma(t)
        half = (1 - 2 * self.precision) * (1 - t**self.power) * self.power * t ** (self.power - 1)
        return -half / alpha, half / sigma

    def _log_snr(self, t: Times) -> Times:
        alpha, sigma = self._alpha_sigma(t)
        return 2 * (torch.log(alpha) - torch.log(sigma))

    def time(self, log_snr: Times) -> Times:
        kept = (torch.sigmoid(log_snr.double()) - self.precision) / (1 - 2 * self.precision)
        gone = (torch.sigmoid(-log_snr.double()) - self.precision) / (1 - 2 * self.precision)
        # 1 - sqrt(kept) = gone / (1 + sqrt(kept)), which does not cancel for small t.
        return (gone.clamp(min=0) / (1 + kept.clamp(min=0).sqrt())) ** (1 / self.power)


@dataclass(frozen=True)
class Straight(Schedule):
    r"""The straight path of flow matching: :math:`\alpha = 1-t`, :math:`\sigma = t`. Labels are kept with probability 1 - t."""

    def _alpha_sigma(self, t: Times) -> tuple[Times, Times]:
        return 1 - t, t

    def _derivatives(self, t: Times) -> tuple[Times, Times]:
        return -torch.ones_like(t), torch.ones_like(t)

    def _log_snr(self, t: Times) -> Times:
        return 2 * (torch.log1p(-t) - torch.log(t))

    def time(self, log_snr: Times) -> Times:
        return torch.sigmoid(-0.5 * log_snr.double())

    def retention(self, t: Times) -> Times:
        return self.alpha(t)

    def d_retention(self, t: Times) -> Times:
        return self.d_alpha(t)


@dataclass(frozen=True)
class _ConstantAlpha(Schedule):
    """alpha = 1: noise is added and the data never shrink. Labels cannot be kept with probability 1 for ever, so they are refused."""

    def retention(self, t: Times) -> Times:
        raise ValueError(
            f"{type(self).__name__} keeps alpha = 1, so labels would never be noised; "
            "give labels a schedule with alpha(1) near 0, such as Straight()"
        )

    d_retention = retention


@dataclass(frozen=True)
class VE(_ConstantAlpha):
    r"""Variance exploding: :math:`\sigma = \sigma_{min} (\sigma_{max}/\sigma_{min})^t`."""

    sigma_min: float = 0.01
    sigma_max: float = 50.0

    def _alpha_sigma(self, t: Times) -> tuple[Times, Times]:
        return torch.ones_like(t), self.sigma_min * torch.exp(t * math.log(self.sigma_max / self.sigma_min))

    def _derivatives(self, t: Times) -> tuple[Times, Times]:
        return torch.zeros_like(t), self._alpha_sigma(t)[1] * math.log(self.sigma_max / self.sigma_min)

    def _log_snr(self, t: Times) -> Times:
        return -2 * (math.log(self.sigma_min) + t * math.log(self.sigma_max / self.sigma_min))

    def time(self, log_snr: Times) -> Times:
        return (-0.5 * log_snr.double() - math.log(self.sigma_min)) / math.log(self.sigma_max / self.sigma_min)


@dataclass(frozen=True)
class EDM(_ConstantAlpha):
    r"""Karras et al.: :math:`\sigma = (\sigma_{min}^{1/\rho} + t(\sigma_{max}^{1/\rho} - \sigma_{min}^{1/\rho}))^\rho`; a uniform
    grid in t is their grid."""

    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0

    def _root(self, t: Times) -> tuple[Times, float]:
        low, high = self.sigma_min ** (1 / self.rho), self.sigma_max ** (1 / self.rho)
        return low + t * (high - low), high - low

    def _alpha_sigma(self, t: Times) -> tuple[Times, Times]:
        return torch.ones_like(t), self._root(t)[0] ** self.rho

    def _derivatives(self, t: Times) -> tuple[Times, Times]:
        root, slope = self._root(t)
        return torch.zeros_like(t), self.rho * root ** (self.rho - 1) * slope

    def _log_snr(self, t: Times) -> Times:
        return -2 * self.rho * torch.log(self._root(t)[0])

    def time(self, log_snr: Times) -> Times:
        low, high = self.sigma_min ** (1 / self.rho), self.sigma_max ** (1 / self.rho)
        return (torch.exp(-0.5 * log_snr.double() / self.rho) - low) / (high - low)


@dataclass(frozen=True)
class Warp(Schedule):
    r"""A schedule run on another clock: base(t^power). power > 1 keeps a field clean for longer than its neighbours under one clock."""

    base: Schedule
    power: float

    def _alpha_sigma(self, t: Times) -> tuple[Times, Times]:
        return self.base._alpha_sigma(t**self.power)

    def _derivatives(self, t: Times) -> tuple[Times, Times]:
        d_alpha, d_sigma = self.base._derivatives(t**self.power)
        speed = self.power * t ** (self.power - 1)
        return d_alpha * speed, d_sigma * speed

    def _log_snr(self, t: Times) -> Times:
        return self.base._log_snr(t**self.power)

    def time(self, log_snr: Times) -> Times:
        return self.base.time(log_snr) ** (1 / self.power)

    def retention(self, t: Times) -> Times:
        return self.base.retention(t**self.power)

    def d_retention(self, t: Times) -> Times:
        t = t.double()
        # 0 where nothing moves, as for d_alpha: with power < 1 the clock's speed is infinite at t = 0, and 0 * inf would be NaN.
        return torch.where(t > 0, self.base.d_retention(t**self.power) * self.power * _inside(t) ** (self.power - 1), 0.0)


SCHEDULES: dict[str, type[Schedule]] = {
    "vp": VPLinear,
    "cosine": Cosine,
    "polynomial": Polynomial,
    "subvp": SubVP,
    "ve": VE,
    "edm": EDM,
    "straight": Straight,
}
