"""One method over all windows: its forecasts, scored one origin at a time, and how long they took."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scidiff.errors import UserError
from scidiff_timeseries.backtest.methods import Contender
from scidiff_timeseries.backtest.windows import Windows
from scidiff_timeseries.metrics import Evaluation, Interval, Terms, evaluate_terms, ratio_interval, window_terms
from scidiff_timeseries.metrics.scores import ratio

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Score:
    """What a method's forecasts were worth.

    Attributes:
        key, title: its name in ``methods`` and in tables.
        evaluation: the figures with their intervals.
        terms: what each window contributes.
        last: paths of the last window, [series, n_paths, horizon, channel].
        fit_seconds: None where each forecast fits anew.
        forecast_seconds: of all windows.
    """

    key: str
    title: str
    evaluation: Evaluation
    terms: Terms
    last: Array
    fit_seconds: float | None
    forecast_seconds: float

    def __getitem__(self, figure: str) -> float:
        return self.evaluation[figure]

    def crps_of(self, series: int, channel: int = 0) -> float:
        """CRPS of one series (and channel)."""
        top, bottom = (np.atleast_3d(part)[:, series, channel] for part in self.terms.pairs["crps"])
        return ratio(top, bottom)

    def relative(self, other: Score, seed: int) -> tuple[float, Interval | None]:
        """CRPS divided by another method's on the same windows, and the 95 % interval of windows resampled for both together.

        Infinite (or 1) where the other made no error."""
        mine, theirs = self.evaluation, other.evaluation
        if not theirs.losses.any():
            return (math.inf if mine.losses.any() else 1.0), None
        return (
            ratio(mine.losses, theirs.losses),
            ratio_interval(mine.losses, theirs.losses, block=mine.block, unit=mine.unit, seed=seed),
        )


def run(contender: Contender, windows: Windows, season: int, seed: int, advance: Callable[[], None]) -> Score:
    """Forecast every window and score it.

    Raises:
        UserError: a path that is not finite (the series is named); whatever the method raises.
    """
    parts: list[Terms] = []
    seconds, units, paths = 0.0, windows.units(), np.empty(0)
    for roll in range(windows.rolls):
        began = time.perf_counter()
        paths = contender.forecast(roll, advance)
        seconds += time.perf_counter() - began
        bad = np.flatnonzero(~np.isfinite(paths.reshape(len(paths), -1)).all(axis=1))
        if bad.size:
            raise UserError(f"series {windows.names[bad[0]]!r}: paths of window {roll} are not finite ({bad.size} such series)")
        errors = windows.seasonal_errors(roll, season)
        truth = windows.window(roll).truth
        parts.append(window_terms(paths[None], truth[None], seasonal_errors=errors[None], units=units, seed=seed + roll))
    terms = Terms.join(parts)
    last = paths if windows.multivariate else paths[..., None]
    return Score(contender.key, contender.title, evaluate_terms(terms, seed), terms, last, contender.fit_seconds, seconds)
