"""Random walks: last value plus independent Gaussian steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scidiff_timeseries.baselines.base import Array, Baseline, bounded_exp, observed, on_log_scale


@dataclass(frozen=True)
class RandomWalk(Baseline):
    r"""Driftless random walk: :math:`x_{T+h} = x_T + \sigma \sum_{k \le h} \varepsilon_k`, with standard normal independent steps.

    x is the logarithm where ``log`` says so (None: where all observed values are positive), the value itself otherwise. With the
    observed values at times t_0 < t_1 < ..., the squared steps r_k^2 = (x_k - x_{k-1})^2 / (t_k - t_{k-1}) give
    :math:`\sigma^2 = \sum_k w_k r_k^2 / \sum_k w_k`, :math:`w_k = \mathrm{decay}^{\,t_{last} - t_k}`: an exponentially weighted
    volatility (RiskMetrics' with decay .94), and the mean square of all steps with decay 1. Where the history ends in g missing
    values the walk starts at the last observed one, and its variance at horizon h is (g + h) sigma^2. A history of one value, or a
    constant one, has sigma = 0.

    Attributes:
        decay: of the weights, a time step, in (0, 1].
        log: work on logarithms; None decides by series.
    """

    decay: float = 1.0
    log: bool | None = None

    def __post_init__(self) -> None:
        if not 0 < self.decay <= 1:
            raise ValueError(f"the decay of a random walk's volatility lies in (0, 1], got {self.decay}")

    @property
    def name(self) -> str:
        if self.decay < 1:
            return f"random walk, EWMA volatility ({self.decay:g})"
        return "naive" if self.log is False else "random walk"

    def volatility(self, history: Array) -> float:
        """sigma of one history [time], a time step."""
        positions, values = observed(history)
        x = np.log(values) if on_log_scale(values, self.log) else values
        if len(x) < 2:
            return 0.0
        scale = float(np.abs(np.diff(x)).max())  # squares of tiny or huge steps must neither vanish nor overflow
        if scale == 0.0:
            return 0.0
        steps = np.diff(x) / scale / np.sqrt(np.diff(positions))
        weights = self.decay ** (positions[-1] - positions[1:]).astype(np.float64)
        return scale * float(np.sqrt((weights * steps**2).sum() / weights.sum()))

    def paths(self, history: Array, horizon: int, n_paths: int, rng: np.random.Generator) -> Array:
        positions, values = observed(history)
        deviations = np.ones(horizon) * self.volatility(history)
        deviations[0] *= np.sqrt(len(history) - positions[-1])
        walk = np.cumsum(deviations * rng.standard_normal((n_paths, horizon)), axis=1)
        if on_log_scale(values, self.log):
            return bounded_exp(np.log(values[-1]) + walk)
        return values[-1] + walk


def naive() -> RandomWalk:
    """The naive law: last value, plus Gaussian steps of the in-sample one-step errors' size, in the unit of the data."""
    return RandomWalk(decay=1.0, log=False)
