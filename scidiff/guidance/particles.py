r"""Particle guidance: K particles of each sample walk down together and are weighted and resampled towards what a reward prefers.

With P the law of the unguided sampler's paths, the target is :math:`P^*(x) \propto P(x)\, e^{r(x_0)}`, r in nats. After every step the
reward of the current clean estimate, :math:`\hat r_k = \lambda\, r(\hat x_0(x_k))`, says how promising a particle is:

.. math::  \log w \mathrel{+}= \hat r_k - \hat r_{k-1}\ (\hat r_0 = 0), \qquad \text{in the end}\quad \log w \mathrel{+}= r(x_0) - \hat r

(Feynman-Kac steering). The sum telescopes, so whatever the estimates are worth, and whenever particles are resampled, for every f

.. math::  E\left[\tfrac1K \sum_p w_p f(x_p)\right] = E_P\left[e^{r(x_0)} f(x_0)\right]

*exactly*: the normaliser (f = 1) is unbiased for any K, weighted averages are consistent as K grows. No gradients: r may call RDKit.
Resampling is systematic, where the effective number of particles :math:`1/\sum W_p^2` falls below a share of K; every particle then gets
the mean weight, so that weights keep the normaliser.

Sources: Del Moral 2004; Wu et al. 2023 (TDS); Singhal et al. 2025 (Feynman-Kac steering).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from scidiff.denoiser import Condition, Denoise
from scidiff.errors import UserError
from scidiff.posterior import Categorical, Gaussian, Posterior, Posteriors
from scidiff.process import Joint, Layouts, State
from scidiff.random import Noise, draw_categorical
from scidiff.sampling import Rule, Walk, begin_walk

Reward = Callable[[State, Layouts], Tensor]
"""(a clean state, its layouts) -> nats [batch]; -inf is nothing that can be wanted. The batch holds all particles of all samples."""

LogWeights = Float[Tensor, "sample particle"]
_STREAM = "particles/resampling"


@dataclass(frozen=True)
class Particles:
    """``state``: all particles, those of one sample in consecutive rows. ``log_weights``: log w, not normalised. ``calls``: network calls
    that a sample took, all its particles together."""

    state: State
    log_weights: LogWeights
    calls: int

    @property
    def log_normaliser(self) -> Float[Tensor, " sample"]:
        """log (1/K sum w), whose exponential is an unbiased estimate of E_P[exp(r)]."""
        return self.log_weights.logsumexp(1) - math.log(self.log_weights.shape[1])

    def draw(self, noise: Noise) -> State:
        """One particle of each sample, drawn by weight. Raises UserError where all of a sample's particles have weight 0."""
        lost = torch.isneginf(self.log_weights).all(1)
        if bool(lost.any()):
            raise UserError(f"no particle of sample(s) {noise.ids[lost].tolist()} has any weight: more particles, or a reward above -inf")
        chosen = draw_categorical(self.log_weights.softmax(1), noise.scalar(_STREAM, 0))
        rows = chosen + self.log_weights.shape[1] * torch.arange(len(chosen), device=chosen.device)
        return {f: x[rows] for f, x in self.state.items()}


@torch.no_grad()
def steer(
    denoiser: Denoise,
    process: Joint,
    layouts: Layouts,
    noise: Noise,
    grid: Float[Tensor, " points"],
    rule: Rule,
    like: State,
    reward: Reward,
    *,
    particles: int,
    threshold: float = 0.5,
    lookahead: float = 1.0,
    churn: float | Mapping[str, float] = 1.0,
    condition: Condition | None = None,
    self_conditioning: bool = False,
) -> Particles:
    """See the module. The arguments are those of :func:`scidiff.sampling.sample` for a batch of samples; rows are repeated for the
    particles, of ``condition`` those tensors whose first axis is the batch (others are passed as they are).

    ``particles`` is K. ``threshold`` in [0, 1]: the share of K below which particles are resampled; 0 never, which is importance sampling.
    ``lookahead`` is lambda; with 0 the reward is asked at the end alone. An estimate whose reward is not finite changes no weight.
    Particles depend on (seed, id) and how many there are alone; a single one is what ``sample`` makes. At churn 0 reals that were resampled
    stay equal to each other: leave it at 1.
    Raises UserError for a threshold outside [0, 1] or final rewards that are NaN or +inf, ValueError as ``sample`` and ``Noise.branch`` do.
    """
    if not 0 <= threshold <= 1:
        raise UserError(f"steer: threshold must lie in [0, 1], got {threshold}")
    batch = len(noise.ids)
    rows = torch.arange(batch, device=noise.ids.device).repeat_interleave(particles)
    many = {f: layout.take(rows) for f, layout in layouts.items()}
    given = None if condition is None else {k: v[rows] if v.ndim and len(v) == batch else v for k, v in condition.items()}
    walk = begin_walk(denoiser, process, many, noise.branch(particles), grid, churn, given, self_conditioning)
    x = process.prior(many, walk.noise, {f: v[rows] for f, v in like.items()})
    log_weights = spent = torch.zeros(batch, particles, dtype=torch.float64, device=rows.device)
    times: list[float] = grid.tolist()
    for number, (t, s) in enumerate(itertools.pairwise(times), start=1):
        x = rule(walk, x, t, s)
        if number < len(grid) - 1 and lookahead != 0 and walk.latest is not None:
            worth = _estimate(walk.latest, reward, lookahead, many, spent)
            ancestors, log_weights = resample(log_weights + worth - spent, noise.scalar(_STREAM, number), threshold)
            x, spent = _follow(ancestors, walk, x, worth)
    return Particles(x, log_weights + _final(reward(x, many), spent) - spent, walk.calls * particles)


def _estimate(posteriors: Posteriors, reward: Reward, lookahead: float, layouts: Layouts, spent: LogWeights) -> LogWeights:
    """The reward of the current clean estimate; the one before where it is no number."""
    worth = lookahead * reward({f: p.point() for f, p in posteriors.items()}, layouts).double().reshape(spent.shape)
    return torch.where(torch.isfinite(worth), worth, spent)


def resample(
    log_weights: LogWeights, uniform: Float[Tensor, " sample"], threshold: float
) -> tuple[Int[Tensor, "sample particle"], LogWeights]:
    """(ancestors, log-weights) of a systematic resampling with one uniform each, in those samples whose effective number of particles
    is below the threshold; the others stay as they are. Particle p has K W_p descendants in the mean, and no fewer than its whole part."""
    count = log_weights.shape[1]
    share = log_weights.softmax(1)
    everyone = torch.arange(count, device=share.device)
    # (u + p)/K may round to 1, where there is nobody.
    place = ((uniform[:, None] + everyone) / count).clamp(max=1 - 2.0**-53)
    cumulative = share.cumsum(1)
    chosen = torch.searchsorted(cumulative / cumulative[:, -1:], place, right=True)
    short = (1 / share.square().sum(1) < threshold * count)[:, None]
    mean = log_weights.logsumexp(1, keepdim=True) - math.log(count)
    return torch.where(short, chosen, everyone), torch.where(short, mean, log_weights)


def _follow(ancestors: Int[Tensor, "sample particle"], walk: Walk, x: State, worth: LogWeights) -> tuple[State, LogWeights]:
    """Particles take over all that their ancestors are and remember: state, estimates of the reward, the walk's posteriors."""
    batch, count = ancestors.shape
    rows = (ancestors + count * torch.arange(batch, device=ancestors.device)[:, None]).flatten()
    if torch.equal(rows, torch.arange(len(rows), device=rows.device)):
        return x, worth
    walk.latest = None if walk.latest is None else _take(walk.latest, rows)
    walk.remembered = None if walk.remembered is None else (walk.remembered[0], _take(walk.remembered[1], rows))
    return {f: v[rows] for f, v in x.items()}, worth.gather(1, ancestors)


def _take(posteriors: Posteriors, rows: Int[Tensor, " row"]) -> Posteriors:
    """The posteriors of these rows. A root has no rows to take and is left out: what walks remember of a posterior are means."""

    def one(posterior: Posterior) -> Posterior:
        if isinstance(posterior, Categorical):
            return Categorical(posterior.logits[rows])
        return Gaussian(posterior.mean[rows], None if posterior.variance is None else posterior.variance[rows])

    return {f: one(p) for f, p in posteriors.items()}


def _final(reward: Tensor, like: LogWeights) -> LogWeights:
    worth = reward.double().reshape(like.shape)
    if bool((torch.isnan(worth) | torch.isposinf(worth)).any()):
        raise UserError("steer: the reward of a final state is NaN or +inf; it must be a number of nats, or -inf for what is not wanted")
    return worth
