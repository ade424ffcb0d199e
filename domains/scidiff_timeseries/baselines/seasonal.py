"""Forecasts from earlier seasons."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scidiff_timeseries.baselines.base import Array, Baseline
from scidiff_timeseries.baselines.walks import naive


def last_season(history: Array, season: int, horizon: int) -> Array:
    """The point forecast y_{T - m + (h mod m)}, [horizon].

    A missing value of the last season is taken from the latest season in which it was observed; a phase never observed, and every
    phase of a history shorter than the season, gets the mean of the observed values (as GluonTS' ``SeasonalNaivePredictor`` does).
    """
    mean = float(np.nanmean(history))
    if len(history) < season:
        return np.full(horizon, mean)
    seasons = history[len(history) % season :].reshape(-1, season)
    phases = seasons[-1].copy()
    for phase in np.flatnonzero(np.isnan(phases)):
        known = seasons[~np.isnan(seasons[:, phase]), phase]
        phases[phase] = known[-1] if len(known) else mean
    return np.resize(phases, horizon)


@dataclass(frozen=True)
class SeasonalNaive(Baseline):
    """The point forecast of the literature: every path repeats the last season, y_{T+h} = y_{T - m + ((h - 1) mod m) + 1}.

    All paths are equal, so its CRPS is sum |error| / sum |y|. For missing values and short histories see :func:`last_season`.
    """

    season: int = 1

    def __post_init__(self) -> None:
        if self.season < 1:
            raise ValueError(f"a season lasts at least one step, got {self.season}")

    @property
    def name(self) -> str:
        return f"seasonal naive ({self.season})" if self.season > 1 else "last value"

    def paths(self, history: Array, horizon: int, n_paths: int, rng: np.random.Generator) -> Array:
        return np.tile(last_season(history, self.season, horizon), (n_paths, 1))


@dataclass(frozen=True)
class SeasonalBootstrap(Baseline):
    """Seasonal residual bootstrap: the last season plus the errors that the same forecast made, over a whole window, in the past.

    For each season m a share of 1/len(seasons) of the paths (the remainder goes to the first ones) is the seasonal naive forecast of
    season m plus a window of its errors, y_{o+h} - y_{o-m+((h-1) mod m)+1} for h = 1 ... horizon, at an origin o drawn uniformly, with
    replacement, from all origins of the history at which every value involved was observed. A window of errors is kept whole, so
    paths have the errors' dependence along the horizon. With hourly seasons (24, 168) half the paths go by yesterday and half by last
    week: the law is the mixture of the two. The paths' order is shuffled.

    A season without any complete window of errors is left out; if none is left, the paths are those of the naive law.

    Attributes:
        seasons: in steps.
        centred: subtract the errors' mean over all origins, at each step ahead, from every window of errors. That takes the trend of
            the history out of the forecast; on M4-hourly it lowers the CRPS by 8 % and the 90 % coverage to 81 %.
    """

    seasons: tuple[int, ...] = (24, 168)
    centred: bool = False

    def __post_init__(self) -> None:
        if not self.seasons or min(self.seasons) < 1:
            raise ValueError(f"seasons last at least one step each, got {self.seasons}")

    @property
    def name(self) -> str:
        return f"seasonal bootstrap ({' + '.join(map(str, self.seasons))}{', centred' if self.centred else ''})"

    def paths(self, history: Array, horizon: int, n_paths: int, rng: np.random.Generator) -> Array:
        origins = {season: _complete_origins(history, season, horizon) for season in self.seasons}
        usable = [season for season, found in origins.items() if len(found)]
        if not usable:
            return naive().paths(history, horizon, n_paths, rng)
        steps = np.arange(horizon)
        parts: list[Array] = []
        for k, season in enumerate(usable):
            count = n_paths // len(usable) + (k < n_paths % len(usable))
            drawn = rng.choice(origins[season], size=count)[:, None]
            errors = history[drawn + steps] - history[drawn - season + steps % season]
            if self.centred:
                errors -= [np.mean(history[origins[season] + h] - history[origins[season] - season + h % season]) for h in range(horizon)]
            parts.append(last_season(history, season, horizon) + errors)
        return rng.permutation(np.concatenate(parts), axis=0)


@dataclass(frozen=True)
class Climatology(Baseline):
    """What happened at this time of earlier seasons: every path is a whole window of the history that begins k seasons before the forecast
    does, k = 1, 2, ..., or up to ``width`` steps earlier or later, drawn uniformly and with replacement from those without a missing value.

    The forecast of a climate (m = 365), which knows the date and not the weather. Without any complete window the paths are those of the
    naive law.

    Attributes:
        season: in steps.
        width: None takes a twenty-fourth of the season, half a month of a year.
    """

    season: int = 365
    width: int | None = None

    @property
    def name(self) -> str:
        return f"climatology ({self.season})"

    def paths(self, history: Array, horizon: int, n_paths: int, rng: np.random.Generator) -> Array:
        width = self.season // 24 if self.width is None else self.width
        middles = np.arange(len(history) - self.season, -width - 1, -self.season)
        begins = (middles[:, None] + np.arange(-width, width + 1)).ravel()
        begins = begins[(begins >= 0) & (begins + horizon <= len(history))]
        missing = np.concatenate([[0], np.cumsum(np.isnan(history))])
        begins = begins[missing[begins + horizon] == missing[begins]]
        if not len(begins):
            return naive().paths(history, horizon, n_paths, rng)
        return history[rng.choice(begins, size=n_paths)[:, None] + np.arange(horizon)]


def _complete_origins(history: Array, season: int, horizon: int) -> NDArray[np.intp]:
    """Origins o with a full season before and a full window from o on, of which no value that matters is missing."""
    origins = np.arange(season, len(history) - horizon + 1)
    missing = np.concatenate([[0], np.cumsum(np.isnan(history))])
    used = min(season, horizon)
    gaps = missing[origins + horizon] - missing[origins] + missing[origins - season + used] - missing[origins - season]
    return origins[gaps == 0]
