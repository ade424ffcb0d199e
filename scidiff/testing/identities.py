r"""Law 3: with the exact posterior the ELBO is the entropy of the data, once both ends are counted.

For any process whose ``kl_rate`` is right and any data, with I the mutual information,

.. math::
   \int_{t_{min}}^1 E[\mathrm{kl\_rate}]\,dt &= I(x_0; x_{t_{min}}) - I(x_0; x_1), \\
   E[\mathrm{ELBO}] &= H(x_0) + \mathrm{KL}(q(x_1)\,\|\,p(x_1)) + \textstyle\sum_i H(x_{0,i}|x_{t_{min}}) - H(x_0|x_{t_{min}}).

(The last difference is what a reconstruction that treats entries as independent pays; it vanishes with t_min.) The expectations are exact:
labels by enumeration of x_0 and x_t, reals by points and weights that are exact for quadratics. What is run is
:func:`scidiff.likelihood.elbo` itself; its quadrature in t is the only approximation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from scidiff.denoiser import Denoise
from scidiff.layout import Layout
from scidiff.likelihood import Bound, elbo
from scidiff.posterior import Posteriors
from scidiff.process import Categorical, Clocks, Gaussian, Joint, Layouts, State, field_clock
from scidiff.random import NoiseSource
from scidiff.testing.chains import exact_law, states
from scidiff.testing.noise import GivenFieldNoise, GivenNoise
from scidiff.testing.oracles import CategoricalOracle, GaussianData, GaussianOracle, projection_matrix, tile_layout

FIELD = "x"
ENTROPY_TOLERANCE = 1e-8


@dataclass(frozen=True)
class EnumeratedJoint(Joint):
    """A joint process whose label fields come out of ``diffuse`` as ``outcomes`` prescribes; every expectation's integrand is weighted with
    the probability that they do. Summed over rows that hold all outcomes, these are exact expectations."""

    outcomes: Mapping[str, Int[Tensor, "batch *entries"]] = field(default_factory=dict[str, Tensor])

    def diffuse(self, x_s: State, s: Clocks, t: Clocks, layouts: Layouts, noise: NoiseSource, step: int = 0) -> State:
        return {**super().diffuse(x_s, s, t, layouts, noise, step), **self.outcomes}

    def kl_rate(self, x_0: State, x_t: State, posteriors: Posteriors, t: Clocks, layouts: Layouts) -> dict[str, Float[Tensor, " batch"]]:
        return self._weighted(super().kl_rate(x_0, x_t, posteriors, t, layouts), x_0, x_t, t, layouts)

    def reconstruction(
        self, x_0: State, x_t: State, posteriors: Posteriors, t: Clocks, layouts: Layouts
    ) -> dict[str, Float[Tensor, " batch"]]:
        return self._weighted(super().reconstruction(x_0, x_t, posteriors, t, layouts), x_0, x_t, t, layouts)

    def _weighted(self, values: dict[str, Tensor], x_0: State, x_t: State, t: Clocks, layouts: Layouts) -> dict[str, Tensor]:
        weight = torch.ones(next(iter(layouts.values())).batch, dtype=torch.float64)
        for name in self.outcomes:
            process, clock = self.fields[name], layouts[name].clock(field_clock(t, name))
            assert isinstance(process, Categorical), "only labels are enumerated"
            law = process.diffuse_law(x_0[name], torch.zeros_like(clock), clock)
            weight = weight * law.gather(-1, x_t[name][..., None])[..., 0].flatten(1).prod(1)
        # What cannot happen may cost anything.
        return {f: torch.where(weight > 0, weight * v, 0.0) for f, v in values.items()}


@dataclass(frozen=True)
class Nats:
    """An expected ELBO in its three parts, or what they should be."""

    prior: float
    diffusion: float
    reconstruction: float

    @property
    def total(self) -> float:
        return self.prior + self.diffusion + self.reconstruction


def entropy(p: Float[Tensor, "*shape"]) -> float:
    """-sum p log p in nats."""
    return -float(torch.xlogy(p, p).sum())


def label_elbo(process: Categorical, joint: Float[Tensor, "*labels"], *, nodes: int, t_min: float, denoiser: Denoise | None = None) -> Nats:
    """E[ELBO] of label data with the given law, exact but for the quadrature; with exact posteriors unless a ``denoiser`` is given."""
    length, clean = joint.ndim, states(joint.shape[0], joint.ndim)
    noised = states(process.labels, length)
    x_0, x_t = clean.repeat_interleave(len(noised), 0), noised.repeat(len(clean), 1)
    layouts = {FIELD: Layout(torch.ones(x_0.shape, dtype=torch.bool))}
    enumerated = EnumeratedJoint({FIELD: process}, {FIELD: x_t})
    oracle = CategoricalOracle(process, joint) if denoiser is None else denoiser
    bound = elbo(oracle, enumerated, {FIELD: x_0}, layouts, GivenNoise(), nodes=nodes, t_min=t_min)
    p = joint.double().flatten().repeat_interleave(len(noised))
    return Nats(
        float((p * bound.prior[FIELD]).sum()) / len(noised),
        float((p * bound.diffusion[FIELD]).sum()),
        float((p * bound.reconstruction[FIELD]).sum()),
    )


def label_information(process: Categorical, joint: Float[Tensor, "*labels"], t_min: float) -> Nats:
    """What the parts of :func:`label_elbo` must be, from entropies of enumerated laws."""
    oracle, length = CategoricalOracle(process, joint), joint.ndim

    def given(t: float) -> tuple[float, float]:
        """(H(x_0 | x_t), sum_i H(x_0,i | x_t))."""
        x = states(process.labels, length)
        layout = Layout(torch.ones(x.shape, dtype=torch.bool))
        both = oracle.evidence(x, torch.full((len(x),), t, dtype=torch.float64), layout)
        h_t = entropy(both.flatten(1).sum(1))
        axes = range(1, length + 1)
        each = [entropy(both.sum([a for a in axes if a != i]) if length > 1 else both) - h_t for i in axes]
        return entropy(both) - h_t, sum(each)

    (low, low_each), (high, _) = given(t_min), given(1.0)
    q_1 = exact_law(oracle, 1.0)
    pi = torch.tensor(process.pi, dtype=torch.float64)
    prior = pi[states(process.labels, length)].prod(1)
    gap = float((torch.xlogy(q_1, q_1) - torch.xlogy(q_1, prior)).sum())
    return Nats(entropy(joint.double()) - high + gap, high - low, low_each)


def check_label_identity(
    process: Categorical, joint: Float[Tensor, "*labels"], *, nodes: int = 96, t_min: float = 1e-5, tolerance: float = ENTROPY_TOLERANCE
) -> None:
    """Law 3 for labels. Raises AssertionError naming the part of the ELBO that is wrong, and by how many nats."""
    found, right = label_elbo(process, joint, nodes=nodes, t_min=t_min), label_information(process, joint, t_min)
    _compare(found, right, tolerance, f"labels, pi = {[round(p, 4) for p in process.pi]}, {process.schedule}")


def gaussian_elbo(process: Gaussian, data: GaussianData, layout: Layout, *, nodes: int, t_min: float) -> list[Nats]:
    """E[ELBO] with exact posteriors, one for each law of ``data``; exact but for the quadrature in t.

    x_0 and the noise are 2 dim normals; the ends of the axes of a cross-polytope, equally weighted, integrate quadratics exactly.
    """
    shape, dim = tuple(data.mean.shape[1:]), data.dim
    points = math.sqrt(2 * dim) * torch.cat((torch.eye(2 * dim), -torch.eye(2 * dim))).double()
    rows = len(points)
    values, axes = data.principal()
    root = axes @ torch.diag_embed(values.sqrt()) @ axes.mT
    x_0 = data.mean[:, None] + torch.einsum("lij,rj->lri", root, points[:, :dim]).reshape(data.laws, rows, *shape)
    z = GivenFieldNoise(points[:, dim:].reshape(rows, *shape).repeat(data.laws, *[1] * len(shape)))
    noise = GivenNoise({(FIELD, step): z for step in range(nodes + 1)})
    layouts = {FIELD: tile_layout(layout, data.laws * rows)}
    oracle = GaussianOracle(process, data, FIELD, torch.arange(data.laws).repeat_interleave(rows))
    bound = elbo(oracle, Joint({FIELD: process}), {FIELD: x_0.flatten(0, 1)}, layouts, noise, nodes=nodes, t_min=t_min)
    return [
        Nats(*part) for part in zip(*(_means(bound, part, data.laws) for part in ("prior", "diffusion", "reconstruction")), strict=True)
    ]


def _means(bound: Bound, part: str, laws: int) -> list[float]:
    values: Mapping[str, Tensor] = getattr(bound, part)
    return [float(v) for v in values[FIELD].reshape(laws, -1).mean(1)]


def gaussian_information(process: Gaussian, data: GaussianData, layout: Layout, t_min: float) -> list[Nats]:
    """What the parts of :func:`gaussian_elbo` must be. The reconstruction treats entries as independent: its cross-entropy is exact where
    the posterior is (a diagonal covariance, or an isotropic one in the field's subspace); elsewhere only the other two are claimed."""
    subspace = projection_matrix(layout, data.mean.shape[-1])
    eigenvalues, _ = data.principal()
    inside = torch.linalg.matrix_rank(subspace, hermitian=True).item()
    low, high = (torch.exp(process.schedule.log_snr(torch.tensor(t, dtype=torch.float64))) for t in (t_min, 1.0))
    information = [0.5 * torch.log1p(snr * eigenvalues).sum(1) for snr in (low, high)]
    prior = 0.5 * high * (data.mean.flatten(1).square().sum(1) + eigenvalues.sum(1))
    spread = eigenvalues.flip(1)[:, : int(inside)]
    posterior = 0.5 * torch.log(2 * math.pi * math.e * spread / (1 + low * spread)).sum(1)
    return [Nats(*(float(v) for v in parts)) for parts in zip(prior, information[0] - information[1], posterior, strict=True)]


def check_gaussian_identity(
    process: Gaussian,
    data: GaussianData,
    layout: Layout,
    *,
    nodes: int = 64,
    t_min: float = 1e-3,
    tolerance: float = ENTROPY_TOLERANCE,
    independent: bool = False,
) -> None:
    """Law 3 for reals: the integral and the prior's end; the reconstruction too where entries are ``independent`` of each other given x_t.

    Raises AssertionError naming the part of the ELBO that is wrong, and by how many nats.
    """
    pairs = zip(
        gaussian_elbo(process, data, layout, nodes=nodes, t_min=t_min), gaussian_information(process, data, layout, t_min), strict=True
    )
    for number, (found, right) in enumerate(pairs):
        claimed = right if independent else Nats(right.prior, right.diffusion, found.reconstruction)
        _compare(found, claimed, tolerance, f"reals, law {number}, {process.schedule}")


def _compare(found: Nats, right: Nats, tolerance: float, where: str) -> None:
    for part in ("prior", "diffusion", "reconstruction"):
        a, b = float(getattr(found, part)), float(getattr(right, part))
        close = a == b or abs(a - b) <= tolerance * max(1.0, abs(b))
        assert close, f"law 3 ({where}): the ELBO's {part} is {a:.10f} nats and must be {b:.10f}, off by {a - b:+.2e}"
