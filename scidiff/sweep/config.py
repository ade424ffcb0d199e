"""The ``sweep:`` block of a recipe, as a typed configuration::

    sweep:
      kind: grid                    # every combination; or random: `runs` draws
      metric: valid/loss
      goal: minimise
      parallel: 2
      over:
        train.learning_rate: [1e-4, 3e-4, 1e-3]
        noise.positions: [straight, vp]

For ``kind: random`` a key may have a range in place of a list: ``{low: 1e-4, high: 1e-2, log: true}``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from scidiff.config import Config, Document

__all__ = ["MAX_RUNS", "Range", "SweepConfig", "has_sweep"]

KEY = "sweep"
MAX_RUNS = 10_000
EXPECTED = "expected a list of values, or for a random sweep a range such as {low: 1e-4, high: 1e-2, log: true}"


class Range(Config):
    """Where a random sweep draws one: uniformly from ``low`` to ``high``, or with ``log`` its logarithm. ``integer``: both included."""

    low: float
    high: float
    log: bool = False
    integer: bool = False

    @model_validator(mode="after")
    def _check(self) -> Range:
        if not self.low < self.high:
            raise ValueError(f"low must be less than high: {self.low:g} is not less than {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"the logarithm is drawn, so low must be positive: {self.low:g} is not")
        if self.integer and not (self.low.is_integer() and self.high.is_integer()):
            raise ValueError(f"both ends of an integer range must be integers: {self.low:g} and {self.high:g} are not")
        return self

    def at(self, u: float) -> float | int:
        """The number for u uniform on [0, 1): six significant digits, within the range."""
        low, high = (self.low, self.high + 1) if self.integer else (self.low, self.high)
        value = low * (high / low) ** u if self.log else low + u * (high - low)
        if self.integer:
            return min(math.floor(value), int(self.high))
        return min(max(float(f"{value:.6g}"), self.low), self.high)


def _kind(values: Any) -> str | None:
    if isinstance(values, list):
        return "values"
    return "range" if isinstance(values, Range) or (isinstance(values, Mapping) and {"low", "high"} & values.keys()) else None


Values = Annotated[list[Any], Field(min_length=1)]
Over = Annotated[
    Annotated[Values, Tag("values")] | Annotated[Range, Tag("range")],
    Discriminator(_kind, custom_error_type="sweep_values", custom_error_message=EXPECTED),
]


class SweepConfig(Config):
    """Which trainings, and how they are compared.

    ``runs`` and ``seed`` belong to random sweeps: draw K of a key depends on the seed, the key and K alone, so a sweep with more ``runs``
    begins with the same ones. ``use``: the metric's last value, or its best one.
    """

    kind: Literal["grid", "random"] = "grid"
    runs: int | None = Field(default=None, ge=1, le=MAX_RUNS)
    seed: int = Field(default=0, ge=0)
    metric: str = Field(default="valid/loss", min_length=1)
    goal: Literal["minimise", "maximise"] = "minimise"
    use: Literal["last", "best"] = "last"
    parallel: int = Field(default=1, ge=1, le=1024)
    over: dict[str, Over] = Field(min_length=1)

    @field_validator("over")
    @classmethod
    def _check_over(cls, over: dict[str, list[Any] | Range]) -> dict[str, list[Any] | Range]:
        for key, values in over.items():
            if not all(key.split(".")):
                raise ValueError(f"{key!r} is no key of a recipe, such as train.learning_rate")
            if isinstance(values, list):
                try:
                    texts = [json.dumps(value, sort_keys=True, allow_nan=False) for value in values]
                except ValueError:
                    raise ValueError(f"{key}: nan and infinity are no values of a recipe") from None
                if twice := {text for text in texts if texts.count(text) > 1}:
                    raise ValueError(f"{key}: {min(twice)} is given twice")
        return over

    @model_validator(mode="after")
    def _check_kind(self) -> SweepConfig:
        if self.kind == "random" and self.runs is None:
            raise ValueError("a random sweep needs runs: how many draws")
        if self.kind == "grid":
            if self.runs is not None:
                raise ValueError("a grid has as many runs as combinations: leave runs out, or write kind: random")
            ranges = [key for key, values in self.over.items() if isinstance(values, Range)]
            if ranges:
                raise ValueError(f"a grid needs a list of values for {', '.join(ranges)}: list them, or write kind: random")
            if self.count > MAX_RUNS:
                raise ValueError(f"a grid of {self.count:,} combinations, more than {MAX_RUNS:,}: write kind: random")
        return self

    @property
    def count(self) -> int:
        """How many trainings."""
        if self.runs is not None:
            return self.runs
        return math.prod(len(values) for values in self.over.values() if isinstance(values, list))


def has_sweep(document: Document) -> bool:
    """Does this recipe hold a sweep?"""
    return KEY in document.data
