r"""Gaussian noise on real fields: :math:`q(x_t|x_0) = N(\alpha_t x_0, \sigma_t^2)`. VP, VE, sub-VP, EDM and the straight path are
schedules.

With :math:`e_{ts} = \mathrm{SNR}_t/\mathrm{SNR}_s` every conditional of the process has a closed form:

.. math::
   q(x_t|x_s) &= N\!\left(\tfrac{\alpha_t}{\alpha_s} x_s,\; \sigma_t^2 (1 - e_{ts})\right) \\
   \text{bridge:}\quad x_s &= \alpha_s \hat x_0 + \sigma_s\sqrt{1 - c^2 (1 - e_{ts})}\;\hat\varepsilon + c\,\sigma_s\sqrt{1-e_{ts}}\; z,
   \qquad \hat\varepsilon = (x_t - \alpha_t \hat x_0)/\sigma_t

with churn c: c = 1 is the exact posterior of the chain (DDPM), c = 0 is DDIM on VP and the Euler step of flow matching on the
straight path.
Sources: Kingma et al. 2021 (variances by log-SNR, the ELBO), Song et al. 2021 (DDIM).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from scidiff import posterior as post
from scidiff.layout import Layout
from scidiff.process.base import Clock, per_channel
from scidiff.random import FieldNoise
from scidiff.schedule import Schedule

Real = Float[Tensor, "batch *entries channel"]
Coupling = Callable[[Real, Real, Layout], Real]
"""(x_0, noise, layout) -> noise rearranged to lie nearer to the data. Trains straighter paths; the loss is then no ELBO."""


@dataclass(frozen=True)
class Gaussian:
    """See the module. Implements :class:`~scidiff.process.Process` for x [batch, *entries, channel]."""

    schedule: Schedule

    def prior(self, layout: Layout, noise: FieldNoise, like: Real) -> Real:
        t = layout.clock(like.new_ones(layout.batch))
        z = layout.project(noise.normal(layout, like.shape[-1]).to(like))
        return torch.where(layout.free[..., None], per_channel(self.schedule.sigma(t), like) * z, layout.project(like))

    def diffuse(
        self, x_s: Real, s: Clock, t: Clock, layout: Layout, noise: FieldNoise, coupling: Coupling | None = None
    ) -> Real:
        s, t = layout.clock(s), layout.clock(t)
        keep = self.schedule.alpha(t) / self.schedule.alpha(s)
        z = layout.project(noise.normal(layout, x_s.shape[-1]).to(x_s))
        if coupling is not None:
            z = coupling(x_s, z, layout)
        spread = self.schedule.sigma(t) * torch.sqrt(self._fresh(s, t))
        return torch.where(_moves(s, t)[..., None], per_channel(keep, x_s) * x_s + per_channel(spread, x_s) * z, x_s)

    def bridge(
        self, x_t: Real, posterior: post.Gaussian, t: Clock, s: Clock, layout: Layout, noise: FieldNoise, churn: float = 1.0
    ) -> Real:
        t, s = layout.clock(t), layout.clock(s)
        x_0, fresh = self._draws(posterior, layout, noise, x_t, churn)
        sigma_t, sigma_s = self.schedule.sigma(t), self.schedule.sigma(s)
        kept = sigma_s * torch.sqrt(1 - churn**2 * self._fresh(s, t)) / torch.where(sigma_t > 0, sigma_t, 1.0)
        eps = x_t - per_channel(self.schedule.alpha(t), x_t) * x_0
        x_s = per_channel(self.schedule.alpha(s), x_t) * x_0 + per_channel(kept, x_t) * eps
        if fresh is not None:
            x_s = x_s + per_channel(churn * sigma_s * torch.sqrt(self._fresh(s, t)), x_t) * fresh
        return torch.where(_moves(s, t)[..., None], x_s, x_t)

    @staticmethod
    def _draws(posterior: post.Gaussian, layout: Layout, noise: FieldNoise, like: Real, churn: float) -> tuple[Real, Real | None]:
        """(x_0, the bridge's own noise if it takes any): independent, from one stream."""
        own = like.shape[-1] if churn > 0 else 0
        drawn = 0 if posterior.root is None else like.shape[-1]
        if own + drawn == 0:
            return layout.project(posterior.mean), None
        z = noise.normal(layout, own + drawn).to(like)
        x_0 = posterior.draw(z[..., own:]) if drawn else posterior.mean
        return layout.project(x_0), layout.project(z[..., :own]) if own else None

    def kl_rate(self, x_0: Real, x_t: Real, posterior: post.Gaussian, t: Clock, layout: Layout) -> Float[Tensor, " batch"]:
        error = (x_0 - layout.project(posterior.mean)).double().square().sum(-1)
        return layout.sum(-0.5 * self.schedule.d_snr(layout.clock(t)) * error)

    def kl_prior(self, x_0: Real, layout: Layout) -> Float[Tensor, " batch"]:
        t = layout.clock(x_0.new_ones(layout.batch))
        snr = torch.exp(self.schedule.log_snr(t)).clamp(max=torch.finfo(torch.float64).max)
        return layout.sum(0.5 * snr * x_0.double().square().sum(-1))

    def reconstruction(self, x_0: Real, x_t: Real, posterior: post.Gaussian, t: Clock, layout: Layout) -> Float[Tensor, " batch"]:
        """With no variance stated: that of the noise itself, sigma^2 / alpha^2. The density is on the field's subspace (its
        degrees of freedom)."""
        default = per_channel(torch.exp(-self.schedule.log_snr(layout.clock(t))), x_0.double())
        variance = default.expand(x_0.shape) if posterior.variance is None else posterior.variance.double()
        safe = torch.where(layout.free[..., None], variance, 1.0)
        error = (x_0 - layout.project(posterior.mean)).double().square()
        quadratic = layout.sum((0.5 * error / safe).sum(-1))
        log_volume = layout.sum((0.5 * torch.log(2 * math.pi * safe)).sum(-1))
        # The zero-mean subspace has one entry's worth of dimensions less; the log-volume scales accordingly.
        dof, full = layout.degrees_of_freedom(x_0.shape[-1]), layout.free.flatten(1).sum(1) * x_0.shape[-1]
        full = full // 2 if layout.pairs else full
        return quadratic + log_volume * (dof.double() / full.clamp(min=1))

    def _fresh(self, s: Clock, t: Clock) -> Tensor:
        """1 - SNR_t / SNR_s: the share of x_t's noise variance that is newer than s. In [0, 1]."""
        gap = self.schedule.log_snr(t) - self.schedule.log_snr(s)
        return -torch.expm1(torch.where(_moves(s, t), gap, 0.0))


def _moves(s: Clock, t: Clock) -> Tensor:
    """Entries for which there is anything to do; the others (known, padding, s = t) are returned as they came."""
    return t > s
