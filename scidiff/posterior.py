r"""Posteriors: what a network states about clean data given noisy data, p(x_0 | x_t).

Posteriors of one kind can be *combined* with weights that sum to one. Averages and extrapolations of posteriors are what
second-order solvers and guidance are made of, so these are written once, for reals and labels alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from scidiff.layout import Layout

Weight = float | Float[Tensor, "batch *entries"]
Real = Float[Tensor, "batch *entries channel"]


@runtime_checkable
class Root(Protocol):
    """A root L of a covariance L L^T over all of a sample's free entries at once; 0 at the others."""

    def spread(self, z: Real) -> Real:
        """L z: with standard normals z, a deviation from the mean."""
        ...

    def whiten(self, deviation: Real) -> tuple[Real, Float[Tensor, " batch"]]:
        """(L^-1 deviation, log det L over the free entries)."""
        ...


@dataclass(frozen=True)
class Gaussian:
    r"""N(mean, variance) for each entry. ``variance`` None: the network states no variance (processes then use their own default).
    Of a field in the zero-mean subspace it is the variance of the normal whose projection the posterior is.

    ``root``: the entries are correlated, x_0 ~ N(mean, L L^T). A process then bridges from a *draw* of x_0 instead of from the mean; for
    any churn :math:`\int q(x_s|x_t,x_0)\,p(x_0|x_t)\,dx_0` keeps the marginals, so Gaussian data are sampled exactly in any number of
    steps, one included.
    """

    mean: Real
    variance: Real | None = None
    root: Root | None = None

    def point(self) -> Real:
        """The mean: what a sampler's last step returns."""
        return self.mean

    def draw(self, z: Real) -> Real:
        """x_0 from standard normals; the mean if no root is stated."""
        return self.mean if self.root is None else self.mean + self.root.spread(z)

    def log_score(self, x_0: Real, layout: Layout) -> Float[Tensor, " batch"]:
        """-log p(x_0 | x_t) in nats over the free entries, which is a proper score. Raises ValueError if no root is stated."""
        if self.root is None:
            raise ValueError("a log score needs a posterior that states its covariance's root")
        white, log_det = self.root.whiten(x_0 - self.mean)
        free = layout.free[..., None].expand(white.shape)
        terms = torch.where(free, 0.5 * white.double().square() + 0.5 * math.log(2 * math.pi), 0.0)
        return terms.flatten(1).sum(1) + log_det

    def replace(self, known: Bool[Tensor, "batch *entries"], value: Real) -> Gaussian:
        """The posterior that is certain of the given values where ``known``."""
        return Gaussian(torch.where(known[..., None], value, self.mean), self.variance, self.root)


@dataclass(frozen=True)
class Categorical:
    """Unnormalised log-probabilities of the labels; -inf is allowed (a label that cannot be)."""

    logits: Float[Tensor, "batch *entries label"]

    @property
    def probabilities(self) -> Float[Tensor, "batch *entries label"]:
        return self.logits.softmax(-1)

    @property
    def log_probabilities(self) -> Float[Tensor, "batch *entries label"]:
        return self.logits.log_softmax(-1)

    def point(self) -> Int[Tensor, "batch *entries"]:
        """The mode: what a sampler's last step returns."""
        return self.logits.argmax(-1)

    def replace(self, known: Bool[Tensor, "batch *entries"], value: Int[Tensor, "batch *entries"]) -> Categorical:
        """The posterior that is certain of the given labels where ``known``."""
        certain = torch.nn.functional.one_hot(value, self.logits.shape[-1]).to(self.logits.dtype).log()
        return Categorical(torch.where(known[..., None], certain, self.logits))


Posterior = Gaussian | Categorical
Posteriors = dict[str, Posterior]


def combine(posteriors: Sequence[Posterior], weights: Sequence[Weight]) -> Posterior:
    r"""Sum of w_i p_i, with weights (numbers, or one per entry) that sum to one.

    Gaussian: the means are combined (no variance and no root is stated). Categorical: probabilities are averaged where all weights are
    non-negative (a mixture), else log-probabilities are combined and renormalised, which stays a law whatever the sign.
    Raises ValueError for mixed kinds, or numbers of posteriors and weights that differ.
    """
    if len(posteriors) != len(weights) or not posteriors:
        raise ValueError(f"combine needs one weight per posterior, got {len(posteriors)} and {len(weights)}")
    wide = [w[..., None] if isinstance(w, Tensor) else torch.tensor(w, dtype=torch.float64) for w in weights]
    if all(isinstance(p, Gaussian) for p in posteriors):
        means = [w.to(p.mean) * p.mean for w, p in zip(wide, posteriors, strict=True) if isinstance(p, Gaussian)]
        return Gaussian(torch.stack(means).sum(0))
    if not all(isinstance(p, Categorical) for p in posteriors):
        raise ValueError("combine takes posteriors of one kind: all Gaussian or all Categorical")
    labels = [p for p in posteriors if isinstance(p, Categorical)]
    mixture = torch.stack([w.to(p.logits) * p.probabilities for w, p in zip(wide, labels, strict=True)]).sum(0)
    # 0 * -inf is NaN and -1 * -inf is +inf: a label excluded under a weight of 0 or less alone must stay as the others say.
    terms = [torch.where(torch.isneginf(p.logits), 0.0, w.to(p.logits) * p.log_probabilities) for w, p in zip(wide, labels, strict=True)]
    geometric = torch.stack(terms).sum(0)
    impossible = torch.stack([torch.isneginf(p.logits) & (w.to(p.logits) > 0) for w, p in zip(wide, labels, strict=True)]).any(0)
    geometric = torch.where(impossible, -torch.inf, geometric)
    negative = torch.stack([torch.broadcast_to(w.to(mixture) < 0, mixture.shape) for w in wide]).any(0)
    return Categorical(torch.where(negative, geometric, mixture.log()))
