"""What is measured on the paths of a climate: continuous channels (temperatures), precipitation, and how channels go together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scidiff_timeseries.simulation import extremes, moments
from scidiff_timeseries.simulation.facts import Fact
from scidiff_timeseries.simulation.resample import Units, ratio
from scidiff_timeseries.simulation.seasons import Climate, monthly
from scidiff_timeseries.simulation.spectra import spectrum
from scidiff_timeseries.simulation.spells import Spells, spells

__all__ = ["ACROSS", "LAGS", "PERIODS", "Measured", "Settings", "by_month", "dry", "facts_of", "measure"]

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]
LAGS: Final = (1, 5, 30)
PERIODS: Final = (2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
LONG: Final = 6
SLOW: Final = 30


@dataclass(frozen=True)
class Settings:
    """What the data decide for everything that is compared with them.

    Attributes:
        keys: (series, channel) of every column.
        rain: channels of precipitation; ``wet`` is the least amount of a wet step.
        segment: length of the spectra's segments; 0 for none.
        period: of the return levels in the table, in years.
    """

    keys: tuple[tuple[str, str], ...]
    rain: tuple[str, ...]
    wet: float
    segment: int
    period: float

    @property
    def channels(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(channel for _, channel in self.keys))

    def columns(self, channel: str) -> list[int]:
        return [k for k, key in enumerate(self.keys) if key[1] == channel]


@dataclass
class Measured:
    """Draws [1 + resamples] by fact; draws of vectors, in the facts' keys for distances; runs for the picture."""

    facts: dict[str, Array] = field(default_factory=dict[str, Array])
    vectors: dict[str, Array] = field(default_factory=dict[str, Array])
    runs: dict[str, Array] = field(default_factory=dict[str, Array])


def facts_of(settings: Settings, daily: bool) -> tuple[Fact, ...]:
    """All facts, channel by channel."""
    found: list[Fact] = []
    for channel in settings.channels:
        rows = _RAIN if channel in settings.rain else _PLAIN
        texts = {"wet": f"{settings.wet:g}", "period": f"{settings.period:g}", "long": LONG, "slow": SLOW}
        for key, name, definition, options in (*rows, *(_DIURNAL if daily else ())):
            text = definition.format(**texts)
            heading = f"{channel}: mean over {len(settings.columns(channel))} series"
            group = heading if len(settings.columns(channel)) > 1 else channel
            found.append(Fact(f"{channel}/{key}", f"{channel}: {name.format(**texts)}", text, group, **options))
    return (*found, *ACROSS)


_SHARE: Final[dict[str, bool]] = {"share": True}
_FAR: Final[dict[str, bool]] = {"distance": True}
_Rows = tuple[tuple[str, str, str, dict[str, bool]], ...]
_EVERY: Final[_Rows] = (
    ("mean", "mean", "mean over all steps", {}),
    ("cycle", "monthly means, distance", "root mean square over months of mean - observed mean", _FAR),
    ("acf_1", "autocorrelation, lag 1", "of the values without their mean cycles (3 harmonics of the year, and of the day)", {}),
    ("acf_5", "autocorrelation, lag 5", "the same at lag 5", {}),
    ("acf_30", "autocorrelation, lag 30", "the same at lag 30", {}),
    ("slow", "slow variability", "deviation of means of {slow} steps over that of single steps, without the mean cycles", {}),
    ("spectrum", "spectrum, distance", "root mean square over bands of ln(power / observed power), without the mean cycles", _FAR),
    ("level", "{period}-year maximum", "return level from a GEV law of yearly maxima, by L-moments", {}),
)
_PLAIN: Final[_Rows] = (
    *_EVERY[:2],
    ("amplitude", "yearly amplitude", "largest minus smallest monthly mean", {}),
    ("spread", "deviation", "standard deviation without the mean cycles", {}),
    ("spread_cycle", "monthly deviations, distance", "root mean square over months of ln(deviation / observed)", _FAR),
    *_EVERY[2:7],
    ("skewness", "skewness", "m3 / m2^1.5 without the mean cycles", {}),
    ("warm_spell", "warm spells", "mean length of runs above the 90 % quantile of the month, each method's own", {}),
    ("warm_long", "long warm spells", "share of steps in such runs of at least {long}", _SHARE),
    ("cold_spell", "cold spells", "mean length of runs below the 10 % quantile of the month, each method's own", {}),
    ("cold_long", "long cold spells", "share of steps in such runs of at least {long}", _SHARE),
    _EVERY[7],
    ("low_level", "{period}-year minimum", "the same of yearly minima", {}),
)
_RAIN: Final[_Rows] = (
    *_EVERY[:2],
    ("negative", "negative steps", "share of steps below 0, which no amount can be", _SHARE),
    ("wet_share", "wet steps", "share of steps with at least {wet}", _SHARE),
    ("wet_cycle", "monthly wet shares, distance", "root mean square over months of wet share - observed", _FAR),
    ("wet_amount", "amount of a wet step", "mean over wet steps", {}),
    ("wet_q95", "wet steps, 95 %", "95 % quantile over wet steps", {}),
    ("wet_wet", "wet after wet", "share of wet steps among those after a wet one", _SHARE),
    ("wet_spell", "wet spells", "mean length of runs of wet steps", {}),
    ("dry_spell", "dry spells", "mean length of runs of other steps", {}),
    ("dry_q95", "dry spells, 95 %", "95 % quantile of the lengths of dry spells", {}),
    *_EVERY[2:8],
)
_DIURNAL: Final[_Rows] = (
    ("diurnal", "daily amplitude", "largest minus smallest mean over an hour of the day", {}),
    ("diurnal_cycle", "hourly means, distance", "root mean square over hours of mean - observed mean", _FAR),
)
_TOGETHER = "Channels and series together"
ACROSS: Final = (
    Fact("channels", "correlation of channels", "mean over pairs of channels of a series, without the mean cycles", _TOGETHER),
    Fact("stations", "correlation of series", "mean over pairs of series, of one channel, without the mean cycles", _TOGETHER),
    Fact("pairs", "correlations, distance", "root mean square over all pairs of correlation - observed", _TOGETHER, distance=True),
)


def measure(climate: Climate, settings: Settings) -> Measured:
    """Every fact but the distances, whose vectors are kept under their keys."""
    found = Measured()
    for channel in settings.channels:
        at = settings.columns(channel)
        values, free = climate.values[..., at], climate.free[..., at]
        _every(found, channel, climate, settings, values, free)
        if channel in settings.rain:
            _rain(found, channel, climate, settings, values)
        else:
            _plain(found, channel, climate, settings, at)
    if len(settings.keys) > 1:
        _together(found, climate, settings)
    return found


def _every(found: Measured, c: str, climate: Climate, settings: Settings, values: Array, free: Array) -> None:
    units = climate.units
    found.facts[f"{c}/mean"] = _average(units.mean(values))
    cycle = monthly(climate, values)
    found.vectors[f"{c}/cycle"] = _average(cycle)
    if climate.daily:
        hours = monthly(climate, values, climate.hour, 24)
        found.vectors[f"{c}/diurnal_cycle"] = _average(hours)
        found.facts[f"{c}/diurnal"] = _range(_average(hours))
    for lag in LAGS:
        if lag < free.shape[1] // 2:
            found.facts[f"{c}/acf_{lag}"] = _average(moments.lagged_correlation(units, free, free, lag))
    if free.shape[1] > 4 * SLOW:
        slow, step = (moments.central_moments(units, x, 2)[1] for x in (moments.aggregated(free, SLOW) / SLOW, free))
        found.facts[f"{c}/slow"] = _average(np.sqrt(np.maximum(ratio(slow, step), 0.0)))
    if settings.segment:
        each = [spectrum(free[..., k], units, settings.segment) for k in range(free.shape[2])]
        with np.errstate(divide="ignore"):
            found.vectors[f"{c}/spectrum"] = _average(np.log(np.stack([one.power for one in each], 2)))
        found.runs["frequencies"] = each[0].frequencies
    _levels(found, f"{c}/level", climate, settings, values)


def _levels(found: Measured, key: str, climate: Climate, settings: Settings, values: Array) -> None:
    periods = (settings.period, *PERIODS)
    each: list[Array] = []
    for k in range(values.shape[2]):
        maxima, number = extremes.yearly_maxima(values[..., k], climate.year, climate.units, climate.per_year)
        each.append(extremes.return_levels(maxima, number, climate.units, periods))
    levels = _average(np.stack(each, 2))
    if np.isfinite(levels[0]).any():
        found.facts[key] = levels[:, 0]
        found.vectors[f"{key}s"] = levels[:, 1:]


def _plain(found: Measured, c: str, climate: Climate, settings: Settings, at: list[int]) -> None:
    units, values, free = climate.units, climate.values[..., at], climate.free[..., at]
    found.facts[f"{c}/amplitude"] = _range(found.vectors[f"{c}/cycle"])
    _, m2, m3 = moments.central_moments(units, free, 3)
    deviation = np.sqrt(np.maximum(m2, 0.0))
    found.facts[f"{c}/spread"], found.facts[f"{c}/skewness"] = _average(deviation), _average(ratio(m3, deviation**3))
    with np.errstate(divide="ignore"):
        found.vectors[f"{c}/spread_cycle"] = _average(0.5 * np.log(monthly(climate, free**2)))
    known = np.isfinite(values)
    hot, cold = (by_month(values, climate.month, level)[climate.month] for level in (0.9, 0.1))
    for name, holds in (("warm", values > hot), ("cold", values < cold)):
        runs = _runs(holds, known, units)
        found.facts[f"{c}/{name}_spell"] = _mean(runs, lambda one: one.mean(units))
        long = [run.long(units, known[..., k].astype(np.float64), LONG) for k, run in enumerate(runs)]
        found.facts[f"{c}/{name}_long"] = _average(np.stack(long, 1))
        found.runs[f"{c}/{name}"] = np.concatenate([one.lengths for one in runs]).astype(np.float64)
    _levels(found, f"{c}/low_level", climate, settings, -values)
    for key in (f"{c}/low_level", f"{c}/low_levels"):
        for kept in (found.facts, found.vectors):
            if key in kept:
                kept[key] = -kept[key]


def _rain(found: Measured, c: str, climate: Climate, settings: Settings, values: Array) -> None:
    units, known = climate.units, np.isfinite(values)
    wet = values >= settings.wet
    marked = np.where(known, wet, np.nan)
    found.facts[f"{c}/negative"] = _average(units.mean(np.where(known, values < 0, np.nan)))
    found.facts[f"{c}/wet_share"] = _average(units.mean(marked))
    found.vectors[f"{c}/wet_cycle"] = _average(monthly(climate, marked))
    found.facts[f"{c}/wet_amount"] = _average(units.mean(np.where(wet, values, np.nan)))
    heavy = [moments.quantile_draws(units, values[..., k][wet[..., k]], units.number[wet[..., k]], (0.95,)) for k in range(values.shape[2])]
    found.facts[f"{c}/wet_q95"] = _average(np.concatenate(heavy, 1))
    found.facts[f"{c}/wet_wet"] = _average(units.mean(np.where(wet[:, :-1], marked[:, 1:], np.nan)))
    for name, holds in (("wet", wet), ("dry", ~wet)):
        runs = _runs(holds, known, units)
        found.facts[f"{c}/{name}_spell"] = _mean(runs, lambda one: one.mean(units))
        if name == "dry":
            found.facts[f"{c}/dry_q95"] = _mean(runs, lambda one: one.quantile(units, 0.95))
        found.runs[f"{c}/{name}"] = np.concatenate([one.lengths for one in runs]).astype(np.float64)


def _together(found: Measured, climate: Climate, settings: Settings) -> None:
    pairs = moments.correlations(climate.units, climate.free)
    first, second = np.triu_indices(len(settings.keys), 1)
    keys = settings.keys
    within = [k for k, (i, j) in enumerate(zip(first, second, strict=True)) if keys[i][0] == keys[j][0]]
    across = [k for k, (i, j) in enumerate(zip(first, second, strict=True)) if keys[i][1] == keys[j][1]]
    found.vectors["pairs"] = pairs
    for name, some in (("channels", within), ("stations", across)):
        if some:
            found.facts[name] = _average(pairs[:, some])


def by_month(values: Array, month: NDArray[np.intp], level: float) -> Array:
    """Quantiles [month, column] of values [path, time, column]; NaN where a month has none."""
    found = np.full((12, values.shape[2]), np.nan)
    for m in np.unique(month):
        for k in range(values.shape[2]):
            some = values[:, month == m, k]
            some = some[np.isfinite(some)]
            if len(some):
                found[m, k] = np.quantile(some, level)
    return found


def dry(values: Array, share: float = 0.1) -> Bools:
    """Which columns of values [time, column] look like precipitation: never negative, and 0 in at least a tenth of the steps."""
    there = np.isfinite(values)
    zeros = (values == 0).sum(0) / np.maximum(there.sum(0), 1)
    return (zeros >= share) & (np.where(there, values, 0.0).min(0) >= 0)


def _runs(holds: Bools, known: Bools, units: Units) -> list[Spells]:
    return [spells(holds[..., k], known[..., k], units) for k in range(holds.shape[2])]


def _mean(runs: Sequence[Spells], statistic: Callable[[Spells], Array]) -> Array:
    return _average(np.stack([statistic(one) for one in runs], 1))


def _average(draws: Array) -> Array:
    """Mean over the last axis of what is finite; NaN where nothing is."""
    there = np.isfinite(draws)
    return ratio(np.where(there, draws, 0.0).sum(-1), there.sum(-1).astype(np.float64))


def _range(draws: Array) -> Array:
    there = np.isfinite(draws)
    found = np.where(there, draws, -np.inf).max(-1) - np.where(there, draws, np.inf).min(-1)
    return np.where(there.any(-1), found, np.nan)
