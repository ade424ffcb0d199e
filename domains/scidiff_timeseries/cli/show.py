"""What a fit or a backtest found, as a table for a terminal."""

from __future__ import annotations

from collections import Counter

from rich.markup import escape
from rich.table import Table

from scidiff_timeseries.backtest import Backtest
from scidiff_timeseries.backtest.words import HEADINGS, trimmed
from scidiff_timeseries.forecaster import Forecaster
from scidiff_timeseries.panel import Panel

_MOST = 4
_WIDE, _SHORT = 110, 7


def summary(panel: Panel, forecaster: Forecaster) -> Table:
    """Frequency, what is missing or was repaired, transforms and base laws, training, calibration."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    first, *lines = panel.describe().splitlines()
    table.add_row("data", first)
    for line in lines:
        table.add_row(*line.split(": ", 1))
    for name, text in [*_laws(forecaster), *_training(forecaster)]:
        table.add_row(name, text)
    return table


def _laws(forecaster: Forecaster) -> list[tuple[str, str]]:
    """The most common choices; a line for each."""
    chosen = forecaster.chosen
    counts = Counter(zip(chosen["transform"], chosen["base law"], strict=True)).most_common()
    lines = [f"{law}, on {_on(transform)}" for (transform, law), _ in counts]
    if len(chosen) > 1:
        lines = [f"{line}: {count} of {len(chosen)}" for line, (_, count) in zip(lines, counts, strict=True)]
    if len(lines) > _MOST:
        lines = [*lines[:_MOST], f"and {len(lines) - _MOST} others: see Forecaster.chosen"]
    return [("base law" if k == 0 else "", line) for k, line in enumerate(lines)]


def _on(transform: str) -> str:
    return {"identity": "values as they are", "log": "logarithms", "asinh": "asinh"}.get(transform, transform)


def _training(forecaster: Forecaster) -> list[tuple[str, str]]:
    about = forecaster.metadata
    if "step" not in about:
        return [("network", "none: the base laws alone")]
    found = about["calibration"]
    lines = [("network", f"{about['step']:,} steps in {about['seconds']:,} s")]
    if not found["windows"]:
        return [*lines, ("calibration", "no window to calibrate on: the base laws alone")]
    used = f"mean strength {found['strength']:.2g}" if found["strength"] else "the network did not help and is left out (strength 0)"
    lines.append(("calibration", f"{used}, temperature {found['temperature']:g}, on {found['windows']} windows"))
    covered = ", ".join(f"{100 * float(level):.0f} % interval holds {100 * share:.0f} %" for level, share in found["coverage"].items())
    lines.append(("", f"CRPS {found['crps']:.4g} (the base laws': {found['crps_of_the_base_law']:.4g}); {covered}"))
    return lines


def scores(result: Backtest, width: int) -> Table:
    """The backtest's table; where the terminal is narrow, CRPS and coverage alone."""
    if width >= _WIDE:
        return result.rich()
    headings, cells = trimmed(result, without=HEADINGS[_SHORT:])
    table = Table(*headings, box=None, padding=(0, 1, 0, 0))
    for key, row in zip(result.table.index, cells, strict=True):
        table.add_row(*map(escape, row), style="bold" if key == "ours" else None)
    return table
