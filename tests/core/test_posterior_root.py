"""Posteriors that state the root of their covariance: bridged from draws, Gaussian data are sampled exactly in any number of steps."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from scidiff import posterior as post
from scidiff.layout import Layout
from scidiff.process import Gaussian
from scidiff.schedule import Cosine, Schedule, Straight, VPLinear
from scidiff.testing import GivenFieldNoise

MEAN = torch.tensor([0.7, -1.1, 0.2], dtype=torch.float64)
FACTOR = torch.tensor([[1.0, 0, 0], [0.8, 0.3, 0], [-0.2, 0.5, 0.9]], dtype=torch.float64)
EXACT = 1e-8
COVARIANCE = FACTOR @ FACTOR.T


class Dense:
    """A root given as a matrix over the entries."""

    def __init__(self, matrix: Tensor) -> None:
        self.matrix = matrix

    def spread(self, z: Tensor) -> Tensor:
        return torch.einsum("ij,bjc->bic", self.matrix, z)

    def whiten(self, deviation: Tensor) -> tuple[Tensor, Tensor]:
        white = torch.linalg.solve_triangular(self.matrix, deviation, upper=False)
        return white, self.matrix.diagonal().log().sum().expand(len(deviation))


def exact_posterior(schedule: Schedule, x: Tensor, t: float) -> post.Gaussian:
    u = torch.tensor(t, dtype=torch.float64)
    a, s = schedule.alpha(u), schedule.sigma(u)
    gain = a * COVARIANCE @ torch.linalg.inv(a**2 * COVARIANCE + s**2 * torch.eye(3))
    rest = COVARIANCE - a * gain @ COVARIANCE
    mean = MEAN + (x[..., 0] - a * MEAN) @ gain.T
    return post.Gaussian(mean[..., None], None, Dense(torch.linalg.cholesky(0.5 * (rest + rest.T))))


def step(schedule: Schedule, churn: float, t: float, s: float) -> tuple[Tensor, Tensor, Tensor]:
    """(A, b, C) of one bridge, by probing with unit vectors: x_s = A x_t + b + C z."""
    draws = 6 if churn > 0 else 3
    x, z = torch.zeros(4 + draws, 3, 1, dtype=torch.float64), torch.zeros(4 + draws, 3, draws // 3, dtype=torch.float64)
    x[1:4, :, 0] = torch.eye(3)
    z[4:] = torch.eye(draws, dtype=torch.float64).reshape(draws, 3, draws // 3)
    layout = Layout(torch.ones(4 + draws, 3, dtype=torch.bool))
    clock_t, clock_s = (torch.full((4 + draws,), u, dtype=torch.float64) for u in (t, s))
    out = Gaussian(schedule).bridge(x, exact_posterior(schedule, x, t), clock_t, clock_s, layout, GivenFieldNoise(z), churn)[..., 0]
    return (out[1:4] - out[0]).T, out[0], (out[4:] - out[0]).T


@pytest.mark.parametrize("schedule", [Straight(), Cosine(), VPLinear()], ids=str)
@pytest.mark.parametrize("churn", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("grid", [(1.0, 0.0), (1.0, 0.4, 0.0), (1.0, 0.9, 0.5, 0.1, 0.0)], ids=len)
def test_gaussian_data_are_sampled_exactly_in_any_number_of_steps(grid: tuple[float, ...], churn: float, schedule: Schedule) -> None:
    u = torch.ones((), dtype=torch.float64)
    mean, covariance = schedule.alpha(u) * MEAN, schedule.alpha(u) ** 2 * COVARIANCE + schedule.sigma(u) ** 2 * torch.eye(3)
    for t, s in itertools.pairwise(grid):
        a, b, c = step(schedule, churn, t, s)
        mean, covariance = a @ mean + b, a @ covariance @ a.T + c @ c.T
    torch.testing.assert_close(mean, MEAN, rtol=0, atol=EXACT)
    torch.testing.assert_close(covariance, COVARIANCE, rtol=0, atol=EXACT)


def test_a_posterior_without_a_root_would_not_be_exact() -> None:
    """The negative control: one step from the mean alone has no variance at all."""
    u = torch.ones(1, dtype=torch.float64)
    x, layout = torch.zeros(1, 3, 1, dtype=torch.float64), Layout(torch.ones(1, 3, dtype=torch.bool))
    posterior = post.Gaussian(exact_posterior(Straight(), x, 1.0).mean)
    z = GivenFieldNoise(torch.ones(1, 3, 1, dtype=torch.float64))
    end = Gaussian(Straight()).bridge(x, posterior, u, 0 * u, layout, z, 1.0)
    torch.testing.assert_close(end[0, :, 0], MEAN)


def test_log_score_is_the_normals_density() -> None:
    posterior = exact_posterior(Cosine(), torch.tensor([[0.3], [0.1], [-2.0]], dtype=torch.float64)[None], 0.6)
    assert isinstance(posterior.root, Dense)
    x_0 = torch.tensor([[0.5], [-0.4], [1.0]], dtype=torch.float64)[None]
    law = torch.distributions.MultivariateNormal(posterior.mean[0, :, 0], scale_tril=posterior.root.matrix)
    found = posterior.log_score(x_0, Layout(torch.ones(1, 3, dtype=torch.bool)))
    assert float(found) == pytest.approx(-float(law.log_prob(x_0[0, :, 0])), abs=1e-12)
    with pytest.raises(ValueError, match="root"):
        post.Gaussian(x_0).log_score(x_0, Layout(torch.ones(1, 3, dtype=torch.bool)))
