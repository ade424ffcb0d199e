"""The backtest in one picture: forecasts of the last window, CRPS with intervals, coverage, and the PIT."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from scidiff_timeseries.backtest.methods import OURS
from scidiff_timeseries.backtest.scoring import Score
from scidiff_timeseries.backtest.words import number
from scidiff_timeseries.plot import fan_chart

if TYPE_CHECKING:
    from scidiff_timeseries.backtest.result import Backtest

_OURS, _OTHERS, _INK, _SOFT = "#2f6fb0", "#a9b0b8", "#2b2b2b", "#d8d8d8"
_CHARTS = 3
_FAR = 6.0  # times the least CRPS: longer bars are cut
_BINS = 10


def draw(backtest: Backtest) -> Figure:
    """The figure, outside pyplot's state; :meth:`~matplotlib.figure.Figure.savefig` writes it."""
    scores = sorted(backtest.scores.values(), key=lambda score: (math.isnan(score["crps"]), score["crps"]))
    figure = Figure(figsize=(13.0, 4.6 + 0.34 * max(len(scores), 5)), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    parts: Any = figure.subfigures(2, 1, height_ratios=(2.9, 1.4 + 0.34 * max(len(scores), 5)))
    shown = backtest.scores.get(OURS, scores[0])
    _fans(backtest, shown, parts[0])
    left, middle, right = parts[1].subplots(1, 3, width_ratios=(1.4, 1.0, 1.0))
    _bars(left, scores)
    _coverage(middle, scores)
    _pit(right, shown, None if backtest.best_simple in (None, shown.key) else backtest.scores[backtest.best_simple])
    return figure


def _fans(backtest: Backtest, shown: Score, figure: Any) -> None:
    paths, panel = backtest.paths(shown.key), backtest.windows.panel
    every = [(series.id, channel) for series in backtest.windows.series for channel in panel.channels]
    chosen = [every[k] for k in np.unique(np.linspace(0, len(every) - 1, min(_CHARTS, len(every))).round().astype(int))]
    axes = figure.subplots(1, len(chosen), squeeze=False)[0]
    for ax, (name, channel) in zip(axes, chosen, strict=True):
        fan_chart(paths, panel, id=name, channel=channel, ax=ax, context=max(2 * backtest.windows.horizon, 12))
        handles, labels = ax.get_legend_handles_labels()
        ax.get_legend().remove()
        if len(panel.channels) > 1:
            ax.set_title(_plain(channel if len(backtest.windows.kept) == 1 else f"{name}, {channel}"), loc="left", fontsize=11)
            ax.set_ylabel("")
        if ax is axes[0]:
            figure.legend(handles, labels, loc="outside upper right", ncols=len(labels), fontsize=8.5, frameon=False)
    figure.suptitle(f"Last of {backtest.windows.rolls} windows, {_plain(shown.title)}", x=0.01, ha="left", fontsize=12)


def _bars(ax: Axes, scores: list[Score]) -> None:
    values = np.array([score["crps"] for score in scores])
    finite = values[np.isfinite(values)]
    ends = [interval.high for score in scores if (interval := score.evaluation.figures["crps"].interval) is not None]
    most = float(max([*finite, *ends], default=1.0))
    limit = min(most, _FAR * float(finite.min())) if finite.size and finite.min() > 0 else most or 1.0
    for row, score in enumerate(scores):
        value, interval, mine = score["crps"], score.evaluation.figures["crps"].interval, score.key == OURS
        end = min(value, limit) if math.isfinite(value) else 0.0
        ax.barh(row, end, height=0.62, color=_OURS if mine else _OTHERS, zorder=2)
        reach = end
        if interval is not None and value <= limit:
            ax.plot([interval.low, min(interval.high, limit)], [row, row], color=_INK, linewidth=1.4, zorder=3)
            reach = max(end, min(interval.high, limit))
        cut = " (bar cut)" if value > limit else ""
        ax.text(reach + 0.015 * limit, row, f"{number(value)}{cut}", va="center", fontsize=8.5, color=_INK, zorder=4)
    ax.set_yticks(range(len(scores)), [_plain(score.title) for score in scores], fontsize=9)
    for label, score in zip(ax.get_yticklabels(), scores, strict=True):
        label.set_fontweight("bold" if score.key == OURS else "normal")
    ax.set_xlim(0, 1.22 * limit)
    ax.xaxis.set_major_locator(MaxNLocator(5))
    _dress(ax, "CRPS, less is better (line: 95 % interval)")


def _coverage(ax: Axes, scores: list[Score]) -> None:
    for level, marker in ((50, "o"), (90, "D")):
        ax.axvline(level / 100, color=_INK, linestyle=(0, (1, 2)), linewidth=1.1, zorder=1)
        for row, score in enumerate(scores):
            figure, colour = score.evaluation.figures[f"coverage_{level}"], _OURS if score.key == OURS else "#7c858f"
            at = row + (0.13 if level == 90 else -0.13)
            if figure.interval is not None:
                ax.plot([figure.interval.low, figure.interval.high], [at, at], color=colour, linewidth=1.2, alpha=0.7, zorder=2)
            ax.plot(figure.value, at, marker, color=colour, markersize=6, zorder=3, clip_on=False)
    ax.set_yticks(range(len(scores)), [])
    ax.set_xlim(-0.02, 1.02)
    ax.set_xticks([0, 0.5, 0.9])
    ax.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    _dress(ax, "Coverage: 50 % (●), 90 % (◆)")


def _dress(ax: Axes, title: str) -> None:
    ax.set_ylim(len(ax.get_yticks()) - 0.4, -0.6)
    ax.grid(axis="x", color=_SOFT, linewidth=0.6)
    ax.set_axisbelow(True)
    ax.tick_params(axis="y", length=0)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.set_title(title, loc="left", fontsize=11)


def _pit(ax: Axes, shown: Score, other: Score | None) -> None:
    edges = np.linspace(0, 1, _BINS + 1)
    shares = _shares(shown, edges)
    style: dict[str, Any] = {"color": _OURS, "edgecolor": "white", "linewidth": 0.8}
    ax.bar(edges[:-1], shares, width=1 / _BINS, align="edge", zorder=2, label=_plain(shown.title), **style)
    if other is not None:
        ax.stairs(_shares(other, edges), edges, color=_INK, linewidth=1.3, zorder=3, label=_plain(other.title))
    ax.axhline(1 / _BINS, color=_INK, linestyle=(0, (1, 2)), linewidth=1.1, zorder=4)
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1.3 * max(0.2, ax.get_ylim()[1] / 1.05))
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    ax.set_xlabel("where in the forecast law the truth fell", fontsize=9)
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_title("PIT: flat if the law is right", loc="left", fontsize=11)
    handles, labels = ax.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda k: labels[k] != _plain(shown.title))
    ax.legend([handles[k] for k in order], [labels[k] for k in order], loc="upper center", fontsize=8.5, frameon=False)


def _shares(score: Score, edges: np.ndarray) -> np.ndarray:
    values = score.terms.pit[np.isfinite(score.terms.pit)]
    return np.histogram(values, edges)[0] / max(len(values), 1)


def _plain(text: str) -> str:
    return text.replace("$", r"\$")
