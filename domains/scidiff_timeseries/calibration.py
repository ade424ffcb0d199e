"""What is fitted after training: how strongly the network corrects each series, and a temperature.

A strength multiplies the correction; 0 is the base law, so where the network learned nothing useful it is left out. Each series' strength
has the least quantile loss of one-call forecasts over its last windows, blended with the panel's (:mod:`scidiff_timeseries.ranking`). The
forecasts' marginal laws are Gaussian and known, so the losses are exact.

The temperature is fitted on validation windows alone: it has the least interval scores of the central 50 and 90 % intervals of sample
paths (proper scores, Gneiting and Raftery 2007), which is what coverage is about. Losses are in units of what the base law expects of each
window, never of what came, which would not be proper; no window counts for its size, nor one surprise for more than a few units.

Windows that continue a path's own draws have another temperature, and so have simulations: the one that keeps draws as volatile as the
base law's, which has the data's volatility. Any other would compound from window to window.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri

from scidiff.random import Noise
from scidiff_timeseries.generate import draw_paths
from scidiff_timeseries.metrics import coverage, wql
from scidiff_timeseries.metrics.scores import quantile_loss, wql_terms
from scidiff_timeseries.model import VALUES, CorrectedRoot, TimeSeriesDenoiser, gather
from scidiff_timeseries.ranking import scores, trust
from scidiff_timeseries.recipe import SamplerConfig
from scidiff_timeseries.selection import LEVELS
from scidiff_timeseries.task import TimeSeriesTask, forecast_question
from scidiff_timeseries.windows import Question, ask

Array = NDArray[np.float64]
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
TEMPERATURES = (0.8, 0.9, 1.0, 1.1, 1.2, 1.35, 1.5, 1.75, 2.0)
INTERVALS = (0.5, 0.9)
BOUNDS = (0.05, 0.25, 0.75, 0.95)
_WORST = 2.0
_PATHS, _WINDOWS = 50, 64
_CONTINUED, _DRAWS, _ROUNDS, _HOTTEST = 48, 10, 3, math.log(2.0)
_OWN, _QUESTIONS, _BATCH = 5, 4000, 64
"""Windows of a series that choose its strength, at least; of all series, at most; and of a batch."""


def calibrate(denoiser: TimeSeriesDenoiser, task: TimeSeriesTask, sampler: SamplerConfig) -> dict[str, Any]:
    """Set the strengths (in ``task.fit``) and ``log_temperature`` as the module says, and say what was found."""
    denoiser.log_temperature.zero_()
    denoiser.log_steady.zero_()
    denoiser.strength.fill_(1.0)
    if not task.validation(_WINDOWS):
        denoiser.strength.zero_()
        return {"windows": 0, "strength": 0.0, "temperature": 1.0}
    task.strengthen(*_strengths(denoiser, task))
    questions = task.validation(_WINDOWS)
    steps = task.recipe.windows.horizon
    truth = truths(questions, steps)

    def draw(strength: float, temperature: float) -> Array:
        denoiser.strength.fill_(strength)
        denoiser.log_temperature.fill_(math.log(temperature))
        paths = draw_paths(denoiser, questions, task.seasons, _PATHS, sampler, drop=task.context - task.view)
        return np.moveaxis(paths[:, :, -steps:], 3, 1)

    base = draw(0.0, 1.0)
    paths: dict[float, Array] = {}

    def loss(tau: float) -> float:
        paths[tau] = draw(1.0, tau)
        return _interval_loss(paths[tau], base, truth)

    temperature = descend(TEMPERATURES, 1.0, loss)
    denoiser.log_temperature.fill_(math.log(temperature))
    steady(denoiser, task, sampler)
    return {
        "windows": len(questions),
        "strength": float(np.mean([fit.strength for fit in task.fit.fits])),
        "temperature": temperature,
        "steady_temperature": float(denoiser.log_steady.exp()),
        "crps": wql(paths[temperature], truth),
        "crps_of_the_base_law": wql(base, truth),
        "coverage": {str(level): coverage(paths[temperature], truth, level) for level in INTERVALS},
    }


def steady(denoiser: TimeSeriesDenoiser, task: TimeSeriesTask, sampler: SamplerConfig) -> None:
    """Set ``log_steady`` such that draws have the mean square of the base law's innovations that its own draws have, over windows from all
    over the data: simulations then neither fade nor explode."""
    questions = [replace(question, tempered=False) for question in task.spread(_CONTINUED)]

    def size() -> float:
        paths = draw_paths(denoiser, questions, task.seasons, _DRAWS, sampler, drop=task.context - task.view)
        return float(np.mean([_square(question, each, task.seasons) for question, each in zip(questions, paths, strict=True)]))

    denoiser.log_steady.zero_()
    if not questions or not any(fit.strength for fit in task.fit.fits):
        return
    denoiser.strength.zero_()
    base = size()
    denoiser.strength.fill_(1.0)
    for _ in range(_ROUNDS):
        heat = float(denoiser.log_steady) + 0.5 * math.log(base / size())
        denoiser.log_steady.fill_(min(max(heat, -_HOTTEST), _HOTTEST))


def _square(question: Question, paths: Array, seasons: Sequence[int]) -> float:
    """Mean square of the base law's standardised innovations in paths [path, time, channel] of a question's last steps."""
    values = np.repeat(question.values[None], len(paths), 0)
    drawn, last = question.series.forward(paths, question.begin + values.shape[1] - paths.shape[1]), slice(-paths.shape[1], None)
    values[:, last] = np.where(question.free[last], drawn, values[:, last])
    batch = ask([replace(question, values=values)], seasons, paths=len(paths)).batch
    condition = batch.condition
    assert condition is not None
    away = (gather(batch.state[VALUES], condition["free"]) - condition["base_mean"]).T
    root = torch.linalg.cholesky(condition["base_covariance"][0])
    return float(torch.linalg.solve_triangular(root, away, upper=False).square().mean())


def descend(values: Sequence[float], start: float, loss: Callable[[float], float]) -> float:
    """The local minimum over ascending ``values`` that one reaches from ``start``; each loss is computed once."""
    known: dict[int, float] = {}

    def at(place: int) -> float:
        if place not in known:
            known[place] = loss(values[place]) if 0 <= place < len(values) else math.inf
        return known[place]

    place = values.index(start)
    while (best := min((place, place - 1, place + 1), key=at)) != place:
        place = best
    return values[place]


def _interval_loss(paths: Array, base: Array, truth: Array) -> float:
    """Mean over [question, channel] of the interval scores a known step, in widths of the base law's 90 % intervals there."""
    known = np.isfinite(truth)
    low, high = np.quantile(base, [0.05, 0.95], axis=2)
    width = np.where(known, high - low, 0.0).sum(-1)
    loss = wql_terms(paths, truth, BOUNDS)[0] / np.maximum(width, 1e-12 * max(float(np.nanmean(np.abs(truth))), 1e-300))
    return float(np.minimum(loss, _WORST)[known.any(-1)].mean())


def _strengths(denoiser: TimeSeriesDenoiser, task: TimeSeriesTask) -> tuple[list[float], float]:
    """(each series' strength, that of the panel)."""
    count, horizon = len(task.prepared), task.recipe.windows.horizon
    rolls = max(task.recipe.windows.rolls, _OWN)
    every = -(-count * rolls // _QUESTIONS)
    asked: list[tuple[int, int, Question]] = []
    for number in range(0, count, every):
        series = task.prepared[number]
        for roll in range(rolls):
            end = len(series.values) - roll * horizon
            question = forecast_question(series, end, horizon, task.context).answerable()
            if end > horizon and question.free.any():
                asked.append((number, roll, question))
    table = np.full((len(STRENGTHS), count, rolls), np.nan)
    owners, windows = [number for number, _, _ in asked], [roll for _, roll, _ in asked]
    for start in range(0, len(asked), _BATCH):
        part = slice(start, start + _BATCH)
        table[:, owners[part], windows[part]] = _exact_losses(denoiser, task, [question for _, _, question in asked[part]], start)
    if task.fit.pool:
        table = table.reshape(len(STRENGTHS), 1, -1)
    own, panel = scores(table, trust(table)), scores(table, 0.0)
    chosen = [STRENGTHS[int(place)] for place in own.argmin(0)]
    return chosen, STRENGTHS[int(panel[:, 0].argmin())]


@torch.no_grad()
def _exact_losses(denoiser: TimeSeriesDenoiser, task: TimeSeriesTask, questions: Sequence[Question], first: int) -> Array:
    """[strength, question]: mean quantile loss of one-call forecasts, in each window's unit."""
    place = next(denoiser.parameters()).device
    batch = ask(questions, task.seasons, drop=task.context - task.view).batch.to(place)
    x, t = batch.state, torch.ones(len(questions), dtype=torch.float64, device=place)
    noise = Noise(0, first + torch.arange(len(questions), device=place))
    assert batch.condition is not None
    free = batch.condition["free"]
    x_t = denoiser.process.diffuse(x, torch.zeros_like(t), t, batch.layouts, noise, 2**31)
    truth, losses = gather(x[VALUES], free).cpu().numpy(), []
    for strength in STRENGTHS:
        denoiser.strength.fill_(strength)
        posterior = denoiser(x_t, t, batch.layouts, batch.condition)[VALUES]
        root = posterior.root
        assert isinstance(root, CorrectedRoot)
        mean, deviation = (values.cpu().numpy() for values in (gather(posterior.mean, free), root.deviation()))
        q = mean[..., None] + deviation[..., None] * ndtri(LEVELS)
        loss = quantile_loss(q, truth[..., None], LEVELS).mean(-1)
        counted = free.cpu().numpy() >= 0
        losses.append((loss * counted).sum(1) / counted.sum(1))
    denoiser.strength.fill_(1.0)
    return np.minimum(np.stack(losses), _WORST)


def truths(questions: Sequence[Question], horizon: int) -> Array:
    """[question, channel, horizon] in the data's own unit."""
    found: list[Array] = []
    for question in questions:
        begin = question.begin + len(question.values) - horizon
        found.append(question.series.back(question.values[-horizon:], begin).T)
    return np.stack(found)
