r"""Conformance of a noise process on reals: its four verbs and two ends must be those of *one* Markov chain.

Given clean data, the process must be Gaussian and draw through :meth:`FieldNoise.normal` alone. Then each verb is an affine map that a
batch of unit vectors reads off, and every statement below is an equation between means and covariances, whatever the process is made of:

1. *ends*: a step of no length changes nothing; a bridge to s = 0 returns the posterior's mean.
2. *semigroup*: q(x_t|x_s) after q(x_s|x_0) is q(x_t|x_0).
3. *marginals*: a bridge with the true x_0 leads from q(x_t|x_0) to q(x_s|x_0), at any churn; at churn 1 it also has the chain's joint law.
4. *kl_rate* is the limit of KL(bridge with x_0 || bridge with the posterior)/(t - s), and ``kl_prior`` is KL(q(x_1|x_0) || p(x_1)).
5. *reconstruction* is the negative log of a density that integrates to one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from scidiff.layout import Layout
from scidiff.posterior import Gaussian as GaussianPosterior
from scidiff.process import Process
from scidiff.random import FieldNoise
from scidiff.testing.noise import GivenFieldNoise
from scidiff.testing.oracles import projection_matrix, tile_layout

LAW_TOLERANCE = 1e-9
RATE_TOLERANCE = 1e-4
"""kl_rate is compared with a limit that is extrapolated from two small steps."""
PLACES = ((0.2, 0.5), (0.5, 0.9), (0.05, 0.8), (0.3, 1.0))
CHURNS = (0.0, 0.5, 1.0)
SMALL_STEP = 1e-4


@dataclass(frozen=True)
class _Map:
    """x -> A x + b + C z on the flattened sample."""

    a: Float[Tensor, "dim dim"]
    b: Float[Tensor, " dim"]
    c: Float[Tensor, "dim dim"]

    def after(self, first: _Map) -> tuple[Tensor, Tensor]:
        """(mean, covariance) when ``first`` was applied to 0 before."""
        return self.a @ first.b + self.b, self.a @ first.spread @ self.a.T + self.spread

    @property
    def spread(self) -> Float[Tensor, "dim dim"]:
        return self.c @ self.c.T


@dataclass(frozen=True)
class RealProbe:
    """One process on one sample's layout, with clean data and a wrong guess at them to try it with."""

    process: Process
    layout: Layout
    x_0: Float[Tensor, "*entries channel"]
    guess: Float[Tensor, "*entries channel"]

    @property
    def dim(self) -> int:
        return self.x_0.numel()

    def diffuse(self, s: float, t: float) -> _Map:
        return self._map(lambda x, lay, z: self.process.diffuse(x, _times(s, lay), _times(t, lay), lay, z))

    def bridge(self, t: float, s: float, churn: float, x_0: Tensor) -> _Map:
        def verb(x: Tensor, lay: Layout, z: FieldNoise) -> Tensor:
            posterior = GaussianPosterior(x_0.expand_as(x))
            return self.process.bridge(x, posterior, _times(t, lay), _times(s, lay), lay, z, churn)

        return self._map(verb)

    def prior(self) -> _Map:
        return self._map(lambda x, lay, z: self.process.prior(lay, z, torch.zeros_like(x)))

    def corrupt(self, t: float) -> tuple[Tensor, Tensor]:
        """(mean, covariance) of q(x_t | x_0)."""
        q = self.diffuse(0.0, t)
        return q.a @ self.x_0.flatten() + q.b, q.spread

    def rows(self, count: int) -> Layout:
        return tile_layout(self.layout, count)

    def _map(self, verb: Callable[[Tensor, Layout, FieldNoise], Tensor]) -> _Map:
        shape, dim = tuple(self.x_0.shape), self.dim
        unit = torch.eye(dim, dtype=torch.float64).reshape(dim, *shape)
        x, z = (torch.zeros(1 + 2 * dim, *shape, dtype=torch.float64) for _ in range(2))
        x[1 : 1 + dim], z[1 + dim :] = unit, unit
        out = verb(x, self.rows(1 + 2 * dim), GivenFieldNoise(z)).reshape(1 + 2 * dim, dim)
        columns = (out[1:] - out[:1]).T
        return _Map(columns[:, :dim], out[0], columns[:, dim:])


def _times(t: float, layout: Layout) -> Tensor:
    return torch.full((layout.batch,), t, dtype=torch.float64)


def check_real_process(process: Process, layout: Layout, channels: int, *, seed: int = 0) -> None:
    """All of the statements above, on the layout's first sample (none known). Raises AssertionError with the place and the numbers."""
    generator = torch.Generator().manual_seed(seed)
    shape = (2, *layout.mask.shape[1:], channels)
    x = tile_layout(layout, 2).project(torch.randn(shape, generator=generator, dtype=torch.float64))
    probe = RealProbe(process, layout, x[0], x[1])
    for s, t in PLACES:
        _check_ends(probe, t)
        _check_semigroup(probe, s, t)
        for churn in CHURNS:
            _check_marginals(probe, s, t, churn)
        _check_rate(probe, t)
    _check_prior(probe)
    _check_reconstruction(probe)


def _check_ends(probe: RealProbe, t: float) -> None:
    x, lay, z = probe.x_0[None], probe.rows(1), GivenFieldNoise(torch.ones_like(probe.x_0)[None])
    posterior, time, zero = GaussianPosterior(probe.guess[None]), _times(t, probe.rows(1)), _times(0.0, probe.rows(1))
    assert torch.equal(probe.process.diffuse(x, time, time, lay, z), x), f"ends: diffuse from t = {t} to itself moved x"
    assert torch.equal(probe.process.bridge(x, posterior, time, time, lay, z), x), f"ends: bridge from t = {t} to itself moved x"
    for churn in CHURNS:
        end = probe.process.bridge(x, posterior, time, zero, lay, z, churn)
        _equal(end[0], probe.guess, f"ends: bridge from t = {t} to 0 at churn {churn} must return the posterior's mean")


def _check_semigroup(probe: RealProbe, s: float, t: float) -> None:
    mean, spread = probe.diffuse(s, t).after(_Map(torch.eye(probe.dim).double(), probe.corrupt(s)[0], _root(probe.corrupt(s)[1])))
    _equal(mean, probe.corrupt(t)[0], f"semigroup: mean of q(x_t|x_s) q(x_s|x_0) at s = {s}, t = {t}")
    _equal(spread, probe.corrupt(t)[1], f"semigroup: covariance of q(x_t|x_s) q(x_s|x_0) at s = {s}, t = {t}")


def _check_marginals(probe: RealProbe, s: float, t: float, churn: float) -> None:
    where = f"at s = {s}, t = {t}, churn {churn}"
    bridge, (mean, spread) = probe.bridge(t, s, churn, probe.x_0), probe.corrupt(t)
    _equal(bridge.a @ mean + bridge.b, probe.corrupt(s)[0], f"marginals: mean of the bridge from q(x_t|x_0) {where}")
    _equal(
        bridge.a @ spread @ bridge.a.T + bridge.spread, probe.corrupt(s)[1], f"marginals: covariance of the bridge from q(x_t|x_0) {where}"
    )
    if churn == 1:
        _equal(bridge.a @ spread, (probe.diffuse(s, t).a @ probe.corrupt(s)[1]).T, f"marginals: Cov(x_s, x_t | x_0) {where}")


def _check_rate(probe: RealProbe, t: float) -> None:
    x_t, lay = probe.corrupt(t)[0].reshape(1, *probe.x_0.shape), probe.rows(1)

    def rate(guess: Tensor) -> float:
        return float(probe.process.kl_rate(probe.x_0[None], x_t, GaussianPosterior(guess[None]), _times(t, lay), lay))

    def discrete(h: float) -> float:
        right, wrong = (probe.bridge(t, t - h, 1.0, x_0) for x_0 in (probe.x_0, probe.guess))
        shift = (right.a - wrong.a) @ x_t.flatten() + right.b - wrong.b
        return float(0.5 * shift @ torch.linalg.pinv(right.spread, hermitian=True, rtol=1e-10) @ shift) / h

    assert abs(rate(probe.x_0)) < LAW_TOLERANCE, f"kl_rate at t = {t} with the true x_0 is {rate(probe.x_0)}, must be 0"
    found, limit = rate(probe.guess), 2 * discrete(SMALL_STEP / 2) - discrete(SMALL_STEP)
    assert abs(found - limit) <= RATE_TOLERANCE * max(limit, 0.01), (
        f"kl_rate at t = {t} is {found:.8g} nats per unit time; "
        f"KL(bridge with x_0 || bridge with the posterior)/(t - s) tends to {limit:.8g}"
    )


def _check_prior(probe: RealProbe) -> None:
    (mean, spread), prior = probe.corrupt(1.0), probe.prior()
    inverse = torch.linalg.pinv(prior.spread, hermitian=True, rtol=1e-10)
    ratio = torch.linalg.eigvals(inverse @ spread).real
    ratio = ratio[ratio > 1e-8]
    shift = mean - prior.b
    right = 0.5 * float((ratio - 1 - ratio.log()).sum() + shift @ inverse @ shift)
    found = float(probe.process.kl_prior(probe.x_0[None], probe.rows(1)))
    assert abs(found - right) <= LAW_TOLERANCE * max(1.0, right), f"kl_prior is {found:.10g} nats; KL(q(x_1|x_0) || p(x_1)) is {right:.10g}"


def _check_reconstruction(probe: RealProbe, t: float = 1e-2) -> None:
    """-log p(x_0) is quadratic in x_0: its value at the bottom must be the log-volume of its curvature."""
    subspace = projection_matrix(probe.layout, probe.x_0.shape[-1])
    values, axes = torch.linalg.eigh(subspace)
    basis = axes[:, values > 0.5].T.reshape(-1, *probe.x_0.shape)
    ends = torch.cat((torch.zeros_like(basis[:1]), basis, -basis)) * 1e-2 + probe.guess
    lay, count = probe.rows(len(ends)), len(basis)
    posterior = GaussianPosterior(probe.guess.expand_as(ends))
    nats = probe.process.reconstruction(ends, ends, posterior, _times(t, lay), lay)
    curvature = (nats[1 : 1 + count] + nats[1 + count :] - 2 * nats[0]) / 1e-4
    right = 0.5 * float((math.log(2 * math.pi) - curvature.log()).sum())
    assert abs(float(nats[0]) - right) < 1e-6, (
        f"reconstruction at t = {t}: -log p at its mode is {float(nats[0]):.8g}, normalisation asks for {right:.8g}"
    )


def _root(matrix: Tensor) -> Tensor:
    values, axes = torch.linalg.eigh(matrix)
    return axes @ torch.diag(values.clamp(min=0).sqrt())


def _equal(found: Tensor, right: Tensor, what: str) -> None:
    worst = float((found - right).abs().max() / right.abs().max().clamp(min=1.0))
    assert worst <= LAW_TOLERANCE, f"{what}: off by {worst:.2e}\nfound\n{found}\nmust be\n{right}"
