"""What a backtest found: one table, the picture, the sentences; as frames, files and metrics."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scidiff.errors import UserError, did_you_mean
from scidiff.files import atomic_write
from scidiff_timeseries.backtest.methods import OURS, SIMPLE
from scidiff_timeseries.backtest.scoring import Score
from scidiff_timeseries.backtest.windows import Windows
from scidiff_timeseries.forecaster import Forecaster
from scidiff_timeseries.metrics import DEFINITIONS
from scidiff_timeseries.paths import SamplePaths
from scidiff_timeseries.tables import write_csv

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table

    from scidiff.tracking import Tracker

COLUMNS = {
    "title": "the method",
    "crps": DEFINITIONS["crps"][1],
    "crps_low": "lower end of its 95 % interval",
    "crps_high": "upper end",
    "relative_crps": "CRPS / that of the best simple baseline on the same windows",
    "relative_low": "lower end of its 95 % interval, windows resampled for both together",
    "relative_high": "upper end",
    **{key: DEFINITIONS[key][1] for key in ("coverage_50", "coverage_90", "pit_error", "crps_sum", "energy", "mae", "mase")},
    "fit_seconds": "seconds to fit; missing where each forecast fits anew",
    "forecast_seconds": "seconds of all forecasts",
    "failure": "why a method has no figures",
}
"""Columns of the table and what they hold, in their order."""


@dataclass(frozen=True)
class Backtest:
    """Rolling windows of several methods on the same data.

    Attributes:
        windows: the panel, and which of its steps were forecast from what.
        scores: of every method that ran, in the order asked for.
        failures: method -> why it has no figures.
        forecaster: ours, or None where it was not asked for.
        fitted: what ours was fitted on, in a sentence; empty without it.
        settings: what is needed to repeat it.
        notes: sentences on the data and on the methods.
        seed: of paths and intervals.
    """

    windows: Windows
    scores: dict[str, Score]
    failures: dict[str, str]
    forecaster: Forecaster | None
    fitted: str
    settings: dict[str, Any]
    notes: tuple[str, ...]
    seed: int

    # -- figures --------------------------------------------------------------------------------------------------------

    @property
    def best_simple(self) -> str | None:
        """The simple baseline with the least CRPS on these windows: known only afterwards, which is to its advantage."""
        ran = [key for key in SIMPLE if key in self.scores]
        return min(ran, key=lambda key: self.scores[key]["crps"], default=None)

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row for each method, indexed by its name; the columns are :data:`COLUMNS`. A method that failed has NaN figures."""
        rows = {key: self._row(score) for key, score in self.scores.items()}
        rows |= {key: {"title": key, "failure": reason} for key, reason in self.failures.items()}
        frame = pd.DataFrame.from_dict(rows, orient="index", columns=list(COLUMNS))
        frame.index.name = "method"
        return frame.astype({name: "float64" for name in COLUMNS if name not in ("title", "failure")})

    def _row(self, score: Score) -> dict[str, Any]:
        figures = score.evaluation.figures
        interval = figures["crps"].interval
        row: dict[str, Any] = {key: figure.value for key, figure in figures.items() if key in COLUMNS}
        row |= {"title": score.title, "fit_seconds": score.fit_seconds, "forecast_seconds": score.forecast_seconds, "failure": ""}
        if interval is not None:
            row |= {"crps_low": interval.low, "crps_high": interval.high}
        if self.best_simple is not None:
            value, paired = score.relative(self.scores[self.best_simple], self.seed)
            row["relative_crps"] = value
            if paired is not None and score.key != self.best_simple:
                row |= {"relative_low": paired.low, "relative_high": paired.high}
        return row

    @cached_property
    def by_series(self) -> pd.DataFrame:
        """CRPS of every series (and channel) by itself, a column for each method."""
        channels = self.windows.panel.channels
        rows = [
            {"series": name, "channel": channel, **{key: score.crps_of(s, c) for key, score in self.scores.items()}}
            for s, name in enumerate(self.windows.names)
            for c, channel in enumerate(channels)
        ]
        return pd.DataFrame(rows)

    @property
    def verdict(self) -> list[str]:
        """How ours did, in sentences: against every baseline, and whether its intervals hold what they promise."""
        from scidiff_timeseries.backtest.words import verdict

        return verdict(self)

    def paths(self, method: str = OURS) -> SamplePaths:
        """The sample paths of the last window.

        Raises:
            UserError: a method that was not run, or failed.
        """
        if method not in self.scores:
            raise UserError(f"no paths of {method!r}{did_you_mean(method, self.scores)}; there are those of {', '.join(self.scores)}")
        before = self.windows.before(self.windows.rolls - 1)
        kept = replace(before, series=tuple(before.series[number] for number in self.windows.kept))
        return SamplePaths.from_array(self.scores[method].last, kept)

    # -- showing --------------------------------------------------------------------------------------------------------

    def figure(self) -> Figure:
        """Fan charts of the last window, CRPS with intervals, coverage and PIT."""
        from scidiff_timeseries.backtest.picture import draw

        return draw(self)

    @cached_property
    def png(self) -> bytes:
        """The figure as a PNG file's content."""
        from scidiff.report import figure_png

        return figure_png(self.figure())

    def rich(self) -> Table:
        """The table for a terminal."""
        from scidiff_timeseries.backtest.words import rich_table

        return rich_table(self)

    def __str__(self) -> str:
        from scidiff_timeseries.backtest.words import text

        return text(self)

    # -- keeping --------------------------------------------------------------------------------------------------------

    def to_json(self) -> str:
        """Settings, table, definitions, figures by series, notes and verdict; what is missing is null."""
        content = {
            "settings": self.settings,
            "fitted": self.fitted,
            "verdict": self.verdict,
            "notes": list(self.notes),
            "definitions": COLUMNS,
            "intervals": self.interval_method,
            "table": _records(self.table.reset_index()),
            "by_series": _records(self.by_series),
        }
        return json.dumps(content, indent=1, allow_nan=False)

    @property
    def interval_method(self) -> str:
        """How the intervals were made; empty where there is nothing to resample."""
        made = [score.evaluation.figures["crps"].interval for score in self.scores.values()]
        return next((interval.method for interval in made if interval is not None), "")

    def metrics(self) -> dict[str, float]:
        """``backtest/METHOD/crps`` and so on, finite ones."""
        numbers = self.table.drop(columns=["title", "failure"])
        return {
            f"backtest/{method}/{name}": float(value)
            for method, row in zip(numbers.index, numbers.to_numpy(), strict=True)
            for name, value in zip(numbers.columns, row, strict=True)
            if math.isfinite(value)
        }

    def save(self, folder: str | Path) -> list[Path]:
        """Write backtest.csv, backtest_by_series.csv, backtest.json, backtest.png and backtest.html; returns their paths."""
        from scidiff.report import write_page
        from scidiff_timeseries.backtest.page import section

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        table, series, data, picture = (folder / f"backtest{end}" for end in (".csv", "_by_series.csv", ".json", ".png"))
        write_csv(self.table.reset_index(), table)
        write_csv(self.by_series, series)
        atomic_write(data, self.to_json().encode())
        atomic_write(picture, self.png)
        page = write_page(folder / "backtest.html", title="Backtest", sections=[section(self)])
        return [table, series, data, picture, page]

    def log(self, tracker: Tracker, step: int = 0) -> None:
        """Metrics ``backtest/METHOD/FIGURE``, parameters ``backtest.*``, and the files of :meth:`save` as artifacts ``backtest/``."""
        tracker.log_metrics(self.metrics(), step)
        tracker.log_params({f"backtest.{name}": value for name, value in self.settings.items()})
        for path in self.save(tracker.folder / "backtest"):
            tracker.log_artifact(path, "backtest")


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    rows = frame.to_dict(orient="records")
    return [{str(key): _plain(value) for key, value in row.items()} for row in rows]


def _plain(value: Any) -> Any:
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value
