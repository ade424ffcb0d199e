"""What is fitted after training, on the validation windows alone: how strongly the network corrects, and a temperature."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scidiff_timeseries.generate import draw_paths
from scidiff_timeseries.metrics import coverage, wql
from scidiff_timeseries.model import TimeSeriesDenoiser
from scidiff_timeseries.recipe import SamplerConfig
from scidiff_timeseries.task import TimeSeriesTask
from scidiff_timeseries.windows import Question

Array = NDArray[np.float64]
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
TEMPERATURES = (0.8, 0.9, 1.0, 1.1, 1.25)
_PATHS, _WINDOWS = 100, 128


def calibrate(denoiser: TimeSeriesDenoiser, task: TimeSeriesTask, sampler: SamplerConfig) -> dict[str, Any]:
    """Set ``strength`` and ``log_temperature`` to the least CRPS over the validation forecasts, and say what was found.

    Strength 0 is the base law, so a network that learned nothing useful is left out.
    """
    questions = task.validation(_WINDOWS)
    denoiser.log_temperature.zero_()
    if not questions:
        denoiser.strength.zero_()
        return {"windows": 0, "strength": 0.0, "temperature": 1.0}
    truth = truths(questions, task.recipe.windows.horizon)

    def score(strength: float, temperature: float) -> tuple[float, Array]:
        denoiser.strength.fill_(strength)
        denoiser.log_temperature.fill_(math.log(temperature))
        drawn = draw_paths(denoiser, questions, task.seasons, _PATHS, sampler, drop=task.context - task.view)
        paths = np.moveaxis(drawn[:, :, -task.recipe.windows.horizon :], 3, 1)
        return wql(paths, truth), paths

    by_strength = {strength: score(strength, 1.0)[0] for strength in STRENGTHS}
    strength = min(STRENGTHS, key=lambda s: by_strength[s])
    by_temperature = {temperature: score(strength, temperature)[0] for temperature in TEMPERATURES}
    temperature = min(TEMPERATURES, key=lambda u: by_temperature[u])
    crps, paths = score(strength, temperature)
    covered = {str(level): coverage(paths, truth, level) for level in (0.5, 0.9)}
    return {
        "windows": len(questions), "strength": strength, "temperature": temperature, "crps": crps, "crps_of_the_base_law": by_strength[0.0],
        "coverage": covered,
    }  # fmt: skip


def truths(questions: Sequence[Question], horizon: int) -> Array:
    """[question, channel, horizon] in the data's own unit."""
    found: list[Array] = []
    for question in questions:
        values = question.values[-horizon:]
        found.append(np.stack([c.transform.inverse(values[:, k]) for k, c in enumerate(question.series.fit.channels)]))
    return np.stack(found)
