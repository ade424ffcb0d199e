"""Law 3: with the exact posterior the ELBO is the entropy of the data, once both ends are counted. ``likelihood.elbo`` itself is run."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from scidiff.layout import Layout
from scidiff.likelihood import elbo
from scidiff.process import Categorical, Gaussian
from scidiff.schedule import EDM, SCHEDULES, VE, Cosine, Polynomial, Schedule, Straight, SubVP, VPLinear, Warp
from scidiff.testing import (
    GaussianData,
    GivenFieldNoise,
    GivenNoise,
    MixtureOracle,
    centred_gaussians,
    check_gaussian_identity,
    check_label_identity,
    entropy,
    gaussian_elbo,
    label_elbo,
    plain_gaussians,
    plain_labels,
    projection_matrix,
)
from scidiff.testing.identities import ENTROPY_TOLERANCE, EnumeratedJoint

SCHEDULES_AND_WARP: list[Schedule] = [*(kind() for kind in SCHEDULES.values()), Warp(Cosine(), 2.0)]


def nodes_for(schedule: Schedule) -> int:
    """Rates of schedules that span six decades of noise take more nodes to integrate to 1e-8."""
    return 80 if isinstance(schedule, VE | EDM) else 48


PIS = {
    "absorbing": lambda schedule: Categorical.absorbing(3, schedule),
    "uniform": lambda schedule: Categorical.uniform(3, schedule),
    "marginal": lambda schedule: Categorical(tuple(plain_labels(3).sum(0).tolist()), schedule),
    "arbitrary": lambda schedule: Categorical((0.15, 0.6, 0.25), schedule),
    "a zero in pi": lambda schedule: Categorical((0.7, 0.3, 0.0), schedule),
}
"""``pi`` with zeros needs a schedule that ends at alpha = 0: elsewhere KL(q(x_1) || p(x_1)) is infinite, and so the ELBO is."""


@pytest.mark.parametrize("schedule", [Straight(), Cosine(), Warp(Straight(), 2.0)], ids=str)
@pytest.mark.parametrize("name", PIS)
def test_elbo_of_labels_is_their_entropy(name: str, schedule: Schedule) -> None:
    joint = plain_labels(3)
    found = label_elbo(PIS[name](schedule), joint, nodes=48, t_min=1e-5)
    assert found.total == pytest.approx(entropy(joint), abs=ENTROPY_TOLERANCE)


@pytest.mark.parametrize("schedule", [VPLinear(), Polynomial(), SubVP(), Warp(Cosine(), 0.5)], ids=str)
@pytest.mark.parametrize("name", PIS)
def test_each_part_of_the_elbo_of_labels(name: str, schedule: Schedule) -> None:
    """At a t_min where the reconstruction's own loss is not negligible, with priors that have a gap (infinite where pi has zeros)."""
    check_label_identity(PIS[name](schedule), plain_labels(3), nodes=32, t_min=1e-2)


def test_three_positions() -> None:
    joint = plain_labels(2)[:, :, None] * torch.tensor([[[0.7, 0.3], [0.2, 0.8]]], dtype=torch.float64)
    check_label_identity(Categorical.absorbing(2, Cosine()), joint, nodes=48, t_min=1e-3)


@pytest.mark.parametrize("schedule", SCHEDULES_AND_WARP, ids=str)
def test_integral_of_gaussian_kl_rates_is_information(schedule: Schedule) -> None:
    """Correlated data, in the zero-mean subspace."""
    check_gaussian_identity(Gaussian(schedule), *centred_gaussians(), nodes=nodes_for(schedule))


@pytest.mark.parametrize("schedule", SCHEDULES_AND_WARP, ids=str)
def test_elbo_of_independent_gaussians_is_their_entropy_plus_the_priors_gap(schedule: Schedule) -> None:
    plain, layout = plain_gaussians()
    variance = torch.tensor([[1.0, 0.3], [0.2, 2.0], [0.5, 0.5]], dtype=torch.float64)
    data = GaussianData(plain.mean, torch.diag_embed(variance))
    check_gaussian_identity(Gaussian(schedule), data, layout, nodes=nodes_for(schedule), independent=True)
    snr = float(torch.exp(schedule.log_snr(torch.ones((), dtype=torch.float64))))
    for found, mean, v in zip(
        gaussian_elbo(Gaussian(schedule), data, layout, nodes=nodes_for(schedule), t_min=1e-3), data.mean, variance, strict=True
    ):
        right = 0.5 * float(torch.log(2 * math.pi * math.e * v).sum())
        gap = 0.5 * float((snr * v - torch.log1p(snr * v)).sum() + snr * mean.square().sum())
        assert found.total == pytest.approx(right + gap, abs=ENTROPY_TOLERANCE)


def test_elbo_on_the_zero_mean_subspace_counts_its_degrees_of_freedom() -> None:
    """Isotropic data of 3 entries in the plane, centred: the entropy of 4 normals, not of 6."""
    layout = Layout(torch.ones(1, 3, dtype=torch.bool), centred=True)
    data = GaussianData(torch.zeros(1, 3, 2, dtype=torch.float64), 0.7 * projection_matrix(layout, 2)[None])
    check_gaussian_identity(Gaussian(Cosine()), data, layout, independent=True)
    total = gaussian_elbo(Gaussian(Cosine()), data, layout, nodes=64, t_min=1e-3)[0].total
    assert total == pytest.approx(4 * 0.5 * math.log(2 * math.pi * math.e * 0.7), abs=ENTROPY_TOLERANCE)


def hermite(count: int) -> tuple[Tensor, Tensor]:
    nodes, weights = np.polynomial.hermite_e.hermegauss(count)
    return torch.from_numpy(nodes), torch.from_numpy(weights / weights.sum())


def test_fields_that_inform_each_other_share_one_elbo() -> None:
    """A joint state: a label c and a real x that depends on it, each noised on its own schedule. The fields' rates add up to the
    information between the *pair* and its noised version: I = H(c_t) + h(x_t | c_t) - H(c_t | c) - h(x_t | x), less the same at t = 1."""
    law, centres, spread, t_min = torch.tensor([0.35, 0.65], dtype=torch.float64), (-0.6, 0.5), 0.9, 1e-2
    gaussian, categorical = Gaussian(VPLinear()), Categorical((0.3, 0.5, 0.2), Cosine())
    oracle = MixtureOracle(gaussian, categorical, law, torch.tensor(centres, dtype=torch.float64)[:, None], spread)
    z, w = hermite(40)
    c, u, v, c_t = torch.cartesian_prod(torch.arange(2), torch.arange(40), torch.arange(40), torch.arange(3)).T
    x_0 = {"x": (torch.tensor(centres, dtype=torch.float64)[c] + spread * z[u])[:, None, None], "c": c[:, None]}
    weight = law[c] * w[u] * w[v]
    layout = Layout(torch.ones(len(c), 1, dtype=torch.bool))
    joint = EnumeratedJoint({"x": gaussian, "c": categorical}, {"c": c_t[:, None]})
    noise = GivenNoise({("x", n): GivenFieldNoise(z[v][:, None, None]) for n in range(33)})
    bound = elbo(oracle, joint, x_0, {"x": layout, "c": layout}, noise, nodes=32, t_min=t_min)
    found = sum(float((weight * bound.diffusion[f]).sum()) for f in ("x", "c"))

    def information(t: float) -> float:
        at = torch.tensor([t], dtype=torch.float64)
        a, s = float(gaussian.schedule.alpha(at)), float(gaussian.schedule.sigma(at))
        kept = categorical.diffuse_law(torch.arange(2)[:, None], torch.zeros(2, 1).double(), at.expand(2, 1))[:, 0]
        total = (a * spread) ** 2 + s**2
        grid = torch.linspace(-12, 12, 6001, dtype=torch.float64)
        density = torch.exp(-0.5 * (grid - a * torch.tensor(centres).double()[:, None]) ** 2 / total) / math.sqrt(2 * math.pi * total)
        both = torch.einsum("c,ck,cx->kx", law, kept, density)
        h_noised = -float(torch.xlogy(both, both).sum() * (grid[1] - grid[0]))
        h_noise = float((law * -torch.xlogy(kept, kept).sum(1)).sum()) + 0.5 * math.log(2 * math.pi * math.e * s**2)
        return h_noised - h_noise

    assert found == pytest.approx(information(t_min) - information(1.0), abs=1e-7)
