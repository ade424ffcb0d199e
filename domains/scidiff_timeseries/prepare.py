"""From a panel to series ready to be asked about: base laws chosen, covariates standardised. What is fitted here is kept as JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from scidiff.config import Config
from scidiff_timeseries.features import calendar, standardise
from scidiff_timeseries.law import condition
from scidiff_timeseries.panel import Panel, Series
from scidiff_timeseries.selection import ChannelFit, Rolls, SeriesFit, select
from scidiff_timeseries.windows import Prepared

Array = NDArray[np.float64]
_SHRINK = 0.05
_AHEAD = 2048
"""Steps of calendar made beyond the data."""


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
    """Everything that is fitted before a network is: per series (by position in the training panel), and of covariates."""

    series: tuple[SeriesFit, ...]
    ids: tuple[str, ...]
    future: Moments
    past: Moments
    static: Moments

    def prepared(self, panel: Panel, fits: tuple[SeriesFit, ...]) -> list[Prepared]:
        """The panel's series with the given fits."""
        return [self._one(panel, series, fit) for series, fit in zip(panel, fits, strict=True)]

    def _one(self, panel: Panel, series: Series, fit: SeriesFit) -> Prepared:
        length = len(series) + _AHEAD
        future = np.full((length, series.future.shape[1]), np.nan)
        future[: min(len(series.future), length)] = series.future[:length]
        extra = np.concatenate((calendar(panel.frequency, panel.stamps(series, 0, length)), self.future.apply(future)), 1)
        static = self.static.apply(series.static[None])[0]
        return Prepared.of(fit, series.values, extra, self.past.apply(series.past), static)


def fit_series(panel: Panel, rolls: Rolls, progress: Callable[[int], None] | None = None) -> tuple[SeriesFit, ...]:
    """A base law for every channel of every series, and the correlation of each system's innovations."""
    flat = [series.values[:, c] for series in panel for c in range(len(panel.channels))]
    chosen = select(flat, panel.frequency.seasons, rolls, progress)
    count = len(panel.channels)
    fits: list[SeriesFit] = []
    for number, series in enumerate(panel):
        channels = tuple(chosen[number * count : (number + 1) * count])
        fits.append(SeriesFit(channels=channels, correlation=_correlation(channels, series.values, rolls.context)))
    return tuple(fits)


def _correlation(channels: tuple[ChannelFit, ...], values: Array, context: int) -> tuple[tuple[float, ...], ...]:
    """Of the standardised innovations over the last windows, pairs of known ones only, shrunk a little towards independence and made
    positive definite."""
    count = len(channels)
    if count == 1:
        return ((1.0,),)
    single = SeriesFit(channels=channels, correlation=tuple(tuple(float(i == j) for j in range(count)) for i in range(count)))
    centre, volatility = (torch.tensor([getattr(c, name) for c in channels]).double() for name in ("centre", "volatility"))
    rows: list[Array] = []
    for end in range(len(values), max(len(values) - 20 * context, 0), -context):
        x = np.stack([c.transform.forward(values[max(end - context, 0) : end, i]) for i, c in enumerate(channels)], 1)
        known = torch.from_numpy(np.isfinite(x))
        made = condition(single.system, torch.from_numpy(x), known, known & False, centre, volatility)
        rows.append(torch.where(made.innovations != 0, made.innovations, torch.nan).numpy())
    z = np.concatenate(rows)
    seen = np.isfinite(z)
    clipped = np.where(seen, np.clip(z, -4, 4), 0.0)
    pairs = seen.T.astype(float) @ seen
    power = np.einsum("ti,ti,tj->ij", clipped, clipped, seen.astype(float))
    r = (clipped.T @ clipped) / np.sqrt(np.maximum(power * power.T, 1e-12))
    r = np.where(pairs >= 10, r, 0.0) * (1 - _SHRINK)
    np.fill_diagonal(r, 1.0)
    eigenvalues, axes = np.linalg.eigh(0.5 * (r + r.T))
    r = (axes * np.maximum(eigenvalues, 0.01)) @ axes.T
    scale = 1 / np.sqrt(np.diag(r))
    return tuple(tuple(row) for row in (scale[:, None] * r * scale).tolist())


def fit_panel(panel: Panel, rolls: Rolls, progress: Callable[[int], None] | None = None) -> PanelFit:
    """Everything before the network, from the panel's values and what of its covariates goes with them."""
    return PanelFit(
        series=fit_series(panel, rolls, progress),
        ids=tuple(str(series.id) for series in panel),
        future=Moments.of([series.future[: len(series)] for series in panel]),
        past=Moments.of([series.past for series in panel]),
        static=Moments.of([series.static[None] for series in panel]),
    )


def describe(fit: PanelFit) -> list[dict[str, Any]]:
    """One row a channel: what was chosen."""
    return [
        {"series": name, "channel": c, "transform": channel.transform.name, "base law": channel.law.name, "volatility": channel.volatility}
        for name, series in zip(fit.ids, fit.series, strict=True)
        for c, channel in enumerate(series.channels)
    ]
