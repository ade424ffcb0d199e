r"""The time-series model: a base law's exact posterior, and a network's correction of it.

One field, ``values`` [batch, time, channel, 1]: known entries are at t = 0, those asked for are denoised, missing ones are padding.
Given the known entries the base law says N(m, S) of the free ones, so given x_t = alpha x_0 + sigma eps as well it says N(D, V):

.. math::  V = (S^{-1} + \alpha^2/\sigma^2)^{-1}, \quad D = m + V\,\tfrac{\alpha}{\sigma^2} (x_t - \alpha m)

With the Cholesky root V = L L^T (in time's order, so the coordinates :math:`L^{-1}(x_0 - D)` are innovations) the network states
:math:`x_0 \sim N(D + L F,\; (\tau L e^{g})(\tau L e^{g})^T)`: F shifts the standardised innovations, g scales them, tau is a
temperature. F and g are zero until something is learned, so an untrained model samples the base law, exactly, in any number of steps.
Trained by the log score.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from scidiff import posterior as post
from scidiff.denoiser import Condition, Denoiser, Parametrisation
from scidiff.process import Clocks, Gaussian, Joint, Layouts, State, field_clock
from scidiff.schedule import Schedule, Straight

VALUES = "values"
_T_MIN = 1e-6
SCALED = 2.0
"""Bound of |g|, and half that of |F|: a correction by a factor of e^2 in scale is as far as a sane base law is ever off."""


@dataclass(frozen=True)
class CorrectedRoot:
    """tau L diag(e^g) on a window's free entries; implements :class:`scidiff.posterior.Root`.

    ``root`` [group, free, free]: batch rows come in groups of equal length that share it. ``log_scale`` [batch, free]: g + log tau.
    ``free`` [batch, free]: places in the flattened window, -1 where there are fewer.
    """

    root: Float[Tensor, "group free free"]
    log_scale: Float[Tensor, "batch free"]
    free: Int[Tensor, "batch free"]

    def deviation(self) -> Float[Tensor, "batch free"]:
        """Of each free entry by itself."""
        variance = times(self.root.square(), (2 * self.log_scale).exp())
        return variance.sqrt()

    def spread(self, z: Tensor) -> Tensor:
        white = gather(z, self.free) * self.log_scale.exp()
        return scatter(times(self.root, white), self.free, z)

    def whiten(self, deviation: Tensor) -> tuple[Tensor, Tensor]:
        inner = gather(deviation, self.free)
        grouped = inner.reshape(len(self.root), -1, inner.shape[-1]).mT
        white = torch.linalg.solve_triangular(self.root, grouped, upper=False).mT.reshape(inner.shape) * (-self.log_scale).exp()
        diagonal = self.root.diagonal(dim1=1, dim2=2).log().repeat_interleave(len(inner) // len(self.root), 0)
        log_det = torch.where(self.free >= 0, diagonal + self.log_scale, 0.0).sum(1)
        return scatter(white, self.free, deviation), log_det


def gather(x: Tensor, free: Int[Tensor, "batch free"]) -> Float[Tensor, "batch free"]:
    """Free entries of [batch, time, channel, 1] in float64; 0 for padding."""
    flat = x.flatten(1).double().gather(1, free.clamp(min=0))
    return torch.where(free >= 0, flat, 0.0)


def scatter(values: Float[Tensor, "batch free"], free: Int[Tensor, "batch free"], like: Tensor) -> Tensor:
    """The opposite of :func:`gather`: 0 at all other entries."""
    flat = like.new_zeros(like.shape[0], like[0].numel() + 1)
    place = torch.where(free >= 0, free, flat.shape[1] - 1)
    return flat.scatter(1, place, values.to(like.dtype))[:, :-1].reshape(like.shape)


def times(matrix: Float[Tensor, "group free free"], vector: Float[Tensor, "batch free"]) -> Float[Tensor, "batch free"]:
    """Row by row; consecutive rows share their group's matrix."""
    return (vector.reshape(len(matrix), -1, vector.shape[-1]) @ matrix.mT).reshape(vector.shape)


@dataclass(frozen=True)
class BasePosterior:
    """N(D, L L^T) on the free entries."""

    mean: Float[Tensor, "batch free"]
    root: Float[Tensor, "group free free"]

    @classmethod
    def of(cls, schedule: Schedule, x: Float[Tensor, "batch free"], t: Float[Tensor, " group"], condition: Condition) -> BasePosterior:
        """The base law's exact posterior given x at times t, one for each group of rows."""
        m, covariance = condition["base_mean"], condition["base_covariance"]
        alpha, sigma = (f(t)[:, None, None] for f in (schedule.alpha, schedule.sigma))
        # V^-1 = S^-1 + (alpha/sigma)^2. With S = C C^T and R R^T = 1 + (alpha/sigma)^2 C^T C, the upper factor of R^-1 C^T is L^T: no
        # difference is taken that rounding could make negative.
        c = torch.linalg.cholesky(covariance)
        r = torch.linalg.cholesky(torch.eye(c.shape[-1], dtype=c.dtype, device=c.device) + (alpha / sigma) ** 2 * (c.mT @ c))
        upper = torch.linalg.qr(torch.linalg.solve_triangular(r, c.mT, upper=False), mode="r").R
        root = upper.mT * torch.sign(upper.diagonal(dim1=1, dim2=2))[:, None]
        row_alpha, row_sigma = (v[:, 0].repeat_interleave(len(x) // len(t), 0) for v in (alpha, sigma))
        pull = times(root.mT, row_alpha / row_sigma**2 * (x - row_alpha * m))
        return cls(m + times(root, pull), root)


class TimeSeriesDenoiser(Denoiser):
    """See the module. ``strength`` (of the correction), ``log_temperature``, and ``log_steady``, the temperature of windows that see draws,
    are set after training (:mod:`scidiff_timeseries.calibration`).

    ``condition``: ``base_mean`` [batch, free], ``base_covariance`` [group, free, free] (identity where padded), ``free`` [batch, free],
    ``features`` [windows, time, channel, feature], whose windows come in equal groups of rows as well, ``strength`` [group], a series' own
    factor of the correction, ``tempered`` [group], which of the two temperatures.
    """

    log_temperature: Tensor
    log_steady: Tensor
    strength: Tensor

    def __init__(self, backbone: nn.Module, schedule: Schedule | None = None) -> None:
        super().__init__(backbone, Joint({VALUES: Gaussian(Straight() if schedule is None else schedule)}), {VALUES: Parametrisation()})
        self.register_buffer("log_temperature", torch.zeros(()))
        self.register_buffer("log_steady", torch.zeros(()))
        self.register_buffer("strength", torch.ones(()))

    def forward(
        self,
        x_t: State,
        t: Clocks,
        layouts: Layouts,
        condition: Condition | None = None,
        previous: post.Posteriors | None = None,
    ) -> post.Posteriors:
        if condition is None:
            raise ValueError("a time-series model needs the condition that windows.ask makes")
        x, layout, free = x_t[VALUES], layouts[VALUES], condition["free"]
        group = len(condition["base_covariance"])
        # Free entries share their sample's time; a sample that asks for nothing has none, and any time does.
        clock = layout.clock(field_clock(t, VALUES)).flatten(1).amax(1).clamp(min=_T_MIN)
        base = BasePosterior.of(self.schedule, gather(x, free), clock[:: len(x) // group], condition)
        shift, log_scale = self._correction(x, base, clock, layouts, condition)
        mean = base.mean + times(base.root, shift)
        heat = torch.where(condition["tempered"], self.log_temperature, self.log_steady).repeat_interleave(len(x) // group, 0)
        root = CorrectedRoot(base.root, log_scale + heat[:, None].double(), free)
        return {VALUES: post.Gaussian(x + scatter(mean - gather(x, free), free, x), None, root)}

    @property
    def is_base_law(self) -> bool:
        """Nothing is corrected and the temperatures are 1."""
        return not (bool(self.strength) or bool(self.log_temperature) or bool(self.log_steady))

    @property
    def schedule(self) -> Schedule:
        return self.process.fields[VALUES].schedule

    def _correction(
        self, x: Tensor, base: BasePosterior, clock: Tensor, layouts: Layouts, condition: Mapping[str, Tensor]
    ) -> tuple[Float[Tensor, "batch free"], Float[Tensor, "batch free"]]:
        """(F, g) on the free entries, of the order of one at the most."""
        free, features = condition["free"], condition["features"]
        strength = self.strength.double() * condition["strength"]
        if not bool(strength.any()):
            return torch.zeros_like(base.mean), torch.zeros_like(base.mean)
        deviation = base.root.square().sum(-1).sqrt().repeat_interleave(len(x) // len(base.root), 0)
        layout = layouts[VALUES]
        known = layout.mask & ~layout.free
        columns = (
            x[..., 0],
            scatter(base.mean, free, x)[..., 0],
            scatter(deviation, free, x)[..., 0],
            known.to(x),
            layout.free.to(x),
        )
        sigma = self.schedule.sigma(clock)
        features = features.repeat_interleave(len(x) // len(features), 0)
        raw = self.backbone(torch.stack(columns, -1), features, sigma.to(x), layout.mask)
        shift, log_scale = (gather(raw[..., i : i + 1], free) for i in range(2))
        strength = strength.repeat_interleave(len(x) // len(strength), 0)[:, None]
        bound = 2 * SCALED
        return strength * bound * torch.tanh(shift / bound), strength * SCALED * torch.tanh(log_scale / SCALED)
