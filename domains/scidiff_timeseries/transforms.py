"""Monotone transforms of values, chosen on the training data and stated: identity, log (positive values), asinh (heavy tails)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from scidiff.config import Config

Array = NDArray[np.float64]
_LARGEST = 700.0
"""exp and sinh of more are infinite."""


class Transform(Config):
    """``name``, and the unit of asinh: asinh(y / unit) is linear well below it and logarithmic well above."""

    name: Literal["identity", "log", "asinh"] = "identity"
    unit: float = Field(default=1.0, gt=0)

    def forward(self, y: Array) -> Array:
        """NaN stays NaN. Raises ValueError for values <= 0 under log."""
        if self.name == "identity":
            return y
        if self.name == "asinh":
            return np.arcsinh(y / self.unit)
        if bool((y <= 0).any()):
            raise ValueError("log takes positive values only")
        return np.log(y)

    def inverse(self, x: Array) -> Array:
        """Finite for every finite x."""
        if self.name == "identity":
            return x
        x = np.clip(x, -_LARGEST, _LARGEST)
        return np.exp(x) if self.name == "log" else self.unit * np.sinh(x)


def candidates(y: Array) -> list[Transform]:
    """The transforms that a series' known values allow."""
    seen = y[np.isfinite(y)]
    found = [Transform()]
    if len(seen) and seen.min() > 0:
        found.append(Transform(name="log"))
    elif len(seen) and (unit := float(np.median(np.abs(seen)))) > 0:
        found.append(Transform(name="asinh", unit=unit))
    return found
