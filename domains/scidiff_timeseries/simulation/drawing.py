"""What the reports' pictures share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from scidiff_timeseries.simulation.facts import label
from scidiff_timeseries.simulation.memorisation import COPIED
from scidiff_timeseries.simulation.resample import LEVEL

__all__ = ["Array", "Style", "band", "dress", "legend", "memory", "pairs", "panels", "survival"]

Array = NDArray[np.float64]
INK = "#2b2b2b"
_COLOURS = ("#2f6fb0", "#c8702a", "#4e9a6b", "#8a5fa8", "#a8873a", "#b0486d")
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), "-.")


class Style:
    """Colour and dashes of the data and of each method, the same in all panels."""

    def __init__(self, methods: Sequence[str]) -> None:
        self.methods = list(methods)

    def of(self, name: str, **changes: Any) -> dict[str, Any]:
        """Options of a line."""
        if name == "observed":
            return {"color": INK, "linestyle": "-", "linewidth": 1.9, "zorder": 4} | changes
        k = self.methods.index(name)
        return {"color": _COLOURS[k % len(_COLOURS)], "linestyle": _DASHES[k % len(_DASHES)], "linewidth": 1.5, "zorder": 3} | changes

    @property
    def everything(self) -> list[str]:
        return ["observed", *self.methods]


def panels(rows: int, columns: int) -> tuple[Figure, list[Axes]]:
    """A figure of its own, outside pyplot's state."""
    figure = Figure(figsize=(4.3 * columns, 3.1 * rows + 0.4), dpi=110)
    figure.set_layout_engine("constrained", h_pad=0.06, w_pad=0.06)
    FigureCanvasAgg(figure)
    return figure, [figure.add_subplot(rows, columns, k + 1) for k in range(rows * columns)]


def band(ax: Axes, x: Any, draws: Array, style: Style, name: str) -> None:
    """The median of samples as large as the data as a line, and what holds 95 % of them as a band; the data are a line."""
    look = style.of(name)
    if name == "observed" or len(draws) < 2:
        ax.plot(x, draws[0], label=name, **look)
    else:
        low, middle, high = np.nanquantile(draws[1:], [(1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2], axis=0)
        ax.plot(x, middle, label=name, **look)
        ax.fill_between(x, low, high, color=look["color"], alpha=0.16, linewidth=0, zorder=look["zorder"] - 2)


def survival(ax: Axes, values: Array, style: Style, name: str) -> None:
    """Share of values above each, as a line."""
    if len(values):
        ordered = np.sort(values)
        ax.plot(ordered, 1 - np.arange(1, len(ordered) + 1) / len(ordered), drawstyle="steps-post", label=name, **style.of(name))


def dress(ax: Axes, title: str, x: str, y: str = "") -> None:
    ax.set_title(title, loc="left", fontsize=10, fontweight="bold")
    ax.set_xlabel(x, fontsize=8.5)
    ax.set_ylabel(y, fontsize=8.5)
    ax.tick_params(labelsize=8)
    ax.grid(color="#e2e2e2", linewidth=0.6)
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)


def memory(ax: Axes, ratios: Mapping[str, Array], style: Style) -> None:
    """Densities of memorisation's ratios; what lies left is copied."""
    edges = np.linspace(0, 3, 46)
    for name in style.everything:
        known = ratios[name][np.isfinite(ratios[name])] if name in ratios else np.zeros(0)
        if len(known):
            share = np.histogram(np.minimum(known, edges[-1]), edges)[0] / len(known)
            ax.plot(0.5 * (edges[1:] + edges[:-1]), share, **style.of(name))
    ax.axvspan(0, COPIED, color="#f0d9d9", zorder=0)
    ax.annotate("copies", (0.25, 0.97), xycoords=("data", "axes fraction"), fontsize=8, color="#a04040", va="top", ha="center")
    dress(ax, "Memorisation", "distance to the nearest training window, relative", "share of windows")
    ax.set_xlim(0, 3)


def pairs(ax: Axes, vectors: Mapping[str, Mapping[str, Array]], key: str, style: Style, title: str, unit: str) -> None:
    """Each method's entries of a vector against the observed ones."""
    data = vectors["observed"][key][0]
    for name, mark in zip(style.methods, "o^sDvP" * 9, strict=False):
        ax.plot(data, vectors[name][key][0], mark, color=style.of(name)["color"], markersize=4.5, alpha=0.75, markeredgewidth=0)
    low, high = float(np.nanmin(data)), float(np.nanmax(data))
    margin = 0.08 * (high - low) + 1e-6
    ax.plot([low - margin, high + margin], [low - margin, high + margin], color=INK, linewidth=0.9, zorder=1)
    dress(ax, title, f"observed {unit}", f"simulated {unit}")


def legend(figure: Figure, ax: Axes, style: Style) -> None:
    """One legend for all panels, from the lines of one."""
    handles, labels = ax.get_legend_handles_labels()
    found = dict(zip(labels, handles, strict=True))
    names = [name for name in style.everything if name in found]
    lines = [found[name] for name in names]
    figure.legend(lines, list(map(label, names)), loc="outside upper center", ncols=len(names), frameon=False, fontsize=10)
