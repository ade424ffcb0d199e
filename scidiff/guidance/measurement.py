r"""Guidance by a linear measurement of a real field, y = A x_0 + r n with standard normal n.

Where the denoiser's posterior is N(D, S), the posterior given y as well is exact (no network is differentiated):

.. math::  E[x_0|x_t, y] = D + S A^T (A S A^T + r^2)^{-1} (y - A D), \qquad S' = S - S A^T (A S A^T + r^2)^{-1} A S

In terms of the score this is :math:`\nabla \log p(y|x_t) = (\partial D/\partial x_t)^T A^T (A S A^T + r^2)^{-1}(y - A D)` with Tweedie's
:math:`\partial D/\partial x_t = (\alpha/\sigma^2)\, S`. A network that states no covariance gets one by assumption
(:class:`AssumedVariance`), :math:`S = r_t^2 I`, which is the covariance of PiGDM, here used for the Jacobian too.

Sources: Song et al. 2023 (PiGDM), Finzi et al. 2023 and Boys et al. 2023 (the covariance by Tweedie's formula).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from scidiff import posterior as post
from scidiff.errors import UserError
from scidiff.guidance.base import Wrapper, shared, stated
from scidiff.layout import Layout
from scidiff.posterior import Posteriors, Root
from scidiff.process import Clocks, Gaussian, Joint, Layouts, field_clock

Real = Float[Tensor, "batch *entries channel"]
Rows = Float[Tensor, "batch row dim"]
"""Some vectors of each sample, over its flattened entries and channels; float64."""


@dataclass(frozen=True)
class AssumedVariance(Wrapper):
    r"""Posteriors of real fields that state no covariance get that of data N(m, s^2) in every entry,
    :math:`r_t^2 = s^2\sigma_t^2/(\alpha_t^2 s^2 + \sigma_t^2)`: exact for such data, an approximation for others.

    ``spread`` is s, one for all fields or one each. Implements :class:`~scidiff.denoiser.Denoise`. Source: Song et al. 2023.
    Raises UserError if the process has a real field without one.
    """

    process: Joint
    spread: float | Mapping[str, float] = 1.0

    def __post_init__(self) -> None:
        reals = [f for f, p in self.process.fields.items() if isinstance(p, Gaussian)]
        if not isinstance(self.spread, float | int) and (missing := [f for f in reals if f not in self.spread]):
            raise UserError(f"AssumedVariance: spread names no standard deviation for {', '.join(missing)}; give one, or one for all")

    def change(self, posteriors: Posteriors, t: Clocks, layouts: Layouts) -> Posteriors:
        return {f: self._with_variance(f, p, layouts[f].clock(field_clock(t, f))) for f, p in posteriors.items()}

    def _with_variance(self, field: str, posterior: post.Posterior, clock: Tensor) -> post.Posterior:
        process = self.process.fields[field]
        if not isinstance(posterior, post.Gaussian) or not isinstance(process, Gaussian):
            return posterior
        if posterior.variance is not None or posterior.root is not None:
            return posterior
        s = self.spread if isinstance(self.spread, float | int) else self.spread[field]
        alpha, sigma = process.schedule.alpha(clock), process.schedule.sigma(clock)
        variance = (s * sigma) ** 2 / ((alpha * s) ** 2 + sigma**2)
        return post.Gaussian(posterior.mean, variance[..., None].to(posterior.mean).expand_as(posterior.mean))


@dataclass(frozen=True)
class Measurement(Wrapper):
    """See the module. Exact for any covariance that the posterior states by a root; with a variance, for one that is diagonal.

    ``matrix`` is A, [group, measured, *entries, channel], ``value`` is y, [group, measured]: one row for all samples, or one each.
    ``noise`` is r, in the field's units (rows of different noise are first divided by it). Exact values of single entries are better
    stated as known entries (t = 0). A root costs as many products with it as a sample has entries and channels.
    Implements :class:`~scidiff.denoiser.Denoise`.

    Raises UserError if r is not positive, shapes do not fit, the field is not real or is one of pairs, or no covariance is stated.
    """

    field: str
    matrix: Float[Tensor, "system measured *entries channel"]
    value: Float[Tensor, "group value"]
    noise: float

    def __post_init__(self) -> None:
        if not self.noise > 0:
            raise UserError(f"Measurement of {self.field!r}: noise must be positive, got {self.noise}; make known what is exact")
        if self.matrix.shape[1] != self.value.shape[1]:
            raise UserError(f"Measurement of {self.field!r}: A has {self.matrix.shape[1]} rows for {self.value.shape[1]} values")

    def change(self, posteriors: Posteriors, t: Clocks, layouts: Layouts) -> Posteriors:
        posterior, layout = stated(posteriors, self.field), layouts[self.field]
        if not isinstance(posterior, post.Gaussian):
            raise UserError(f"Measurement of {self.field!r}: a field of reals is measured; labels are guided by Tilt")
        return {**posteriors, self.field: self._given(posterior, layout)}

    def _given(self, posterior: post.Gaussian, layout: Layout) -> post.Gaussian:
        mean, name = posterior.mean, f"Measurement of {self.field!r}"
        matrix, value = (shared(v.to(mean.device).double(), layout.batch, name) for v in (self.matrix, self.value))
        if matrix.shape[2:] != mean.shape[1:]:
            raise UserError(f"{name}: A is over {tuple(matrix.shape[2:])}, the field is {tuple(mean.shape[1:])}")
        rows = project_rows(matrix.flatten(2), mean, layout)
        spread = covariance_times(posterior, rows, layout)
        inner = rows @ spread.mT + self.noise**2 * torch.eye(rows.shape[1]).to(rows)
        surprise = value - torch.einsum("brd,bd->br", rows, mean.double().flatten(1))
        shift = torch.einsum("brd,br->bd", project_rows(spread, mean, layout), torch.linalg.solve(inner, surprise))
        variance = posterior.variance
        if variance is not None:
            less = (spread * torch.linalg.solve(inner, spread)).sum(1).reshape(mean.shape)
            variance = (variance - less.to(variance)).clamp(min=0)
        root = None if posterior.root is None else self._root(posterior.root, rows, mean)
        return post.Gaussian(mean + shift.reshape(mean.shape).to(mean), variance, root)

    def _root(self, root: Root, rows: Rows, like: Real) -> Root:
        seen = rows @ root_matrix(root, like) / self.noise
        precision = torch.eye(seen.shape[-1]).to(seen) + seen.mT @ seen
        return MeasuredRoot(root, torch.linalg.cholesky(precision))


@dataclass(frozen=True)
class MeasuredRoot:
    """L C^-T, the root of what is left of a covariance L L^T after a measurement: C C^T is the precision of z in x_0 = D + L z.

    Implements :class:`~scidiff.posterior.Root`.
    """

    root: Root
    factor: Float[Tensor, "batch dim dim"]

    def spread(self, z: Real) -> Real:
        inner = torch.linalg.solve_triangular(self.factor.mT, z.flatten(1)[..., None].to(self.factor), upper=True)
        return self.root.spread(inner[..., 0].reshape(z.shape).to(z))

    def whiten(self, deviation: Real) -> tuple[Real, Float[Tensor, " batch"]]:
        white, log_det = self.root.whiten(deviation)
        inner = self.factor.mT @ white.flatten(1)[..., None].to(self.factor)
        return inner[..., 0].reshape(white.shape).to(white), log_det - self.factor.diagonal(dim1=1, dim2=2).log().sum(1)


def root_matrix(root: Root, like: Real) -> Float[Tensor, "batch dim dim"]:
    """L, column by column."""
    batch, dim = len(like), like[0].numel()
    unit = torch.eye(dim, dtype=torch.float64, device=like.device).reshape(dim, *like.shape[1:])
    return torch.stack([root.spread(unit[i].expand(batch, *like.shape[1:])).double().flatten(1) for i in range(dim)], -1)


def project_rows(rows: Rows, like: Real, layout: Layout) -> Rows:
    """Each vector's projection on the field's subspace. Raises UserError for pairs, whose entries are the same number twice."""
    if layout.pairs:
        raise UserError("guidance by a covariance is for fields of nodes: give a field of pairs no measurement or gradient")
    many = layout.take(torch.arange(layout.batch, device=rows.device).repeat_interleave(rows.shape[1]))
    return many.project(rows.reshape(-1, *like.shape[1:])).reshape(rows.shape)


def covariance_times(posterior: post.Gaussian, rows: Rows, layout: Layout) -> Rows:
    """S v for every vector, before the projection. Raises UserError if the posterior states no covariance."""
    if posterior.root is not None:
        root = root_matrix(posterior.root, posterior.mean)
        return rows @ root @ root.mT
    if posterior.variance is None:
        raise UserError("guidance of reals needs a covariance and the denoiser states none: wrap it in AssumedVariance first")
    free = layout.free[..., None].expand_as(posterior.variance)
    return rows * torch.where(free, posterior.variance.double(), 0.0).flatten(1)[:, None]
