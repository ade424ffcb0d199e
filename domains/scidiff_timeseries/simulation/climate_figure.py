"""The climate report's picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scidiff_timeseries.simulation.climate_facts import PERIODS
from scidiff_timeseries.simulation.drawing import INK, Style, band, dress, legend, memory, pairs, panels
from scidiff_timeseries.simulation.facts import label

if TYPE_CHECKING:
    from scidiff_timeseries.simulation.climate import ClimateReport

_MOST_CHANNELS = 4
_COLUMNS = 4


def draw(report: ClimateReport) -> Figure:
    """For each channel (at most four) its year, spells, spectrum and return levels; below an example, correlations, and memorisation or,
    around a truth, ranks and spread."""
    channels = report.layout.channels[:_MOST_CHANNELS]
    figure, axes = panels(len(channels) + 1, _COLUMNS)
    style = Style(list(report.sheet.methods))
    for row, channel in enumerate(channels):
        mine = axes[_COLUMNS * row : _COLUMNS * (row + 1)]
        _year(mine[0], report, style, channel)
        _spells(mine[1], report, style, channel)
        _spectrum(mine[2], report, style, channel)
        _levels(mine[3], report, style, channel)
    last = axes[_COLUMNS * len(channels) :]
    _example(last[0], report, style, 0)
    if len(report.layout.keys) > 1:
        found = {name: one.vectors for name, one in report.measured.items()}
        pairs(last[1], found, "pairs", style, "Correlation of pairs, without cycles", "correlation")
    else:
        last[1].set_visible(False)
    if report.ranks:
        _ranks(last[2], report, style)
        _skill(last[3], report, style)
    else:
        memory(last[2], report.ratios, style)
        _example(last[3], report, style, -1)
    legend(figure, axes[0], style)
    return figure


def _year(ax: Axes, report: ClimateReport, style: Style, channel: str) -> None:
    rain = channel in report.layout.rain
    key = f"{channel}/{'wet_cycle' if rain else 'cycle'}"
    for name in style.everything:
        draws = report.measured[name].vectors[key]
        if not rain:
            spread = np.exp(report.measured[name].vectors[f"{channel}/spread_cycle"][0])
            for side in (-1, 1):
                ax.plot(range(1, 13), draws[0] + side * spread, **style.of(name, linewidth=0.8, linestyle="-"))
        band(ax, range(1, 13), draws, style, name)
    ax.set_xticks(range(1, 13), list("JFMAMJJASOND"))
    dress(ax, f"{channel}: {'wet share by month' if rain else 'monthly mean ± deviation'}", "", "share of steps" if rain else channel)


def _spells(ax: Axes, report: ClimateReport, style: Style, channel: str) -> None:
    rain = channel in report.layout.rain
    kinds = ("dry", "wet") if rain else ("warm", "cold")
    for kind, faint in zip(kinds, (False, True), strict=True):
        for name in style.everything:
            look = style.of(name, alpha=0.45, linewidth=1.0) if faint else style.of(name)
            lengths = np.sort(report.measured[name].runs[f"{channel}/{kind}"])
            if len(lengths):
                at = np.arange(1, int(lengths[-1]) + 1)
                share = 1 - np.searchsorted(lengths, at, side="left") / len(lengths)
                ax.plot(at, share, **look)
    ax.set_yscale("log")
    ax.set_ylim(1e-4, 1.3)
    longest = max(float(report.measured["observed"].runs[f"{channel}/{kind}"].max(initial=1)) for kind in kinds)
    ax.set_xlim(1, 1.6 * longest)
    dress(ax, f"{channel}: {'dry (bold) and wet' if rain else 'warm (bold) and cold'} spells", "steps", "share at least so long")


def _spectrum(ax: Axes, report: ClimateReport, style: Style, channel: str) -> None:
    days = report.step / 86_400
    key = f"{channel}/spectrum"
    for name in style.everything:
        if key in report.measured[name].vectors:
            period = days / report.measured[name].runs["frequencies"]
            band(ax, period, np.exp(report.measured[name].vectors[key]), style, name)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.invert_xaxis()
    dress(ax, f"{channel}: power spectrum", "period in days", "power")


def _levels(ax: Axes, report: ClimateReport, style: Style, channel: str) -> None:
    for end in ("level", "low_level"):
        for name in style.everything:
            key = f"{channel}/{end}s"
            if key in report.measured[name].vectors:
                band(ax, PERIODS, report.measured[name].vectors[key], style, name)
    ax.set_xscale("log")
    ax.set_xticks(list(PERIODS), [f"{p:g}" for p in PERIODS])
    ax.minorticks_off()
    both = channel not in report.layout.rain
    dress(ax, f"{channel}: return levels{' of maxima and minima' if both else ''}", "once in so many years", channel)


def _example(ax: Axes, report: ClimateReport, style: Style, column: int) -> None:
    """A year of a column: observed above, one path of the simulator below it, on the same scale."""
    first = style.methods[0]
    data, made = (report.examples[name][0, :, column] for name in ("observed", first))
    offset = 1.15 * float(np.nanmax(data) - np.nanmin(data))
    ax.plot(data + offset, **style.of("observed", linewidth=0.9))
    ax.plot(made, **style.of(first, linewidth=0.9))
    ax.set_yticks([])
    dress(ax, f"A year: observed (above), {label(first)}", "step", " ".join(part for part in report.layout.keys[column] if part))


def _ranks(ax: Axes, report: ClimateReport, style: Style) -> None:
    for name, ranks in report.ranks.items():
        at = (np.arange(len(ranks.counts)) + 0.5) / len(ranks.counts)
        ax.plot(at, ranks.counts / np.maximum(ranks.expected, 1e-300), drawstyle="steps-mid", **style.of(name))
    ax.axhline(1, color=INK, linewidth=0.9)
    ax.set_ylim(bottom=0)
    dress(ax, "Rank histogram", "rank of the truth among the paths", "count over expected")


def _skill(ax: Axes, report: ClimateReport, style: Style) -> None:
    for name, skill in report.skill.items():
        ax.plot(np.arange(1, len(skill.error) + 1), skill.error, **style.of(name, linestyle="-"))
        ax.plot(np.arange(1, len(skill.spread) + 1), skill.spread, **style.of(name, linestyle=":"))
    dress(ax, "Error of the mean (line), spread (dots)", "step", "over columns")
