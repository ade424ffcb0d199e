"""Histograms of what was judged against the reference's: small multiples, one look, the same bytes for the same input."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from scidiff_molecules.metrics.report import Histogram

_MINE, _THEIRS, _INK, _SOFT, _LINE = "#3557c9", "#c3cad6", "#1b2330", "#5c6778", "#dfe4ec"
_COLUMNS = 3


def draw_histograms(histograms: Sequence[Histogram]) -> Figure:
    """One panel each, three in a row: the reference as a grey area, what was judged as a blue line; bars where values are categories."""
    rows = math.ceil(len(histograms) / _COLUMNS)
    figure = Figure(figsize=(11.4, 2.3 * rows + 0.35), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
    for ax, histogram in zip(axes, histograms, strict=False):
        (_steps if histogram.labels is None else _bars)(ax, histogram)
        _dress(ax, histogram)
    for ax in axes[len(histograms) :]:
        ax.set_axis_off()
    return figure


def _steps(ax: Axes, histogram: Histogram) -> None:
    count = max(len(histogram.generated), len(histogram.reference or ()))
    edges = histogram.low + histogram.width * np.arange(count + 1)
    if histogram.reference:
        ax.stairs(np.asarray(histogram.reference), edges, fill=True, color=_THEIRS)
    if histogram.generated:
        ax.stairs(np.asarray(histogram.generated), edges, color=_MINE, linewidth=1.5)
    ax.set_xlim(float(edges[0]), float(edges[-1]))
    ax.set_yticks([])
    ax.xaxis.set_major_locator(MaxNLocator(5))


def _bars(ax: Axes, histogram: Histogram) -> None:
    assert histogram.labels is not None
    places = np.arange(len(histogram.labels))
    if histogram.reference is not None:
        ax.bar(places, 100 * np.asarray(histogram.reference), width=0.78, color=_THEIRS)
    ax.bar(places, 100 * np.asarray(histogram.generated), width=0.42, color=_MINE)
    ax.set_xticks(places, histogram.labels)
    ax.yaxis.set_major_locator(MaxNLocator(4))
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g} %")


def _dress(ax: Axes, histogram: Histogram) -> None:
    unit = f" ({histogram.unit})" if histogram.unit else ""
    title = histogram.type or f"{histogram.kind}{unit}"
    ax.set_title(title.replace("$", r"\$"), loc="left", fontsize=10.5, color=_INK, fontweight="bold")
    ax.tick_params(labelsize=8.5, colors=_SOFT, color=_LINE)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.spines["bottom"].set_color(_LINE)
    ax.set_ylim(bottom=0)
