"""The market report's picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from scidiff_timeseries.simulation.drawing import INK, Style, band, dress, legend, memory, pairs, panels, survival
from scidiff_timeseries.simulation.facts import label
from scidiff_timeseries.simulation.market_facts import AGGREGATED

if TYPE_CHECKING:
    from scidiff_timeseries.simulation.market import MarketReport

_SHOWN = 12
_ROOM, _FAR = 1.8, 4.0


def draw(report: MarketReport) -> Figure:
    """Paths, density, kurtosis, three correlation functions, correlations by pair, drawdowns, memorisation."""
    figure, axes = panels(3, 3)
    style = Style(list(report.sheet.methods))
    _paths(axes[0], report, style)
    _density(axes[1], report, style)
    _kurtosis(axes[2], report, style)
    titles = {
        "acf": "Autocorrelation of returns",
        "acf_abs": "Clustering: autocorrelation of |r|",
        "leverage": "Leverage: r_t with |r_(t+k)|",
    }
    for ax, (key, title) in zip(axes[3:6], titles.items(), strict=True):
        for name in style.everything:
            band(ax, report.lags, report.curves[name][key], style, name)
        ax.axhline(0, color=INK, linewidth=0.7)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        dress(ax, title, "lag k in steps", "correlation")
    if "correlations" in report.curves["observed"]:
        pairs(axes[6], report.curves, "correlations", style, "Correlation of pairs", "correlation")
    else:
        pairs(axes[6], report.curves, "log_volatilities", style, "Volatility", "ln volatility")
    for name in style.everything:
        survival(axes[7], report.samples[name]["falls"], style, name)
    dress(axes[7], "Drawdowns of the portfolio", "largest fall within a window", "share of windows above")
    axes[7].xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    memory(axes[8], {name: samples["ratios"] for name, samples in report.samples.items()}, style)
    legend(figure, axes[3], style)
    return figure


def _paths(ax: Axes, report: MarketReport, style: Style) -> None:
    first = style.methods[0]
    for path in report.samples[first]["paths"][:_SHOWN]:
        ax.plot(path, color=style.of(first)["color"], linewidth=0.8, alpha=0.6)
    data = report.samples["observed"]["paths"][0]
    length = report.samples[first]["paths"].shape[1]
    shown = data[-length:] - (data[-length - 1] if len(data) > length else 0.0)
    ax.plot(shown, color=INK, linewidth=1.7)
    reach, (low, high) = _FAR * float(np.abs(shown).max()), ax.get_ylim()
    ax.set_ylim(max(-reach, low), min(reach, high))  # a path that explodes must not flatten the rest
    dress(ax, f"Portfolio: {label(first)}, the last observed steps", "step", "cumulated log return")


def _density(ax: Axes, report: MarketReport, style: Style) -> None:
    """Densities of standardised returns on a logarithmic axis, over the observed range and a little more."""
    edges = np.linspace(-10, 10, 81)
    at = 0.5 * (edges[1:] + edges[:-1])
    lowest = 1.0
    for name in style.everything:
        values = report.samples[name]["returns"]
        share = np.histogram(values, edges)[0] / (max(len(values), 1) * (edges[1] - edges[0]))
        lowest = min(lowest, float(share[share > 0].min(initial=1.0))) if name == "observed" else lowest
        ax.plot(at, np.where(share > 0, share, np.nan), label=name, **style.of(name))
    ax.plot(at, np.exp(-(at**2) / 2) / np.sqrt(2 * np.pi), color="#9a9a9a", linewidth=1.0, zorder=1)
    ax.annotate("thin: Gaussian", (0.98, 0.96), xycoords="axes fraction", fontsize=8, color="#6f6f6f", ha="right", va="top")
    ax.set_yscale("log")
    ax.set_ylim(lowest / 8, 1)
    ax.set_xlim(-10, 10)
    dress(ax, "Density of returns", "in standard deviations", "density")


def _kurtosis(ax: Axes, report: MarketReport, style: Style) -> None:
    for name in style.everything:
        draws = report.curves[name]["kurtosis"]
        band(ax, AGGREGATED[: draws.shape[1]], draws, style, name)
    ax.axhline(0, color=INK, linewidth=0.7)
    data = report.curves["observed"]["kurtosis"]
    highest = max(float(np.nanmax(data)), float(np.nanmax(data[0])), 1.0)
    ax.set_ylim(-0.15 * highest - 1, _ROOM * highest)  # an explosive simulator must not flatten the rest
    ax.set_xscale("log")
    ax.set_xticks(list(AGGREGATED), [str(h) for h in AGGREGATED])
    ax.minorticks_off()
    dress(ax, "Kurtosis under aggregation", "steps summed", "excess kurtosis, median asset")
