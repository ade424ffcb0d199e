r"""Noise on labels: :math:`q(x_t|x_0) = a_t e_{x_0} + (1 - a_t)\pi`. Absorbing, uniform and data-marginal noise are three values of pi.

With :math:`a_{ts} = a_t/a_s` and :math:`r(x_0) = p(x_0)/q(x_t|x_0)` (0/0 = 0), for any s < t, in O(K) for K labels:

.. math::
   \text{churn 1:}\quad p(x_s = k) &\propto \left(a_{ts}\,\delta_{k x_t} + (1-a_{ts})\,\pi_{x_t}\right)\left(a_s\, r(k) +
   (1-a_s)\,\pi_k \textstyle\sum r\right) \\
   \text{churn 0:}\quad p(x_s = k) &= c\,\delta_{k x_t} + (1 - c)\,p(x_0 = k), \qquad c = (1-a_s)/(1-a_t)

Both keep the marginals q(x_s | x_0) exactly; so does their mixture (0 < churn < 1). The ELBO's rate is that of the time-reversed
continuous-time Markov chain: with :math:`\beta = -\dot a/a`, :math:`R(y) = \beta\,\pi_{x_t}\, q_t(y|x_0)/q_t(x_t|x_0)` and
:math:`\hat R` its average over the posterior, :math:`\sum_{y \ne x_t} R\log(R/\hat R) - R + \hat R`. For absorbing noise it is the weighted
cross-entropy of masked diffusion. Sources: Austin et al. 2021, Campbell et al. 2022, Shi et al. 2024.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from scidiff import posterior as post
from scidiff.layout import Layout
from scidiff.process.base import Clock
from scidiff.random import FieldNoise, draw_categorical
from scidiff.schedule import Schedule

Labels = Int[Tensor, "batch *entries"]
Law = Float[Tensor, "batch *entries label"]


@dataclass(frozen=True)
class Categorical:
    """See the module. Implements :class:`~scidiff.process.Process` for labels x [batch, *entries].

    ``pi`` [K] is the law that noise draws from; ``data_labels`` the number of labels that clean data can take (the first ones; all K
    unless noise has a label of its own, as absorbing noise has). Raises ValueError for a pi that is no law, or a schedule that
    keeps alpha = 1.
    """

    pi: tuple[float, ...]
    schedule: Schedule
    data_labels: int

    def __init__(self, pi: Float[Tensor, " label"] | tuple[float, ...], schedule: Schedule, data_labels: int | None = None) -> None:
        values = torch.as_tensor(pi, dtype=torch.float64)
        if values.ndim != 1 or bool((values < 0).any()) or not torch.isclose(values.sum(), torch.tensor(1.0).double(), atol=1e-6):
            raise ValueError(f"pi must be a law: non-negative numbers that sum to 1, got {values.tolist()}")
        schedule.retention(torch.tensor(0.5))  # refuses schedules under which labels never change
        object.__setattr__(self, "pi", tuple((values / values.sum()).tolist()))
        object.__setattr__(self, "schedule", schedule)
        object.__setattr__(self, "data_labels", len(self.pi) if data_labels is None else data_labels)

    @classmethod
    def absorbing(cls, data_labels: int, schedule: Schedule) -> Categorical:
        """All noise falls into one extra, last label (the mask)."""
        return cls((0.0,) * data_labels + (1.0,), schedule, data_labels)

    @classmethod
    def uniform(cls, data_labels: int, schedule: Schedule) -> Categorical:
        return cls((1.0 / data_labels,) * data_labels, schedule)

    @property
    def labels(self) -> int:
        return len(self.pi)

    def certain(self, x_t: Labels) -> Bool[Tensor, "batch *entries"]:
        """Entries whose label noise cannot have made (pi is 0 there): clean for sure, as an unmasked label is under absorbing noise."""
        return self._pi(x_t)[x_t] == 0

    def prior(self, layout: Layout, noise: FieldNoise, like: Labels) -> Labels:
        law = self._pi(like).expand(*like.shape, self.labels)
        return torch.where(layout.free, draw_categorical(law, noise.uniform(layout)), like)

    def diffuse(self, x_s: Labels, s: Clock, t: Clock, layout: Layout, noise: FieldNoise) -> Labels:
        s, t = layout.clock(s), layout.clock(t)
        return torch.where(t > s, draw_categorical(self.diffuse_law(x_s, s, t), noise.uniform(layout)), x_s)

    def diffuse_law(self, x_s: Labels, s: Clock, t: Clock) -> Law:
        """The law of x_t given x_s at per-entry times, [batch, *entries, K] in float64."""
        keep = self._kept(s, t)
        return keep * self._one_hot(x_s) + (1 - keep) * self._pi(x_s)

    def bridge(
        self, x_t: Labels, posterior: post.Categorical, t: Clock, s: Clock, layout: Layout, noise: FieldNoise, churn: float = 1.0
    ) -> Labels:
        t, s = layout.clock(t), layout.clock(s)
        law = self.bridge_law(x_t, posterior, t, s, churn)
        x_s = torch.where(s > 0, draw_categorical(law, noise.uniform(layout)), posterior.point())
        return torch.where(t > s, x_s, x_t)

    def bridge_law(self, x_t: Labels, posterior: post.Categorical, t: Clock, s: Clock, churn: float = 1.0) -> Law:
        """The law of x_s given x_t and the posterior, [batch, *entries, K] in float64, before the mode is taken at s = 0."""
        here = self._one_hot(x_t)
        p = _probabilities(posterior)
        a_t, a_s = (self.schedule.retention(u)[..., None] for u in (t, s))
        free_t = torch.where(a_t < 1, 1 - a_t, 1.0)
        stay = torch.where(a_t < 1, (1 - a_s) / free_t, 1.0)
        fewest = stay * here + (1 - stay) * p
        if churn == 0:
            return fewest
        ratio = self._ratio(p, x_t, a_t)
        pi_here = self._pi(x_t)[x_t][..., None]
        keep = self._kept(s, t)
        exact = (keep * here + (1 - keep) * pi_here) * (a_s * ratio + (1 - a_s) * self._pi(x_t) * ratio.sum(-1, keepdim=True))
        total = exact.sum(-1, keepdim=True)
        # A posterior that calls x_t impossible leaves nothing to normalise: stay.
        exact = torch.where(total > 0, exact / torch.where(total > 0, total, 1.0), here)
        return churn * exact + (1 - churn) * fewest

    def kl_rate(self, x_0: Labels, x_t: Labels, posterior: post.Categorical, t: Clock, layout: Layout) -> Float[Tensor, " batch"]:
        t = layout.clock(t)
        a_t = self.schedule.retention(t)[..., None]
        here, pi = self._one_hot(x_t), self._pi(x_t)
        beta = -self.schedule.d_retention(t)[..., None] / torch.where(a_t > 0, a_t, 1.0)
        speed = beta * pi[x_t][..., None]
        ratio_true, ratio = (self._ratio(p, x_t, a_t) for p in (self._one_hot(x_0), _probabilities(posterior)))
        rate_true, rate = (speed * (a_t * r + (1 - a_t) * pi * r.sum(-1, keepdim=True)) for r in (ratio_true, ratio))
        # 0 log(0/0) = 0, in the gradient too: no logarithm where the true rate is 0.
        jumps = rate_true > 0
        logs = torch.where(jumps, rate_true, 1.0).log() - torch.where(jumps, rate, 1.0).log()
        divergence = rate_true * logs - rate_true + rate
        return layout.sum(torch.where(here > 0, 0.0, divergence).sum(-1))

    def kl_prior(self, x_0: Labels, layout: Layout) -> Float[Tensor, " batch"]:
        """Infinite where pi excludes a label that x_1 can still be: absorbing noise needs a schedule with alpha(1) = 0."""
        a_1 = self.schedule.retention(layout.clock(torch.ones(layout.batch, device=x_0.device)))[..., None]
        pi = self._pi(x_0)
        law = a_1 * self._one_hot(x_0) + (1 - a_1) * pi
        return layout.sum((torch.xlogy(law, law) - torch.xlogy(law, pi)).sum(-1))

    def reconstruction(
        self, x_0: Labels, x_t: Labels, posterior: post.Categorical, t: Clock, layout: Layout
    ) -> Float[Tensor, " batch"]:
        return self.cross_entropy(x_0, posterior, layout)

    @staticmethod
    def cross_entropy(x_0: Labels, posterior: post.Categorical, layout: Layout) -> Float[Tensor, " batch"]:
        """-log p(x_0) in nats summed over free entries: a proper score with the ELBO's minimiser."""
        # Padding may hold labels that the posterior calls impossible; -inf * 0 would be NaN.
        log_p = posterior.log_probabilities.gather(-1, x_0[..., None])[..., 0]
        return layout.sum(-torch.where(layout.free, log_p, 0.0).double())

    def _one_hot(self, x: Labels) -> Law:
        return torch.nn.functional.one_hot(x, self.labels).double()

    def _pi(self, like: Tensor) -> Float[Tensor, " label"]:
        return torch.tensor(self.pi, dtype=torch.float64, device=like.device)

    def _kept(self, s: Clock, t: Clock) -> Tensor:
        """a_t / a_s as [..., 1]; 1 where nothing moves (also where both are 0)."""
        a_s = self.schedule.retention(s)
        return torch.where(t > s, self.schedule.retention(t) / torch.where(a_s > 0, a_s, 1.0), 1.0)[..., None]

    def _ratio(self, p: Law, x_t: Labels, a_t: Float[Tensor, "batch *entries 1"]) -> Law:
        """r(x_0) = p(x_0) / q(x_t | x_0), with 0/0 = 0."""
        q = a_t * self._one_hot(x_t) + (1 - a_t) * self._pi(x_t)[x_t][..., None]
        return torch.where(q > 0, p / torch.where(q > 0, q, 1.0), 0.0)


def _probabilities(posterior: post.Categorical) -> Law:
    """In float64: in float32 a label 104 nats behind has probability 0, and where it is the true one an infinite loss without a
    gradient."""
    return posterior.logits.double().softmax(-1)
