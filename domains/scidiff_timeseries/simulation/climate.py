"""The climate report: seasons, spells, extremes and spectra of simulated weather beside those of the data and of a seasonal bootstrap."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scidiff.errors import UserError, did_you_mean
from scidiff_timeseries.bars import late_bar
from scidiff_timeseries.simulation import climate_facts, ensemble, memorisation, references
from scidiff_timeseries.simulation.climate_facts import Measured, Settings
from scidiff_timeseries.simulation.facts import Fact, FactSheet, counted, distance
from scidiff_timeseries.simulation.frames import Paths, matched, read_paths
from scidiff_timeseries.simulation.seasons import Climate, climate_of
from scidiff_timeseries.simulation.spectra import segment_length

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from scidiff.report import Section

__all__ = ["ClimateReport", "climate_report"]

Array = NDArray[np.float64]
SEASONAL = "seasonal_bootstrap"


@dataclass(frozen=True)
class ClimateReport:
    """What :func:`climate_report` found.

    Attributes:
        sheet: facts of the data and every method, with intervals; the simulator under test is the first method.
        measured: everything measured, for ``observed`` and each method: vectors of draws (monthly means, spectra, return levels) and runs.
        examples: [path, time, column] of a year or less of the data and of each method.
        ranks, skill: for each method the rank histogram and spread against skill around the truth, where one was given.
        ratios: of memorisation, for ``observed`` and each method.
        settings: what was compared, in words.
    """

    sheet: FactSheet
    measured: Mapping[str, Measured]
    examples: Mapping[str, Array]
    ranks: Mapping[str, ensemble.RankHistogram]
    skill: Mapping[str, ensemble.SpreadSkill]
    ratios: Mapping[str, Array]
    layout: Settings
    step: float
    settings: Mapping[str, str]

    def table(self) -> pd.DataFrame:
        """A row for each property: observed, then every method, each with its 95 % interval, and whether the
        data could be a sample of it."""
        return self.sheet.table()

    def to_metrics(self) -> dict[str, float]:
        """``METHOD/CHANNEL/FACT`` and its ends, ``METHOD/agreeing``; with a truth also ``METHOD/rank_deviation`` and
        ``METHOD/spread_skill``."""
        found = self.sheet.to_metrics()
        found |= {f"{name}/rank_deviation": ranks.deviation for name, ranks in self.ranks.items()}
        found |= {f"{name}/spread_skill": skill.ratio for name, skill in self.skill.items()}
        return {key: value for key, value in found.items() if np.isfinite(value)}

    def verdict(self) -> str:
        """What the simulator reproduces, what it misses, and where a reference does better."""
        text = self.sheet.verdict()
        for name, skill in self.skill.items():
            text += f" Around the truth {name} has a spread of {skill.ratio:.2f} of its error."
        return text

    def figure(self) -> Figure:
        """A row of panels for each channel, and one for all."""
        from scidiff_timeseries.simulation.climate_figure import draw

        return draw(self)

    def section(self, title: str = "Climate simulation") -> Section:
        """For :func:`scidiff.report.write_page`."""
        from scidiff_timeseries.simulation.page import climate_section

        return climate_section(self, title)


def climate_report(
    paths: pd.DataFrame,
    observed: pd.DataFrame,
    *,
    methods: Mapping[str, pd.DataFrame] | Sequence[str] = (SEASONAL,),
    truth: pd.DataFrame | None = None,
    name: str = "ours",
    id: Hashable = "unique_id",  # noqa: A002
    time: Hashable = "ds",
    precipitation: Sequence[str] | None = None,
    wet: float | int = 1,
    period: float | int = 10,
    memory: int = 10,
    resamples: int = 400,
    seed: int = 0,
) -> ClimateReport:
    """Compare simulated weather with the data it was learned from, beside a bootstrap of whole spells of past weather.

    Frames: see :func:`~scidiff_timeseries.simulation.frames.read_paths`; their columns are matched by series and channel, and their stamps
    say which season it is. Facts are averaged over the series of a channel. Every property of a method is that of
    ``resamples`` samples from its paths, as large as the data; the data's own intervals resample calendar years.

    Args:
        paths: of the simulator under test.
        observed: what it learned from.
        methods: other frames of paths by name; or names of references, of which there is one, ``seasonal_bootstrap``, made at the stamps of
            ``paths``.
        truth: what really happened at the stamps of ``paths``, if they are an ensemble around one truth (a forecast): adds the rank
            histogram and spread against skill, of every method.
        name: what the simulator is called.
        precipitation: the channels of precipitation; None finds those that are never negative and 0 in at least a tenth of the steps.
        wet: the least amount of a wet step, 1 mm by the convention of climatology.
        period: in years, of the return levels in the table.
        memory: length of the windows whose nearest neighbours are sought, in steps.

    Raises:
        UserError: frames that cannot be read, have no time stamps or do not hold the observed columns; an unknown channel.
    """
    data = read_paths(observed, id=id, time=time, what="observed data")
    if len(data.values) != 1:
        raise UserError(f"the observed data hold {len(data.values)} paths; one is needed")
    if name in ("observed", *methods):
        raise UserError(f"two methods are called {name!r}; give another name=")
    made = {name: matched(read_paths(paths, id=id, time=time), data)}
    if isinstance(methods, Mapping):
        made |= {key: matched(read_paths(frame, id=id, time=time, what=key), data, key) for key, frame in methods.items()}
    else:
        made |= {key: _reference(key, data, made[name], seed) for key in methods}
    climates = {"observed": climate_of(data, "observed data", resamples, seed)}
    size = data.values.shape[1]
    climates |= {key: climate_of(one, key, resamples, seed + 1, size) for key, one in made.items()}
    layout = _layout(data, climates, precipitation, wet, period)
    found: dict[str, Measured] = {}
    with late_bar("measuring", len(climates)) as progress:
        for key, climate in climates.items():
            found[key] = climate_facts.measure(climate, layout)
            progress(len(found))
    ratios = _remember(climates, found, memory)
    sheet = _sheet(found, layout, climates["observed"].daily)
    actual = None if truth is None else matched(read_paths(truth, id=id, time=time, what="truth"), data, "truth")
    ranks = {key: ensemble.rank_histogram(*_around(one, actual, key)) for key, one in made.items()} if actual else {}
    skill = {key: ensemble.spread_skill(*_around(one, actual, key)) for key, one in made.items()} if actual else {}
    examples = {key: _example(climate) for key, climate in climates.items()}
    settings = _words(data, climates, layout, resamples, seed)
    return ClimateReport(sheet, found, examples, ranks, skill, ratios, layout, climates["observed"].step, settings)


def _layout(data: Paths, climates: Mapping[str, Climate], rain: Sequence[str] | None, wet: float | int, period: float | int) -> Settings:
    channels = tuple(dict.fromkeys(channel for _, channel in data.keys))
    for label in rain or ():
        if label not in channels:
            raise UserError(f"no channel {label!r}{did_you_mean(label, channels)}; the data have {', '.join(channels)}")
    looks = climate_facts.dry(data.values[0])
    if rain is None:
        rain = [c for c in channels if all(looks[k] for k, key in enumerate(data.keys) if key[1] == c)]
    segment = segment_length(min(climate.values.shape[1] for climate in climates.values()))
    return Settings(data.keys, tuple(rain), float(wet), segment, float(period))


def _reference(key: str, data: Paths, paths: Paths, seed: int) -> Paths:
    if key != SEASONAL:
        raise UserError(f"unknown reference {key!r}{did_you_mean(key, [SEASONAL])}; known: {SEASONAL}; or give frames of paths")
    if not isinstance(data.stamps, pd.DatetimeIndex) or not isinstance(paths.stamps, pd.DatetimeIndex):
        raise UserError("a climate report needs time stamps, in a column ds (or time=) or in the index")
    wide = pd.DataFrame(data.values[0], index=data.stamps, columns=list(data.columns))
    made = read_paths(references.seasonal_bootstrap(wide, paths.stamps, max(len(paths.values), 1), seed=seed), what=key)
    return replace(made, keys=data.keys)


def _remember(climates: Mapping[str, Climate], found: Mapping[str, Measured], length: int) -> dict[str, Array]:
    """Adds memorisation's facts; returns the ratios."""
    memory = memorisation.Memory.of(climates["observed"].values[0], length)
    if memory is None:
        return {}
    ratios: dict[str, Array] = {}
    for key, climate in climates.items():
        if key == "observed":
            ratios[key], start = memory.left_out()
            path = np.zeros(len(start), dtype=np.intp)
        else:
            ratios[key], path, start = memory.ratios(climate.values)
        found[key].facts.update(memorisation.facts(ratios[key], climate.units.number[path, start], climate.units))
    return ratios


def _sheet(found: Mapping[str, Measured], layout: Settings, daily: bool) -> FactSheet:
    data, methods = found["observed"], {key: one for key, one in found.items() if key != "observed"}
    every: tuple[Fact, ...] = (*climate_facts.facts_of(layout, daily), *memorisation.FACTS)
    for fact in every:
        if fact.distance and fact.key in data.vectors:
            for one in methods.values():
                if fact.key in one.vectors:
                    one.facts[fact.key] = distance(one.vectors[fact.key], data.vectors[fact.key])
    known = {key for one in found.values() for key in one.facts}
    return FactSheet(tuple(fact for fact in every if fact.key in known), data.facts, {key: one.facts for key, one in methods.items()})


def _around(made: Paths, truth: Paths | None, name: str) -> tuple[Array, Array]:
    """(paths [path, time, column], truth [time, column]) at the paths' stamps."""
    assert truth is not None
    if truth.stamps is None or made.stamps is None or len(truth.values) != 1:
        raise UserError(f"{name}: the truth is one path with time stamps")
    at = truth.stamps.get_indexer(made.stamps)
    if (at < 0).all():
        raise UserError(f"{name}: the truth holds none of the paths' times, {made.stamps[0]} to {made.stamps[-1]}")
    return made.values, np.where((at >= 0)[:, None], truth.values[0][at], np.nan)


def _example(climate: Climate) -> Array:
    """The first whole year from a first of January on, of up to three paths; all there is of shorter ones."""
    steps = round(climate.per_year)
    begins = np.flatnonzero(np.diff(climate.year) == 1) + 1
    begin = next((int(b) for b in begins if b + steps <= climate.values.shape[1]), 0)
    return climate.values[:3, begin : begin + steps]


def _words(data: Paths, climates: Mapping[str, Climate], layout: Settings, resamples: int, seed: int) -> dict[str, str]:
    sizes = {
        key: f"{counted(len(one.values), 'path')} of {one.values.shape[1]:,} steps, resampled: {one.units.what}"
        for key, one in climates.items()
    }
    return {
        "columns": f"{len(data.keys)}: {', '.join(data.columns[:12])}{', ...' if len(data.columns) > 12 else ''}",
        **sizes,
        "precipitation": f"{', '.join(layout.rain)}; wet from {layout.wet:g}" if layout.rain else "none",
        "intervals": f"95 % of {resamples} resamples, seed {seed}",
    }
