"""Which base law and which transform a series gets: all candidates forecast the last windows of its training data, and the best is taken.

What is compared is the CRPS of the candidates' exact quantiles in the data's own unit. A handful of windows of one series says little, so a
series' own losses are averaged with the panel's, and of the candidates that are within a standard error of the best the simplest is
taken (they are listed from simple to structured). Nothing after the training data is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.special import ndtri

from scidiff.config import Config
from scidiff_timeseries.law import BaseLaw, Part, SystemLaw, gain
from scidiff_timeseries.transforms import Transform, candidates

Array = NDArray[np.float64]
Key = tuple[str, int]
LEVELS = np.arange(1, 10) / 10
_NORMAL = ndtri(LEVELS)
_SHARED = 5
"""How many windows of a series' own weigh as much as the panel's mean."""
_WORST = 10.0
_SHORTEST = 8
"""A series with fewer values gets the panel's choice."""


class ChannelFit(Config):
    """One channel's transform and base law, and the law's parameters in transformed units."""

    transform: Transform
    law: BaseLaw
    centre: float
    volatility: float


class SeriesFit(Config):
    """All channels, and the correlation of their innovations."""

    channels: tuple[ChannelFit, ...]
    correlation: tuple[tuple[float, ...], ...]

    @property
    def system(self) -> SystemLaw:
        return SystemLaw(tuple(channel.law for channel in self.channels), self.correlation)


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
    found += [law(f"damped level {memory}", 0.99, level=0.02, wander=1.0, memory=memory, noise=0.01) for memory in (0.9, 0.98)]
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


def innovations(law: BaseLaw, rows: Array) -> tuple[Array, NDArray[np.bool_]]:
    """(standardised innovations, which of them count) of windows [window, time] with their level taken off, for a law at scale 1."""
    z, usable = np.zeros(rows.shape), np.zeros(rows.shape, dtype=bool)
    for pattern, members in _by_pattern(rows):
        places, root, counted = gain(_single(law), rows.shape[1], pattern[:, None], np.zeros_like(pattern)[:, None]).whiten[0]
        at = places.numpy()
        if len(at):
            z[np.ix_(members, at)] = solve_triangular(root.numpy(), rows[np.ix_(members, at)].T, lower=True).T
        usable[np.ix_(members, at)] = counted.numpy()
    return z, usable


def forecasts(law: BaseLaw, rows: Array, volatility: Array, horizon: int) -> tuple[Array, Array]:
    """(means, deviations) [window, horizon] of the base law after each of the windows [window, time] with their level taken off."""
    windows, length = rows.shape
    mean, deviation = np.zeros((windows, horizon)), np.zeros((windows, horizon))
    z, usable = innovations(law, rows)
    weight = usable * law.decay ** np.arange(length, 0, -1)
    scale = np.sqrt(((weight * z**2).sum(1) + law.prior * volatility**2) / (weight.sum(1) + law.prior))
    for pattern, members in _by_pattern(rows):
        known = np.concatenate((pattern, np.zeros(horizon, dtype=bool)))
        one = gain(_single(law), length + horizon, known[:, None], (np.arange(length + horizon) >= length)[:, None])
        mean[members] = rows[np.ix_(members, pattern.nonzero()[0])] @ one.gain.numpy().T
        deviation[members] = scale[members, None] * np.sqrt(one.spread.diagonal().numpy())
    return mean, deviation


def _single(law: BaseLaw) -> SystemLaw:
    return SystemLaw((law,), ((1.0,),))


def _by_pattern(rows: Array) -> list[tuple[NDArray[np.bool_], NDArray[np.intp]]]:
    """(known entries, numbers of the windows that have just these)."""
    patterns, member = np.unique(np.isfinite(rows), axis=0, return_inverse=True)
    return [(pattern, np.flatnonzero(member.ravel() == number)) for number, pattern in enumerate(patterns)]


@dataclass(frozen=True)
class _Trial:
    """The windows of all channels under one transform: what was before, what came, and whose they are."""

    owner: NDArray[np.intp]
    before: Array
    after: Array

    @classmethod
    def of(cls, panel: Sequence[Array], rolls: Rolls) -> _Trial:
        owner, before, after = [], [], []
        for number, y in enumerate(panel):
            for cut in rolls.cuts(len(y)):
                padded = np.concatenate((np.full(rolls.context, np.nan), y[:cut]))[-rolls.context :]
                if np.isfinite(padded).any() and np.isfinite(y[cut : cut + rolls.horizon]).any():
                    owner.append(number)
                    before.append(padded)
                    after.append(y[cut : cut + rolls.horizon])
        if not owner:
            return cls(np.zeros(0, dtype=np.intp), np.zeros((0, rolls.context)), np.zeros((0, rolls.horizon)))
        return cls(np.array(owner), np.stack(before), np.stack(after))

    def losses(self, law: BaseLaw, transforms: Sequence[Transform | None]) -> Array:
        """The quantile loss of each window, in the data's unit; infinite where the owner has no such transform."""
        found = np.full(len(self.owner), np.inf)
        able = np.array([transforms[owner] is not None for owner in self.owner], dtype=bool)
        if not able.any():
            return found
        owners = self.owner[able]
        rows = np.stack([_given(transforms[o]).forward(row) for o, row in zip(owners, self.before[able], strict=True)])
        level = np.nanmean(rows, axis=1, keepdims=True)
        z, usable = innovations(law, rows - level)
        volatility = np.sqrt((usable * z**2).sum(1) / np.maximum(usable.sum(1), 1))
        mean, deviation = forecasts(law, rows - level, volatility, self.after.shape[1])
        q = (mean + level)[:, None] + _NORMAL[:, None] * deviation[:, None]
        q = np.stack([_given(transforms[o]).inverse(one) for o, one in zip(owners, q, strict=True)])
        truth = self.after[able][:, None]
        found[able] = np.nansum(2 * np.abs((q - truth) * ((truth <= q) - LEVELS[:, None])), axis=(1, 2))
        return found


def _given(transform: Transform | None) -> Transform:
    assert transform is not None
    return transform


def channel_fit(transform: Transform, law: BaseLaw, y: Array, context: int) -> ChannelFit | None:
    """Level and long-run volatility; None where the law leaves no innovation to measure."""
    x = transform.forward(y)
    level = float(np.nanmean(x))
    z, usable = innovations(law, (x[-context:] - level)[None])
    volatility = float(np.sqrt((usable * z**2).sum() / max(usable.sum(), 1)))
    return ChannelFit(transform=transform, law=law, centre=level, volatility=volatility) if volatility > 0 else None


def select(panel: Sequence[Array], seasons: Sequence[int], rolls: Rolls, progress: Callable[[int], None] | None = None) -> list[ChannelFit]:
    """One :class:`ChannelFit` for each of the given values [time] (a channel of a series), chosen as the module says."""
    laws = candidate_laws([m for m in seasons if 2 * m <= rolls.context])
    allowed = [{transform.name: transform for transform in candidates(y)} for y in panel]
    trial = _Trial.of(panel, rolls)
    names = sorted({name for each in allowed for name in each})
    table: dict[Key, Array] = {}
    for number, law in enumerate(laws):
        for name in names:
            table[name, number] = trial.losses(law, [each.get(name) for each in allowed])
        if progress is not None:
            progress(number + 1)
    shared, fits = _shared(table, trial.owner), []
    for owner, y in enumerate(panel):
        own = {key: losses[trial.owner == owner] for key, losses in table.items() if key[0] in allowed[owner]}
        fits.append(_chosen(y, own, shared, laws, rolls.context))
    return fits


def _shared(table: dict[Key, Array], owner: NDArray[np.intp]) -> dict[Key, float]:
    """The panel's mean of each candidate's loss relative to its owner's best."""
    if not len(owner):
        return {}
    each = np.stack(list(table.values()))
    mean = np.stack([each[:, owner == one].mean(1) for one in np.unique(owner)], 1)
    best = mean.min(0)
    relative = np.clip(mean / np.where(best > 0, best, 1.0), None, _WORST)
    return dict(zip(table, relative.mean(1).tolist(), strict=True))


def _chosen(y: Array, own: dict[Key, Array], shared: dict[Key, float], laws: Sequence[BaseLaw], context: int) -> ChannelFit:
    by_name = {transform.name: transform for transform in candidates(y)}
    own = {key: each for key, each in own.items() if len(each) and np.isfinite(each).all()}
    unit = min((float(each.mean()) for each in own.values()), default=0.0) or 1.0
    score: dict[Key, Array] = {}
    for key in own or shared:
        if key[0] in by_name:
            each = own.get(key, np.full(1, unit)) / unit
            trust = len(own.get(key, ())) / (len(own.get(key, ())) + _SHARED)
            score[key] = trust * each + (1 - trust) * shared.get(key, _WORST)
    if score:
        best = min(score.values(), key=lambda each: each.mean())
        margin = {key: (each - best).std(ddof=1) / np.sqrt(len(each)) if len(each) > 1 else 0.0 for key, each in score.items()}
        near = {key: each for key, each in score.items() if each.mean() - best.mean() <= margin[key]}
        for name, j in sorted(near, key=lambda key: (key[1], near[key].mean())):
            fit = channel_fit(by_name[name], laws[j], y, context)
            if fit is not None:
                return fit
    seen = y[np.isfinite(y)]
    level = float(seen.mean()) if len(seen) else 0.0
    return ChannelFit(transform=Transform(), law=laws[0], centre=level, volatility=max(1e-6 * abs(level), 1e-12))
