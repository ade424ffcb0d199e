"""What a reader of the figures has to know: what ours was fitted on, what is missing, what stood in for what."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from scidiff_timeseries.backtest.methods import OURS, SIMPLE
from scidiff_timeseries.backtest.scoring import Score
from scidiff_timeseries.backtest.windows import Windows, named
from scidiff_timeseries.forecaster import Forecaster

_FEW = 20  # resampled units below which an interval is a lower bound


def training_of(forecaster: Forecaster, windows: Windows, given: bool) -> str:
    """What ours was fitted on, and whether that was before the windows."""
    steps = forecaster.metadata.get("step", 0)
    how = f"{steps:,} optimiser steps" if steps else "the base law alone, no network was trained"
    if not given:
        first = min(first for first, _ in windows.origins(0))
        return f"Ours was fitted once, on what was known before the first window ({first:%Y-%m-%d %H:%M}); {how}."
    ends = {str(name): end for name, end in forecaster.data_end.items()}
    starts = dict(zip(windows.names, (first for first, _ in windows.origins(0)), strict=True))
    seen = [name for name, first in starts.items() if name in ends and not _before(ends[name], first)]
    new = [name for name in starts if name not in ends]
    more = f" {len(new)} series were not in its training: {named(new)}." if new else ""
    if seen:
        return (
            f"A fitted forecaster was given ({how}), and its training data reach into the windows of {len(seen)} of {len(starts)} series "
            f"({named(seen)}): its figures on them are not those of forecasts.{more}"
        )
    return f"A fitted forecaster was given ({how}); its training data ended before the first window of every series it knew.{more}"


def _before(end: pd.Timestamp, first: pd.Timestamp) -> bool:
    if (end.tz is None) != (first.tz is None):
        return False  # not to be told: taken as seen
    return bool(end < first)


def notes_on(windows: Windows, scores: Mapping[str, Score], stand_ins: Mapping[str, int]) -> tuple[str, ...]:
    """Sentences on the data, the baselines and the intervals."""
    notes: list[str] = []
    if windows.left_out:
        many = f"{len(windows.left_out)} series had no value in some channel before the first window and are left out"
        notes.append(f"{many}: {named(windows.left_out)}.")
    values = np.concatenate([one.values.ravel() for one in windows.series])
    missing = int(np.isnan(values).sum())
    if missing:
        notes.append(
            f"{missing:,} of {values.size:,} values are missing. They are never filled and never scored; random walks start at the last "
            "known value, seasonal forecasts take the latest season in which a phase was known, ETS bridges gaps of up to 5 steps and "
            "forgets what was before longer ones, ARIMA and GARCH leave them out."
        )
    if windows.multivariate and any(key != OURS for key in scores):
        notes.append(
            "Baselines draw each channel by itself; ours draws all channels of a system together, which CRPS-sum and the energy score see. "
            "In the energy score each channel is divided by its standard deviation before the first window."
        )
    counts = {score.title: stand_ins[score.title] for score in scores.values() if stand_ins.get(score.title)}
    total = windows.rolls * len(windows.kept) * len(windows.panel.channels)
    notes += [f"{title}: no usable fit in {count} of {total} forecasts; a random walk stood in." for title, count in counts.items()]
    if any(key in SIMPLE for key in scores):
        notes.append("The best simple baseline is the one with the least CRPS on these windows, which is known only afterwards.")
    return (*notes, *_on_intervals(scores))


def _on_intervals(scores: Mapping[str, Score]) -> list[str]:
    evaluation = next(iter(scores.values())).evaluation
    interval = evaluation.figures["crps"].interval
    if interval is None:
        return ["There is one window to resample, so no interval is given: read small differences as none."]
    units = len(evaluation.losses)
    caution = f" {units} {evaluation.unit} are few: the intervals are too narrow, a lower bound." if units < _FEW else ""
    return [f"95 % intervals: {interval.method}.{caution}"]
