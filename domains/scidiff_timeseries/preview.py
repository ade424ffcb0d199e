"""What a training shows while it runs: fan charts of the newest validation windows, and the scores of all of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from scidiff.report import figure_png
from scidiff.train.task import Preview
from scidiff_timeseries.calibration import truths
from scidiff_timeseries.charts import fan_charts, spread
from scidiff_timeseries.generate import draw_paths, first_sample
from scidiff_timeseries.metrics import coverage, wql
from scidiff_timeseries.model import TimeSeriesDenoiser
from scidiff_timeseries.paths import SamplePaths
from scidiff_timeseries.task import TimeSeriesTask, forecast_question

WINDOWS, CHARTS, PATHS = 64, 4, 100


def preview(task: TimeSeriesTask, denoiser: TimeSeriesDenoiser, folder: Path, step: int) -> Preview:
    """CRPS and coverage on (at most 64) validation windows, and the fan charts of up to four series, in one picture."""
    folder.mkdir(parents=True, exist_ok=True)
    picture = folder / f"step-{step:07d}.png"
    figure_png(newest_windows(task, denoiser), picture)
    return Preview(scores(task, denoiser), (picture,))


def scores(task: TimeSeriesTask, denoiser: TimeSeriesDenoiser) -> dict[str, float]:
    """CRPS (nine levels) and coverage of the validation forecasts; nothing where there is no window."""
    questions = task.validation(WINDOWS)
    if not questions:
        return {}
    horizon = task.recipe.windows.horizon
    first = [first_sample(number) for number in range(len(questions))]  # the noise of forecasts
    paths = draw_paths(denoiser, questions, task.seasons, PATHS, task.recipe.sampler, first=first, drop=task.context - task.view)
    paths, truth = np.moveaxis(paths[:, :, -horizon:], 3, 1), truths(questions, horizon)
    return {"crps": wql(paths, truth)} | {f"coverage_{100 * level:.0f}": coverage(paths, truth, level) for level in (0.5, 0.9)}


def newest_windows(task: TimeSeriesTask, denoiser: TimeSeriesDenoiser) -> Figure:
    """The newest validation window of up to four series (or channels of a system), beside what followed."""
    panel, horizon = task.panel, task.recipe.windows.horizon
    numbers = spread([k for k, series in enumerate(panel) if len(series) > horizon] or [0], CHARTS)
    ends = [len(panel.series[number]) for number in numbers]
    questions = [forecast_question(task.prepared[number], end, horizon, task.context) for number, end in zip(numbers, ends, strict=True)]
    drawn = draw_paths(denoiser, questions, task.seasons, PATHS, task.recipe.sampler, drop=task.context - task.view)[:, :, -horizon:]
    part = replace(panel, series=tuple(panel.series[number] for number in numbers))
    return fan_charts(SamplePaths.from_array(drawn, part, begin=[end - horizon for end in ends]), panel, CHARTS)
