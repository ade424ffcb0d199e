"""How good sample paths are: ``evaluate`` scores forecasts of several origins and series at once.

The modules hold the parts: ``scores`` (CRPS, energy score, MASE), ``calibration`` (coverage, PIT), ``intervals`` (bootstrap).
"""

from __future__ import annotations

from scidiff_timeseries.metrics.calibration import calibration, coverage, pit
from scidiff_timeseries.metrics.evaluation import DEFINITIONS, Evaluation, Figure, evaluate, evaluate_terms
from scidiff_timeseries.metrics.intervals import Interval, ratio_interval, skill_interval
from scidiff_timeseries.metrics.scores import (
    NINE,
    NINETEEN,
    crps,
    crps_sum,
    csdi_crps,
    energy_score,
    mae,
    mase,
    quantiles,
    seasonal_error,
    wql,
)
from scidiff_timeseries.metrics.terms import Terms, window_terms

__all__ = [
    "DEFINITIONS",
    "NINE",
    "NINETEEN",
    "Evaluation",
    "Figure",
    "Interval",
    "Terms",
    "calibration",
    "coverage",
    "crps",
    "crps_sum",
    "csdi_crps",
    "energy_score",
    "evaluate",
    "evaluate_terms",
    "mae",
    "mase",
    "pit",
    "quantiles",
    "ratio_interval",
    "seasonal_error",
    "skill_interval",
    "window_terms",
    "wql",
]
