"""The negative control, guidance: faults of the kind that are really made, planted one by one; law 4 must catch each."""

from __future__ import annotations

import pytest
import torch
from support.faults import caught
from torch import Tensor

from scidiff.denoiser import Denoise
from scidiff.guidance import ClassifierFree, Measurement
from scidiff.posterior import Categorical, Gaussian, Posterior, Posteriors, combine
from scidiff.testing import check_classifier_free, check_measurement


class Faulty:
    """Classifier-free guidance with one thing wrong in the weights."""

    def __init__(self, conditional: Denoise, unconditional: Denoise, weights: tuple[float, float]) -> None:
        self.both, self.weights = (conditional, unconditional), weights

    def __call__(self, *asked: object) -> Posteriors:
        known, other = (d(*asked) for d in self.both)  # type: ignore[arg-type]
        return {f: combine((p, other[f]), self.weights) for f, p in known.items()}


WEIGHTS = {
    "wrong sign": lambda w: (w, w - 1),
    "scale off by one": lambda w: (1 + w, -w),
    "swapped": lambda w: (1 - w, w),
    "the difference alone": lambda w: (w, -w),
}


def test_the_rewritten_guidance_without_a_fault_passes() -> None:
    check_classifier_free(lambda known, other, w: Faulty(known, other, (w, 1 - w)))


@pytest.mark.parametrize("fault", WEIGHTS)
def test_law_4_catches_wrong_weights(fault: str) -> None:
    caught(lambda: check_classifier_free(lambda known, other, w: Faulty(known, other, WEIGHTS[fault](w))), "law 4")


class Interval(ClassifierFree):
    """The interval's ends taken for noise levels that fall: nothing is guided at the start."""

    def _inside(self, t: Tensor) -> Tensor:
        return super()._inside(1 - t) & (t < 0.8)


def test_law_4_catches_an_interval_that_was_not_asked_for() -> None:
    caught(lambda: check_classifier_free(Interval), "law 4: .* t = 0.9")


class Averaged(ClassifierFree):
    """Probabilities instead of log-probabilities extrapolated, cut off at 0."""

    def _combined(self, field: str, known: Posterior, other: Posterior, *rest: object) -> Posterior:
        if not isinstance(known, Categorical) or not isinstance(other, Categorical):
            return super()._combined(field, known, other, *rest)  # type: ignore[arg-type]
        assert isinstance(self.scale, float)
        return Categorical((self.scale * known.probabilities + (1 - self.scale) * other.probabilities).clamp(min=0).log())


def test_law_4_catches_extrapolated_probabilities() -> None:
    caught(lambda: check_classifier_free(Averaged), "law 4: the law of guided labels")


class Noiseless(Measurement):
    """r for r^2."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "noise", self.noise**0.5)


class HalfRoot(Measurement):
    """The mean is moved and the covariance left as it was."""

    def _given(self, posterior: Gaussian, *rest: object) -> Gaussian:
        return Gaussian(super()._given(posterior, *rest).mean, posterior.variance, posterior.root)  # type: ignore[arg-type]


class TwiceMoved(Measurement):
    def _given(self, posterior: Gaussian, *rest: object) -> Gaussian:
        right = super()._given(posterior, *rest)  # type: ignore[arg-type]
        return Gaussian(2 * right.mean - posterior.mean, right.variance, right.root)


@pytest.mark.parametrize(("kind", "part"), [(Noiseless, "mean"), (HalfRoot, "covariance"), (TwiceMoved, "mean")])
def test_law_4_catches_a_wrong_measurement(kind: type[Measurement], part: str) -> None:
    caught(lambda: check_measurement(lambda d, matrix, value, noise: kind(d, "x", matrix, value, noise)), f"law 4: the {part}")


def test_law_4_catches_a_covariance_that_was_not_used() -> None:
    """A root ignored: PiGDM's isotropic variance where the denoiser states better."""

    class Ignorant(Measurement):
        def _given(self, posterior: Gaussian, *rest: object) -> Gaussian:
            alone = Gaussian(posterior.mean, torch.ones_like(posterior.mean))
            return super()._given(alone, *rest)  # type: ignore[arg-type]

    caught(lambda: check_measurement(lambda d, matrix, value, noise: Ignorant(d, "x", matrix, value, noise)), "law 4: the mean")
