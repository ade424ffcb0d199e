"""Which base law and which transform a series gets: all candidates forecast the last windows of its training data, and the best is taken.

What is compared is the CRPS of the candidates' exact quantiles, in the size of the data's steps before the window. How much a series' own
windows count beside the panel's is chosen by leaving windows out (:mod:`scidiff_timeseries.ranking`). Where windows are enough to tell,
what is not a random walk has to beat it by more than chance. Nothing after the training data is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.special import ndtri

from scidiff.config import Config
from scidiff_timeseries.arrays import rows
from scidiff_timeseries.candidates import stationary_laws, walking_laws
from scidiff_timeseries.climate import certain_mean
from scidiff_timeseries.law import BaseLaw, Gain, SystemLaw, gain
from scidiff_timeseries.metrics.scores import quantile_loss
from scidiff_timeseries.ranking import scores, trust
from scidiff_timeseries.transforms import Transform, candidates

Array = NDArray[np.float64]
LEVELS = np.arange(1, 10) / 10
_NORMAL = ndtri(LEVELS)
_WINDOWS = 50
_ENOUGH, _SIGMAS = 20, 1.5
_SHORTEST = 8
"""A series with fewer values gets the panel's choice."""


class ChannelFit(Config):
    """One channel's transform and base law, and the law's parameters in transformed units."""

    transform: Transform
    law: BaseLaw
    centre: float
    volatility: float


class SeriesFit(Config):
    """All channels, the correlation of their innovations (``shared``: see :class:`~scidiff_timeseries.law.SystemLaw`), and by what the
    network's correction is multiplied."""

    channels: tuple[ChannelFit, ...]
    correlation: tuple[tuple[float, ...], ...]
    shared: float = 1.0
    strength: float = 1.0

    @property
    def system(self) -> SystemLaw:
        return SystemLaw(tuple(channel.law for channel in self.channels), self.correlation, self.shared)


@dataclass(frozen=True)
class Rolls:
    """The last ``count`` windows of ``horizon`` values of the training data, forecast from at most ``context`` values before each."""

    horizon: int
    count: int
    context: int

    def cuts(self, length: int) -> list[int]:
        """Where the windows begin; those that leave too little before them are left out."""
        cuts = [length - (roll + 1) * self.horizon for roll in range(self.count)]
        return [cut for cut in cuts if cut >= max(_SHORTEST, self.horizon)]


def innovations(law: BaseLaw, x: Array) -> tuple[Array, NDArray[np.bool_]]:
    """(standardised innovations, which of them count) of windows [window, time] with their level taken off, for a law at scale 1."""
    z, usable = np.zeros(x.shape), np.zeros(x.shape, dtype=bool)
    for known, members in _by_pattern(x):
        z[members], usable[members] = _whitened(gain(_single(law), x.shape[1], known[:, None], np.zeros_like(known)[:, None]), x[members])
    return z, usable


def _whitened(one: Gain, x: Array) -> tuple[Array, NDArray[np.bool_]]:
    places, root, counted = one.whiten[0]
    z, usable, at = np.zeros(x.shape), np.zeros(x.shape[1], dtype=bool), places.numpy()
    if len(at):
        z[:, at] = solve_triangular(root.numpy(), x[:, at].T, lower=True).T
    usable[at] = counted.numpy()
    return z, np.broadcast_to(usable, x.shape)


def forecasts(law: BaseLaw, x: Array, horizon: int) -> tuple[Array, Array]:
    """(means, deviations) [window, horizon] of the base law after each of the windows [window, time] with their level taken off; its
    long-run volatility is the window's own."""
    windows, length = x.shape
    mean, deviation = np.zeros((windows, horizon)), np.zeros((windows, horizon))
    later, fading = np.arange(length + horizon) >= length, law.decay ** np.arange(length, 0, -1)
    for pattern, members in _by_pattern(x):
        known = np.concatenate((pattern, np.zeros(horizon, dtype=bool)))
        one = gain(_single(law), length + horizon, known[:, None], later[:, None])
        z, usable = _whitened(one, x[members])
        volatility2 = (usable * z**2).sum(1) / np.maximum(usable.sum(1), 1)
        weight = usable * fading
        scale = np.sqrt(((weight * z**2).sum(1) + law.prior * volatility2) / (weight.sum(1) + law.prior))
        mean[members] = x[np.ix_(members, pattern.nonzero()[0])] @ one.gain.numpy().T
        deviation[members] = scale[:, None] * np.sqrt(one.spread.diagonal().numpy())
    return mean, deviation


def _single(law: BaseLaw) -> SystemLaw:
    return SystemLaw((law,), ((1.0,),))


def _by_pattern(x: Array) -> list[tuple[NDArray[np.bool_], NDArray[np.intp]]]:
    """(known entries, numbers of the windows that have just these)."""
    patterns, member = np.unique(np.isfinite(x), axis=0, return_inverse=True)
    return [(pattern, np.flatnonzero(member.ravel() == number)) for number, pattern in enumerate(patterns)]


@dataclass(frozen=True)
class Given:
    """One channel of a series: ``values`` [time], ``when`` they were [time, 2] (:mod:`scidiff_timeseries.transforms`), and how many steps a
    year has."""

    values: Array
    when: Array
    per_year: float


@dataclass(frozen=True)
class _Shown:
    """Windows through the transform that all have: ``before`` [window, context] less the ``level``, the mean of all before; ``after``
    [window, horizon] in the data's own unit, and when these steps are."""

    at: NDArray[np.intp]
    transforms: tuple[Transform, ...]
    before: Array
    level: Array
    after: Array
    when: Array


@dataclass(frozen=True)
class _Trial:
    """The windows of all channels: whose they are, where they begin, and the ``unit`` of their losses: the mean step of the data before
    them and of all, so that no window rules only because values were large then, or jumped."""

    panel: Sequence[Given]
    rolls: Rolls
    owner: NDArray[np.intp]
    cut: NDArray[np.intp]
    unit: Array

    @classmethod
    def of(cls, panel: Sequence[Given], rolls: Rolls) -> _Trial:
        found: list[tuple[int, int, float]] = []
        for number, one in enumerate(panel):
            known, step = np.isfinite(one.values), np.abs(np.diff(one.values, prepend=np.nan))
            whole = _mean(step)
            for cut in rolls.cuts(len(known)):
                first = max(cut - rolls.context, 0)
                if known[first:cut].any() and known[cut : cut + rolls.horizon].any():
                    found.append((number, cut, (whole + _mean(step[first:cut])) or 1.0))
        owner, cut, unit = (np.array([each[place] for each in found]) for place in range(3))
        return cls(panel, rolls, owner.astype(np.intp), cut.astype(np.intp), unit)

    def by_roll(self, losses: Array) -> Array:
        """[owner, roll], NaN where there is no such window."""
        table, first = np.full((len(self.panel), self.rolls.count), np.nan), np.searchsorted(self.owner, self.owner)
        table[self.owner, np.arange(len(self.owner)) - first] = losses
        return table

    def shown(self, transforms: Sequence[Transform | None]) -> _Shown:
        """The windows of the owners that have a transform."""
        at: list[int] = []
        used: list[Transform] = []
        parts: list[tuple[Array, float, Array, Array]] = []
        for number, (one, transform) in enumerate(zip(self.panel, transforms, strict=True)):
            mine = np.flatnonzero(self.owner == number)
            if transform is None or not len(mine):
                continue
            x = transform.forward(one.values, one.when)
            mean = np.nancumsum(x) / np.maximum(np.isfinite(x).cumsum(), 1)
            for place in mine:
                cut, level = int(self.cut[place]), float(mean[self.cut[place] - 1])
                after = slice(cut, cut + self.rolls.horizon)
                parts.append((rows(x[:, None], cut - self.rolls.context, cut)[:, 0] - level, level, one.values[after], one.when[after]))
            at += mine.tolist()
            used += [transform] * len(mine)
        before, level, after, when = (np.array([part[place] for part in parts]) for place in range(4))
        return _Shown(np.array(at, dtype=np.intp), tuple(used), before, level, after, when)

    def losses(self, law: BaseLaw, shown: _Shown) -> Array:
        """The quantile loss of each window in its unit; infinite where it is not shown."""
        found = np.full(len(self.owner), np.inf)
        if len(shown.at):
            mean, deviation = forecasts(law, shown.before, self.rolls.horizon)
            q = (mean + shown.level[:, None])[:, None] + _NORMAL[:, None] * deviation[:, None]
            q = np.stack([one.inverse(each, when) for one, each, when in zip(shown.transforms, q, shown.when, strict=True)])
            loss = np.nansum(quantile_loss(q, shown.after[:, None], LEVELS[:, None]), axis=(1, 2))
            found[shown.at] = loss / self.unit[shown.at]
        return found


def _mean(x: Array) -> float:
    """Of what is known; 0 where nothing is."""
    seen = x[np.isfinite(x)]
    return float(seen.mean()) if len(seen) else 0.0


def channel_fit(transform: Transform, law: BaseLaw, given: Given, context: int) -> ChannelFit | None:
    """Level, and long-run volatility: of a stationary law what gives its values the variance of all that were seen, of others that of the
    last windows, and from the variance of all values that of the walks' starts. None where the law leaves no innovation to measure."""
    x = transform.forward(given.values, given.when)
    level, variance = float(np.nanmean(x)), float(np.nanvar(x)) / transform.keep
    if law.stationary:
        volatility = float(np.sqrt(variance / sum(part.weight for part in law.parts)))
        return ChannelFit(transform=transform, law=law, centre=level, volatility=volatility) if volatility > 0 else None
    count = min(max(len(x) // context, 1), _WINDOWS)
    z, usable = innovations(law, rows((x - level)[:, None], len(x) - count * context, len(x)).reshape(count, context))
    volatility = float(np.sqrt((usable * z**2).sum() / max(usable.sum(), 1)))
    if volatility <= 0:
        return None
    started = law.started(variance / volatility**2)
    return ChannelFit(transform=transform, law=started, centre=level, volatility=volatility)


def laws_for(seasons: Sequence[int], rolls: Rolls) -> list[BaseLaw]:
    """The candidates: of seasons, those that the context holds twice."""
    return walking_laws([m for m in seasons if 2 * m <= rolls.context]) + stationary_laws()


def select(panel: Sequence[Given], seasons: Sequence[int], rolls: Rolls, progress: Callable[[int], None] | None = None) -> list[ChannelFit]:
    """One :class:`ChannelFit` for each of the given channels of series, chosen as the module says."""
    laws = laws_for(seasons, rolls)
    allowed = [{transform.name: transform for transform in candidates(one.values, one.when, one.per_year, seasons)} for one in panel]
    names, trial = sorted({name for each in allowed for name in each}), _Trial.of(panel, rolls)
    shown = [trial.shown([each.get(name) for each in allowed]) for name in names]
    keys, losses = [(name, number) for number in range(len(laws)) for name in names], list[Array]()
    for number, law in enumerate(laws):
        losses += [trial.by_roll(trial.losses(law, each)) for each in shown]
        if progress is not None:
            progress(number + 1)
    table = np.stack(losses)
    ranked = scores(table, trust(table)).argsort(0, kind="stable")
    fits: list[ChannelFit] = []
    for owner, given in enumerate(panel):
        able = [int(k) for k in ranked[:, owner] if keys[k][0] in allowed[owner]]
        walk = next(k for k in able if laws[keys[k][1]].is_walk)
        if not _beats(table[able[0], owner], table[walk, owner]):
            able.insert(0, walk)
        fits.append(_fitted(given, [(allowed[owner][keys[k][0]], laws[keys[k][1]]) for k in able], rolls.context))
    return fits


def _beats(losses: Array, walk: Array) -> bool:
    """Are losses [window] less than those of a random walk by more than chance, or the windows too few to tell?"""
    gain = walk - losses
    return int(np.isfinite(gain).sum()) < _ENOUGH or certain_mean(gain, 1, _SIGMAS) is not None


def _fitted(given: Given, ranked: Sequence[tuple[Transform, BaseLaw]], context: int) -> ChannelFit:
    """The first that leaves an innovation to measure; a walk that hardly moves for series that are constant or empty."""
    seen = given.values[np.isfinite(given.values)]
    if len(seen):
        for transform, law in ranked:
            fit = channel_fit(transform, law, given, context)
            if fit is not None:
                return fit
    level = float(seen.mean()) if len(seen) else 0.0
    return ChannelFit(transform=Transform(), law=ranked[0][1], centre=level, volatility=max(1e-6 * abs(level), 1e-12))
