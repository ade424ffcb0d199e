"""From data to a training problem: base laws first, then the task that the fit loop takes. Forecaster and ``scidiff train`` share it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from scidiff.errors import UserError
from scidiff_timeseries.bars import late_bar
from scidiff_timeseries.panel import Panel
from scidiff_timeseries.prepare import fit_panel
from scidiff_timeseries.recipe import Recipe
from scidiff_timeseries.selection import laws_for
from scidiff_timeseries.task import TimeSeriesTask


def make_task(recipe: Recipe, panel: Panel, about: Mapping[str, Any] | None = None) -> TimeSeriesTask:
    """Choose the base laws, and pose the problem. ``about`` (JSON) is kept with the model: how frames of such data are laid out.

    Raises:
        UserError: no series has a value.
    """
    if not any(np.isfinite(series.values).any() for series in panel):
        raise UserError("no series has a value; a forecaster needs data to learn from")
    rolls = recipe.windows.selection(panel)
    with late_bar("choosing base laws", len(laws_for(panel.frequency.seasons, rolls))) as progress:
        fitted = fit_panel(panel, rolls, progress, recipe.windows.pool)
    return TimeSeriesTask(recipe, panel, fitted, about)
