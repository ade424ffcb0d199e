"""The pictures of a sweep: the metric against each key that was varied, and the curves of all runs."""

from __future__ import annotations

import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from scidiff.sweep.config import Range, SweepConfig
from scidiff.sweep.outcome import Outcome
from scidiff.sweep.plan import shown

__all__ = ["draw_curves", "draw_keys"]

BEST, REST, LINE = "#3557c9", "#8b95a7", "#dfe4ec"
COLOURS = ("#3557c9", "#d9731a", "#0f8f7c", "#b4388f", "#7a6a00")
WIDE = 3
RATIO_FOR_LOG = 10.0


def draw_keys(order: list[Outcome], config: SweepConfig) -> Figure:
    """One panel a key; one point a run, the best one marked. ``order``: the best first."""
    found = [(one, value) for one in order if (value := one.value(config)) is not None]
    keys = list(config.over)
    columns = min(WIDE, len(keys))
    rows = math.ceil(len(keys) / columns)
    figure = _figure(4.4 * columns, 3.4 * rows)
    for place, key in enumerate(keys):
        axes = figure.add_subplot(rows, columns, place + 1)
        _panel(axes, key, config, [one.trial.values[key] for one, _ in found], [value for _, value in found])
        axes.set_ylabel(_plain(config.metric) if place % columns == 0 else "")
    return figure


def draw_curves(order: list[Outcome], config: SweepConfig) -> Figure:
    """The metric of every run against its step; the best five in colour, with their own values. ``order``: the best first."""
    figure = _figure(8.0, 4.4)
    axes = figure.add_subplot()
    drawn = [one for one in order if any(math.isfinite(value) for _, value in one.points)]
    for place, one in reversed(list(enumerate(drawn))):
        steps, values = [step for step, _ in one.points], [value if math.isfinite(value) else math.nan for _, value in one.points]
        named = place < len(COLOURS)
        axes.plot(
            steps,
            values,
            color=COLOURS[place] if named else REST,
            lw=1.8 if named else 0.8,
            alpha=1.0 if named else 0.5,
            marker="o" if len(steps) < 30 else None,
            ms=3,
            zorder=3 if named else 2,
            label=_plain(f"{one.trial.name}: {one.trial.text}") if named else None,
        )
    every = [value for one in drawn for _, value in one.points if math.isfinite(value)]
    if min(every) > 0 and max(every) / min(every) > RATIO_FOR_LOG:
        axes.set_yscale("log")
    axes.set(xlabel="step", ylabel=_plain(config.metric))
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], frameon=False, fontsize=7)
    _tidy(axes)
    return figure


def _panel(axes: Axes, key: str, config: SweepConfig, values: list[Any], metric: list[float]) -> None:
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    if numbers:
        places = [float(value) for value in values]
        over = config.over[key]
        wide = min(places) > 0 and max(places) / min(places) >= RATIO_FOR_LOG
        if wide or (isinstance(over, Range) and over.log) or _is_geometric(places):
            axes.set_xscale("log")
    else:
        names = list(dict.fromkeys(shown(value) for value in values))
        places = [float(names.index(shown(value))) for value in values]
        axes.set_xticks(range(len(names)), [_plain(name[:24]) for name in names])
        axes.set_xlim(-0.5, len(names) - 0.5)
    axes.scatter(places[1:], metric[1:], color=REST, s=22, zorder=3)
    axes.scatter(places[:1], metric[:1], color=BEST, s=46, zorder=4)
    axes.set_xlabel(_plain(key))
    _tidy(axes)


def _is_geometric(places: list[float]) -> bool:
    """Whether values are spread as those of a logarithmic scale are: the middle one far below the mean of the ends."""
    distinct = sorted(set(places))
    if len(distinct) < 3 or distinct[0] <= 0:
        return False
    middle = distinct[len(distinct) // 2]
    low, high = distinct[0], distinct[-1]
    return abs(math.log(middle / math.sqrt(low * high))) < abs(math.log(middle / ((low + high) / 2)))


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _tidy(axes: Axes) -> None:
    axes.grid(color=LINE)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _plain(text: str) -> str:
    """Text that matplotlib does not read as mathematics, and does not hide as a label."""
    return text.replace("$", r"\$").lstrip("_")
