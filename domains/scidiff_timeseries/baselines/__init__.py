"""Simple forecasters that every table carries: a method that loses to one of them says so in its own report.

Each is a :class:`~.base.Method`: ``method(histories, horizon, n_paths, seed)`` gives paths [series, n_paths, horizon]. Their
docstrings state the laws.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from scidiff.errors import UserError, did_you_mean
from scidiff_timeseries.baselines.arima import ARIMA
from scidiff_timeseries.baselines.base import Baseline, Method
from scidiff_timeseries.baselines.fitted import ETS, GarchT
from scidiff_timeseries.baselines.seasonal import Climatology, SeasonalBootstrap, SeasonalNaive
from scidiff_timeseries.baselines.walks import RandomWalk, naive

__all__ = [
    "ARIMA",
    "BASELINES",
    "ETS",
    "Baseline",
    "Climatology",
    "GarchT",
    "Method",
    "RandomWalk",
    "SeasonalBootstrap",
    "SeasonalNaive",
    "baseline",
    "naive",
]

BASELINES: dict[str, Callable[[tuple[int, ...]], Baseline]] = {
    "naive": lambda seasons: naive(),
    "seasonal_naive": lambda seasons: SeasonalNaive(seasons[0]),
    "random_walk": lambda seasons: RandomWalk(),
    "random_walk_ewma": lambda seasons: RandomWalk(decay=0.95),
    "seasonal_bootstrap": lambda seasons: SeasonalBootstrap(seasons),
    "seasonal_bootstrap_centred": lambda seasons: SeasonalBootstrap(seasons, centred=True),
    "climatology": lambda seasons: Climatology(seasons[-1]),
    "ets": lambda seasons: ETS(seasons[0]),
    "arima": lambda seasons: ARIMA(seasons[0]),
    "garch_t": lambda seasons: GarchT(),
}
"""Registered name -> maker, given the seasons of the data in steps (shortest first)."""


def baseline(name: str, seasons: Sequence[int] = (1,)) -> Baseline:
    """The baseline registered under ``name``, for data with these seasons in steps (hourly: 24 and 168; business days: 5).

    Raises:
        UserError: an unknown name, or seasons that are none.
    """
    if name not in BASELINES:
        raise UserError(f"unknown baseline {name!r}{did_you_mean(name, BASELINES)}; known: {', '.join(BASELINES)}")
    ordered = tuple(sorted(set(seasons)))
    if not ordered or ordered[0] < 1:
        raise UserError(f"seasons are counted in steps, at least one of at least 1; got {tuple(seasons)}")
    return BASELINES[name](ordered)
