r"""Law 4: guidance against exact posteriors. Nothing is sampled.

:func:`check_classifier_free`, w the scale, c the condition:

1. scale 1 is the conditional posterior, scale 0 the unconditional one.
2. Reals: the guided mean is that of the score of :math:`q(x_t|c)^w q(x_t)^{1-w}`, whose precision is
   :math:`w C_c^{-1} + (1 - w) C^{-1}` with C the covariances of x_t.
3. Reals whose covariances are equal: the sampler's law, composed from its affine steps, is that of data N(w m_c + (1 - w) m, S).
4. Labels: the posterior is proportional to :math:`p_c^w p^{1-w}`.

:func:`check_measurement`: guiding the oracle of N(m, S) by y gives the oracle of N(m, S) given y, its mean and its covariance at every t.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from scidiff import posterior as post
from scidiff.denoiser import Denoise
from scidiff.guidance.measurement import root_matrix
from scidiff.layout import Layout
from scidiff.process import Categorical, Gaussian
from scidiff.sampling import FirstOrder
from scidiff.schedule import Schedule, Straight, VPLinear
from scidiff.testing.affine import FIELD, Setting, law_by_steps
from scidiff.testing.chains import states
from scidiff.testing.oracles import CategoricalOracle, GaussianData, GaussianOracle, projection_matrix, tile_layout
from scidiff.testing.orders import centred_gaussians, even_grid, plain_gaussians, plain_labels

MakeClassifierFree = Callable[[Denoise, Denoise, float], Denoise]
"""(conditional, unconditional, scale) -> the guided denoiser."""
MakeMeasurement = Callable[[Denoise, Tensor, Tensor, float], Denoise]
"""(denoiser, A [1, measured, *entries, channel], y [1, measured], noise) -> the guided denoiser, of the field ``x``."""

GUIDANCE_TOLERANCE = 1e-9
SCALES = (1.0, 0.0, 2.5, -0.5)
_TIMES = (0.9, 0.5, 0.05)


def check_classifier_free(make: MakeClassifierFree) -> None:
    """Raises AssertionError naming the part of law 4, the scale, the place and the numbers."""
    for scale in SCALES:
        for schedule in (VPLinear(), Straight()):
            _check_score(make, schedule, scale)
            _check_sampled(make, schedule, scale)
        for process in (Categorical.absorbing(3, Straight()), Categorical((0.2, 0.5, 0.3), Straight())):
            _check_labels(make, process, scale)


def _check_score(make: MakeClassifierFree, schedule: Schedule, scale: float) -> None:
    data, layout = plain_gaussians()
    process, rows = Gaussian(schedule), _points(data)
    given, free = (GaussianData(data.mean[i : i + 1], data.covariance[i : i + 1]) for i in (0, 1))
    guided = make(GaussianOracle(process, given), GaussianOracle(process, free), scale)
    for t in _TIMES:
        found = guided({FIELD: rows}, _clock(t, rows), {FIELD: tile_layout(layout, len(rows))})[FIELD]
        assert isinstance(found, post.Gaussian), "law 4: reals need a Gaussian posterior"
        (mean_c, spread_c), (mean, spread) = (d.noised(schedule, t) for d in (given, free))
        time = torch.tensor(t, dtype=torch.float64)
        x = rows.flatten(1)
        score = -scale * (x - mean_c) @ torch.linalg.inv(spread_c[0]) - (1 - scale) * (x - mean) @ torch.linalg.inv(spread[0])
        right = (x + schedule.sigma(time) ** 2 * score) / schedule.alpha(time)
        _equal(found.mean.flatten(1), right, f"the mean of guided reals at scale {scale}, t = {t}, {schedule}")


def _check_sampled(make: MakeClassifierFree, schedule: Schedule, scale: float) -> None:
    data, layout = plain_gaussians()
    process = Gaussian(schedule)
    free, between = (replace(data, mean=m) for m in (data.mean.flip(0), scale * data.mean + (1 - scale) * data.mean.flip(0)))
    setting = Setting(FirstOrder(), process, data, layout, 0.5, lambda oracle: make(oracle, replace(oracle, data=free), scale))
    plain = Setting(FirstOrder(), process, between, layout, 0.5)
    found, right = (law_by_steps(s, even_grid(4), plain.exact(0.9)) for s in (setting, plain))
    _equal(found.mean, right.mean, f"the mean of a guided sampler's law at scale {scale}, {schedule}")
    _equal(found.covariance, right.covariance, f"the covariance of a guided sampler's law at scale {scale}, {schedule}")


def _check_labels(make: MakeClassifierFree, process: Categorical, scale: float) -> None:
    joint, x = plain_labels(process.data_labels), states(process.labels, 2)
    given, free = CategoricalOracle(process, joint), CategoricalOracle(process, joint.flip(0, 1).T)
    layouts = {FIELD: Layout(torch.ones(x.shape, dtype=torch.bool))}
    for t in _TIMES:
        known, other, found = (d({FIELD: x}, _clock(t, x), layouts)[FIELD] for d in (given, free, make(given, free, scale)))
        for posterior in (known, other, found):
            assert isinstance(posterior, post.Categorical), "law 4: labels need a Categorical posterior"
        p, q = (torch.exp(d.log_probabilities) for d in (known, other) if isinstance(d, post.Categorical))
        product = torch.where(p * q > 0, p**scale * q ** (1 - scale), 0.0)
        right = product / product.sum(-1, keepdim=True)
        law = found.probabilities if isinstance(found, post.Categorical) else right
        _equal(law, right, f"the law of guided labels at scale {scale}, t = {t}, pi = {[round(v, 4) for v in process.pi]}")


@dataclass(frozen=True)
class Measured:
    """y = A x_0 + noise n, one for all laws of some Gaussian data. ``matrix`` [measured, dim]."""

    matrix: Float[Tensor, "measured dim"]
    value: Float[Tensor, " measured"]
    noise: float

    def conditioned(self, data: GaussianData) -> GaussianData:
        """The laws of x_0 given y."""
        s, m, a = data.covariance, data.mean.flatten(1), self.matrix
        gain = s @ a.T @ torch.linalg.inv(a @ s @ a.T + self.noise**2 * torch.eye(len(a), dtype=torch.float64))
        mean = m + torch.einsum("lij,lj->li", gain, self.value - m @ a.T)
        return GaussianData(mean.reshape(data.mean.shape), s - gain @ a @ s)

    def guide(self, make: MakeMeasurement, oracle: Denoise, like: Tensor) -> Denoise:
        return make(oracle, self.matrix.reshape(1, -1, *like.shape[1:]), self.value[None], self.noise)


def some_measurements(data: GaussianData) -> list[Measured]:
    """Of one number, and of two: all entries weigh differently."""
    row = torch.linspace(-0.7, 1.3, data.dim, dtype=torch.float64)
    return [
        Measured(row[None], torch.tensor([0.8], dtype=torch.float64), 0.3),
        Measured(torch.stack((row, row.square() - 0.5)), torch.tensor([0.8, -1.2], dtype=torch.float64), 0.7),
    ]


def check_measurement(make: MakeMeasurement) -> None:
    """Raises AssertionError naming the schedule, the place and the numbers. The oracle states a root of its covariance."""
    for data, layout in (plain_gaussians(), centred_gaussians()):
        rows = _points(data, projection_matrix(layout, data.mean.shape[-1]))
        which, many = torch.arange(data.laws).repeat_interleave(len(rows)), tile_layout(layout, data.laws * len(rows))
        x = rows.repeat(data.laws, *[1] * (rows.ndim - 1))
        for measured in some_measurements(data):
            for schedule in (VPLinear(), Straight()):
                before = GaussianOracle(Gaussian(schedule), data, FIELD, which, rooted=True)
                after = replace(before, data=measured.conditioned(data))
                for t in _TIMES:
                    found, right = (
                        d({FIELD: x}, _clock(t, x), {FIELD: many})[FIELD] for d in (measured.guide(make, before, x), after)
                    )
                    _check_posterior(found, right, f"given {len(measured.value)} number(s), t = {t}, {schedule}")


def _check_posterior(found: post.Posterior, right: post.Posterior, where: str) -> None:
    assert isinstance(found, post.Gaussian), "law 4: reals need a Gaussian posterior"
    assert isinstance(right, post.Gaussian), "law 4: reals need a Gaussian posterior"
    _equal(found.mean, right.mean, f"the mean of x_0 {where}")
    assert found.root is not None, f"law 4: the covariance of x_0 {where}: no root is stated"
    assert right.root is not None, "the oracle states a root"
    ours, theirs = (root_matrix(root, found.mean) for root in (found.root, right.root))
    _equal(ours @ ours.mT, theirs @ theirs.mT, f"the covariance of x_0 {where}")


def _points(data: GaussianData, subspace: Tensor | None = None) -> Tensor:
    """The origin and the ends of all axes (in the subspace): what is affine is known from these."""
    basis = torch.eye(data.dim, dtype=torch.float64)
    rows = torch.cat((torch.zeros(1, data.dim, dtype=torch.float64), basis if subspace is None else subspace))
    return rows.reshape(-1, *data.mean.shape[1:])


def _clock(t: float, x: Tensor) -> Tensor:
    return torch.full((len(x),), t, dtype=torch.float64)


def _equal(found: Tensor, right: Tensor, what: str) -> None:
    worst = float((found - right).abs().max())
    assert worst <= GUIDANCE_TOLERANCE, f"law 4: {what}: off by {worst:.2e}\nfound\n{found}\nmust be\n{right}"
