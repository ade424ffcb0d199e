r"""What a sampler does to a Gaussian law, exactly.

With Gaussian data the exact denoiser is affine in x_t, so a step is :math:`x_s = A x_t + b + \sum_j C_j z_j`. A batch of zeros and unit
vectors reads off A, b and C; mean and covariance follow by :math:`m \to A m + b`, :math:`S \to A S A^T + C C^T`.

:func:`law_of_sampler` probes a whole run of :func:`scidiff.sampling.sample` as a black box, whatever the rule remembers.
:func:`law_by_steps` probes all steps of a grid in one batch and composes them: the same law, about a hundred times faster.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from scidiff.denoiser import Denoise
from scidiff.layout import Layout
from scidiff.process import Gaussian, Joint
from scidiff.sampling import Rule, sample
from scidiff.testing.noise import GivenFieldNoise, GivenNoise, RecordingNoise
from scidiff.testing.oracles import GaussianData, GaussianOracle, projection_matrix, tile_layout
from scidiff.testing.walk import GridWalk, places

FIELD = "x"


@dataclass(frozen=True)
class Moments:
    """Mean [law, dim] and covariance [law, dim, dim]."""

    mean: Float[Tensor, "law dim"]
    covariance: Float[Tensor, "law dim dim"]

    def distance(self, other: Moments) -> float:
        """Euclidean distance of all means and all covariances at once: the vector error whose order is regressed."""
        return float(torch.cat(((self.mean - other.mean).flatten(), (self.covariance - other.covariance).flatten())).norm())

    def wasserstein(self, other: Moments) -> Float[Tensor, " law"]:
        r"""2-Wasserstein distance of Gaussians: :math:`|m - m'|^2 + \mathrm{tr}(S + S' - 2 (S^{1/2} S' S^{1/2})^{1/2})`, its root."""
        root = _root(self.covariance)
        cross = _root(root @ other.covariance @ root)
        trace = (self.covariance + other.covariance - 2 * cross).diagonal(dim1=1, dim2=2).sum(1)
        return ((self.mean - other.mean).square().sum(1) + trace.clamp(min=0)).sqrt()


def _root(matrix: Float[Tensor, "law dim dim"]) -> Float[Tensor, "law dim dim"]:
    values, axes = torch.linalg.eigh(matrix)
    return torch.einsum("bik,bk,bjk->bij", axes, values.clamp(min=0).sqrt(), axes)


def unguided(oracle: GaussianOracle) -> Denoise:
    return oracle


@dataclass(frozen=True)
class Setting:
    """What is probed: a rule at some churn on a process, for data laws laid out as ``layout`` (its first sample) says. ``guide`` makes the
    denoiser that is sampled with from the laws' oracle (it must stay affine)."""

    rule: Rule
    process: Gaussian
    data: GaussianData
    layout: Layout
    churn: float = 0.0
    guide: Callable[[GaussianOracle], Denoise] = unguided

    def exact(self, t: float) -> Moments:
        """q(x_t) in closed form."""
        return Moments(*self.data.noised(self.process.schedule, t, projection_matrix(self.layout, self.data.mean.shape[-1])))


def _noise(steps: list[int], rows: int, first: int, laws: int, shape: tuple[int, ...]) -> GivenNoise:
    """Unit normals: from row ``first`` of each law's ``rows`` on, one row for each (step, component)."""
    dim = int(torch.tensor(shape).prod())
    unit = torch.eye(dim, dtype=torch.float64).reshape(dim, *shape)
    draws: dict[tuple[str, int], GivenFieldNoise] = {}
    for number, step in enumerate(steps):
        z = torch.zeros(laws, rows, *shape, dtype=torch.float64)
        z[:, first + number * dim : first + (number + 1) * dim] = unit
        draws[FIELD, step] = GivenFieldNoise(z.flatten(0, 1))
    return GivenNoise(draws)


def law_of_sampler(setting: Setting, grid: Float[Tensor, " points"], start: Moments | None = None) -> Moments:
    """The law at grid[-1] of ``sample`` run from ``start`` at grid[0]; from the process's own prior (at t = 1) if None."""
    data, layout = setting.data, setting.layout
    shape, laws, dim = tuple(data.mean.shape[1:]), data.laws, data.dim
    joint, asked = Joint({FIELD: setting.process}), RecordingNoise()

    def run(rows: int, noise: GivenNoise | RecordingNoise, x: Tensor) -> Tensor:
        which = torch.arange(laws).repeat_interleave(rows)
        oracle = setting.guide(GaussianOracle(setting.process, data, FIELD, which))
        layouts, state = {FIELD: tile_layout(layout, laws * rows)}, {FIELD: x.flatten(0, 1)}
        begin = None if start is None else state
        end = sample(oracle, joint, layouts, noise, grid, setting.rule, state, churn=setting.churn, start=begin)
        return end.state[FIELD].reshape(laws, rows, dim)

    run(1, asked, torch.zeros(laws, 1, *shape, dtype=torch.float64))
    rows = 1 + dim + dim * len(asked.steps)
    x = torch.zeros(laws, rows, *shape, dtype=torch.float64)
    x[:, 1 : 1 + dim] = 0 if start is None else torch.eye(dim, dtype=torch.float64).reshape(dim, *shape)
    end = run(rows, _noise(asked.steps, rows, 1 + dim, laws, shape), x)
    columns = (end[:, 1:] - end[:, :1]).transpose(1, 2)
    a, c = columns[:, :, :dim], columns[:, :, dim:]
    if start is None:
        return Moments(end[:, 0], c @ c.mT)
    return Moments(end[:, 0] + torch.einsum("lij,lj->li", a, start.mean), a @ start.covariance @ a.mT + c @ c.mT)


@dataclass(frozen=True)
class _Steps:
    """x_next = b + A_before x_before + A_now x_now + C z for every (law, step)."""

    b: Float[Tensor, "law step dim"]
    before: Float[Tensor, "law step dim dim"]
    now: Float[Tensor, "law step dim dim"]
    fresh: Float[Tensor, "law step dim draw"]


def law_by_steps(setting: Setting, grid: Float[Tensor, " points"], start: Moments) -> Moments:
    """The law at grid[-1] from ``start`` at grid[0]. For rules that remember at most the step before, and that take times through
    :meth:`Walk.times` and reckon with them by interpolation only, as all of :data:`scidiff.sampling.RULES` do (grid[-1] > 0)."""
    first = _probe(setting, grid[:2], after_another=False)
    later = _probe(setting, grid, after_another=True) if len(grid) > 2 else first
    dim = setting.data.dim
    # Moments of the pair (x_before, x_now).
    mean = torch.cat((start.mean, start.mean), 1)
    spread = start.covariance.repeat(1, 2, 2)
    for number in range(len(grid) - 1):
        probe, i = (first, 0) if number == 0 else (later, number - 1)
        move = torch.zeros(setting.data.laws, 2 * dim, 2 * dim, dtype=torch.float64)
        move[:, :dim, dim:] = torch.eye(dim, dtype=torch.float64)
        move[:, dim:, :dim], move[:, dim:, dim:] = probe.before[:, i], probe.now[:, i]
        mean = torch.einsum("lij,lj->li", move, mean)
        mean[:, dim:] += probe.b[:, i]
        spread = move @ spread @ move.mT
        spread[:, dim:, dim:] += probe.fresh[:, i] @ probe.fresh[:, i].mT
    return Moments(mean[:, dim:], spread[:, dim:, dim:])


def _probe(setting: Setting, grid: Float[Tensor, " points"], *, after_another: bool) -> _Steps:
    """The affine maps of all steps of the grid (with ``after_another``: of all but the first, each given the state before it)."""
    data, shape, dim = setting.data, tuple(setting.data.mean.shape[1:]), setting.data.dim
    stops, joint, asked = places(grid, after_another=after_another), Joint({FIELD: setting.process}), RecordingNoise()

    def run(rows: int, before: Tensor | None, now: Tensor, noise: GivenNoise | RecordingNoise) -> tuple[Tensor, bool]:
        """States [law, step, row, *shape] -> (the next ones, flattened; whether the rule keeps anything for the step after)."""
        count = data.laws * len(stops) * rows
        which = torch.arange(data.laws).repeat_interleave(len(stops) * rows)
        oracle = setting.guide(GaussianOracle(setting.process, data, FIELD, which))
        at = stops[None, :, None].expand(data.laws, len(stops), rows, 3).reshape(count, 3)
        walk = GridWalk(oracle, joint, {FIELD: tile_layout(setting.layout, count)}, GivenNoise(), {FIELD: setting.churn}, places=at)
        if before is not None:
            setting.rule(walk, {FIELD: before.flatten(0, 2)}, 3.0, 2.0)
        walk.noise, walk.draws = noise, 0
        end = setting.rule(walk, {FIELD: now.flatten(0, 2)}, 2.0, 1.0)[FIELD]
        return end.reshape(data.laws, len(stops), rows, dim), walk.remembered is not None

    lone = torch.zeros(data.laws, len(stops), 1, *shape, dtype=torch.float64)
    remembers = run(1, None, lone, asked)[1] and after_another
    rows = 1 + 2 * dim + dim * len(asked.steps)
    before, now = (torch.zeros(data.laws, len(stops), rows, *shape, dtype=torch.float64) for _ in range(2))
    unit = torch.eye(dim, dtype=torch.float64).reshape(dim, *shape)
    before[:, :, 1 : 1 + dim], now[:, :, 1 + dim : 1 + 2 * dim] = unit, unit
    noise = _noise(asked.steps, rows, 1 + 2 * dim, data.laws * len(stops), shape)
    end, _ = run(rows, before if remembers else None, now, noise)
    columns = (end[:, :, 1:] - end[:, :, :1]).mT
    return _Steps(end[:, :, 0], columns[..., :dim], columns[..., dim : 2 * dim], columns[..., 2 * dim :])
