r"""Denoiser: a backbone's raw output turned into posteriors over clean data.

Every parametrisation of a Gaussian field is an affine reading of the network's output F, with coefficients that depend on time only:

.. math::  \hat x_0 = c_{skip}\, x_t + c_{out}\, F(c_{in}\, x_t, t)

=========  ======================================  =========================  ===========================
name       what F approximates                     c_skip                     c_out
=========  ======================================  =========================  ===========================
x0         x_0                                     0                          1
noise      eps                                     1/alpha                    -sigma/alpha
score      grad log q(x_t)                         1/alpha                    sigma^2/alpha
v          alpha eps - sigma x_0                   alpha/(alpha^2+sigma^2)    -sigma/(alpha^2+sigma^2)
velocity   d alpha/dt x_0 + d sigma/dt eps         -sigma'/D                  sigma/D, D = alpha' sigma - sigma' alpha
edm        unit-variance target (Karras et al.)    alpha s^2/V                sigma s/sqrt(V), V = alpha^2 s^2 + sigma^2
=========  ======================================  =========================  ===========================

s is the data's standard deviation; c_in = 1/sqrt(V) for all, so the network's input has unit variance at every time. Labels: F are logits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, get_args, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from scidiff import posterior as post
from scidiff.layout import Layout
from scidiff.process import Categorical, Clocks, Gaussian, Joint, Layouts, State, field_clock
from scidiff.schedule import Schedule

Target = Literal["x0", "noise", "score", "v", "velocity", "edm"]
Condition = Mapping[str, Tensor]

_SMALLEST_ALPHA = 1e-4
"""noise and score divide by alpha, which straight and cosine schedules take to 0 at t = 1."""


@runtime_checkable
class Denoise(Protocol):
    """What samplers, objectives and guidance work with: (x_t, t, layouts, condition, previous) -> a posterior for every field."""

    def __call__(
        self, x_t: State, t: Clocks, layouts: Layouts, condition: Condition | None = None, previous: post.Posteriors | None = None
    ) -> post.Posteriors: ...


@runtime_checkable
class Composite(Protocol):
    """A :class:`Denoise` made of others, as guidance is: it says what an ask costs."""

    def network_calls(self, t: Clocks) -> int:
        """How many network calls an ask at these times takes."""
        ...


def network_calls(denoiser: Denoise, t: Clocks) -> int:
    """How many network calls asking ``denoiser`` at these times takes: one, unless it says otherwise."""
    return denoiser.network_calls(t) if isinstance(denoiser, Composite) else 1


@dataclass(frozen=True)
class Parametrisation:
    """What the network predicts for a Gaussian field, and the data's standard deviation. Raises ValueError for an unknown target."""

    target: Target = "edm"
    sigma_data: float = 1.0

    def __post_init__(self) -> None:
        if self.target not in get_args(Target):
            raise ValueError(f"unknown parametrisation {self.target!r}; known: {', '.join(get_args(Target))}")

    def c_in(self, schedule: Schedule, t: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """1 / sqrt(alpha^2 s^2 + sigma^2)."""
        return torch.rsqrt(schedule.alpha(t) ** 2 * self.sigma_data**2 + schedule.sigma(t) ** 2)

    def coefficients(
        self, schedule: Schedule, t: Float[Tensor, "*shape"]
    ) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"]]:
        """(c_skip, c_out) at t > 0; at t = 0 the data are x_t itself: (1, 0)."""
        a, s = schedule.alpha(t), schedule.sigma(t)
        s_data, zero = self.sigma_data, torch.zeros_like(a)
        if self.target == "x0":
            skip, out = zero, torch.ones_like(a)
        elif self.target == "noise":
            skip, out = 1 / a.clamp(min=_SMALLEST_ALPHA), -s / a.clamp(min=_SMALLEST_ALPHA)
        elif self.target == "score":
            skip, out = 1 / a.clamp(min=_SMALLEST_ALPHA), s**2 / a.clamp(min=_SMALLEST_ALPHA)
        elif self.target == "v":
            skip, out = a / (a**2 + s**2), -s / (a**2 + s**2)
        elif self.target == "velocity":
            da, ds = schedule.d_alpha(t), schedule.d_sigma(t)
            wronskian = torch.where(t > 0, da * s - ds * a, 1.0)
            skip, out = -ds / wronskian, s / wronskian
        else:
            variance = a**2 * s_data**2 + s**2
            skip, out = a * s_data**2 / variance, s * s_data / variance.sqrt()
        return torch.where(t > 0, skip, 1.0), torch.where(t > 0, out, 0.0)


@runtime_checkable
class Backbone(Protocol):
    """A network over whole states. ``inputs``: reals scaled by c_in, labels as they are; ``t``: per-entry times of every field.

    Returns for every field the raw output: [batch, *entries, channel] for reals, [batch, *entries, data_labels] logits for labels.
    """

    def __call__(
        self,
        inputs: State,
        t: Mapping[str, Tensor],
        layouts: Layouts,
        condition: Condition | None,
        previous: post.Posteriors | None,
    ) -> State: ...


class Denoiser(nn.Module):
    """A backbone and how to read it. Known entries and padding come back as they are, with certainty.

    Raises ValueError if a Gaussian field has no parametrisation.
    """

    def __init__(self, backbone: nn.Module, process: Joint, parametrisations: Mapping[str, Parametrisation]) -> None:
        super().__init__()
        missing = [f for f, p in process.fields.items() if isinstance(p, Gaussian) and f not in parametrisations]
        if missing:
            raise ValueError(f"no parametrisation for the Gaussian field(s) {missing}")
        self.backbone = backbone
        self.process = process
        self.parametrisations = dict(parametrisations)

    def forward(
        self, x_t: State, t: Clocks, layouts: Layouts, condition: Condition | None = None, previous: post.Posteriors | None = None
    ) -> post.Posteriors:
        """The posterior of every field's clean data, given noisy data ``x_t`` at times ``t`` [batch] in [0, 1], one for all or by field.
        ``condition`` goes to the backbone as it is; ``previous`` is an earlier answer, for self-conditioning."""
        clocks = {f: layouts[f].clock(field_clock(t, f)) for f in self.process.fields}
        inputs = {f: self._scale(f, x, clocks[f]) for f, x in x_t.items()}
        raw = self.backbone(inputs, clocks, layouts, condition, previous)
        return {f: self._read(f, raw[f], x_t[f], clocks[f], layouts[f]) for f in self.process.fields}

    def _scale(self, field: str, x: Tensor, t: Tensor) -> Tensor:
        process = self.process.fields[field]
        if not isinstance(process, Gaussian):
            return x
        return self.parametrisations[field].c_in(process.schedule, t)[..., None].to(x.dtype) * x

    def _read(self, field: str, raw: Tensor, x: Tensor, t: Tensor, layout: Layout) -> post.Posterior:
        process = self.process.fields[field]
        if isinstance(process, Gaussian):
            skip, out = self.parametrisations[field].coefficients(process.schedule, t)
            mean = skip[..., None].to(x.dtype) * x + out[..., None].to(x.dtype) * raw.to(x.dtype)
            return post.Gaussian(layout.project(mean)).replace(~layout.free, x)
        if not isinstance(process, Categorical):
            raise TypeError(f"field {field!r}: a Denoiser reads Gaussian and Categorical processes, got {type(process).__name__}")
        logits = nn.functional.pad(raw, (0, process.labels - process.data_labels), value=-torch.inf)
        return post.Categorical(logits).replace(~layout.free | process.certain(x), x)
