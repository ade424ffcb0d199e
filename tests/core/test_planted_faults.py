"""The negative control, reals and rules: faults of the kind that are really made, planted one by one; its law must catch each.

Every fault is the real code with one thing wrong. Where a formula is changed, the body is the original's with that change.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from support.faults import caught
from torch import Tensor

from scidiff import posterior as post
from scidiff.process import Categorical, Gaussian, State
from scidiff.sampling import FirstOrder, Multistep, Walk
from scidiff.schedule import Cosine, Schedule, Straight, VPLinear
from scidiff.testing import (
    FIRST_ORDER,
    SECOND_ORDER,
    check_gaussian_identity,
    check_gaussian_order,
    check_label_order,
    check_process,
    check_schedule,
    plain_gaussians,
    plain_labels,
)

VP = VPLinear()

def bridge(self: Gaussian, x_t: Tensor, x_0: Tensor, t: Tensor, s: Tensor, z: Tensor, churn: float, fault: str) -> Tensor:
    """Gaussian.bridge on plain entries, with one thing wrong."""
    alpha_t, alpha_s, sigma_t, sigma_s = (f(u)[..., None] for f in (self.schedule.alpha, self.schedule.sigma) for u in (t, s))
    fresh = self._fresh(s, t)[..., None]
    eps = (x_t - alpha_t * x_0) / sigma_t
    kept, new = torch.sqrt(1 - churn**2 * fresh), churn * torch.sqrt(fresh)
    if fault == "churn not squared":
        kept = torch.sqrt(1 - churn * fresh)
    elif fault == "churn dropped":
        kept = torch.sqrt(1 - fresh)
    elif fault == "variance for standard deviation":
        new = churn * fresh
    elif fault == "swapped sign":
        eps = -eps
    elif fault == "posterior variance of the step before":
        fresh = 1 - torch.exp(self.schedule.log_snr(t + 0.01) - self.schedule.log_snr(s))[..., None]
        kept, new = torch.sqrt(1 - churn**2 * fresh), churn * torch.sqrt(fresh)
    elif fault == "alpha for alpha squared":
        kept = kept * torch.sqrt(alpha_s)
    return alpha_s * x_0 + sigma_s * (kept * eps + new * z)


@dataclass(frozen=True)
class FaultyBridge(Gaussian):
    fault: str = ""

    def bridge(self, x_t, posterior, t, s, layout, noise, churn=1.0):
        t, s = layout.clock(t), layout.clock(s)
        x_s = bridge(
            self, x_t, layout.project(posterior.mean), t, s, layout.project(noise.normal(layout, x_t.shape[-1])), churn, self.fault
        )
        return torch.where((t > s)[..., None], torch.where((s > 0)[..., None], x_s, posterior.mean), x_t)


BRIDGE_FAULTS = {
    "churn not squared": 0.5,
    "churn dropped": 0.5,
    "variance for standard deviation": 1.0,
    "swapped sign": 0.0,
    "posterior variance of the step before": 1.0,
    "alpha for alpha squared": 0.0,
}


def test_the_rewritten_bridge_without_a_fault_passes() -> None:
    process = FaultyBridge(VP)
    check_process(process)
    check_gaussian_order(FirstOrder(), process, 0.5, FIRST_ORDER)


@pytest.mark.parametrize("fault", BRIDGE_FAULTS)
def test_law_1_catches_a_wrong_bridge(fault: str) -> None:
    process = FaultyBridge(VP, fault)
    caught(lambda: check_gaussian_order(FirstOrder(), process, BRIDGE_FAULTS[fault], FIRST_ORDER), "law 1")


@pytest.mark.parametrize("fault", BRIDGE_FAULTS)
def test_the_markov_chain_catches_a_wrong_bridge(fault: str) -> None:
    caught(lambda: check_process(FaultyBridge(VP, fault)), "marginals")


class SigmaSquaredDiffuse(Gaussian):
    """sigma^2 z instead of sigma z."""

    def diffuse(self, x_s, s, t, layout, noise, coupling=None):
        out = super().diffuse(x_s, s, t, layout, noise, lambda x, z, lay: z * self.schedule.sigma(layout.clock(t))[..., None])
        return out


class UnprojectedNoise(Gaussian):
    """Noise that does not stay in the zero-mean subspace."""

    def diffuse(self, x_s, s, t, layout, noise, coupling=None):
        return super().diffuse(x_s, s, t, replace(layout, centred=False), noise, coupling)


class NoHalf(Gaussian):
    """kl_rate without its 1/2."""

    def kl_rate(self, x_0, x_t, posterior, t, layout):
        return 2 * super().kl_rate(x_0, x_t, posterior, t, layout)


class LogSnrRate(Gaussian):
    """kl_rate with d log-SNR instead of d SNR."""

    def kl_rate(self, x_0, x_t, posterior, t, layout):
        return super().kl_rate(x_0, x_t, posterior, t, layout) * torch.exp(-self.schedule.log_snr(t))


class NoPriorMean(Gaussian):
    """A prior's end that forgets what alpha(1) has kept of the data."""

    def kl_prior(self, x_0, layout):
        return 0 * super().kl_prior(x_0, layout)


class FullVolume(Gaussian):
    """A reconstruction that counts 3 N instead of 3 (N - 1) degrees of freedom."""

    def reconstruction(self, x_0, x_t, posterior, t, layout):
        return super().reconstruction(x_0, x_t, posterior, t, replace(layout, centred=False))


@pytest.mark.parametrize(
    ("fault", "statement"),
    [
        (SigmaSquaredDiffuse, "semigroup"),
        (UnprojectedNoise, "covariance"),
        (NoHalf, "kl_rate"),
        (LogSnrRate, "kl_rate"),
        (NoPriorMean, "kl_prior"),
        (FullVolume, "reconstruction"),
    ],
)
def test_the_markov_chain_catches_other_faults(fault: type[Gaussian], statement: str) -> None:
    caught(lambda: check_process(fault(VP)), statement)


@pytest.mark.parametrize(("fault", "part"), [(NoHalf, "diffusion"), (LogSnrRate, "diffusion"), (NoPriorMean, "prior")])
def test_law_3_catches_a_wrong_rate_or_end(fault: type[Gaussian], part: str) -> None:
    data, layout = plain_gaussians()
    caught(lambda: check_gaussian_identity(fault(VP), data, layout), f"law 3.*{part}")


class HalfMissing(Multistep):
    """Extrapolation by h/h' instead of h/(2 h')."""

    def _extrapolate(self, walk, name, x, now, then, t, s):
        right = super()._extrapolate(walk, name, x, now, then, t, s)
        return post.combine((right, now), (2.0, -1.0))


class Backwards(Multistep):
    """Extrapolation with its sign swapped."""

    def _extrapolate(self, walk, name, x, now, then, t, s):
        right = super()._extrapolate(walk, name, x, now, then, t, s)
        return post.combine((now, right), (2.0, -1.0))


class ForgetfulMultistep(Multistep):
    """Remembers the time of the step before, off by one."""

    def __call__(self, walk: Walk, x: State, t: float, s: float) -> State:
        out = super().__call__(walk, x, t, s)
        assert walk.remembered is not None
        walk.remembered = (t + (t - s), walk.remembered[1])
        return out


class LateHeun:
    """Asks at t again instead of at s."""

    def __call__(self, walk: Walk, x: State, t: float, s: float) -> State:
        first = walk.ask(x, t)
        second = walk.ask(walk.bridge(x, first, t, s), t)
        return walk.bridge(x, {f: post.combine((first[f], second[f]), (0.5, 0.5)) for f in first}, t, s, again=True)


class LopsidedHeun:
    """Weights that sum to one, but not 1/2 each."""

    def __call__(self, walk: Walk, x: State, t: float, s: float) -> State:
        first = walk.ask(x, t)
        second = walk.ask(walk.bridge(x, first, t, s), s)
        return walk.bridge(x, {f: post.combine((first[f], second[f]), (0.6, 0.4)) for f in first}, t, s, again=True)


@pytest.mark.parametrize(
    "rule", [HalfMissing(), Backwards(), ForgetfulMultistep(), LateHeun(), LopsidedHeun()], ids=lambda r: type(r).__name__
)
def test_law_1_catches_a_rule_of_the_wrong_order(rule: Multistep) -> None:
    caught(lambda: check_gaussian_order(rule, Gaussian(VP), 0.0, SECOND_ORDER), "law 1.*order")


class WrongTime:
    """Bridges from a time that is one step off, as when a grid is indexed from the wrong end."""

    def __call__(self, walk: Walk, x: State, t: float, s: float) -> State:
        return walk.bridge(x, walk.ask(x, s), t, s)


class Stuck:
    """Stays at the noise level it came from."""

    def __call__(self, walk: Walk, x: State, t: float, s: float) -> State:
        return walk.bridge(x, walk.ask(x, t), t, (t + s) / 2)


def test_law_1_and_2_catch_steps_to_the_wrong_time() -> None:
    process = Categorical.uniform(3, Straight())
    caught(lambda: check_gaussian_order(Stuck(), Gaussian(VP), 0.0, FIRST_ORDER), "law 1")
    caught(lambda: check_label_order(Stuck(), process, plain_labels(3), 0.0), "law 2")
    # Asking at the wrong end costs no order, only accuracy: what law 1 cannot see at first order it sees at second.
    caught(lambda: check_gaussian_order(WrongTime(), Gaussian(VP), 0.0, SECOND_ORDER), "law 1")


class WrongDerivative(Cosine):
    def _derivatives(self, t: Tensor) -> tuple[Tensor, Tensor]:
        d_alpha, d_sigma = super()._derivatives(t)
        return -d_alpha, d_sigma


class WrongInverse(Cosine):
    def time(self, log_snr: Tensor) -> Tensor:
        return super().time(log_snr / 2)


class WrongLogSnr(Cosine):
    def _log_snr(self, t: Tensor) -> Tensor:
        return super()._log_snr(t) / 2


@pytest.mark.parametrize(("fault", "message"), [(WrongDerivative, "retention"), (WrongInverse, "time"), (WrongLogSnr, "log_snr")])
def test_wrong_schedules_are_caught(fault: type[Schedule], message: str) -> None:
    caught(lambda: check_schedule(fault()), message)


def test_law_3_catches_a_wrong_derivative() -> None:
    data, layout = plain_gaussians()
    caught(lambda: check_gaussian_identity(Gaussian(WrongDerivative()), data, layout), "law 3.*diffusion")
