"""The backtest in words: how ours did against each baseline, and the table for a terminal."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from scidiff_timeseries.backtest.methods import OURS
from scidiff_timeseries.backtest.scoring import Score
from scidiff_timeseries.metrics import Interval

if TYPE_CHECKING:
    from scidiff_timeseries.backtest.result import Backtest

_LOOSE = 0.03  # coverage so far from its level is said, if its interval says so too


def verdict(backtest: Backtest) -> list[str]:
    """How ours did against every baseline, and how well its intervals cover; nothing where it was not asked for."""
    ours = backtest.scores.get(OURS)
    if ours is None:
        return [f"Ours failed: {backtest.failures[OURS]}."] if OURS in backtest.failures else []
    others = [score for key, score in backtest.scores.items() if key != OURS]
    return [*_against(ours, others, backtest.seed), *_covering(ours)]


def _against(ours: Score, others: list[Score], seed: int) -> list[str]:
    if not others:
        return []
    if math.isnan(ours["crps"]):
        return ["All values of the windows are zero or missing, so that the CRPS, a share of their size, is not defined."]
    compared = sorted(((*ours.relative(other, seed), other) for other in others), key=lambda one: -one[0])
    better = [one for one in compared if one[0] > 1]
    value, interval, best = compared[0]
    if better:
        rest = ", ".join(f"{other.title} ({_percent(times - 1)})" for times, _, other in better[1:])
        also = f" It is higher than that of {rest} as well." if rest else ""
        return [f"Ours loses to {len(better)} of {len(compared)} baselines: its CRPS is {_difference(best.title, value, interval)}.{also}"]
    if value == 1:
        return [f"Ours has the same CRPS as {best.title}, the best of {len(compared)} baselines."]
    many = f", the best of {len(compared)} baselines" if len(compared) > 1 else ""
    return [f"Ours beats every baseline: its CRPS is {_difference(best.title, value, interval)}{many}."]


def _difference(title: str, value: float, interval: Interval | None) -> str:
    """``3.1 % higher than that of naive (paired 95 % interval 1.2 to 5.0 %)``."""
    if math.isinf(value):
        return f"above that of {title}, which made no error"
    sign, word = (1, "higher") if value > 1 else (-1, "lower")
    text = f"{_percent(sign * (value - 1))} {word} than that of {title}"
    if interval is None:
        return f"{text} (there is too little to resample for an interval)"
    low, high = sorted(100 * sign * (end - 1) for end in (interval.low, interval.high))
    noise = ", so it may be chance" if low <= 0 <= high else ""
    return f"{text} (paired 95 % interval {low:.1f} to {high:.1f} %{noise})"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _covering(ours: Score) -> list[str]:
    found: list[str] = []
    for level in (50, 90):
        figure = ours.evaluation.figures[f"coverage_{level}"]
        if math.isnan(figure.value) or abs(figure.value - level / 100) < _LOOSE:
            continue
        if figure.interval is not None and figure.interval.low <= level / 100 <= figure.interval.high:
            continue
        kind = "too narrow" if figure.value < level / 100 else "too wide"
        found.append(f"Its {level} % intervals hold {100 * figure.value:.0f} % of the values: they are {kind}.")
    return found


def number(value: float, digits: int = 3) -> str:
    """A figure for a table; an en dash where there is none."""
    if math.isnan(value):
        return "–"
    if value == 0:
        return "0"
    return f"{value:#.{digits}g}".rstrip(".") if 1e-3 <= abs(value) < 10**digits else f"{value:.4g}" if abs(value) >= 1 else f"{value:.1e}"


def percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{100 * value:.0f}"


def _seconds(fit: float, forecast: float) -> str:
    """``12 + 3.1``: to fit once, and to forecast."""
    texts = [f"{value:.1f}" if value < 10 else f"{value:.0f}" for value in (fit, forecast) if not math.isnan(value)]
    return " + ".join(texts) or "–"


HEADINGS = ("method", "CRPS", "95 %", "relative", "95 %", "50 %", "90 %", "PIT error", "CRPS-sum", "energy", "MAE", "MASE", "seconds")
EXPLAINED = (
    "CRPS: nine levels, quantile losses over sum |y|. Relative: to the best simple baseline, paired. 50 %, 90 %: share of values inside "
    "the central intervals, in per cent. PIT error: mean distance of the PIT's deciles from 0.1 ... 0.9. "
    "Seconds: to fit once + to forecast all windows."
)


def rows(backtest: Backtest) -> list[list[str]]:
    """The table's cells as text, under :data:`HEADINGS`; a failed method has its name and dashes."""
    found: list[list[str]] = []
    for row in backtest.table.to_dict(orient="records"):
        value = {key: float("nan") if entry is None else entry for key, entry in row.items()}
        found.append([
            str(row["title"]), number(value["crps"]), _interval(value["crps_low"], value["crps_high"]), number(value["relative_crps"]),
            _interval(value["relative_low"], value["relative_high"]), percent(value["coverage_50"]), percent(value["coverage_90"]),
            number(value["pit_error"], 2), number(value["crps_sum"]), number(value["energy"]), number(value["mae"]), number(value["mase"]),
            _seconds(value["fit_seconds"], value["forecast_seconds"]),
        ])  # fmt: skip
    return found


def _interval(low: float, high: float) -> str:
    return "–" if math.isnan(low) else f"{number(low)}–{number(high)}"


def trimmed(backtest: Backtest, without: Sequence[str] = ()) -> tuple[list[str], list[list[str]]]:
    """Headings and rows without the columns in which every method lacks a figure."""
    cells = rows(backtest)
    kept = [k for k in range(len(HEADINGS)) if HEADINGS[k] not in without and any(row[k] != "–" for row in cells)]
    return [HEADINGS[k] for k in kept], [[row[k] for k in kept] for row in cells]


def rich_table(backtest: Backtest) -> Table:
    """The table for a terminal, ours in bold type."""
    headings, cells = trimmed(backtest, without=("MAE",))
    table = Table(title=_title(backtest), caption=EXPLAINED, caption_justify="left", title_justify="left")
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "method" else "right", no_wrap=heading != "method")
    for key, row in zip(backtest.table.index, cells, strict=True):
        table.add_row(*map(escape, row), style="bold" if key == OURS else None)
    return table


def _title(backtest: Backtest) -> str:
    windows = backtest.windows
    many = f"{len(windows.kept)} series" if len(windows.kept) > 1 else "one series"
    return f"{windows.rolls} window{'s' if windows.rolls > 1 else ''} of {windows.horizon} steps, {many}, {windows.panel.frequency.name}"


def text(backtest: Backtest, width: int = 160) -> str:
    """Table, sentences and notes as plain text."""
    stream = io.StringIO()
    console = Console(file=stream, width=width, color_system=None)
    console.print(backtest.rich())
    failed = [f"{name} failed: {reason}" for name, reason in backtest.failures.items() if name != OURS]
    for line in (*backtest.verdict, backtest.fitted, *failed, *backtest.notes):
        if line:
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    return stream.getvalue()
