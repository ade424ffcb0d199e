"""Properties of paths beside those of the data: estimates, intervals, agreement, and the words for them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scidiff_timeseries.simulation.resample import LEVEL, ratio, resolved

__all__ = ["Fact", "FactSheet", "counted", "distance", "label"]

Array = NDArray[np.float64]
_ROUNDING = 1e-9
_NOTHING = (math.nan, math.nan, math.nan)
MOST_NAMED = 6
"""Properties that a verdict names, the clearest misses first."""


@dataclass(frozen=True)
class Fact:
    """A property that is measured.

    Attributes:
        key: short, unique, for metrics.
        name: for tables.
        definition: what it is, exactly.
        group: under which heading.
        share: a share, printed in per cent.
        distance: how far the data are from the method, 0 is best, beside how far samples of the method itself are from it.
    """

    key: str
    name: str
    definition: str
    group: str
    share: bool = False
    distance: bool = False


@dataclass(frozen=True)
class FactSheet:
    """Facts as draws [1 + resamples]: of the data, and their block bootstrap; of all paths of each method, and of samples from them that
    are as large as the data. Each may lack keys: what cannot be measured on it."""

    facts: tuple[Fact, ...]
    observed: Mapping[str, Array]
    methods: Mapping[str, Mapping[str, Array]]

    def agrees(self, method: str, key: str) -> bool | None:
        """Could the data be a sample of the method, by this fact? None where it could not be measured on both.

        Their value lies within the central 95 % of samples as large; of a distance: it is not above that of 95 % of such samples.
        """
        mine, data = self.methods[method].get(key), self.observed.get(key)
        if mine is None or not np.isfinite(mine[1:]).any():
            return None
        if next(fact for fact in self.facts if fact.key == key).distance:
            return bool(mine[0] <= np.nanquantile(mine[1:], LEVEL) * (1 + _ROUNDING)) if math.isfinite(mine[0]) else None
        if data is None or not math.isfinite(data[0]):
            return None
        _, low, high = resolved(mine)
        slack = _ROUNDING * max(abs(low), abs(high))
        return bool(low - slack <= data[0] <= high + slack)

    def table(self) -> pd.DataFrame:
        """A row for each fact. Columns: ``observed`` with ``low`` and ``high``, the 95 % interval of the block bootstrap; by each method's
        name the median of samples as large as the data, ``low`` and ``high`` that hold 95 % of them, ``pooled`` of all its paths, and
        ``agrees``. Of a distance the value is the data's, and low and high are the samples'.
        """
        rows: list[dict[str, Any]] = []
        for fact in self.facts:
            row: dict[str, Any] = {"key": fact.key, "property": fact.name}
            row |= _ends("observed", resolved(self.observed[fact.key]) if fact.key in self.observed else _NOTHING)
            for name, draws in self.methods.items():
                row |= _ends(name, self._value(name, fact))
                row[f"{name} pooled"] = float(draws[fact.key][0]) if fact.key in draws and not fact.distance else math.nan
                row[f"{name} agrees"] = self.agrees(name, fact.key)
            rows.append(row)
        return pd.DataFrame(rows).set_index("key")

    def _value(self, method: str, fact: Fact) -> tuple[float, float, float]:
        """(value, low, high) as tables show them."""
        if fact.key not in self.methods[method]:
            return _NOTHING
        draws = self.methods[method][fact.key]
        value, low, high = resolved(draws)
        rest = draws[1:][np.isfinite(draws[1:])]
        return (value if fact.distance or not len(rest) else float(np.median(rest))), low, high

    def to_metrics(self) -> dict[str, float]:
        """``METHOD/FACT``, its ``low`` and ``high``, the data's as method ``observed``, and ``METHOD/agreeing``, the share of facts."""
        found: dict[str, float] = {}
        for fact in self.facts:
            each = {"observed": resolved(self.observed[fact.key]) if fact.key in self.observed else _NOTHING}
            each |= {name: self._value(name, fact) for name in self.methods}
            for name, ends in each.items():
                found |= {f"{name}/{fact.key}{end}": value for end, value in zip(("", "/low", "/high"), ends, strict=True)}
        for name in self.methods:
            agreed = self._agreements(name)
            found[f"{name}/agreeing"] = sum(agreed.values()) / len(agreed) if agreed else math.nan
        return {key: value for key, value in found.items() if math.isfinite(value)}

    def texts(self) -> tuple[list[str], list[list[str]]]:
        """(columns, rows) of text: value and interval; a tick where the data could be a sample of the method, a cross where not."""
        rows: list[list[str]] = []
        for fact in self.facts:
            row = [fact.name, _text(resolved(self.observed[fact.key]) if fact.key in self.observed else _NOTHING, fact)]
            for name in self.methods:
                mark = {True: " ✓", False: " ✗", None: ""}[self.agrees(name, fact.key)]
                row.append(_text(self._value(name, fact), fact) + mark)
            rows.append(row)
        return ["property", "observed", *map(label, self.methods)], rows

    def markdown(self) -> str:
        """The same as a table in markdown."""
        columns, rows = self.texts()
        lines = [columns, ["---"] * len(columns), *rows]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)

    def definitions(self) -> list[list[str]]:
        """(name, definition) of every fact."""
        return [[fact.name, fact.definition] for fact in self.facts]

    def _agreements(self, method: str) -> dict[str, bool]:
        found = {fact.key: self.agrees(method, fact.key) for fact in self.facts}
        return {key: value for key, value in found.items() if value is not None}

    def verdict(self) -> str:
        """What the first method reproduces and what it misses most, and where another does better."""
        first, *others = self.methods
        names = {fact.key: fact.name for fact in self.facts}
        mine = self._agreements(first)
        missed = sorted((key for key, good in mine.items() if not good), key=lambda key: -self._miss(first, key))
        text = f"By {len(mine) - len(missed)} of {len(mine)} properties the data could be a sample of {label(first)}"
        if missed:
            text += f"; it misses {_listed([f'{names[key]} ({self._pair(first, key)})' for key in missed], MOST_NAMED)}"
        text += "."
        for other in others:
            theirs = self._agreements(other)
            better = [names[key] for key in missed if theirs.get(key)]
            worse = [names[key] for key, good in mine.items() if good and theirs.get(key) is False]
            text += f" {label(other)}: {sum(theirs.values())} of {len(theirs)}"
            text += f", better at {_listed(better, MOST_NAMED)}" if better else ""
            text += f", worse at {_listed(worse, MOST_NAMED)}" if worse else ""
            text += "."
        return text

    def _miss(self, method: str, key: str) -> float:
        """How far the data are from the method, in widths of its interval."""
        fact = next(fact for fact in self.facts if fact.key == key)
        value, low, high = self._value(method, fact)
        if fact.distance:
            return value / max(high, 1e-300)
        return max(low - float(self.observed[key][0]), float(self.observed[key][0]) - high) / max(high - low, 1e-300)

    def _pair(self, method: str, key: str) -> str:
        fact = next(fact for fact in self.facts if fact.key == key)
        value, _, high = self._value(method, fact)
        if fact.distance:
            return f"{_number(value, fact)}, its own samples up to {_number(high, fact)}"
        return f"{_number(value, fact)} against {_number(float(self.observed[key][0]), fact)}"


def counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def label(method: str) -> str:
    """As texts and pictures call a method: ``garch_t`` is GARCH-t, others have spaces for underscores."""
    return {"garch_t": "GARCH-t"}.get(method, method.replace("_", " "))


def distance(mine: Array, data: Array) -> Array:
    """Root mean squared distance, [1 + resamples], of the data's vector data[0] from that of a method, mine[0], and of the method's own
    samples from it, for ``mine`` and ``data`` [1 + resamples, n]. Entries that are NaN in either are left out."""
    there = np.isfinite(data[0])
    return _far(np.where(there, np.concatenate([data[:1], mine[1:]]), np.nan), mine[0])


def _far(draws: Array, data: Array) -> Array:
    there = np.isfinite(draws) & np.isfinite(data)
    squares = np.where(there, draws - data, 0.0) ** 2
    return np.sqrt(ratio(squares.sum(1), there.sum(1).astype(np.float64)))


def _number(value: float, fact: Fact) -> str:
    if not math.isfinite(value):
        return "–"
    if fact.share:
        return f"{100 * value:.1f} %"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _text(ends: tuple[float, float, float], fact: Fact) -> str:
    value, low, high = ends
    if not math.isfinite(value):
        return "–"
    inside = f" [{_number(low, fact)}, {_number(high, fact)}]".replace(" %", "") if math.isfinite(low) else ""
    return _number(value, fact) + inside


def _ends(name: str, ends: tuple[float, float, float]) -> dict[str, float]:
    return dict(zip((name, f"{name} low", f"{name} high"), ends, strict=True))


def _listed(parts: Sequence[str], most: int) -> str:
    if len(parts) > most:
        parts = [*parts[:most], f"{len(parts) - most} more"]
    return ", ".join(parts[:-1]) + (" and " if len(parts) > 1 else "") + parts[-1]
