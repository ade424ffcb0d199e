"""Questions about windows of series, as batches for the model: which entries are known, which are asked for, which are missing.

A forecast asks for the last entries of a window, imputation for the missing ones, simulation for all; the model does not know these
words. Everything that scales a window comes from its known entries and from the training data.
"""

from __future__ import annotations

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
    column] (time' >= time reaches into the future), ``static`` [column]."""

    fit: SeriesFit
    values: Array
    extra: Array
    past: Array
    static: Array

    @classmethod
    def of(cls, fit: SeriesFit, values: Array, extra: Array, past: Array, static: Array) -> Prepared:
        """``values`` in the data's own unit."""
        each = [channel.transform.forward(values[:, c]) for c, channel in enumerate(fit.channels)]
        return cls(fit, np.stack(each, 1), extra, past, static)

    def window(self, begin: int, end: int) -> Array:
        """Transformed values of steps begin, ..., end - 1, NaN beyond the data."""
        return rows(self.values, begin, end)


@dataclass(frozen=True)
class Question:
    """Steps begin, ... of a series: ``values`` [time, channel] in transformed units, of which ``free`` are asked for."""

    series: Prepared
    begin: int
    values: Array
    free: NDArray[np.bool_]

    def answerable(self) -> Question:
        """The same for entries whose answer is known, as training and validation need."""
        return replace(self, free=self.free & np.isfinite(self.values))


@dataclass(frozen=True)
class Asked:
    """A batch, and the affine map back to transformed units: y = centre + unit x, per window and channel."""

    batch: Batch
    centre: Float[Tensor, "batch channel"]
    unit: Float[Tensor, "batch channel"]

    def back(self, x: Float[Tensor, "rows time channel"]) -> Float[Tensor, "rows time channel"]:
        rows = len(x) // len(self.centre)
        centre, unit = (v.repeat_interleave(rows, 0)[:, None] for v in (self.centre, self.unit))
        return centre + unit * x.double()


def feature_width(extra: int, past: int, static: int, seasons: Sequence[int]) -> int:
    """Columns of the features that :func:`ask` makes."""
    return extra + past + static + 5 + 2 * len(seasons)


def ask(questions: Sequence[Question], seasons: Sequence[int], *, paths: int = 1, drop: int = 0) -> Asked:
    """One batch: each question, ``paths`` times in a row. All windows must be of one length. The first ``drop`` steps, of which nothing may
    be asked, are seen by the base law alone."""
    laws = [_condition(question) for question in questions]
    affine = [_affine(question, law) for question, law in zip(questions, laws, strict=True)]
    centre, unit = (torch.stack(parts) for parts in zip(*affine, strict=True))
    values = torch.from_numpy(np.stack([question.values for question in questions]))
    free = torch.from_numpy(np.stack([question.free for question in questions]))
    known = torch.isfinite(values) & ~free
    scaled = torch.where(torch.isfinite(values), (values - centre[:, None]) / unit[:, None], 0.0)
    inputs = _law_inputs(laws, centre, unit)
    features = [
        _features(question, law, x, k, seasons) for question, law, x, k in zip(questions, laws, scaled, known, strict=True)
    ]

    def each(x: Tensor) -> Tensor:
        return x.repeat_interleave(paths, 0)

    known, free, scaled = known[:, drop:], free[:, drop:], scaled[:, drop:]
    inputs["free"] = torch.where(inputs["free"] >= 0, inputs["free"] - drop * values.shape[2], -1)
    layout = Layout(each(known | free)).with_known(each(known))
    inputs = {name: x if name == "base_covariance" else each(x) for name, x in inputs.items()}
    inputs["features"] = torch.stack(features)[:, drop:].float()
    return Asked(Batch({VALUES: each(scaled)[..., None].float()}, {VALUES: layout}, inputs), centre, unit)


def _condition(question: Question) -> Conditioned:
    fit, values = question.series.fit, torch.from_numpy(question.values)
    free = torch.from_numpy(question.free)
    centre, volatility = (torch.tensor([getattr(c, name) for c in fit.channels]).double() for name in ("centre", "volatility"))
    return condition(fit.system, values, torch.isfinite(values) & ~free, free, centre, volatility)


def _affine(question: Question, law: Conditioned) -> tuple[Tensor, Tensor]:
    """Per channel: the base law's mean over its free entries, and their root mean variance (the volatility where none is free)."""
    channels = question.values.shape[1]
    channel = law.free % channels
    variance = law.covariance.diagonal()
    centre = torch.tensor([c.centre for c in question.series.fit.channels]).double()
    unit = law.scale.clone()
    for c in range(channels):
        mine = channel == c
        if bool(mine.any()):
            centre[c], unit[c] = law.mean[mine].mean(), variance[mine].mean().sqrt()
    return centre, unit.clamp(min=1e-300)


def _law_inputs(laws: Sequence[Conditioned], centre: Tensor, unit: Tensor) -> dict[str, Tensor]:
    """Mean, covariance and places of the free entries in the batch's units, padded to a common number."""
    count, channels = max(1, *(len(law.free) for law in laws)), centre.shape[1]
    mean = torch.zeros(len(laws), count, dtype=torch.float64)
    covariance = torch.eye(count, dtype=torch.float64).repeat(len(laws), 1, 1)
    free = torch.full((len(laws), count), -1)
    for row, law in enumerate(laws):
        n, channel = len(law.free), law.free % channels
        mean[row, :n] = (law.mean - centre[row, channel]) / unit[row, channel]
        covariance[row, :n, :n] = law.covariance / (unit[row, channel][:, None] * unit[row, channel])
        free[row, :n] = law.free
    covariance = covariance + _JITTER * torch.eye(count, dtype=torch.float64)
    return {"base_mean": mean, "base_covariance": covariance, "free": free}


def _features(
    question: Question, law: Conditioned, x: Float[Tensor, "time channel"], known: Bool[Tensor, "time channel"], seasons: Sequence[int]
) -> Float[Tensor, "time channel feature"]:
    """Calendar, covariates, static values; distance from the first entry asked for; innovations of the known entries and their size, the
    volatility relative to the long run's; values one season before."""
    series, (length, channels) = question.series, x.shape
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
    wide = torch.cat(shared, 1)[:, None].expand(-1, channels, -1)
    z = law.innovations
    volatility = torch.tensor([c.volatility for c in series.fit.channels]).double()
    own = [z.clamp(-6, 6) / 3, torch.log(z.abs() + 0.1), (law.scale / volatility).log().expand(length, -1), (~known).double()]
    for season in seasons:
        seen = torch.zeros_like(known)
        seen[season:] = known[: max(length - season, 0)]
        lagged = torch.zeros_like(x)
        lagged[season:] = x[: max(length - season, 0)]
        own += [torch.where(seen, lagged, 0.0).clamp(-20, 20), seen.double()]
    return torch.cat((wide, torch.stack(own, -1)), -1)

