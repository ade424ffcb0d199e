"""Baselines with parameters estimated series by series: exponential smoothing (statsmodels) and GARCH (arch).

Both packages belong to the extra ``timeseries`` and are imported at the first call.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from scidiff.errors import UserError
from scidiff_timeseries.baselines.base import Array, Baseline, bounded_exp, observed, on_log_scale, stand_in
from scidiff_timeseries.baselines.walks import RandomWalk

FEWEST_VALUES = 16
FEWEST_STEPS = 100
LONGEST_BRIDGE = 5  # steps of a gap that ETS bridges
LONGEST_SEASON = 60  # more seasonal states than that are not estimated


@contextmanager
def quiet() -> Iterator[None]:
    """No warnings of the estimators' optimisers: where they fail a law takes the place that the docstring names."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


@dataclass(frozen=True)
class ETS(Baseline):
    """Exponential smoothing with additive Gaussian errors, in innovations form: simple, or with damped trend, each with or without an
    additive season; the least AICc decides by series (``statsmodels.tsa.exponential_smoothing.ets.ETSModel``). On logarithms errors and
    seasons are multiplicative; AICc, of the density of the values themselves, can choose between the two scales, but on series that
    span orders of magnitude (M4-hourly has some) the smoothed logarithm's paths explode. So the values are the default.

    Paths are simulated from the last state with the estimated error variance; the estimates' own uncertainty is not in them. It sees
    the values since the last gap of more than 5 steps, at most ``memory`` of them; shorter gaps are bridged by straight lines, for this
    law alone, which knows no missing values (GARCH and ARIMA do). After g missing values at the end it simulates g + horizon steps.
    A season longer than 60 steps, or of which the run holds fewer than three, is not considered. With fewer than 16 values, a constant
    run or no usable fit the paths are those of :class:`RandomWalk`.

    Attributes:
        season: in steps, 1 for none.
        memory: the most values to fit.
        log: work on logarithms; None lets the AICc decide where all values are positive.
    """

    season: int = 1
    memory: int = 1000
    log: bool | None = False

    @property
    def name(self) -> str:
        return f"ETS ({self.season})" if self.season > 1 else "ETS"

    def paths(self, history: Array, horizon: int, n_paths: int, rng: np.random.Generator) -> Array:
        positions, values = observed(history)
        begin = _last_run(positions)
        run = np.interp(np.arange(positions[begin], positions[-1] + 1), positions[begin:], values[begin:])[-self.memory :]
        gap = len(history) - 1 - int(positions[-1])
        scales = {on_log_scale(run, self.log), bool(self.log)}  # None: both where logarithms exist
        fits = [fit for log in sorted(scales) for fit in self._fits(run, log)]
        if fits:
            drawn = min(fits, key=lambda fit: fit.criterion).simulate(gap + horizon, n_paths, rng)
            if np.isfinite(drawn).all():
                return drawn[:, gap:]
        stand_in(self.name)
        return RandomWalk(log=self.log).paths(history, horizon, n_paths, rng)

    def _fits(self, run: Array, log: bool) -> list[_Fit]:
        x = np.log(run) if log else run
        spread, seasons = float(np.std(x)), [1]
        if len(x) < FEWEST_VALUES or spread == 0:
            return []
        if 1 < self.season <= LONGEST_SEASON and len(x) >= 3 * self.season:
            seasons.append(self.season)
        centre = float(np.mean(x))
        jacobian = 2 * (len(x) * np.log(spread) + (float(x.sum()) if log else 0.0))  # criteria compare densities of the values themselves
        models = [model for season in seasons for trend in (None, "add") if (model := _fit_ets((x - centre) / spread, trend, season))]
        return [_Fit(model, centre, spread, log, float(model.aicc) + jacobian) for model in models]


@dataclass(frozen=True)
class _Fit:
    """A fitted model of the standardised history, and the AICc of the history itself."""

    model: Any
    centre: float
    spread: float
    log: bool
    criterion: float

    def simulate(self, steps: int, n_paths: int, rng: np.random.Generator) -> Array:
        errors = np.sqrt(float(self.model.scale)) * rng.standard_normal((steps, n_paths))
        with quiet():
            drawn = np.asarray(self.model.simulate(steps, anchor="end", repetitions=n_paths, random_errors=errors), dtype=np.float64)
        walk = self.centre + self.spread * drawn.reshape(steps, n_paths).T
        return bounded_exp(walk) if self.log else walk


def _fit_ets(x: Array, trend: str | None, season: int) -> Any | None:
    try:
        from statsmodels.tsa.exponential_smoothing.ets import ETSModel
    except ImportError as error:
        raise UserError("the baseline ETS needs statsmodels: pip install 'scidiffusion[timeseries]'") from error
    seasonal: dict[str, Any] = {}
    if season > 1:  # estimating every phase's start as well takes minutes for a daily cycle of hours
        seasonal = {"seasonal": "add", "seasonal_periods": season, "initialization_method": "heuristic"}
    with quiet():
        try:
            model: Any = ETSModel(x, error="add", trend=trend, damped_trend=trend is not None, **seasonal)
            fit = model.fit(disp=False, maxiter=200)
        except (ValueError, ArithmeticError, np.linalg.LinAlgError):
            return None
    return fit if np.isfinite(fit.aicc) and np.isfinite(fit.scale) and fit.scale > 0 else None


def _last_run(positions: np.ndarray) -> int:
    """Index into ``positions`` where the last run begins that has no long gap."""
    breaks = np.flatnonzero(np.diff(positions) > LONGEST_BRIDGE + 1)
    return int(breaks[-1]) + 1 if len(breaks) else 0


@dataclass(frozen=True)
class GarchT(Baseline):
    r"""GARCH(1, 1) with Student-t innovations and mean zero, by maximum likelihood (package ``arch``).

    Steps r_t of the logarithm (``log=None``: where all observed values are positive; of the value otherwise) follow
    :math:`r_t = \sigma_t z_t`, :math:`\sigma_t^2 = \omega + \alpha r_{t-1}^2 + \beta \sigma_{t-1}^2`, z_t Student-t with nu degrees of
    freedom and variance one. Paths are simulated from the last variance with the estimates plugged in. It sees the last ``memory``
    steps between observed values; gaps do not count as time, but after g missing values at the end it simulates g + horizon steps.
    With fewer than 100 steps, no variation, or no convergence the paths are those of :class:`RandomWalk` with decay .95.
    The exponential of a Student-t sum has no finite mean: on volatile data that are no prices, scores of log paths can be huge.
    Source: Bollerslev 1987.
    """

    memory: int = 2500
    log: bool | None = None

    @property
    def name(self) -> str:
        return "GARCH(1,1)-t"

    def paths(self, history: Array, horizon: int, n_paths: int, rng: np.random.Generator) -> Array:
        positions, values = observed(history)
        log = on_log_scale(values, self.log)
        x = np.log(values) if log else values
        steps = np.diff(x)[-self.memory :]
        spread = float(np.std(steps)) if len(steps) >= FEWEST_STEPS else 0.0
        gap = len(history) - 1 - int(positions[-1])
        drawn = _simulate_garch(steps / spread, gap + horizon, n_paths, rng) if spread > 0 else None
        if drawn is None:
            stand_in(self.name)
            return RandomWalk(decay=0.95, log=self.log).paths(history, horizon, n_paths, rng)
        walk = x[-1] + spread * np.cumsum(drawn, axis=1)[:, gap:]
        return bounded_exp(walk) if log else walk


def _simulate_garch(steps: Array, horizon: int, n_paths: int, rng: np.random.Generator) -> Array | None:
    """Simulated steps [n_paths, horizon] after standardised ``steps``; None if the fit did not converge."""
    try:
        from arch import arch_model
    except ImportError as error:
        raise UserError("the baseline GARCH-t needs arch: pip install 'scidiffusion[timeseries]'") from error
    with quiet():
        model = arch_model(steps, mean="Zero", vol="GARCH", p=1, q=1, dist="t", rescale=False)
        fit: Any = model.fit(disp="off", show_warning=False)
        freedom = float(fit.params["nu"])
        if fit.convergence_flag != 0 or not np.isfinite(fit.params).all():
            return None
        scale = np.sqrt((freedom - 2) / freedom)

        def innovations(size: int | tuple[int, ...]) -> Array:
            return scale * rng.standard_t(freedom, size)

        forecast = fit.forecast(horizon=horizon, method="simulation", simulations=n_paths, rng=innovations)
        drawn = np.asarray(forecast.simulations.values, dtype=np.float64)[-1]
    return drawn if np.isfinite(drawn).all() else None
