r"""Training objectives: weight(log-SNR) x KL rate, so every loss is known relative to the ELBO.

The negative ELBO of a field is :math:`\int_{t_{min}}^1 \mathrm{kl\_rate}(t)\,dt` plus its two ends. A loss draws t from a *time
law* with density
p and averages :math:`w\,\mathrm{kl\_rate}(t)/p(t)`. For a Gaussian field with error :math:`e = \|x_0-\hat x_0\|^2`, the familiar losses are

============  ================================================  ==============================================
name          the loss                                          w, with q = p(t)/(-d lambda/dt), the law of lambda
============  ================================================  ==============================================
elbo          1/2 int SNR e d lambda                            1
sigmoid       Kingma & Gao 2023                                 sigmoid(b - lambda)
edm           Karras et al. 2022                                2 N(lambda; 2.4, 2.4^2)(1 + 1/(SNR s^2))
snr           E_t SNR e            (mean squared noise error)   2 q
snr_plus_one  E_t (SNR + 1/s^2) e  (Salimans & Ho 2022)         2 q (1 + 1/(SNR s^2))
min_snr       E_t min(SNR, g) e    (Hang et al. 2023)           2 q min(SNR, g)/SNR
mse           E_t e                (plain x_0 error)            2 q/SNR
============  ================================================  ==============================================

For the first three the time law only moves variance; in the others E_t is over the time law, which is part of the weighting. For
labels the ELBO's kl_rate or the cross-entropy (same minimiser). Coupling noise to data (alignment) trains
straighter paths and voids the ELBO: :attr:`Loss.is_bound` says whether the reported nats bound anything.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from scidiff import posterior as post
from scidiff.denoiser import Condition, Denoise
from scidiff.process import Categorical, Clocks, Coupling, Gaussian, Joint, Layouts, State, field_clock
from scidiff.random import NoiseSource
from scidiff.schedule import Schedule

WeightName = Literal["elbo", "sigmoid", "edm", "snr", "snr_plus_one", "min_snr", "mse"]
Batch = Float[Tensor, " batch"]
Reveal = Callable[[State, Layouts, NoiseSource, int], tuple[State, Layouts]]
"""(x_0, layouts, noise, step) -> the same with entries marked as known: what the model learns to be given. Known entries have no noise
and no loss, so what is trained (and bounded) is the law of the others given them."""

JointCoupling = Callable[[Tensor, Tensor, Layouts], Tensor]
"""(x_0, noise of that field, layouts of all fields) -> noise rearranged to lie nearer to the data, as :data:`scidiff.process.Coupling`. It
sees all layouts because what is known of one field may tell entries of another apart, and then their noise must not change places."""


@dataclass(frozen=True)
class Weight:
    """w relative to the ELBO; see the table above. ``gamma`` caps min_snr, ``bias`` shifts sigmoid, ``sigma_data`` is the s of edm and
    snr_plus_one, the normal (``mean``, ``std``) of the log-SNR EDM's. Raises ValueError for an unknown name."""

    name: WeightName = "elbo"
    gamma: float = 5.0
    bias: float = 0.0
    sigma_data: float = 1.0
    mean: float = 2.4
    std: float = 2.4

    def __post_init__(self) -> None:
        if self.name not in get_args(WeightName):
            raise ValueError(f"unknown loss weight {self.name!r}; known: {', '.join(get_args(WeightName))}")

    def __call__(self, schedule: Schedule, t: Batch, density: Batch) -> Batch:
        """w at times t drawn with the given density."""
        log_snr = schedule.log_snr(t)
        snr = log_snr.exp()
        drawn = -2 * density / schedule.d_log_snr(t)
        if self.name == "elbo":
            return torch.ones_like(log_snr)
        if self.name == "sigmoid":
            return torch.sigmoid(self.bias - log_snr)
        if self.name == "edm":
            normal = torch.exp(-0.5 * ((log_snr - self.mean) / self.std) ** 2) / (self.std * math.sqrt(2 * math.pi))
            return 2 * normal * (1 + 1 / (snr * self.sigma_data**2))
        if self.name == "snr":
            return drawn
        if self.name == "snr_plus_one":
            return drawn * (1 + 1 / (snr * self.sigma_data**2))
        if self.name == "min_snr":
            return drawn * snr.clamp(max=self.gamma) / snr
        return drawn / snr


@dataclass(frozen=True)
class TimeLaw:
    """How training draws t, by inversion from uniforms on [0, 1).

    uniform: on [t_min, 1]. logit_normal: t = sigmoid(mean + std z) truncated to [t_min, 1] (Esser et al. 2024). power: t = t_min +
    (1 - t_min) u^(1/(1 - mean)),
    density proportional to (t - t_min)^-mean, mean < 1: mean > 0 draws more small times.
    """

    name: Literal["uniform", "logit_normal", "power"] = "uniform"
    t_min: float = 1e-3
    mean: float = 0.0
    std: float = 1.0

    def draw(self, u: Batch) -> tuple[Batch, Batch]:
        """(t, density of the law at t), float64."""
        u = u.double()
        if self.name == "uniform":
            return self.t_min + (1 - self.t_min) * u, torch.full_like(u, 1 / (1 - self.t_min))
        if self.name == "power":
            exponent = 1 - self.mean
            # u = 0 would have an infinite density; half an ulp of the uniforms' 53 bits is never missed.
            v = u.clamp(min=2.0**-54) ** (1 / exponent)
            return self.t_min + (1 - self.t_min) * v, exponent * v ** (-self.mean) / (1 - self.t_min)
        if self.name != "logit_normal":
            raise ValueError(f"unknown time law {self.name!r}; known: uniform, logit_normal, power")
        low = torch.special.ndtr(torch.tensor((math.log(self.t_min / (1 - self.t_min)) - self.mean) / self.std, dtype=torch.float64))
        z = torch.special.ndtri((low + (1 - low) * u).clamp(1e-12, 1 - 1e-12))
        t = torch.sigmoid(self.mean + self.std * z).clamp(min=self.t_min)
        density = torch.exp(-0.5 * z**2) / math.sqrt(2 * math.pi) / (self.std * t * (1 - t) * (1 - low))
        return t, density


@dataclass(frozen=True)
class Term:
    """One field's loss. ``score`` elbo: weight x kl_rate / p(t). cross_entropy (labels) and log_score (reals whose posterior states a root
    of its covariance): E over the time law of -log p(x_0 | x_t). squared_error (reals): that of |x_0 - x_0_hat|^2, whose minimiser is the
    mean: a regression.
    ``scale`` multiplies the field's loss relative to the others."""

    weight: Weight = field(default_factory=Weight)
    score: Literal["elbo", "cross_entropy", "log_score", "squared_error"] = "elbo"
    scale: float = 1.0


@dataclass(frozen=True)
class Loss:
    """Per sample: ``total`` is what is minimised, ``terms`` its parts by field, ``nats`` the unweighted ELBO rate estimates by field
    (they integrate to the ELBO on [t_min, 1]; a bound on nothing when noise was coupled to data, see ``is_bound``; a field that is held
    has none)."""

    total: Batch
    terms: dict[str, Batch]
    nats: dict[str, Batch]
    is_bound: bool


@dataclass(frozen=True)
class Objective:
    """The loss of a denoiser on clean data. Pure: all randomness comes from ``noise`` and ``u``.

    ``reveal`` chooses what is known. ``held``: fields whose clock stands still while the others' moves. At 1 such a field is noise, and
    shows only where it is known: a condition that may be missing.
    """

    process: Joint
    terms: Mapping[str, Term]
    time_law: TimeLaw = field(default_factory=TimeLaw)
    couplings: Mapping[str, JointCoupling] = field(default_factory=dict[str, JointCoupling])
    reveal: Reveal | None = None
    held: Mapping[str, float] = field(default_factory=dict[str, float])

    def __call__(
        self,
        denoiser: Denoise,
        x_0: State,
        layouts: Layouts,
        noise: NoiseSource,
        u: Batch,
        *,
        step: int = 0,
        condition: Condition | None = None,
        self_condition: bool = False,
    ) -> Loss:
        """``u`` [batch] in [0, 1) chooses the times; ``step`` numbers the draws of ``noise``; ``self_condition`` first asks
        without gradient
        and shows the network its own answer (Chen et al. 2023)."""
        t, density = self.time_law.draw(u)
        if self.reveal is not None:
            x_0, layouts = self.reveal(x_0, layouts, noise, step)
        clocks: Clocks = {f: torch.full_like(t, self.held[f]) if f in self.held else t for f in self.process.fields} if self.held else t
        x_t = self._diffuse(x_0, clocks, layouts, noise, step)
        previous = None
        if self_condition:
            with torch.no_grad():
                previous = denoiser(x_t, clocks, layouts, condition, None)
        posteriors = denoiser(x_t, clocks, layouts, condition, previous)
        rates = self.process.kl_rate(x_0, x_t, posteriors, clocks, layouts)
        terms = {f: self._term(f, rates[f], x_0, posteriors, t, density, layouts) for f in self.process.fields}
        nats = {f: (rate / density).detach() for f, rate in rates.items() if f not in self.held}
        return Loss(torch.stack(list(terms.values())).sum(0), terms, nats, not self.couplings)

    def _diffuse(self, x_0: State, clocks: Clocks, layouts: Layouts, noise: NoiseSource, step: int) -> State:
        x_t: State = {}
        for name, process in self.process.fields.items():
            draws, coupling, t = noise.at(name, step), self.couplings.get(name), field_clock(clocks, name)
            zero = torch.zeros_like(t)
            if coupling is not None and isinstance(process, Gaussian):
                x_t[name] = process.diffuse(x_0[name], zero, t, layouts[name], draws, _bound(coupling, layouts))
            else:
                x_t[name] = process.diffuse(x_0[name], zero, t, layouts[name], draws)
        return x_t

    def _term(
        self, name: str, rate: Batch, x_0: State, posteriors: post.Posteriors, t: Batch, density: Batch, layouts: Layouts
    ) -> Batch:
        term, process, posterior = self.terms[name], self.process.fields[name], posteriors[name]
        if term.score == "cross_entropy":
            if not isinstance(process, Categorical) or not isinstance(posterior, post.Categorical):
                raise ValueError(f"field {name!r}: cross_entropy scores labels; use score='elbo' for reals")
            return term.scale * process.cross_entropy(x_0[name], posterior, layouts[name])
        if term.score == "log_score":
            if not isinstance(posterior, post.Gaussian):
                raise ValueError(f"field {name!r}: log_score is for reals; use score='cross_entropy' for labels")
            return term.scale * posterior.log_score(x_0[name], layouts[name])
        if term.score == "squared_error":
            if not isinstance(posterior, post.Gaussian):
                raise ValueError(f"field {name!r}: squared_error is for reals; use score='cross_entropy' for labels")
            return term.scale * layouts[name].sum((x_0[name] - posterior.mean).double().square().sum(-1))
        if name in self.held:
            raise ValueError(f"field {name!r}: it is held at t = {self.held[name]}, where an ELBO has no rate; score it otherwise")
        return term.scale * term.weight(process.schedule, t, density) * rate / density


def _bound(coupling: JointCoupling, layouts: Layouts) -> Coupling:
    return lambda x_0, noise, _: coupling(x_0, noise, layouts)
