r"""Exact denoisers: data laws for which the posterior p(x_0 | x_t) has a closed form, so that a sampler's only error is its own.

:class:`GaussianOracle`
    x_0 ~ N(m, S) over a whole sample. With A = diag(alpha), B the noise's covariance (sigma^2 on the field's subspace),
    :math:`E[x_0|x_t] = m + S A^T (A S A^T + B)^{+} (x_t - A m)`.
:class:`CategoricalOracle`
    any law over K^L label sequences, by enumeration: p(x_0 | x_t) ∝ p(x_0) prod_i q(x_t,i | x_0,i), and its marginals.
:class:`MixtureOracle`
    one label and the reals that depend on it: the smallest data for which the fields of a joint state inform each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from scidiff import posterior as post
from scidiff.denoiser import Condition, Denoise
from scidiff.layout import Layout
from scidiff.process import Categorical, Clocks, Gaussian, Layouts, State, field_clock
from scidiff.schedule import Schedule

_RANK_TOLERANCE = 1e-13
"""Directions in which noised data have no variance (padding; translations of a centred field) relative to the largest."""


@dataclass(frozen=True)
class GaussianData:
    """Laws N(mean, covariance) of whole samples: mean [law, *entries, channel], covariance [law, dim, dim] over the flattened sample.

    For a centred field both must lie in the zero-mean subspace (see :func:`projection_matrix`).
    """

    mean: Float[Tensor, "law *entries channel"]
    covariance: Float[Tensor, "law dim dim"]

    @property
    def laws(self) -> int:
        return self.mean.shape[0]

    @property
    def dim(self) -> int:
        return self.covariance.shape[-1]

    def principal(self) -> tuple[Float[Tensor, "law dim"], Float[Tensor, "law dim dim"]]:
        """(variances along the principal axes, rising; the axes as columns). Rounding's variances off the subspace become 0."""
        values, axes = torch.linalg.eigh(self.covariance)
        return torch.where(values > _RANK_TOLERANCE * values[:, -1:], values, 0.0), axes

    def noised(
        self, schedule: Schedule, t: float, subspace: Float[Tensor, "dim dim"] | None = None
    ) -> tuple[Float[Tensor, "law dim"], Float[Tensor, "law dim dim"]]:
        """Mean and covariance of q(x_t); noise lives in ``subspace`` (a projection; all of space if None)."""
        time = torch.tensor(t, dtype=torch.float64)
        noise = torch.eye(self.dim, dtype=torch.float64) if subspace is None else subspace
        alpha, sigma = schedule.alpha(time), schedule.sigma(time)
        return alpha * self.mean.flatten(1), alpha**2 * self.covariance + sigma**2 * noise


def projection_matrix(layout: Layout, channels: int) -> Float[Tensor, "dim dim"]:
    """The matrix of :meth:`Layout.project` on the flattened entries and channels of the layout's first sample, float64."""
    shape = (*layout.mask.shape[1:], channels)
    dim = int(torch.tensor(shape).prod())
    basis = torch.eye(dim, dtype=torch.float64).reshape(dim, *shape)
    return tile_layout(layout, dim).project(basis).reshape(dim, dim).T


def tile_layout(layout: Layout, rows: int) -> Layout:
    """A batch of ``rows`` samples that all look like the layout's first one."""
    entries = (-1,) * (layout.mask.ndim - 1)
    known = None if layout.known is None else layout.known[:1].expand(rows, *entries)
    return Layout(layout.mask[:1].expand(rows, *entries), layout.pairs, layout.centred, known)


@dataclass(frozen=True)
class DenseRoot:
    """The symmetric root of a covariance over the flattened sample, by its principal axes and the standard deviations along them;
    ``whiten`` leaves out directions without variance. Implements :class:`~scidiff.posterior.Root`."""

    axes: Float[Tensor, "batch dim dim"]
    deviations: Float[Tensor, "batch dim"]

    @classmethod
    def of(cls, covariance: Float[Tensor, "batch dim dim"]) -> DenseRoot:
        values, axes = torch.linalg.eigh(0.5 * (covariance + covariance.mT))
        return cls(axes, torch.where(values > _RANK_TOLERANCE * values[:, -1:], values, 0.0).clamp(min=0).sqrt())

    def spread(self, z: post.Real) -> post.Real:
        return self._times(self.deviations, z)

    def whiten(self, deviation: post.Real) -> tuple[post.Real, Float[Tensor, " batch"]]:
        some = self.deviations > 0
        safe = torch.where(some, self.deviations, 1.0)
        return self._times(some / safe, deviation), safe.log().sum(1)

    def _times(self, values: Tensor, z: Tensor) -> Tensor:
        return torch.einsum("bik,bk,bjk,bj->bi", self.axes, values, self.axes, z.flatten(1).double()).reshape(z.shape).to(z)


@dataclass(frozen=True)
class GaussianOracle:
    """The exact posterior of :class:`GaussianData` under a Gaussian process; mean, and the diagonal of its covariance as variance.

    ``which`` [batch]: the law each sample follows (all the first one if None). Clocks may be per sample or per entry; known entries
    and padding come back as they are. ``rooted``: a root of the whole covariance is stated instead of the variance.
    Implements :class:`~scidiff.denoiser.Denoise`.
    """

    process: Gaussian
    data: GaussianData
    field: str = "x"
    which: Int[Tensor, " batch"] | None = None
    rooted: bool = False

    def __call__(
        self, x_t: State, t: Clocks, layouts: Layouts, condition: Condition | None = None, previous: post.Posteriors | None = None
    ) -> post.Posteriors:
        x, layout = x_t[self.field], layouts[self.field]
        clock = layout.clock(field_clock(t, self.field))
        law = torch.zeros(layout.batch, dtype=torch.long) if self.which is None else self.which
        one = self._uniform(clock) and not self.rooted
        gain, rest = self._one_clock(clock, law) if one else self._many_clocks(clock, law, layout)
        mean = self.data.mean[law]
        alpha = self.process.schedule.alpha(clock)[..., None]
        surprise = (x.double() - alpha * mean).flatten(1)
        answer = mean + torch.einsum("bij,bj->bi", gain, surprise).reshape(mean.shape)
        if self.rooted:
            posterior = post.Gaussian(answer.to(x.dtype), None, DenseRoot.of(rest))
        else:
            variance = rest if one else rest.diagonal(dim1=1, dim2=2).clamp(min=0)
            posterior = post.Gaussian(answer.to(x.dtype), self._stated(variance.reshape(mean.shape), layout).to(x.dtype))
        return {self.field: posterior.replace(~layout.free, x)}

    @staticmethod
    def _stated(variance: Tensor, layout: Layout) -> Tensor:
        """Of a centred field a posterior states the variance before projection, which takes 1/n of it away."""
        if not layout.centred:
            return variance
        kept = 1 - 1 / layout.mask.flatten(1).sum(1).clamp(min=2).double()
        kept = torch.where(layout.anchored, 1.0, kept).reshape(-1, *[1] * (variance.ndim - 1))
        return variance / kept

    @staticmethod
    def _uniform(clock: Tensor) -> bool:
        flat = clock.flatten(1)
        return bool((flat == flat[:, :1]).all())

    def _one_clock(self, clock: Tensor, law: Tensor) -> tuple[Tensor, Tensor]:
        """In the data's principal axes the posterior is one number per axis; axes without variance (a subspace) have gain 0."""
        t = clock.flatten(1)[:, :1]
        alpha, sigma = self.process.schedule.alpha(t), self.process.schedule.sigma(t)
        spread, axes = (v[law] for v in self.data.principal())
        total = alpha**2 * spread + sigma**2
        gain = torch.einsum("bik,bk,bjk->bij", axes, alpha * spread / total, axes)
        return gain, torch.einsum("bik,bk->bi", axes**2, spread * sigma**2 / total)

    def _many_clocks(self, clock: Tensor, law: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
        """(gain, the posterior's covariance)."""
        channels = self.data.mean.shape[-1]
        alpha, sigma = (
            f(clock)[..., None].expand(*clock.shape, channels).flatten(1)
            for f in (self.process.schedule.alpha, self.process.schedule.sigma)
        )
        seen = layout.mask[..., None].expand(*clock.shape, channels).flatten(1).double()
        spread = self.data.covariance[law]
        signal = spread * (alpha * seen)[:, None, :]
        noised = signal * (alpha * seen)[:, :, None] + torch.diag_embed((sigma * seen) ** 2)
        gain = signal @ torch.linalg.pinv(noised, rtol=_RANK_TOLERANCE, hermitian=True)
        return gain, spread - gain @ signal.transpose(1, 2)


@dataclass(frozen=True)
class CategoricalOracle:
    """The exact posterior marginals of any law over label sequences of length L: ``joint`` [K_data] * L, non-negative, sums to 1.

    Clocks per sample or per entry. States that the law and the noise call impossible get the data's own marginals (a chain gives
    them no weight, but must not meet NaN). Implements :class:`~scidiff.denoiser.Denoise`.
    """

    process: Categorical
    joint: Float[Tensor, "*labels"]
    field: str = "x"

    @property
    def length(self) -> int:
        return self.joint.ndim

    def __call__(
        self, x_t: State, t: Clocks, layouts: Layouts, condition: Condition | None = None, previous: post.Posteriors | None = None
    ) -> post.Posteriors:
        x, layout = x_t[self.field], layouts[self.field]
        weight = self.evidence(x, field_clock(t, self.field), layout)
        reachable = weight.flatten(1).sum(1) > 0
        weight = torch.where(reachable.reshape(-1, *[1] * self.length), weight, self.joint.double())
        axes = range(1, self.length + 1)
        marginals = torch.stack([weight.sum([a for a in axes if a != i]) if self.length > 1 else weight for i in axes], 1)
        pad = self.process.labels - marginals.shape[-1]
        logits = torch.nn.functional.pad(marginals.log(), (0, pad), value=-torch.inf)
        return {self.field: post.Categorical(logits).replace(~layout.free, x)}

    def evidence(self, x: Int[Tensor, "batch entries"], t: Tensor, layout: Layout) -> Float[Tensor, "batch *labels"]:
        """p(x_0) q(x_t | x_0) for every x_0."""
        clock = layout.clock(t)
        weight = self.joint.double()[None]
        for i in range(self.length):
            labels = torch.arange(self.joint.shape[i]).expand(len(x), -1)
            law = self.process.diffuse_law(labels, torch.zeros_like(clock[:, i : i + 1]), clock[:, i : i + 1])
            likelihood = law.gather(-1, x[:, i, None, None].expand(*labels.shape, 1))[..., 0]
            likelihood = torch.where(layout.mask[:, i, None], likelihood, 1.0)
            weight = weight * likelihood.reshape(len(x), *[-1 if j == i else 1 for j in range(self.length)])
        return weight


@dataclass(frozen=True)
class MixtureOracle:
    """One label c ~ ``law`` [K] at field ``label``, and reals x | c ~ N(``centres``[c], ``spread``^2) [dim] at field ``real``.

    The state holds one entry each: labels [batch, 1], reals [batch, 1, dim]. Implements :class:`~scidiff.denoiser.Denoise`.
    """

    gaussian: Gaussian
    categorical: Categorical
    law: Float[Tensor, " label"]
    centres: Float[Tensor, "label dim"]
    spread: float
    real: str = "x"
    label: str = "c"

    def __call__(
        self, x_t: State, t: Clocks, layouts: Layouts, condition: Condition | None = None, previous: post.Posteriors | None = None
    ) -> post.Posteriors:
        x, c = x_t[self.real], x_t[self.label]
        t_x, t_c = (layouts[f].clock(field_clock(t, f)) for f in (self.real, self.label))
        alpha, sigma = self.gaussian.schedule.alpha(t_x)[..., None], self.gaussian.schedule.sigma(t_x)[..., None]
        variance = alpha**2 * self.spread**2 + sigma**2
        surprise = x[:, :, None] - alpha[..., None] * self.centres
        labels = torch.arange(len(self.law)).expand(len(c), -1)
        kept = self.categorical.diffuse_law(labels, torch.zeros_like(t_c), t_c).gather(-1, c[..., None].expand(*labels.shape, 1))
        log_weight = self.law.log() + kept[..., 0].log() - 0.5 * (surprise**2).sum(-1)[:, 0] / variance[:, 0]
        means = self.centres + (alpha * self.spread**2 / variance)[..., None] * surprise
        mean = (log_weight.softmax(-1)[:, None, :, None] * means).sum(2)
        pad = self.categorical.labels - len(self.law)
        logits = torch.nn.functional.pad(log_weight[:, None], (0, pad), value=-torch.inf)
        return {self.real: post.Gaussian(mean), self.label: post.Categorical(logits)}


@dataclass(frozen=True)
class ProductOracle:
    """Fields that are independent of each other, each with an oracle of its own. Implements :class:`~scidiff.denoiser.Denoise`."""

    oracles: Mapping[str, Denoise]

    def __call__(
        self, x_t: State, t: Clocks, layouts: Layouts, condition: Condition | None = None, previous: post.Posteriors | None = None
    ) -> post.Posteriors:
        answers: post.Posteriors = {}
        for name, oracle in self.oracles.items():
            answers[name] = oracle(x_t, t, layouts, condition, previous)[name]
        return answers
