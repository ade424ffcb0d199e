r"""Rules: how posteriors become a step. Each is a few lines on top of :class:`~scidiff.sampling.loop.Walk`.

On a Gaussian field at churn 0 a bridge with the posterior mean D is the exponential integrator
:math:`x_s = \tfrac{\sigma_s}{\sigma_t} x_t + \alpha_s (1 - e^{-h}) D`, :math:`h = (\lambda_s - \lambda_t)/2`, so combining D's gives the
solvers of the literature. On labels every rule is of order 1.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from scidiff.posterior import Categorical, Posterior, Posteriors, combine
from scidiff.process import State
from scidiff.sampling.loop import Rule, Walk


@dataclass(frozen=True)
class FirstOrder:
    """The posterior as it is. Churn 1 is ancestral sampling (DDPM), churn 0 is DDIM, on the straight path the Euler step. One call
    a step."""

    def __call__(self, walk: Walk, x: State, t: float, s: float) -> State:
        return walk.bridge(x, walk.ask(x, t), t, s)


@dataclass(frozen=True)
class Multistep:
    r"""Two-step extrapolation in log-SNR, DPM-Solver++(2M) (Lu et al. 2022): :math:`D = D_t + w (D_t - D_{t'})`,
    :math:`w = \min(\tfrac{h}{2h'}, \text{most})`. One call a step.

    Order 2 on Gaussian fields at churn 0. ``labels``: extrapolate log-probabilities too (off: labels take the posterior as it is).
    ``most``: 1/2 is the weight of steps that are even in log-SNR, so the order stays; without a bound (infinity, as published) the last
    steps of a grid that is even in t, whose log-SNR leaps, follow a slope over many times the step that it was measured on, and multiply a
    network's errors: 20 calls of the shipped molecule model bond as well and leave the geometry behind (docs/results.md).
    """

    labels: bool = False
    most: float = 0.5

    def __call__(self, walk: Walk, x: State, t: float, s: float) -> State:
        now = walk.ask(x, t)
        then, walk.remembered = walk.remembered, (t, now)
        used = now if then is None else {f: self._extrapolate(walk, f, x[f], p, then, t, s) for f, p in now.items()}
        return walk.bridge(x, used, t, s)

    def _extrapolate(
        self, walk: Walk, name: str, x: Tensor, now: Posterior, then: tuple[float, Posteriors], t: float, s: float
    ) -> Posterior:
        if isinstance(now, Categorical) and not self.labels:
            return now
        schedule, layout = walk.process.fields[name].schedule, walk.layouts[name]
        before, here, after = (schedule.log_snr(layout.clock(walk.times(u, {name: x}))) for u in (then[0], t, s))
        step, last = after - here, here - before
        # Known entries do not move; from t = 1 (log-SNR -inf) and to t = 0 (+inf) there is no slope to follow.
        usable = torch.isfinite(step) & torch.isfinite(last) & (last > 0)
        weight = torch.where(usable, step / torch.where(usable, 2 * last, 1.0), 0.0).clamp(max=self.most)
        return combine((now, then[1][name]), (1 + weight, -weight))


@dataclass(frozen=True)
class Heun:
    """Bridge, ask again at the far end, average, bridge from the start point (reals with the same noise, labels with fresh).
    Order 2 on Gaussian fields at churn 0; two calls a step, one for a last step to t = 0."""

    def __call__(self, walk: Walk, x: State, t: float, s: float) -> State:
        first = walk.ask(x, t)
        x_s = walk.bridge(x, first, t, s)
        if s == 0:
            return x_s
        second = walk.ask(x_s, s)
        mean = {f: combine((first[f], second[f]), (0.5, 0.5)) for f in first}
        return walk.bridge(x, mean, t, s, again=True)


@dataclass(frozen=True)
class PredictorCorrector:
    """After each step of ``predictor``, ``corrections`` times: diffuse part of the way back up and bridge down again. Works on every field;
    ``back`` is the share of the step that is taken back. 1 + corrections calls a step."""

    predictor: Rule = field(default_factory=FirstOrder)
    corrections: int = 1
    back: float = 1.0

    def __call__(self, walk: Walk, x: State, t: float, s: float) -> State:
        x = self.predictor(walk, x, t, s)
        if s == 0:
            return x
        up = s + self.back * (t - s)
        for _ in range(self.corrections):
            x_up = walk.diffuse(x, s, up)
            x = walk.bridge(x_up, walk.ask(x_up, up), up, s)
        return x


RULES: dict[str, Rule] = {
    "first": FirstOrder(),
    "multistep": Multistep(),
    "heun": Heun(),
    "corrector": PredictorCorrector(),
}
