"""The backtest as a section of a page."""

from __future__ import annotations

import numpy as np

from scidiff.report import Grid, Picture, Prose, Section
from scidiff_timeseries.backtest.methods import OURS
from scidiff_timeseries.backtest.result import Backtest
from scidiff_timeseries.backtest.words import EXPLAINED, number, trimmed
from scidiff_timeseries.metrics import DEFINITIONS

_SERIES = 30


def section(backtest: Backtest, title: str = "Backtest") -> Section:
    """Verdict, picture, table of methods, table by series, what failed, and what is needed to repeat it."""
    headings, cells = trimmed(backtest)
    strong = [k for k, key in enumerate(backtest.table.index) if key == OURS]
    parts: list[Prose | Picture | Grid] = []
    if backtest.verdict:
        parts.append(Prose(" ".join(backtest.verdict)))
    parts.append(Grid("Methods", headings, cells, note=EXPLAINED, strong=strong))
    parts.append(Picture(backtest.png, caption=CAPTION, alt=_alt(backtest)))
    if len(backtest.by_series) > 1:
        parts.append(_series(backtest))
    if backtest.failures:
        parts.append(Grid("Methods that failed", ("method", "reason"), [list(item) for item in backtest.failures.items()]))
    facts = {name.replace("_", " "): ", ".join(map(str, v)) if isinstance(v, list) else str(v) for name, v in backtest.settings.items()}
    notes = [note for note in (backtest.fitted, *backtest.notes, *_definitions(backtest)) if note]
    return Section(title, parts, facts=facts, notes=notes)


CAPTION = (
    "Top: forecasts of the last window, median, 50 and 90 % intervals and a few paths whole, over what happened. Below: CRPS with its 95 % "
    "interval (hard windows are hard for all, so methods are told apart by the paired interval in the table, not by these); share of "
    "values inside central intervals; and how often the truth fell into each tenth of the forecast law (PIT)."
)


def _alt(backtest: Backtest) -> str:
    scores = sorted(backtest.scores.values(), key=lambda score: score["crps"])
    listed = ", ".join(f"{score.title} {number(score['crps'])}" for score in scores)
    return f"Fan charts of the last window and bars of the CRPS: {listed}"


def _series(backtest: Backtest) -> Grid:
    frame = backtest.by_series
    names = ["series", *(["channel"] if backtest.windows.multivariate else [])]
    methods = list(backtest.scores)
    rows = [[*(str(row[name]) for name in names), *(number(float(row[key])) for key in methods)] for row in frame.to_dict(orient="records")]
    more = f" The first {_SERIES} of {len(rows)}; the file backtest_by_series.csv has all." if len(rows) > _SERIES else ""
    columns = [*names, *(backtest.scores[key].title for key in methods)]
    return Grid("CRPS of each series by itself", columns, rows[:_SERIES], note=f"Quantile losses over sum |y| of the series.{more}")


def _definitions(backtest: Backtest) -> list[str]:
    shown = [name for name in ("crps", "crps_sum", "energy", "mase") if np.isfinite(backtest.table[name].to_numpy(dtype=np.float64)).any()]
    return [f"{DEFINITIONS[name][0]}: {DEFINITIONS[name][1]}." for name in shown]
