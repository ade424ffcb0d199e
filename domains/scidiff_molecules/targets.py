"""What is asked of a molecule's properties, and what is drawn for it: values within the ranges, and numbers of atoms that go with them.

Given targets, a training molecule r is drawn with probability

    w_r ∝ exp(-1/2 sum_p (d_p(r) / h_p)^2)

where d_p(r) is how far its property p lies outside the range that is asked for, in standard deviations, and h is 0.02 for a range, 0.25
for a single value. Its number of atoms is used, and of each range its value (the nearest end, if it lies outside): so a range is filled as
the training molecules fill it, several ranges at once as those that meet all of them. What no molecule meets goes to the nearest.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from scidiff.errors import UserError, did_you_mean
from scidiff.random import Noise, draw_categorical
from scidiff_molecules.properties import PROPERTIES
from scidiff_molecules.statistics import PropertyScale

IN_RANGE, AT_VALUE = 0.02, 0.25
REACH = 1.0
"""Standard deviations beyond the training molecules' extremes at which a property can still be asked for."""

Asked = Mapping[str, float | int | tuple[float | int, float | int]]
"""Property -> a value, or (low, high), in the units of :data:`~scidiff_molecules.properties.PROPERTIES`."""


@dataclass(frozen=True)
class Targets:
    """Ranges [low, high] by property, in users' units; a single value is a range of no width.

    Raises UserError for a property that is unknown, bounds that are not finite or the wrong way round, or none at all.
    """

    ranges: Mapping[str, tuple[float, float]]

    def __post_init__(self) -> None:
        if not self.ranges:
            raise UserError("targets: none is given; name at least one property, such as gap=5.5")
        for name, (low, high) in self.ranges.items():
            if name not in PROPERTIES:
                raise UserError(f"target {name!r}: known properties are {', '.join(PROPERTIES)}{did_you_mean(name, PROPERTIES)}")
            if not (math.isfinite(low) and math.isfinite(high) and low <= high):
                raise UserError(f"target {name} = {low:g}..{high:g}: give finite numbers, the lower one first")

    @classmethod
    def of(cls, asked: Mapping[str, Any]) -> Targets:
        """From :data:`Asked`, such as ``{"gap": 5.5, "mu": (2, 3)}``. Raises UserError for anything but a number or a pair of them."""
        ranges: dict[str, tuple[float, float]] = {}
        for name, value in asked.items():
            ends = value if isinstance(value, Sequence) else (value, value)
            if len(ends) != 2 or not all(isinstance(end, float | int) for end in ends):
                raise UserError(f"target {name} = {value!r}: give a number, or (low, high)")
            ranges[name] = (float(ends[0]), float(ends[1]))
        return cls(ranges)

    @classmethod
    def parse(cls, texts: Sequence[str]) -> Targets:
        """From ``gap=5.5`` and ``mu=2..3``. Raises UserError that names what cannot be read."""
        ranges: dict[str, tuple[float, float]] = {}
        for text in texts:
            found = re.fullmatch(r"\s*(\w+)\s*=\s*([^\s.]\S*?|\.\d\S*?)(?:\s*\.\.\s*(\S+))?\s*", text)
            try:
                if found is None or "_" in text.partition("=")[2]:  # which Python takes for digits' spaces: 5_5 is 55
                    raise ValueError(text)
                low, high = float(found[2]), float(found[3] or found[2])
            except ValueError:
                raise UserError(f"--target {text!r}: write NAME=VALUE or NAME=LOW..HIGH, such as gap=5.5 or mu=2..3") from None
            if found[1] in ranges:
                raise UserError(f"--target {text!r}: {found[1]} is given twice; give a range once, NAME=LOW..HIGH")
            ranges[found[1]] = (low, high)
        return cls(ranges)

    def to_text(self) -> list[str]:
        """What :meth:`parse` reads."""
        return [f"{name}={low!r}" if low == high else f"{name}={low!r}..{high!r}" for name, (low, high) in self.ranges.items()]


@dataclass(frozen=True)
class Drawn:
    """For each sample: standardised values, which of them are given, and the number of atoms."""

    values: Float[Tensor, "batch property"]
    given: Bool[Tensor, "batch property"]
    sizes: Int[Tensor, " batch"]


@dataclass(frozen=True)
class TargetLaw:
    """Targets of a model whose properties have these scales, on the law it keeps of its training molecules [row, property + 1].

    ``least``: atoms that a molecule has at least. Raises UserError for a property that the model was not trained on.
    """

    targets: Targets
    scales: Sequence[PropertyScale]
    law: Float[Tensor, "row column"]
    least: int = 1

    def __post_init__(self) -> None:
        known = [one.name for one in self.scales]
        for name in self.targets.ranges:
            if name not in known:
                has = f"it knows {', '.join(known)}" if known else "it knows none: take one that does, such as qm9_targets"
                raise UserError(f"target {name!r}: this model was not trained on it; {has}")
        if not bool((self.law[:, -1] >= self.least).any()):
            raise UserError(f"no training molecule of this model has {self.least} atoms or more, to draw sizes from: give atoms")

    @property
    def bounds(self) -> tuple[Float[Tensor, " property"], Float[Tensor, " property"]]:
        """Standardised (low, high); (-inf, inf) where nothing is asked."""
        nothing = (-math.inf, math.inf)
        ends = [[(end - one.mean) / one.std for end in self.targets.ranges.get(one.name, nothing)] for one in self.scales]
        low, high = torch.tensor(ends, dtype=torch.float64, device=self.law.device).unbind(1)
        return low, high

    def log_weights(self) -> Float[Tensor, " row"]:
        """log w of every training molecule, up to a constant."""
        low, high = self.bounds
        values = self.law[:, :-1].double()
        outside = torch.maximum(low - values, values - high).clamp(min=0)
        width = torch.where(low == high, AT_VALUE, IN_RANGE)
        weights = -0.5 * (outside / width).square().sum(1)
        return torch.where(self.law[:, -1] >= self.least, weights, -math.inf)

    def check(self) -> None:
        """Raises UserError for a property that lies far from every training molecule's; warns if none of them meets all at once."""
        low, high = self.bounds
        for row, one in enumerate(self.scales):
            values = self.law[:, row].double()
            if float(low[row]) > float(values.max()) + REACH or float(high[row]) < float(values.min()) - REACH:
                least, most = (float(end) * one.std + one.mean for end in (values.min(), values.max()))
                asked = Targets({one.name: self.targets.ranges[one.name]}).to_text()[0]
                raise UserError(f"target {asked}: this model was trained on {least:.4g} to {most:.4g} {PROPERTIES[one.name].unit}")
        if not self.supported():
            told = ", ".join(self.targets.to_text())
            warnings.warn(f"no training molecule meets {told}; sizes, and values within ranges, are those of the nearest", stacklevel=2)

    def supported(self) -> int:
        """How many of the kept training molecules meet all targets (a single value: to within a quarter of a standard deviation)."""
        return int((self.log_weights() >= -0.5).sum())

    def draw(self, noise: Noise) -> Drawn:
        """For every sample of ``noise``; a function of (seed, id)."""
        weights = self.log_weights().softmax(0)
        row = self.law[draw_categorical(weights.expand(len(noise.ids), -1), noise.scalar("target", 0))]
        low, high = self.bounds
        given = torch.isfinite(low).expand(len(row), -1)
        values = torch.where(given, torch.minimum(torch.maximum(row[:, :-1].double(), low), high), 0.0)
        return Drawn(values.float(), given, row[:, -1].long())
