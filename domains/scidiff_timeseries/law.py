r"""Base laws: what a strong simple forecaster believes of a whole window, as one Gaussian law.

A window of T times is a sum of independent parts with unit-scale covariances, :math:`K = \sum_k w_k K_k`:

===========  =============================================  =============================================
part         law                                            covariance of times i, j (steps from the first)
===========  =============================================  =============================================
level        random walk from a start of variance v         v + min(i, j)
season(m)    seasonal random walk: one walk for each phase  [i = j mod m] (v + min(floor(i/m), floor(j/m)))
drift        the same step at all times                     i j
wander(r)    AR(1) in its stationary law, variance 1        r^|i-j|
noise        independent                                    [i = j]
===========  =============================================  =============================================

Known entries condition the rest exactly: with blocks of K over free (f) and known (k) entries,
:math:`m = K_{fk}K_{kk}^{-1}x_k`, :math:`S = K_{ff} - K_{fk}K_{kk}^{-1}K_{kf}`. The scale is a volatility: the standardised innovations
:math:`L_{kk}^{-1}x_k` of the known entries, squared and averaged with weights that decay with distance from the first entry
asked for (EWMA), so a random walk gets RiskMetrics' volatility and a gap gets that of its neighbourhood.

Several channels with correlation R of their innovations: with :math:`K_c = A_c A_c^T`,
:math:`\mathrm{Cov}(x_{tc}, x_{t'c'}) = R_{cc'} (A_c A_{c'}^T)_{tt'}`, which is the Kronecker product where channels share their parts.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from scidiff.config import Config

_JITTER = 1e-10
"""Relative to the diagonal: a sum of noiseless parts may leave a direction without variance."""
_DIFFUSE = 0.5
_STATIONARY = ("wander", "noise")


class Part(Config):
    """One summand of a base law: its kind, its share of the innovations' variance, its period (season) or memory (wander)."""

    kind: Literal["level", "season", "drift", "wander", "noise"]
    weight: float = Field(gt=0)
    period: int = Field(default=1, ge=1)
    memory: float = Field(default=0.0, ge=0, lt=1)


class BaseLaw(Config):
    """A named sum of parts. ``start``: the variance of walks' first values, in units of the innovations' variance. ``decay``: of the
    volatility's weights, a step. ``prior``: how many innovations the long-run volatility is worth."""

    name: str
    parts: tuple[Part, ...]
    start: float = Field(default=1e4, gt=0)
    decay: float = Field(default=0.95, gt=0, le=1)
    prior: float = Field(default=0.5, ge=0)

    def root(self, length: int) -> Float[Tensor, "time time"]:
        """A lower triangular A with A A^T = K over ``length`` times, float64."""
        return _root(cast("Hashable", self), length)

    def covariance(self, length: int) -> Float[Tensor, "time time"]:
        """K over ``length`` times at scale 1, float64."""
        return _covariance(cast("Hashable", self), length)

    @property
    def stationary(self) -> bool:
        """Is the covariance a function of i - j alone?"""
        return all(part.kind in _STATIONARY for part in self.parts)

    @property
    def is_walk(self) -> bool:
        """Is it a random walk and nothing else?"""
        return [part.kind for part in self.parts] == ["level"]

    def started(self, variance: float) -> BaseLaw:
        """The same, with the walks' starts such that a window's first value has about this variance, in units of the innovations'. (A power
        of ten, so that many series share a law.)"""
        walks = sum(part.weight for part in self.parts if part.kind in ("level", "season"))
        if not walks:
            return self
        rest = sum(part.weight for part in self.parts) - walks
        exponent = round(math.log10(max((variance - rest) / walks, 1.0)))
        return self.model_copy(update={"start": 10.0 ** min(exponent, 4)})

    def fast(self, share: float, *, rest: bool = False) -> BaseLaw:
        """This share of the variance of wander and noise; with ``rest`` all of what is not stationary as well."""
        if share == 1 and rest:
            return self
        scaled = [part.model_copy(update={"weight": share * part.weight}) for part in self.parts if part.kind in _STATIONARY]
        walks = [part for part in self.parts if rest and part.kind not in _STATIONARY]
        return self.model_copy(update={"parts": (*walks, *(part for part in scaled if part.weight > 0))})

    def diffuse(self, root: Float[Tensor, "known known"], places: Int[Tensor, " known"]) -> Bool[Tensor, " known"]:
        r"""Which innovations of values at these times, with covariance L L^T, owe most of their variance to the walks' starts: such say
        nothing about volatility. The share is :math:`d \log L_{ii}^2 / d \log v = v \|(L^{-1}U)_i\|^2` where the starts add v U U^T."""
        starts = _starts(cast("Hashable", self), int(places.max()) + 1)[places] if len(places) else torch.zeros(0, 1, dtype=torch.float64)
        return self.start * torch.linalg.solve_triangular(root, starts, upper=False).square().sum(1) > _DIFFUSE


def _part(part: Part, start: float, length: int) -> Float[Tensor, "time time"]:
    t = torch.arange(length, dtype=torch.float64)
    if part.kind == "level":
        return start + torch.minimum(t[:, None], t)
    if part.kind == "season":
        cycle, phase = t.div(part.period, rounding_mode="floor"), t % part.period
        return (phase[:, None] == phase) * (start + torch.minimum(cycle[:, None], cycle))
    if part.kind == "drift":
        return torch.outer(t, t)
    if part.kind == "wander":
        return part.memory ** (t[:, None] - t).abs()
    return torch.eye(length, dtype=torch.float64)


@lru_cache(maxsize=64)
def _covariance(law: Hashable, length: int) -> Tensor:
    assert isinstance(law, BaseLaw)
    return sum((part.weight * _part(part, law.start, length) for part in law.parts), torch.zeros(length, length, dtype=torch.float64))


@lru_cache(maxsize=64)
def _root(law: Hashable, length: int) -> Tensor:
    assert isinstance(law, BaseLaw)
    return _cholesky(law.covariance(length))


@lru_cache(maxsize=256)
def _starts(law: Hashable, length: int) -> Tensor:
    """U [time, walk]: every walk's start enters the times that it is part of."""
    assert isinstance(law, BaseLaw)
    t, columns = torch.arange(length), [torch.zeros(length, 1, dtype=torch.float64)]
    for part in law.parts:
        if part.kind in ("level", "season"):
            period = part.period if part.kind == "season" else 1
            columns.append(math.sqrt(part.weight) * (t[:, None] % period == torch.arange(period)).double())
    return torch.cat(columns, 1)


def _cholesky(k: Float[Tensor, "*batch n n"]) -> Float[Tensor, "*batch n n"]:
    diagonal = k.diagonal(dim1=-2, dim2=-1)
    return torch.linalg.cholesky(k + torch.diag_embed(_JITTER * diagonal.clamp(min=1e-300)))


@dataclass(frozen=True)
class SystemLaw:
    """One law a channel, and the correlation of the channels' innovations. ``shared``: of the variance of wander and noise, how much is
    correlated so; the rest is each channel's own, as errors of measurement and local weather are."""

    laws: tuple[BaseLaw, ...]
    correlation: tuple[tuple[float, ...], ...]
    shared: float = 1.0

    def covariance(self, length: int) -> Float[Tensor, "entry entry"]:
        """Over the entries (time, channel), time-major, every channel at scale 1, float64."""
        return _system_covariance(self, length)


@lru_cache(maxsize=8)
def _system_covariance(system: SystemLaw, length: int) -> Tensor:
    if len(system.laws) == 1:
        return system.laws[0].covariance(length)
    together = [law.fast(system.shared, rest=True) for law in system.laws]
    roots = torch.stack([law.root(length) for law in together])
    r = torch.tensor(system.correlation, dtype=torch.float64)
    full = torch.einsum("ctk,dsk,cd->tcsd", roots, roots, r)
    if system.shared < 1:
        for c, law in enumerate(system.laws):
            full[:, c, :, c] += law.fast(1 - system.shared).covariance(length)
    return full.reshape(length * len(system.laws), -1)


@dataclass(frozen=True)
class Gain:
    """What conditioning needs that does not depend on values: of one system, window length and pattern of known and free entries.

    ``gain`` [free, known] and ``spread`` [free, free]: mean and covariance of the free entries given the known ones, at scale 1.
    ``whiten``: for each channel (places in time of its known entries, the Cholesky factor of their covariance, which of their innovations
    are not diffuse).
    """

    free: Int[Tensor, " free"]
    known: Int[Tensor, " known"]
    gain: Float[Tensor, "free known"]
    spread: Float[Tensor, "free free"]
    whiten: tuple[tuple[Tensor, Tensor, Tensor], ...]


def gain(system: SystemLaw, length: int, known: NDArray[np.bool_], free: NDArray[np.bool_]) -> Gain:
    """Of windows of ``length`` times with these entries [time, channel] known and free; kept for the next that ask for the same."""
    return _gain(system, length, known.shape[1], known.tobytes(), free.tobytes())


@lru_cache(maxsize=256)
def _gain(system: SystemLaw, length: int, channels: int, known_bits: bytes, free_bits: bytes) -> Gain:
    known, free = (torch.frombuffer(bytearray(bits), dtype=torch.bool).nonzero()[:, 0] for bits in (known_bits, free_bits))
    k = system.covariance(length)
    across, root = k[free][:, known], _cholesky(k[known][:, known])
    half = torch.linalg.solve_triangular(root, across.T, upper=False)
    gain = torch.linalg.solve_triangular(root.T, half, upper=True).T
    spread = k[free][:, free] - half.T @ half
    whiten: list[tuple[Tensor, Tensor, Tensor]] = []
    for channel, law in enumerate(system.laws):
        places = known[known % channels == channel] // channels
        own = root if channels == 1 else _cholesky(law.covariance(length)[places][:, places])
        whiten.append((places, own, ~law.diffuse(own, places)))
    return Gain(free, known, gain, 0.5 * (spread + spread.T), tuple(whiten))


@dataclass(frozen=True)
class Conditioned:
    """A base law given the known entries of a window: free entries ~ N(mean, covariance), in the unit of the values.

    ``free`` [free]: their places in the flattened (time, channel) window. ``spread`` [free, free]: their covariance at scale 1. ``scale``
    [..., channel]: the innovations' volatility. ``innovations`` [..., time, channel]: standardised innovations of the known entries (0
    where there are none). Leading axes: windows that differ in their values alone.
    """

    free: Int[Tensor, " free"]
    mean: Float[Tensor, "*batch free"]
    spread: Float[Tensor, "free free"]
    scale: Float[Tensor, "*batch channel"]
    innovations: Float[Tensor, "*batch time channel"]

    @property
    def unit(self) -> Float[Tensor, "*batch free"]:
        """The scale of each free entry's channel."""
        return self.scale[..., self.free % self.scale.shape[-1]]

    @property
    def covariance(self) -> Float[Tensor, "*batch free free"]:
        return self.spread * self.unit[..., :, None] * self.unit[..., None, :]


def condition(
    system: SystemLaw,
    values: Float[Tensor, "*batch time channel"],
    known: Bool[Tensor, "time channel"],
    free: Bool[Tensor, "time channel"],
    centre: Float[Tensor, " channel"],
    volatility: Float[Tensor, " channel"],
) -> Conditioned:
    """The law of the free entries given the known ones; entries that are neither are left out.

    ``centre`` and ``volatility`` are the series' long-run level and innovation scale: the law's mean, and what the EWMA starts from.
    """
    length, channels = known.shape
    one = gain(system, length, known.numpy(), free.numpy())
    anchor = int((one.free // channels).min()) if len(one.free) else length
    surprise = torch.where(known, values.double() - centre, 0.0)
    innovations, scale = torch.zeros_like(surprise), volatility.double().expand(*values.shape[:-2], channels).clone()
    for channel, (places, root, usable) in enumerate(one.whiten):
        z = torch.linalg.solve_triangular(root, surprise[..., places, channel, None], upper=False)[..., 0] * usable
        law = system.laws[channel]
        weight = law.decay ** (places - anchor).abs().double() * usable
        total = weight.sum() + law.prior
        if float(total) > 0:
            scale[..., channel] = ((z.square() @ weight + law.prior * volatility[channel] ** 2) / total).sqrt()
        scale[..., channel] = scale[..., channel].clamp(min=1e-3 * float(volatility[channel]))
        innovations[..., places, channel] = z / scale[..., channel, None]
    scaled = (surprise / scale[..., None, :]).flatten(-2)[..., one.known]
    mean = centre.double()[one.free % channels] + scale[..., one.free % channels] * (scaled @ one.gain.T)
    return Conditioned(one.free, mean, one.spread, scale, innovations)
