"""Questions about windows of series, as batches for the model: which entries are known, which are asked for, which are missing.

A forecast asks for the last entries of a window, imputation for the missing ones, simulation for all; the model does not know these
words. Everything that scales a window comes from its known entries and from the training data.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from scidiff.layout import Layout
from scidiff.train.task import Batch
from scidiff_timeseries.arrays import rows
from scidiff_timeseries.law import Conditioned, condition
from scidiff_timeseries.model import VALUES
from scidiff_timeseries.selection import SeriesFit

Array = NDArray[np.float64]
_JITTER = 1e-9
_FAR = 5.0


@dataclass(frozen=True)
class Prepared:
    """A series ready to be asked about: transformed ``values`` [time, channel] (NaN missing), ``calendar`` and covariates ``extra`` [time',
    column] (time' >= time reaches into the future), ``static`` [column], ``when`` [time', 2]: time of the year, number of the step
    on the calendar."""

    fit: SeriesFit
    values: Array
    extra: Array
    past: Array
    static: Array
    when: Array

    @classmethod
    def of(cls, fit: SeriesFit, values: Array, extra: Array, past: Array, static: Array, when: Array) -> Prepared:
        """``values`` in the data's own unit."""
        blank = cls(fit, values, extra, past, static, when)
        return replace(blank, values=blank.forward(values, 0))

    def forward(self, values: Array, begin: int) -> Array:
        """Values [..., time, channel] of steps ``begin``, ... in transformed units."""
        when = rows(self.when, begin, begin + values.shape[-2], 0.0)
        return np.stack([one.transform.forward(values[..., c], when) for c, one in enumerate(self.fit.channels)], -1)

    def back(self, values: Array, begin: int) -> Array:
        """The opposite of :meth:`forward`."""
        when = rows(self.when, begin, begin + values.shape[-2], 0.0)
        return np.stack([one.transform.inverse(values[..., c], when) for c, one in enumerate(self.fit.channels)], -1)

    def cut(self, begin: int, end: int) -> Prepared:
        """Steps begin, ..., end - 1 as a series of their own."""
        values, extra, past = rows(self.values, begin, end), rows(self.extra, begin, end, 0.0), rows(self.past, begin, end, 0.0)
        return replace(self, values=values, extra=extra, past=past, when=rows(self.when, begin, end, 0.0))

    def window(self, begin: int, end: int) -> Array:
        """Transformed values of steps begin, ..., end - 1, NaN beyond the data."""
        return rows(self.values, begin, end)


@dataclass(frozen=True)
class Question:
    """Steps begin, ... of a series: ``values`` [time, channel] in transformed units, of which ``free`` are asked for.

    ``values`` may be [path, time, channel]: what each path holds, all of them at the same entries. ``tempered``: do they
    see data alone (:mod:`scidiff_timeseries.fill`)?
    """

    series: Prepared
    begin: int
    values: Array
    free: NDArray[np.bool_]
    tempered: bool = True

    def answerable(self) -> Question:
        """The same for entries whose answer is known, as training and validation need."""
        return replace(self, free=self.free & np.isfinite(self.values))


@dataclass(frozen=True)
class Asked:
    """A batch, and the affine map back to transformed units: y = centre + unit x, per window (or path) and channel."""

    batch: Batch
    centre: Float[Tensor, "batch channel"]
    unit: Float[Tensor, "batch channel"]

    def back(self, x: Float[Tensor, "rows time channel"]) -> Float[Tensor, "rows time channel"]:
        rows = len(x) // len(self.centre)
        centre, unit = (v.repeat_interleave(rows, 0)[:, None] for v in (self.centre, self.unit))
        return centre + unit * x.double()


def feature_width(extra: int, past: int, static: int, seasons: Sequence[int]) -> int:
    """Columns of the features that :func:`ask` makes."""
    return extra + past + static + 9 + 3 * len(seasons)


def ask(questions: Sequence[Question], seasons: Sequence[int], *, paths: int = 1, drop: int = 0, keep: int | None = None) -> Asked:
    """One batch: each question, ``paths`` times in a row; where one has ``paths`` values of its own, all are taken as such.

    The base law sees every step, the network ``keep`` of them (None: all, and then windows must be of one length) after the first ``drop``:
    nothing may be asked outside of these.
    """
    own = paths if any(question.values.ndim == 3 for question in questions) else 1
    seen = slice(drop, None if keep is None else drop + keep)
    parts = [_Part.of(question, own, seasons, seen) for question in questions]
    known, free, scaled, features, centre, unit = (
        torch.stack([getattr(part, name) for part in parts]) for name in ("known", "free", "scaled", "features", "centre", "unit")
    )

    def each(x: Tensor) -> Tensor:
        return x.repeat_interleave(paths, 0)

    def rows(x: Tensor) -> Tensor:
        return x.flatten(0, 1).repeat_interleave(paths // own, 0)

    mean, covariance, places = _law_inputs(parts, drop)
    inputs = {"base_mean": rows(mean), "base_covariance": covariance, "free": each(places), "features": features.flatten(0, 1).float()}
    inputs["strength"] = torch.tensor([question.series.fit.strength for question in questions], dtype=torch.float64)
    inputs["tempered"] = torch.tensor([question.tempered for question in questions])
    layout = Layout(each(known | free)).with_known(each(known))
    return Asked(Batch({VALUES: rows(scaled)[..., None].float()}, {VALUES: layout}, inputs), centre.flatten(0, 1), unit.flatten(0, 1))


@dataclass(frozen=True)
class _Part:
    """One question's share of a batch; ``path`` is 1 or the number of its own values."""

    law: Conditioned
    centre: Float[Tensor, "path channel"]
    unit: Float[Tensor, "path channel"]
    known: Bool[Tensor, "time channel"]
    free: Bool[Tensor, "time channel"]
    scaled: Float[Tensor, "path time channel"]
    features: Float[Tensor, "path time channel feature"]

    @classmethod
    def of(cls, question: Question, paths: int, seasons: Sequence[int], seen: slice) -> _Part:
        values = torch.from_numpy(np.ascontiguousarray(question.values))
        values = values.expand(paths, *values.shape[-2:])
        free = torch.from_numpy(question.free)
        known = torch.isfinite(values[0]) & ~free
        fits = question.series.fit
        level, volatility = (torch.tensor([getattr(c, name) for c in fits.channels]).double() for name in ("centre", "volatility"))
        law = condition(fits.system, values, known, free, level, volatility)
        centre, unit = _affine(law, level)
        scaled = torch.where(torch.isfinite(values), (values - centre[:, None]) / unit[:, None], 0.0)
        features = _features(question, law, scaled, known, volatility, seasons)
        return cls(law, centre, unit, known[seen], free[seen], scaled[:, seen], features[:, seen])


def _affine(law: Conditioned, level: Float[Tensor, " channel"]) -> tuple[Tensor, Tensor]:
    """Per channel: the base law's mean over its free entries, and their root mean variance (the volatility where none is free)."""
    channel = law.free % len(level)
    centre, unit = level.expand(len(law.scale), -1).clone(), law.scale.clone()
    for c in range(len(level)):
        mine = channel == c
        if bool(mine.any()):
            centre[:, c] = law.mean[:, mine].mean(1)
            unit[:, c] = law.scale[:, c] * law.spread.diagonal()[mine].mean().sqrt()
    return centre, unit.clamp(min=1e-300)


def _law_inputs(parts: Sequence[_Part], drop: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean [question, path, free], covariance [question, free, free] and places [question, free] of the free entries in the batch's units,
    padded to a common number. In these units paths that know the same entries have the same covariance, whatever their volatility."""
    count, (paths, channels) = max(1, *(len(part.law.free) for part in parts)), parts[0].centre.shape
    mean = torch.zeros(len(parts), paths, count, dtype=torch.float64)
    covariance = torch.eye(count, dtype=torch.float64).repeat(len(parts), 1, 1)
    free = torch.full((len(parts), count), -1)
    for row, part in enumerate(parts):
        n, channel = len(part.law.free), part.law.free % channels
        mean[row, :, :n] = (part.law.mean - part.centre[:, channel]) / part.unit[:, channel]
        scale = (part.law.unit / part.unit[:, channel])[0]
        covariance[row, :n, :n] = part.law.spread * scale[:, None] * scale
        free[row, :n] = part.law.free - drop * channels
    return mean, covariance + _JITTER * torch.eye(count, dtype=torch.float64), free


def _features(
    question: Question, law: Conditioned, x: Float[Tensor, "path time channel"], known: Bool[Tensor, "time channel"],
    volatility: Float[Tensor, " channel"], seasons: Sequence[int],
) -> Float[Tensor, "path time channel feature"]:  # fmt: skip
    """Calendar, covariates, static values; distance from the first entry asked for; innovations of the known entries and their size, the
    volatility relative to the long run's; values one season before; the base law."""
    series, (paths, length, channels) = question.series, x.shape
    anchor = int(law.free.min()) // channels if len(law.free) else length
    steps = torch.arange(length, dtype=torch.float64) - anchor
    end = question.begin + length
    past = rows(series.past, question.begin, end, 0.0)
    past[max(anchor, 0) :] = 0.0  # known up to the question only
    shared = [
        torch.from_numpy(rows(series.extra, question.begin, end, 0.0)),
        torch.from_numpy(past),
        torch.from_numpy(series.static).expand(length, -1),
        (torch.sign(steps) * torch.log1p(steps.abs()) / _FAR)[:, None],
    ]
    wide = torch.cat(shared, 1)[:, None].expand(paths, -1, channels, -1)
    z, ratio = law.innovations, (law.scale / volatility).log()[:, None]
    own = [z.clamp(-6, 6) / 3, torch.log(z.abs() + 0.1), ratio.expand(x.shape), (~known).double().expand(x.shape)]
    for season in seasons:
        seen = torch.zeros_like(known)
        seen[season:] = known[: max(length - season, 0)]
        lagged = torch.zeros_like(x)
        lagged[:, season:] = x[:, : max(length - season, 0)]
        own += [torch.where(seen, lagged, 0.0).clamp(-20, 20), seen.double().expand(x.shape)]
    own += [column.expand(x.shape) for column in _law_columns(question, seasons)]
    return torch.cat((wide, torch.stack(own, -1)), -1)


def _law_columns(question: Question, seasons: Sequence[int]) -> list[Float[Tensor, " channel"]]:
    """What base law each channel has: logarithms of its parts' weights, and its memory. What is to be corrected depends on it."""
    columns: list[list[float]] = []
    for channel in question.series.fit.channels:
        parts = {(part.kind, part.period if part.kind == "season" else 0): part for part in channel.law.parts}
        keys = [("level", 0), *(("season", season) for season in seasons), ("wander", 0), ("noise", 0)]
        weights = [1 + math.log10(parts[key].weight + 1e-3) / 3 if key in parts else 0.0 for key in keys]
        columns.append([*weights, parts["wander", 0].memory if ("wander", 0) in parts else 0.0])
    return list(torch.tensor(columns, dtype=torch.float64).T)
