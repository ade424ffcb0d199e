"""Fan charts."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from scidiff.errors import UserError, did_you_mean
from scidiff_timeseries.grid import Grid
from scidiff_timeseries.panel import Panel

if TYPE_CHECKING:
    from scidiff_timeseries.paths import SamplePaths

__all__ = ["fan_chart"]

_INK, _FAN, _DARK = "#2b2b2b", "#2f6fb0", "#17436f"
_SHOWN_PATHS = 6
_CONTEXT = 3  # times the length of the paths, of history before them


def fan_chart(
    paths: SamplePaths,
    history: Panel | pd.DataFrame | pd.Series | None = None,
    *,
    id: Hashable = None,  # noqa: A002
    channel: str | None = None,
    ax: Axes | None = None,
    levels: Sequence[float | int] = (0.5, 0.9),
    context: int | None = None,
) -> Axes:
    """Draw one series: its history, and of its paths the median, central intervals and a few paths whole.

    A forecast's fan opens from the last value observed before it, which a dotted line marks. Steps that history lacks are gaps.

    Args:
        paths: sample paths.
        history: what was observed: a panel; a frame in the columns of ``paths``, or wide (times in the time column or the
            index); or a pandas Series over times.
        id: the series; None is the first.
        channel: the channel; None is the first.
        ax: where to draw; None makes a figure of its own, outside pyplot's state (``ax.figure.savefig`` writes it).
        levels: of the intervals.
        context: how many steps of history before the paths are shown; None is three times their length, at least 24.

    Raises:
        UserError: no such series or channel, a level outside [0, 1], a history without the columns.
    """
    channel = paths.channels[0] if channel is None else channel
    if channel not in paths.channels:
        raise UserError(f"no channel {channel!r}{did_you_mean(str(channel), paths.channels)}; the paths have {', '.join(paths.channels)}")
    name = (paths.ids[0] if len(paths) else None) if id is None else id
    one = paths.select(name)
    rows, values = next(one.blocks())
    fan = values[..., paths.channels.index(channel)]
    stamps = pd.DatetimeIndex(one[one.time_column].iloc[rows[0]])
    ends = [(1 + side * level) / 2 for level in sorted(levels, reverse=True) for side in (-1, 1)]
    if not all(0 <= end <= 1 for end in ends):
        raise UserError(f"levels {tuple(levels)} are no shares; give levels between 0 and 1, such as 0.9 for 90 %")
    seen = None if history is None else _observed(history, one, name, channel, stamps.tz)
    if ax is None:
        figure = Figure(figsize=(8.0, 3.8), dpi=120, layout="constrained")
        FigureCanvasAgg(figure)
        ax = figure.add_subplot()
    origin = _draw_history(ax, seen, stamps, max(24, _CONTEXT * len(stamps)) if context is None else context)
    _draw_fan(ax, stamps, fan, sorted(levels, reverse=True), origin)
    _dress(ax, stamps, title=_short(str(name)), label=_short(channel))
    return ax


def _plain(stamps: pd.DatetimeIndex) -> Any:
    """Stamps as matplotlib takes them: UTC without a zone; the axis shows them in theirs."""
    return (stamps if stamps.tz is None else stamps.tz_convert("UTC").tz_localize(None)).to_numpy()


def _observed(history: Panel | pd.DataFrame | pd.Series, paths: SamplePaths, name: Hashable, channel: str, tz: Any) -> pd.Series:
    """Observed values of the series over its grid, NaN where a step is missing."""
    if isinstance(history, Panel):
        series = next((series for series in history.series if series.id == name), None)
        if series is None:
            raise UserError(f"the history has no series {name!r}; give the panel that the paths were made from")
        if channel not in history.channels:
            raise UserError(f"the history has no channel {channel!r}; give the panel that the paths were made from")
        values = series.values[:, history.channels.index(channel)]
        return pd.Series(values, index=history.stamps(series, 0, len(series)))
    seen = history if isinstance(history, pd.Series) else _column(history, paths, name, channel)
    try:
        stamps = pd.DatetimeIndex(seen.index)
    except (TypeError, ValueError):
        raise UserError("the history's index holds no time stamps; give a series over times, or a frame with the time column") from None
    if (stamps.tz is None) != (tz is None):
        raise UserError("of history and paths only one has a time zone; bring both to one with dt.tz_localize or dt.tz_convert")
    seen = pd.Series(seen.to_numpy(dtype=np.float64, na_value=np.nan), index=stamps).sort_index()
    return _on_grid(seen, paths)


def _column(history: pd.DataFrame, paths: SamplePaths, name: Hashable, channel: str) -> pd.Series:
    part = history[history[paths.id_column] == name] if paths.id_column in history.columns else history
    label: Any = channel if channel in part.columns else name
    if label not in part.columns or part.empty:
        raise UserError(f"the history has no values of series {name!r}: neither a column {channel!r} with its rows nor a column {name!r}")
    times = part[paths.time_column] if paths.time_column in part.columns else part.index
    values = pd.Series(part[label])
    return pd.Series(values.to_numpy(dtype=np.float64, na_value=np.nan), index=pd.Index(times))


def _on_grid(seen: pd.Series, paths: SamplePaths) -> pd.Series:
    stamps = pd.DatetimeIndex(seen.index)
    if len(stamps) < 2:
        return seen
    grid = Grid.fit(paths.frequency, stamps)
    steps = grid.nearest(stamps)
    if np.any(grid.offsets(stamps, steps)) or steps[-1] - steps[0] > 100 * len(steps) or np.any(np.diff(steps) == 0):
        return seen
    values = np.full(int(steps[-1] - steps[0]) + 1, np.nan)
    values[steps - steps[0]] = seen.to_numpy()
    return pd.Series(values, index=grid.stamps(int(steps[0]), int(steps[-1]) + 1))


def _draw_history(ax: Axes, seen: pd.Series | None, stamps: pd.DatetimeIndex, context: int) -> tuple[Any, float] | None:
    """Draw what was observed; returns the last observation before the paths, where they begin after one."""
    if seen is None or seen.empty:
        return None
    first = int(pd.DatetimeIndex(seen.index).searchsorted(stamps[0]))  # steps before the paths
    shown = seen.iloc[max(0, first - context) :]
    at, values = _plain(pd.DatetimeIndex(shown.index)), shown.to_numpy(dtype=np.float64)
    ax.plot(at, values, color=_INK, linewidth=1.3, label="observed", zorder=4)
    there = np.isfinite(values)
    around = np.concatenate([[False], there, [False]])
    alone = there & ~around[:-2] & ~around[2:]
    ax.plot(at[alone], values[alone], ".", color=_INK, markersize=4, zorder=4)  # a line shows no point between gaps
    known = np.flatnonzero(there[: min(first, context)])
    if known.size == 0:
        return None
    last = at[known[-1]]
    ax.axvline(last, color=_INK, linestyle=(0, (1, 2)), linewidth=1.1, zorder=1)
    return last, float(values[known[-1]])


def _draw_fan(ax: Axes, stamps: pd.DatetimeIndex, fan: np.ndarray, levels: Sequence[float | int], origin: tuple[Any, float] | None) -> None:
    at = _plain(stamps)
    if origin is not None:  # what is known has no spread
        at = np.concatenate([np.asarray([origin[0]], dtype=at.dtype), at])
        fan = np.concatenate([np.full((len(fan), 1), origin[1]), fan], axis=1)
    for k, level in enumerate(levels):
        low, high = np.quantile(fan, [(1 - level) / 2, (1 + level) / 2], axis=0)
        tint = np.array([1.0, 1.0, 1.0]) + (np.array(to_rgb(_FAN)) - 1.0) * (0.18 + 0.45 * k / len(levels))
        ax.fill_between(at, low, high, color=tint, linewidth=0, label=f"{100 * level:g} %", zorder=2)
    for k, path in enumerate(fan[:_SHOWN_PATHS]):
        ax.plot(at, path, color=_FAN, alpha=0.55, linewidth=0.7, label="sample paths" if k == 0 else None, zorder=2.5)
    ax.plot(at, np.median(fan, axis=0), color=_DARK, linewidth=1.6, label="median", zorder=3, marker="o" if len(at) == 1 else None)


def _short(text: str, most: int = 40) -> str:
    text = text if len(text) <= most else f"{text[: most - 1]}…"
    return text.replace("$", r"\$")  # a dollar would begin a formula


def _dress(ax: Axes, stamps: pd.DatetimeIndex, *, title: str, label: str) -> None:
    locator = AutoDateLocator(tz=stamps.tz, minticks=4, maxticks=9)
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=stamps.tz))
    ax.margins(x=0.01)
    ax.grid(axis="y", color="#d8d8d8", linewidth=0.6)
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    ax.set_title(title, loc="left", fontsize=11)
    ax.set_ylabel(label)
    if stamps.tz is not None:
        ax.set_xlabel(str(stamps.tz))
    ax.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.2, fontsize=8, frameon=False, ncols=5, columnspacing=1.2)
