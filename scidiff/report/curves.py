"""Curves, such as the loss against the step, laid out as plain numbers for an inline SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from matplotlib.ticker import MaxNLocator

from scidiff.errors import UserError

WIDTH, HEIGHT = 540, 300
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 12, 46
_SMOOTH_FROM = 60  # a series of at least so many points is shown faint, under its running mean
_MAX_POINTS = 1200  # of a drawn line; more than twice the pixels a screen gives it


@dataclass(frozen=True)
class Series:
    """Values y (K numbers) at positions x (K numbers, ascending); a value that is not finite leaves a gap.

    Raises:
        UserError: x and y differ in length, x is not finite, or descends.
    """

    name: str
    x: Sequence[float | int]
    y: Sequence[float | int]

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y):
            raise UserError(f"series {self.name!r}: {len(self.x)} positions but {len(self.y)} values; give one value for each position")
        if not all(map(math.isfinite, self.x)) or any(b < a for a, b in zip(self.x, self.x[1:], strict=False)):
            raise UserError(f"series {self.name!r}: its positions must be finite and in ascending order")

    @cached_property
    def window(self) -> int:
        """Number of points of the running mean, odd; 1 for a series short enough to be read as it is."""
        return 1 if len(self.y) < _SMOOTH_FROM else 2 * (len(self.y) // 40) + 1

    def smoothed(self) -> list[float]:
        """Centred running mean over :attr:`window` points, of which both ends lack up to half; gaps stay gaps, and out of means."""
        values = np.asarray(self.y, dtype=np.float64)
        finite = np.isfinite(values)
        sums, counts = (np.concatenate(([0.0], np.cumsum(part))) for part in (np.where(finite, values, 0.0), finite.astype(np.float64)))
        at, half = np.arange(len(values)), self.window // 2
        first, last = np.maximum(at - half, 0), np.minimum(at + half + 1, len(values))
        means = (sums[last] - sums[first]) / np.maximum(counts[last] - counts[first], 1.0)
        return np.where(finite, means, np.nan).tolist()


@dataclass(frozen=True)
class Curve:
    """Series in one diagram, with a title and what the axes are (unit included)."""

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]


@dataclass(frozen=True)
class Tick:
    """A mark on an axis: its place in the picture, and what is written there."""

    at: float
    text: str


@dataclass(frozen=True)
class Line:
    """A series in the picture: SVG path data of its values and of its running mean (empty where there is none)."""

    name: str
    raw: str
    mean: str


@dataclass(frozen=True)
class Plot:
    """A curve laid out: everything the template draws."""

    curve: Curve
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    lines: list[Line]


def layout(curve: Curve) -> Plot | None:
    """Place a curve in a picture of 540 x 300; None when no series has a finite value."""
    points = [(x, y) for s in curve.series for x, y in zip(s.x, s.y, strict=True) if math.isfinite(y)]
    if not points:
        return None
    x_range, x_values = _axis([x for x, _ in points], tight=True)
    y_range, y_values = _axis([y for _, y in points], tight=False)

    def place_x(value: float | int) -> float:
        return round(LEFT + (value - x_range[0]) / (x_range[1] - x_range[0]) * (WIDTH - LEFT - RIGHT), 2)

    def place_y(value: float | int) -> float:
        return round(HEIGHT - BOTTOM - (value - y_range[0]) / (y_range[1] - y_range[0]) * (HEIGHT - TOP - BOTTOM), 2)

    def path(xs: Sequence[float | int], ys: Sequence[float | int]) -> str:
        parts, pen = [], "M"
        for x, y in _thinned(xs, ys):
            if math.isfinite(y):
                parts.append(f"{pen}{place_x(x):g} {place_y(y):g}")
            pen = "L" if math.isfinite(y) else "M"
        return "".join(parts)

    lines = [Line(_legend(s), path(s.x, s.y), path(s.x, s.smoothed()) if s.window > 1 else "") for s in curve.series]
    return Plot(
        curve,
        [Tick(place_x(v), f"{v:,.10g}") for v in x_values],
        [Tick(place_y(v), f"{v:,.6g}") for v in y_values],
        lines,
    )


def _legend(series: Series) -> str:
    return series.name if series.window == 1 else f"{series.name} (line: mean of {series.window})"


def _thinned(xs: Sequence[float | int], ys: Sequence[float | int]) -> list[tuple[float | int, float | int]]:
    """At most about 1,200 points: the smallest and the largest of each stretch, so that no spike disappears."""
    points = list(zip(xs, ys, strict=True))
    if len(points) <= _MAX_POINTS:
        return points
    size = math.ceil(2 * len(points) / _MAX_POINTS)
    kept: list[tuple[float | int, float | int]] = []
    for start in range(0, len(points), size):
        stretch = points[start : start + size]
        finite = [p for p in stretch if math.isfinite(p[1])]
        if len(finite) < len(stretch):
            kept.append((stretch[0][0], math.nan))
        if finite:
            kept += sorted({min(finite, key=lambda p: p[1]), max(finite, key=lambda p: p[1])})
    return kept


def _axis(values: Sequence[float | int], *, tight: bool) -> tuple[tuple[float | int, float | int], list[float]]:
    """Range and ticks of an axis; a tight one ends at the data, the other at ticks."""
    low, high = min(values), max(values)
    if low == high:
        low, high = low - (abs(low) or 1.0) / 2, high + (abs(high) or 1.0) / 2
    ticks = [float(t) for t in MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)]
    if tight:
        return (low, high), [t for t in ticks if low <= t <= high]
    return (ticks[0], ticks[-1]), ticks
