r"""Monotone transforms of values, chosen on the training data and stated: identity, log (positive values), asinh (heavy tails), rectified.

Rectified is for amounts that are often exactly zero, such as rain: :math:`y = u \max(x, 0)^p` of a normal law x of variance 1 that is
negative as often as the data are zero; u and p give the other values their mean and variance. Where nothing fell x is taken to be its mean
there, :math:`E[x | x < 0]`, so latent values vary less than that law, and base laws are told by how much. Simulated series are then dry as
often as observed ones, and as wet. Each may go with the mean course of a season (:mod:`scidiff_timeseries.profile`) and a year's cycle
(:mod:`scidiff_timeseries.climate`), which are taken off after it.

``when`` [time, 2] says of every step its time of the year and its number on the calendar
(:func:`scidiff_timeseries.features.calendar_steps`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.optimize import root_scalar
from scipy.special import ndtri

from scidiff.config import Config
from scidiff_timeseries.climate import Climate, fit_climate
from scidiff_timeseries.profile import Profile, fit_profile

Array = NDArray[np.float64]
_OFTEN = 0.05
_LARGEST = 700.0
"""exp and sinh of more are infinite."""
_GRID = 10_000
_POWERS = (0.1, 10.0)


class Transform(Config):
    """``name``, the ``unit`` of asinh and rectified (asinh(y / unit) is linear well below it and logarithmic well above), the ``power`` of
    rectified, its latent value of zeros, ``zero``, and what share of the normal law's variance the latent values ``keep``."""

    name: Literal["identity", "log", "asinh", "rectified"] = "identity"
    unit: float = Field(default=1.0, gt=0)
    power: float = Field(default=3.0, gt=0)
    zero: float = Field(default=0.0, le=0)
    keep: float = Field(default=1.0, gt=0, le=1)
    profile: Profile | None = None
    climate: Climate | None = None

    @property
    def title(self) -> str:
        season = "" if self.profile is None else f", mean season of {len(self.profile.means)}"
        return self.name + season + ("" if self.climate is None else ", year's cycle")

    def forward(self, y: Array, when: Array) -> Array:
        """Of values [..., time]. NaN stays NaN. Raises ValueError for values <= 0 under log, and < 0 under rectified."""
        x = self._forward(y)
        if self.profile is not None:
            x = x - self.profile.at(when[:, 1])
        if self.climate is not None:
            mean, scale = self.climate.moments(when[:, 0])
            x = (x - mean) / scale
        return x

    def inverse(self, x: Array, when: Array) -> Array:
        """Of values [..., time]. Finite for every finite x."""
        if self.climate is not None:
            mean, scale = self.climate.moments(when[:, 0])
            x = mean + scale * x
        if self.profile is not None:
            x = x + self.profile.at(when[:, 1])
        return self._inverse(x)

    def _forward(self, y: Array) -> Array:
        if self.name == "identity":
            return y
        if self.name == "asinh":
            return np.arcsinh(y / self.unit)
        if self.name == "rectified":
            if bool((y < 0).any()):
                raise ValueError("rectified takes no negative values")
            return np.where(y == 0, self.zero, (y / self.unit) ** (1 / self.power))
        if bool((y <= 0).any()):
            raise ValueError("log takes positive values only")
        return np.log(y)

    def _inverse(self, x: Array) -> Array:
        if self.name == "identity":
            return x
        if self.name == "rectified":
            return self.unit * np.clip(x, 0.0, _LARGEST) ** self.power
        x = np.clip(x, -_LARGEST, _LARGEST)
        return np.exp(x) if self.name == "log" else self.unit * np.sinh(x)


def candidates(y: Array, when: Array, per_year: float, seasons: Sequence[int] = ()) -> list[Transform]:
    """The transforms that a series' known values [time] allow, with a season's mean course and a year's cycle where it has them."""
    found: list[Transform] = []
    for one in _allowed(y):
        shaped = one.model_copy(update={"profile": fit_profile(one.forward(y, when), when[:, 1], seasons, per_year)})
        climate = fit_climate(shaped.forward(y, when), when[:, 0], per_year)
        found.append(shaped.model_copy(update={"climate": climate}))
    return found


def _allowed(y: Array) -> list[Transform]:
    seen = y[np.isfinite(y)]
    if len(seen) and seen.min() == 0 and _OFTEN < (seen == 0).mean() < 1 - _OFTEN:
        return [_rectified(seen)]
    found = [Transform()]
    if len(seen) and seen.min() > 0:
        found.append(Transform(name="log"))
    elif len(seen) and (unit := float(np.median(np.abs(seen)))) > 0:
        found.append(Transform(name="asinh", unit=unit))
    return found


def _rectified(seen: Array) -> Transform:
    dry, amounts = float((seen == 0).mean()), seen[seen > 0] / seen.max()
    z = ndtri((np.arange(_GRID) + 0.5) / _GRID)
    edge = ndtri(dry)
    above, below = z[z > edge] - edge, z[z <= edge] - edge

    def surplus(power: float) -> float:
        """Of the relative deviation of above^power over that of the amounts."""
        made = above**power
        return float(made.std() / made.mean() - amounts.std() / amounts.mean())

    power = _root(surplus, *_POWERS)
    unit = float(seen.max() * (amounts.mean() / (above**power).mean()))
    return Transform(name="rectified", unit=unit, power=power, zero=float(below.mean()), keep=float(1 - dry * below.var()))


def _root(rising: Callable[[float], float], low: float, high: float) -> float:
    """Where a rising function is 0, or the end of the interval that is nearest to it."""
    if rising(low) >= 0:
        return low
    return high if rising(high) <= 0 else float(root_scalar(rising, bracket=(low, high)).root)
