r"""Classifier-free guidance: extrapolate from a denoiser that knows less to one that knows more.

.. math::  p_w(x_0|x_t) = w\,p(x_0|x_t, c) \;\oplus\; (1 - w)\,p(x_0|x_t)

where :math:`\oplus` is :func:`scidiff.posterior.combine`: of reals the means are combined, which is the score of
:math:`q(x_t|c)^w q(x_t)^{1-w}`; of labels the log-probabilities, entry by entry (with 0 <= w <= 1, probabilities: a mixture). For w other
than 0 and 1 the states drawn are *not* distributed as :math:`p(x_0|c)^w p(x_0)^{1-w}`, since noising does not commute with powers; Gaussian
data whose two covariances are equal are an exception. Particles (:func:`~scidiff.guidance.steer`) draw from a stated law.

*Autoguidance* is the same with a weaker model of the same condition in the second place (a smaller one, or an earlier checkpoint):
``ClassifierFree(model, weaker, w)``.

Sources: Ho & Salimans 2022; Schiff et al. 2024 (labels); Karras et al. 2024 (autoguidance); Kynkaanniemi et al. 2024 (the interval).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from scidiff.denoiser import Condition, Denoise, network_calls
from scidiff.errors import UserError
from scidiff.guidance.base import stated
from scidiff.layout import Layout
from scidiff.posterior import Posterior, Posteriors, combine
from scidiff.process import Clocks, Layouts, State, field_clock


@dataclass(frozen=True)
class ClassifierFree:
    """See the module. Implements :class:`~scidiff.denoiser.Denoise`.

    Both denoisers are asked with the same arguments, so the second one drops the condition itself: ``Given(network, None)``, or with a null
    token for None. ``scale`` is w, one for all fields or one each: 1 is the conditional denoiser alone, 0 the unconditional one.
    ``interval`` (low, high): only entries with low < t <= high are guided, the others are the conditional's. Where no entry is guided one
    denoiser is asked, else both: two network calls. Guided reals state no variance.

    With self-conditioning both see the *guided* posterior of the call before: x_t was bridged from it. (Showing each its own last answer
    would need a memory in the denoiser, which then were no function.) At large scales it lies further out than what networks have seen
    in training.

    Raises UserError for an interval not in [0, 1], a scale that is not finite or missing for a field, and if both denoisers are the same
    object.
    """

    conditional: Denoise
    unconditional: Denoise
    scale: float | Mapping[str, float]
    interval: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        low, high = self.interval
        if not 0 <= low < high <= 1:
            raise UserError(f"ClassifierFree: interval must be (low, high) with 0 <= low < high <= 1, got {self.interval}")
        if not all(math.isfinite(w) for w in self._scales()):
            raise UserError(f"ClassifierFree: scale must be finite, got {self.scale}")
        if self.conditional is self.unconditional:
            raise UserError("ClassifierFree: both denoisers are the same one; Given(denoiser, None) is one without the condition")

    def __call__(
        self, x_t: State, t: Clocks, layouts: Layouts, condition: Condition | None = None, previous: Posteriors | None = None
    ) -> Posteriors:
        known = self.conditional(x_t, t, layouts, condition, previous)
        if not self._guides(t):
            return known
        other = self.unconditional(x_t, t, layouts, condition, previous)
        return {f: self._combined(f, p, stated(other, f), field_clock(t, f), layouts[f]) for f, p in known.items()}

    def network_calls(self, t: Clocks) -> int:
        return network_calls(self.conditional, t) + (network_calls(self.unconditional, t) if self._guides(t) else 0)

    def _combined(self, field: str, known: Posterior, other: Posterior, t: Tensor, layout: Layout) -> Posterior:
        if not isinstance(self.scale, float | int) and field not in self.scale:
            raise UserError(f"ClassifierFree: scale names {', '.join(self.scale)} and not {field!r}; 1 leaves a field unguided")
        scale = self.scale if isinstance(self.scale, float | int) else self.scale[field]
        if scale == 1:
            return known
        weight = torch.where(self._inside(layout.clock(t)), float(scale), 1.0).double()
        return combine((known, other), (weight, 1 - weight))

    def _scales(self) -> list[float]:
        return [self.scale] if isinstance(self.scale, float | int) else list(self.scale.values())

    def _guides(self, t: Clocks) -> bool:
        clocks = [t] if isinstance(t, Tensor) else list(t.values())
        return any(w != 1 for w in self._scales()) and any(bool(self._inside(clock).any()) for clock in clocks)

    def _inside(self, t: Tensor) -> Tensor:
        return (t > self.interval[0]) & (t <= self.interval[1])
