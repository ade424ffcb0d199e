"""What a training shows while it runs: fan charts of the newest validation windows, and the scores of all of them."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from scidiff.report import Picture, Row, Section, figure_png, write_page
from scidiff.train.task import Preview
from scidiff_timeseries.calibration import truths
from scidiff_timeseries.charts import fan_charts, spread
from scidiff_timeseries.generate import draw_paths, first_sample
from scidiff_timeseries.metrics import coverage, wql
from scidiff_timeseries.model import TimeSeriesDenoiser
from scidiff_timeseries.paths import SamplePaths
from scidiff_timeseries.simulation.memorisation import COPIED, Memory
from scidiff_timeseries.task import TimeSeriesTask, forecast_question

WINDOWS, CHARTS, PATHS = 64, 4, 100
WORDS = "What may follow: the median, 50 and 90 % intervals, and a few paths whole, beside what did follow."


def preview(task: TimeSeriesTask, denoiser: TimeSeriesDenoiser, folder: Path, step: int) -> Preview:
    """CRPS and coverage on (at most 64) validation windows, and the fan charts of up to four series: a picture, and a page with both."""
    folder.mkdir(parents=True, exist_ok=True)
    picture, page = (folder / f"step-{step:07d}.{kind}" for kind in ("png", "html"))
    figure, measured = newest_windows(task, denoiser), scores(task, denoiser) | repeated(task, denoiser)
    figure_png(figure, picture)
    title = f"Forecasts at step {step:,}"
    charts = Picture(_svg(figure), WORDS, "Fan charts of the newest validation windows")
    facts = {"step": f"{step:,}", "paths a window": str(PATHS), "horizon": str(task.recipe.windows.horizon)}
    write_page(page, title=title, sections=[Section(title, [charts], facts, tiles=_tiles(measured))])
    return Preview(measured, (picture, page))


def _tiles(measured: dict[str, float]) -> list[Row]:
    """The scores in large type."""
    names = {"crps": ("CRPS, nine levels", ""), "coverage_50": ("of values inside 50 % intervals", "%")}
    names["coverage_90"] = ("of values inside 90 % intervals", "%")
    return [Row(names[key][0], value, unit=names[key][1]) for key, value in measured.items() if key in names]


def _svg(figure: Figure) -> bytes:
    """The figure as SVG; the same figure gives the same bytes."""
    stream = io.BytesIO()
    with rc_context({"svg.hashsalt": "scidiff", "svg.fonttype": "path"}):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return stream.getvalue()


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


def repeated(task: TimeSeriesTask, denoiser: TimeSeriesDenoiser) -> dict[str, float]:
    """Do paths repeat the training data? ``nearest_training``: the median of the distance of a path's steps to the nearest training window
    of steps, relative to that window's own nearest; ``near_copies``: the share of paths nearer than half of that; and what is usual, both
    for training windows (:mod:`scidiff_timeseries.simulation.memorisation`). Of the longest series; nothing where it is too short."""
    horizon = task.recipe.windows.horizon
    number = max(range(len(task.panel)), key=lambda n: len(task.panel.series[n]))
    values = task.panel.series[number].values
    end = len(values) - task.recipe.windows.rolls * horizon
    memory = Memory.of(np.diff(values[: max(end, 0)], axis=0), horizon - 1) if horizon > 1 else None
    if memory is None:
        return {}
    question = forecast_question(task.prepared[number], len(values), horizon, task.context)
    paths = draw_paths(denoiser, [question], task.seasons, PATHS, task.recipe.sampler, drop=task.context - task.view)[0, :, -horizon:]
    found, usual = memory.ratios(np.diff(paths, axis=1))[0], memory.left_out()[0]
    found, usual = found[np.isfinite(found)], usual[np.isfinite(usual)]
    if not len(found) or not len(usual):
        return {}
    shares = {"near_copies": float((found < COPIED).mean()), "near_copies_usual": float((usual < COPIED).mean())}
    return {"nearest_training": float(np.median(found)), "nearest_training_usual": float(np.median(usual)), **shares}


def newest_windows(task: TimeSeriesTask, denoiser: TimeSeriesDenoiser) -> Figure:
    """The newest validation window of up to four series (or channels of a system), beside what followed."""
    panel, horizon = task.panel, task.recipe.windows.horizon
    numbers = spread([k for k, series in enumerate(panel) if len(series) > horizon] or [0], CHARTS)
    ends = [len(panel.series[number]) for number in numbers]
    questions = [forecast_question(task.prepared[number], end, horizon, task.context) for number, end in zip(numbers, ends, strict=True)]
    drawn = draw_paths(denoiser, questions, task.seasons, PATHS, task.recipe.sampler, drop=task.context - task.view)[:, :, -horizon:]
    part = replace(panel, series=tuple(panel.series[number] for number in numbers))
    return fan_charts(SamplePaths.from_array(drawn, part, begin=[end - horizon for end in ends]), panel, CHARTS)
