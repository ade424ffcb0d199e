"""ARIMA with a small order search (statsmodels, imported at the first call)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from scidiff.errors import UserError
from scidiff_timeseries.baselines.base import Array, Baseline, observed, stand_in
from scidiff_timeseries.baselines.fitted import FEWEST_VALUES, quiet
from scidiff_timeseries.baselines.seasonal import last_season
from scidiff_timeseries.baselines.walks import naive

ORDERS = ((0, 0), (1, 0), (0, 1), (1, 1), (2, 1))
"""(p, q) that are tried."""
_HARMONICS = 5
_LONGEST_SEASON = 400
_LONGEST_AVERAGE = 12  # seasons up to which a seasonal moving average is tried: longer ones need as many states
_ITERATIONS = 50
_INSIDE = 0.999  # largest modulus of an inverse root that counts as stationary or invertible
_REVERTING = 0.97  # largest one of an autoregression without differences: AIC alone takes a third of all random walks for reverting


@dataclass(frozen=True)
class ARIMA(Baseline):
    r"""Seasonal ARIMA with Gaussian errors, of small orders, by maximum likelihood in state-space form
    (``statsmodels.tsa.statespace.sarimax.SARIMAX``).

    The candidates: (p, q) of :data:`ORDERS`; d = 0 or 1; and for the season m either nothing, a regression on up to five harmonics of it,
    or a seasonal difference (D = 1). Each has a constant unless d + D = 2; with d = 1 and with D = 1, both with and without. Harmonics are
    fitted by least squares (to differences if d = 1), the rest by Hannan and Rissanen's regressions on the longest run without a gap, and
    the least AIC decides (an undifferenced autoregression only if its roots are within .97). All AICs are of the density of the same
    values, given the first m + 1, so that differenced candidates compare with the others (where values are missing, they are scaled to one
    number of observed ones). The chosen candidate is then fitted by maximum likelihood; after a seasonal difference of m <= 12 a seasonal
    moving average (Q = 1) is kept if it lowers the AIC.

    Paths are simulated from the filtered state with the estimated error variance; the estimates' own uncertainty is not in them. It sees
    the last ``memory`` steps (three seasons if they are longer) up to the last observed value; missing ones are left out of the likelihood,
    and with D = 1 a phase missing in the last season comes from the latest season that has it. After g missing values at the end it
    simulates g + horizon steps. A season of which there are fewer than three is not considered. Where fewer than 16 values follow each
    other, none varies or no fit is usable, the paths are those of :func:`~.walks.naive`. Source: Box and Jenkins 1970; Hannan and
    Rissanen 1982; Hyndman and Athanasopoulos 2021, section 10.5.

    Attributes:
        season: in steps, 1 for none; those over 400 steps are not considered.
        memory: the most steps to fit.
    """

    season: int = 1
    memory: int = 500

    @property
    def name(self) -> str:
        return f"ARIMA ({self.season})" if self.season > 1 else "ARIMA"

    def paths(self, history: Array, horizon: int, n_paths: int, rng: np.random.Generator) -> Array:
        positions, _ = observed(history)
        last = int(positions[-1]) + 1
        season = self.season if 1 < self.season <= _LONGEST_SEASON else 0
        run, gap = history[max(last - max(self.memory, 3 * season), 0) : last], len(history) - last
        centre, spread = float(np.nanmean(run)), float(np.nanstd(run))
        if spread > 1e-12 * abs(centre):
            season = season if len(run) >= 3 * season else 0
            drawn = _forecast((run - centre) / spread, season, gap + horizon, n_paths, rng)
            if drawn is not None:
                return centre + spread * drawn[:, gap:]
        stand_in(self.name)
        return naive().paths(history, horizon, n_paths, rng)


@dataclass(frozen=True)
class _Order:
    """``period`` of a seasonal difference (0: none) or of ``waves`` (0: none); ``average`` says Q = 1."""

    p: int
    d: int
    q: int
    period: int = 0
    waves: int = 0
    constant: bool = False
    average: bool = False

    def model(self, x: Array, burn: int) -> Any:
        """The state-space model of :meth:`reduced` x; its likelihood leaves the first ``burn`` values of x out."""
        from statsmodels.tsa.statespace.sarimax import SARIMAX

        return SARIMAX(
            self.reduced(x),
            order=(self.p, self.d, self.q),
            seasonal_order=(0, 0, 1, self.period) if self.average else (0, 0, 0, 0),
            trend="c" if self.constant else "n",
            loglikelihood_burn=burn - self.period,
        )

    def reduced(self, x: Array) -> Array:
        """x without its season: differenced, or less its harmonics."""
        if self.period:
            return x[self.period :] - x[: -self.period]
        return x - self.harmonics(x, 0) if self.waves else x

    def restored(self, x: Array, drawn: Array) -> Array:
        """Paths [n_paths, steps] after x, from those of :meth:`reduced` x."""
        if self.waves:
            return drawn + self.harmonics(x, drawn.shape[1])[len(x) :]
        if not self.period:
            return drawn
        before = last_season(x, self.period, self.period)
        whole = np.concatenate([np.broadcast_to(before, (len(drawn), self.period)), drawn], axis=1)
        for step in range(self.period, whole.shape[1]):
            whole[:, step] += whole[:, step - self.period]
        return whole[:, self.period :]

    def harmonics(self, x: Array, ahead: int) -> Array:
        """The fitted season at the steps of x and ``ahead`` further ones, [time + ahead]."""
        table = _waves(self.waves, len(x) + ahead)
        y, columns = (np.diff(x), np.diff(table[: len(x)], axis=0)) if self.d else (x, table[: len(x)])
        known = np.isfinite(y)
        design = np.column_stack([np.ones(known.sum()), columns[known]])
        return table @ np.linalg.lstsq(design, y[known], rcond=None)[0][1:]

    @property
    def regressed(self) -> int:
        """How many coefficients of harmonics it has."""
        return _waves(self.waves, 1).shape[1] if self.waves else 0


def _waves(period: int, steps: int) -> Array:
    """Cosines and sines of the first harmonics, [time, column]."""
    phase = 2 * np.pi * np.arange(steps)[:, None] * np.arange(1, min(period // 2, _HARMONICS) + 1) / period
    sines = np.sin(phase)[:, : (period - 1) // 2]  # that of half the period is zero
    return np.concatenate([np.cos(phase), sines], axis=1)


def _forecast(x: Array, season: int, steps: int, n_paths: int, rng: np.random.Generator) -> Array | None:
    """Paths [n_paths, steps] after x; None without a usable fit."""
    try:
        with quiet():
            found = _fit(x, season)
            if found is None:
                return None
            order, model, fit = found
            drawn = order.restored(x, _simulate(model, fit, steps, n_paths, rng))
    except ImportError as error:
        raise UserError("the baseline ARIMA needs statsmodels: pip install 'scidiffusion[timeseries]'") from error
    except (ValueError, ArithmeticError, np.linalg.LinAlgError):
        return None
    return drawn if np.isfinite(drawn).all() else None


def _candidates(season: int) -> Iterator[_Order]:
    for p, q in ORDERS:
        for waves in (0, season) if season else (0,):
            yield _Order(p, 0, q, 0, waves, constant=True)
            yield _Order(p, 1, q, 0, waves)
            yield _Order(p, 1, q, 0, waves, constant=True)
        if season:
            yield _Order(p, 0, q, season)
            yield _Order(p, 0, q, season, constant=True)
            yield _Order(p, 1, q, season)


def _fit(x: Array, season: int) -> tuple[_Order, Any, Any] | None:
    """(order, model, result of its fit)."""
    burn, tried = season + 1, []
    for order in _candidates(season):
        start = _regressed(order, x)
        if start is not None:
            model = order.model(x, burn)
            aic = _criterion(order, model, start)
            if np.isfinite(aic):
                tried.append((aic, len(tried), order, model, start))
    if not tried:
        return None
    _, _, order, model, start = min(tried)
    fits = [(order, model, model.fit(start_params=start, disp=False, maxiter=_ITERATIONS))]
    if order.period and season <= _LONGEST_AVERAGE:
        wider = replace(order, average=True)
        further = wider.model(x, burn)
        fits.append((wider, further, further.fit(start_params=np.insert(start, -1, -0.5), disp=False, maxiter=_ITERATIONS)))
    usable = [one for one in fits if np.isfinite(one[2].llf)]
    return min(usable, key=lambda one: _criterion(one[0], one[1], one[2].params), default=None)


def _criterion(order: _Order, model: Any, parameters: Array) -> float:
    """AIC, scaled to as many observed values as the model has steps."""
    share = float(np.isfinite(model.endog[model.loglikelihood_burn :]).mean())
    return 2 * (len(parameters) + order.regressed) - 2 * float(model.loglike(parameters)) / share if share > 0 else np.inf


def _regressed(order: _Order, x: Array) -> Array | None:
    """Hannan and Rissanen's estimates in SARIMAX' order (constant, AR, MA, variance); None where they are not stationary."""
    from statsmodels.tsa.arima.estimators.hannan_rissanen import hannan_rissanen

    z = order.reduced(x)
    z = np.diff(z) if order.d else z
    z = _longest_run(z)
    if len(z) < FEWEST_VALUES:
        return None
    mean = float(z.mean()) if order.constant else 0.0
    try:
        found: Any = hannan_rissanen(z - mean, order.p, order.q, demean=False, initial_ar_order=min(12, len(z) // 4), unbiased=False)[0]
    except (ValueError, np.linalg.LinAlgError):
        return None
    ar, ma = np.atleast_1d(found.ar_params), np.atleast_1d(found.ma_params)
    limits = (_INSIDE if order.d or order.period else _REVERTING, _INSIDE)
    outside = any((np.abs(np.roots(np.r_[1.0, part])) >= most).any() for part, most in zip((-ar, ma), limits, strict=True))
    if outside or not (np.isfinite(found.sigma2) and found.sigma2 > 0):
        return None
    constant = [mean * (1 - ar.sum())] if order.constant else []
    return np.r_[constant, ar, ma, found.sigma2]


def _longest_run(z: Array) -> Array:
    """The longest stretch without NaN, the latest of several."""
    breaks = np.flatnonzero(np.isnan(np.r_[np.nan, z, np.nan]))
    lengths = np.diff(breaks) - 1
    best = len(lengths) - 1 - int(np.argmax(lengths[::-1]))
    return z[breaks[best] : breaks[best] + lengths[best]]


def _simulate(model: Any, fit: Any, steps: int, n_paths: int, rng: np.random.Generator) -> Array:
    """Paths [n_paths, steps] of the model's observations after its last one.

    alpha_{T+1} ~ N(a_{T+1|T}, P_{T+1|T}), y_t = Z alpha_t, alpha_{t+1} = c + T alpha_t + R eta_t, eta_t ~ N(0, sigma^2).
    """
    filtered, ssm = fit.filter_results, model.ssm
    design, transition, selection = (np.asarray(ssm[name]) for name in ("design", "transition", "selection"))
    intercept, deviation = np.asarray(ssm["state_intercept"]).reshape(len(transition), -1)[:, -1], np.sqrt(np.asarray(ssm["state_cov"]))
    values, axes = np.linalg.eigh(filtered.predicted_state_cov[..., -1])
    root = axes * np.sqrt(np.maximum(values, 0.0))
    state = filtered.predicted_state[:, -1] + rng.standard_normal((n_paths, len(root))) @ root.T
    found = np.empty((n_paths, steps))
    for step in range(steps):
        found[:, step] = state @ design[0]
        eta = rng.standard_normal((n_paths, len(deviation))) @ deviation.T
        state = intercept + state @ transition.T + eta @ selection.T
    return found
