"""From a panel to series ready to be asked about: base laws chosen, covariates standardised. What is fitted here is kept as JSON."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from scidiff.config import Config
from scidiff.errors import UserError
from scidiff_timeseries.correlation import correlation
from scidiff_timeseries.features import calendar, calendar_steps, standardise
from scidiff_timeseries.law import condition
from scidiff_timeseries.panel import Panel, Series
from scidiff_timeseries.pooled import pooled_fit
from scidiff_timeseries.selection import ChannelFit, Given, Rolls, SeriesFit, select
from scidiff_timeseries.windows import Prepared

Array = NDArray[np.float64]
_MANY = 10


class Moments(Config):
    """Mean and deviation of each column."""

    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()

    @classmethod
    def of(cls, tables: list[Array]) -> Moments:
        whole = np.concatenate(tables) if tables else np.zeros((0, 0))
        if not whole.size:
            return cls(mean=(0.0,) * whole.shape[1], deviation=(1.0,) * whole.shape[1])
        seen = np.where(np.isfinite(whole), whole, np.nan)
        empty = ~np.isfinite(seen).any(0)
        seen[:, empty] = 0.0
        deviation = np.nanstd(seen, axis=0)
        return cls(mean=tuple(np.nanmean(seen, axis=0).tolist()), deviation=tuple(np.where(deviation > 0, deviation, 1.0).tolist()))

    def apply(self, table: Array) -> Array:
        return standardise(table, np.array(self.mean), np.array(self.deviation))


class PanelFit(Config):
    """Everything that is fitted besides the network: per series (by position in the training panel), and of covariates. With ``pool``
    there is one fit, every series'. ``strength``: that of series that come later."""

    series: tuple[SeriesFit, ...]
    ids: tuple[str, ...]
    future: Moments
    past: Moments
    static: Moments
    pool: bool = False
    strength: float = 1.0

    @property
    def fits(self) -> tuple[SeriesFit, ...]:
        """One for each series of the training panel."""
        return self.series * len(self.ids) if self.pool else self.series

    def prepared(self, panel: Panel, fits: tuple[SeriesFit, ...], ahead: int = 0) -> list[Prepared]:
        """The panel's series with the given fits; what is known beforehand of ``ahead`` steps more."""
        return [self._one(panel, series, fit, len(series) + ahead) for series, fit in zip(panel, fits, strict=True)]

    def _one(self, panel: Panel, series: Series, fit: SeriesFit, length: int) -> Prepared:
        future = np.full((length, series.future.shape[1]), np.nan)
        future[: min(len(series.future), length)] = series.future[:length]
        far = replace(series, start=series.start.as_unit("us"))  # nanoseconds end in 2262, which quarters reach
        stamps = panel.stamps(far, 0, length)
        extra = np.concatenate((calendar(panel.frequency, stamps), self.future.apply(future)), 1)
        static = self.static.apply(series.static[None])[0]
        try:
            return Prepared.of(fit, series.values, extra, self.past.apply(series.past), static, calendar_steps(panel, series, stamps))
        except ValueError as error:  # of a transform: what was fitted held positive values only
            raise UserError(f"series {series.id!r}: {error}, as the data that were fitted were; fit again with these values") from error


def fit_series(panel: Panel, rolls: Rolls, progress: Callable[[int], None] | None = None) -> tuple[SeriesFit, ...]:
    """A base law for every channel of every series, and the correlation of each system's innovations."""
    count, stamps = len(panel.channels), [panel.stamps(series, 0, len(series)) for series in panel]
    times = [calendar_steps(panel, series, each) for series, each in zip(panel, stamps, strict=True)]
    years = [_per_year(each) for each in stamps]
    flat = [Given(one.values[:, c], when, year) for one, when, year in zip(panel, times, years, strict=True) for c in range(count)]
    chosen = select(flat, panel.frequency.seasons, rolls, progress)
    fits: list[SeriesFit] = []
    for number, series in enumerate(panel):
        channels = tuple(chosen[number * count : (number + 1) * count])
        fits.append(SeriesFit(channels=channels, correlation=_correlation(channels, series.values, times[number], rolls.context)))
    return tuple(fits)


def _per_year(stamps: pd.DatetimeIndex) -> float:
    """Steps of a year."""
    days = np.ptp(stamps.to_numpy()) / np.timedelta64(1, "D") if len(stamps) else 0.0
    return (len(stamps) - 1) * 365.25 / days if days else np.inf


def _correlation(channels: tuple[ChannelFit, ...], values: Array, when: Array, context: int) -> tuple[tuple[float, ...], ...]:
    """Of the standardised innovations over the last windows."""
    count = len(channels)
    if count == 1:
        return ((1.0,),)
    single = SeriesFit(channels=channels, correlation=tuple(tuple(float(i == j) for j in range(count)) for i in range(count)))
    centre, volatility = (torch.tensor([getattr(c, name) for c in channels]).double() for name in ("centre", "volatility"))
    rows: list[Array] = []
    x_all = np.stack([c.transform.forward(values[:, i], when) for i, c in enumerate(channels)], 1)
    for end in range(len(values), max(len(values) - 20 * context, 0), -context):
        x = x_all[max(end - context, 0) : end]
        known = torch.from_numpy(np.isfinite(x))
        made = condition(single.system, torch.from_numpy(x), known, known & False, centre, volatility)
        rows.append(torch.where(made.innovations != 0, made.innovations, torch.nan).numpy())
    return correlation(np.concatenate(rows))


def fit_panel(panel: Panel, rolls: Rolls, progress: Callable[[int], None] | None = None, pool: bool | None = None) -> PanelFit:
    """Everything before the network, from the panel's values and what of its covariates goes with them.

    ``pool``: one fit for all series (:mod:`scidiff_timeseries.pooled`); None where :func:`too_short` says so.
    """
    pool = too_short(panel, rolls) if pool is None else pool
    if pool:
        tables = [series.values for series in panel]
        fits: tuple[SeriesFit, ...] = (pooled_fit(tables, panel.frequency.seasons, rolls.context + rolls.horizon),)
    else:
        fits = fit_series(panel, rolls, progress)
    return PanelFit(
        series=fits,
        pool=pool,
        ids=tuple(str(series.id) for series in panel),
        future=Moments.of([series.future[: len(series)] for series in panel]),
        past=Moments.of([series.past for series in panel]),
        static=Moments.of([series.static[None] for series in panel]),
    )


def too_short(panel: Panel, rolls: Rolls) -> bool:
    """Are there many series, most of which leave no window to compare base laws on?"""
    alone = sum(bool(rolls.cuts(len(series))) for series in panel)
    return len(panel) >= _MANY and 2 * alone < len(panel)


def describe(fit: PanelFit) -> list[dict[str, Any]]:
    """One row a channel: what was chosen."""
    return [
        {"series": name, "channel": c, "transform": channel.transform.title, "base law": channel.law.name, "volatility": channel.volatility}
        for name, series in zip(["all"] if fit.pool else fit.ids, fit.series, strict=True)
        for c, channel in enumerate(series.channels)
    ]
