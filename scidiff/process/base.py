"""The contract of a noise process: four verbs, and the two ends that complete the ELBO."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from scidiff.layout import Layout
from scidiff.random import FieldNoise
from scidiff.schedule import Schedule

Clock = Tensor
"""Times [batch], or [batch, *entries] where entries have their own; known entries and padding are at 0 whatever the clock says."""


@runtime_checkable
class Process(Protocol):
    """One field's noise. ``t`` is a :data:`Clock`; every verb acts on the layout's free entries and leaves all others as they are.

    Third parties implement this protocol and run ``scidiff.testing`` on it.
    """

    @property
    def schedule(self) -> Schedule: ...

    def prior(self, layout: Layout, noise: FieldNoise, like: Tensor) -> Tensor:
        """x_1 ~ p(x_1) at free entries; ``like`` holds the known entries and gives shape, type and device."""
        ...

    def diffuse(self, x_s: Tensor, s: Clock, t: Clock, layout: Layout, noise: FieldNoise) -> Tensor:
        """x_t ~ q(x_t | x_s), s <= t. s = 0 corrupts clean data."""
        ...

    def bridge(self, x_t: Tensor, posterior: Any, t: Clock, s: Clock, layout: Layout, noise: FieldNoise, churn: float = 1.0) -> Tensor:
        """x_s ~ q(x_s | x_t, x_0), s <= t, with x_0 from the posterior. churn 1 is ancestral, churn 0 moves no more than it must;
        s = 0 returns the posterior's mean or mode (a draw, if it states a root of its covariance)."""
        ...

    def kl_rate(self, x_0: Tensor, x_t: Tensor, posterior: Any, t: Clock, layout: Layout) -> Float[Tensor, " batch"]:
        """The ELBO's integrand at t, in nats per unit time, summed over a sample's free entries."""
        ...

    def kl_prior(self, x_0: Tensor, layout: Layout) -> Float[Tensor, " batch"]:
        """KL(q(x_1 | x_0) || p(x_1)) in nats."""
        ...

    def reconstruction(self, x_0: Tensor, x_t: Tensor, posterior: Any, t: Clock, layout: Layout) -> Float[Tensor, " batch"]:
        """-log p(x_0 | x_t) in nats at the lower end t = t_min."""
        ...


def per_channel(coefficient: Tensor, like: Tensor) -> Tensor:
    """A per-entry float64 coefficient as a factor of ``like`` [..., channel]."""
    return coefficient[..., None].to(like.dtype)
