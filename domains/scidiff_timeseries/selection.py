"""Which base law and which transform a series gets: all candidates forecast the last windows of its training data, and the best is taken.

What is compared is the CRPS of the candidates' exact quantiles in the data's own unit. How much a series' own windows count beside the
panel's is chosen by leaving windows out (:mod:`scidiff_timeseries.ranking`). Nothing after the training data is looked at.
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
from scidiff_timeseries.law import BaseLaw, Gain, Part, SystemLaw, gain
from scidiff_timeseries.metrics.scores import quantile_loss
from scidiff_timeseries.ranking import scores, trust
from scidiff_timeseries.transforms import Transform, candidates

Array = NDArray[np.float64]
LEVELS = np.arange(1, 10) / 10
_NORMAL = ndtri(LEVELS)
_WINDOWS = 50
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


def candidate_laws(seasons: Sequence[int]) -> list[BaseLaw]:
    """Random walks, local levels, damped levels, and for every set of seasons structural laws around them."""

    def law(name: str, decay: float, **parts: float) -> BaseLaw:
        made = [Part(kind="level", weight=parts["level"])] if parts.get("level") else []
        made += [Part(kind="season", weight=parts[f"s{m}"], period=m) for m in seasons if parts.get(f"s{m}")]
        if parts.get("wander"):
            made.append(Part(kind="wander", weight=parts["wander"], memory=parts["memory"]))
        if parts.get("noise"):
            made.append(Part(kind="noise", weight=parts["noise"]))
        return BaseLaw(name=name, parts=tuple(made), decay=decay)

    found = [law(f"random walk, EWMA {d}", d, level=1.0) for d in (0.95, 0.99)]
    found += [law(f"local level {share}", 0.99, level=share, noise=1 - share) for share in (0.5, 0.1, 0.01)]
    found += [law(f"damped level {memory}", 0.99, level=0.02, wander=1.0, memory=memory, noise=0.01) for memory in (0.5, 0.75, 0.9, 0.98)]
    for m in seasons:
        found.append(law(f"seasonal random walk {m}", 0.99, level=0.01, **{f"s{m}": 1.0}, noise=0.01))
        found.append(law(f"local level, season {m}", 0.99, level=0.1, **{f"s{m}": 0.1}, noise=1.0))
    if seasons:
        for weights in ((0.02, 0.2), (0.1, 0.2), (0.1, 0.02), (0.3, 0.3), (0.02, 0.02)):
            parts = {f"s{m}": w for m, w in zip(seasons, weights, strict=False)}
            for memory in (0.9, 0.97):
                shares = ", ".join(f"season {m} {parts[f's{m}']}" for m in seasons)
                name = f"structural: {shares}, memory {memory}"
                found.append(law(name, 0.995, level=0.01, wander=1.0, memory=memory, noise=0.01, **parts))
    return found


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
class _Trial:
    """The windows of all channels: whose they are, where they begin, what was ``before`` (in columns: value, when) and
    ``after``."""

    owner: NDArray[np.intp]
    before: Array
    after: Array

    @classmethod
    def of(cls, panel: Sequence[Given], rolls: Rolls) -> _Trial:
        owner, before, after = [], [], []
        for number, one in enumerate(panel):
            table = np.concatenate((one.values[:, None], one.when), 1)
            for cut in rolls.cuts(len(table)):
                made = rows(table, cut - rolls.context, cut), rows(table, cut, cut + rolls.horizon)
                if all(np.isfinite(part[:, 0]).any() for part in made):
                    owner.append(number)
                    before.append(made[0])
                    after.append(made[1])
        if not owner:
            return cls(np.zeros(0, dtype=np.intp), np.zeros((0, rolls.context, 3)), np.zeros((0, rolls.horizon, 3)))
        return cls(np.array(owner), np.stack(before), np.stack(after))

    def by_roll(self, losses: Array, owners: int, rolls: int) -> Array:
        """[owner, roll], NaN where there is no such window."""
        table, first = np.full((owners, rolls), np.nan), np.searchsorted(self.owner, self.owner)
        table[self.owner, np.arange(len(self.owner)) - first] = losses
        return table

    def losses(self, law: BaseLaw, transforms: Sequence[Transform | None]) -> Array:
        """The quantile loss of each window, in the data's unit; infinite where the owner has no such transform."""
        found = np.full(len(self.owner), np.inf)
        able = np.array([transforms[owner] is not None for owner in self.owner], dtype=bool)
        if not able.any():
            return found
        owners, before, after = self.owner[able], self.before[able], self.after[able]
        x = np.stack([_given(transforms[o]).forward(row[:, 0], row[:, 1:]) for o, row in zip(owners, before, strict=True)])
        level = np.nanmean(x, axis=1, keepdims=True)
        mean, deviation = forecasts(law, x - level, after.shape[1])
        q = (mean + level)[:, None] + _NORMAL[:, None] * deviation[:, None]
        q = np.stack([_given(transforms[o]).inverse(one, when) for o, one, when in zip(owners, q, after[..., 1:], strict=True)])
        truth = after[:, None, :, 0]
        found[able] = np.nansum(quantile_loss(q, truth, LEVELS[:, None]), axis=(1, 2))
        return found


def _given(transform: Transform | None) -> Transform:
    assert transform is not None
    return transform


def channel_fit(transform: Transform, law: BaseLaw, given: Given, context: int) -> ChannelFit | None:
    """Level, long-run volatility over the last windows, and from the variance of all values that of the walks' starts; None where the law
    leaves no innovation to measure."""
    x = transform.forward(given.values, given.when)
    level = float(np.nanmean(x))
    count = min(max(len(x) // context, 1), _WINDOWS)
    z, usable = innovations(law, rows((x - level)[:, None], len(x) - count * context, len(x)).reshape(count, context))
    volatility = float(np.sqrt((usable * z**2).sum() / max(usable.sum(), 1)))
    if volatility <= 0:
        return None
    started = law.started(float(np.nanvar(x)) / volatility**2)
    return ChannelFit(transform=transform, law=started, centre=level, volatility=volatility)


def laws_for(seasons: Sequence[int], rolls: Rolls) -> list[BaseLaw]:
    """The candidates: of seasons, those that the context holds twice."""
    return candidate_laws([m for m in seasons if 2 * m <= rolls.context])


def select(panel: Sequence[Given], seasons: Sequence[int], rolls: Rolls, progress: Callable[[int], None] | None = None) -> list[ChannelFit]:
    """One :class:`ChannelFit` for each of the given channels of series, chosen as the module says."""
    laws = laws_for(seasons, rolls)
    allowed = [{transform.name: transform for transform in candidates(one.values, one.when, one.per_year, seasons)} for one in panel]
    trial = _Trial.of(panel, rolls)
    keys, losses = [(name, number) for number in range(len(laws)) for name in _names(allowed)], []
    for name, number in keys:
        losses.append(trial.by_roll(trial.losses(laws[number], [each.get(name) for each in allowed]), len(panel), rolls.count))
        if progress is not None:
            progress(number + 1)
    table = np.stack(losses)
    ranked = scores(table, trust(table)).argsort(0, kind="stable")
    fits: list[ChannelFit] = []
    for owner, given in enumerate(panel):
        able = [keys[k] for k in ranked[:, owner] if keys[k][0] in allowed[owner]]
        fits.append(_fitted(given, [(allowed[owner][name], laws[number]) for name, number in able], rolls.context))
    return fits


def _names(allowed: Sequence[dict[str, Transform]]) -> list[str]:
    return sorted({name for each in allowed for name in each})


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
