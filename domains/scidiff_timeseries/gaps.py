"""Training for imputation alone: windows of long series, or whole short ones, of which shares of the known entries are hidden."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scidiff.denoiser import Denoiser
from scidiff.objective import Objective, Term, TimeLaw
from scidiff.train.task import Batch, Preview
from scidiff_timeseries.arrays import thinned
from scidiff_timeseries.calibration import BOUNDS, STRENGTHS, descend
from scidiff_timeseries.generate import draw_paths
from scidiff_timeseries.hiding import GapKind, hidden
from scidiff_timeseries.metrics.scores import wql
from scidiff_timeseries.model import VALUES, TimeSeriesDenoiser
from scidiff_timeseries.questions import uniforms
from scidiff_timeseries.recipe import Recipe
from scidiff_timeseries.task import EXAMPLES, TimeSeriesTask, build_denoiser
from scidiff_timeseries.windows import Prepared, Question, ask, feature_width

Array = NDArray[np.float64]
TEMPERATURES = (0.8, 0.9, 1.0, 1.1, 1.2, 1.35)
_T_MIN = 1e-3
_SHARES = (0.1, 0.5, 0.9)
_PATHS, _VALIDATION = 50, 96


@dataclass(frozen=True)
class Split:
    """Series that train, and others (or later parts of them) that validate."""

    training: Sequence[Prepared]
    validation: Sequence[Prepared]


class GapTask(TimeSeriesTask):
    """Implements :class:`scidiff.train.task.Task`: fill windows of ``recipe.windows.horizon`` steps, of which 5 to 95 % of the known
    entries are hidden, at random or in blocks. Series are drawn by how many windows they hold."""

    def __init__(self, recipe: Recipe, split: Split, seasons: Sequence[int]) -> None:
        self.recipe, self.split, self.seasons = recipe, split, tuple(seasons)
        self.context = self.view = 0
        self.denoiser: Denoiser = self._fresh()
        self.objective = Objective(self.denoiser.process, {VALUES: Term(score="log_score")}, TimeLaw(t_min=_T_MIN))
        length = recipe.windows.horizon
        places = np.array([max(len(one.values) - length, 0) + 1 for one in split.training])
        self._cumulative = np.cumsum(places)
        known = np.array([np.isfinite(one.values).sum() for one in split.training]) * length / np.maximum(places + length - 1, 1)
        u = uniforms(recipe.train.seed, torch.arange(EXAMPLES), 4)
        self.sizes = torch.from_numpy(1 + (_share(u[:, 2]) * known[self._chosen(u[:, 0])]).astype(np.int64))  # entries asked for, about

    def _fresh(self) -> TimeSeriesDenoiser:
        one = self.split.training[0]
        width = feature_width(one.extra.shape[1], one.past.shape[1], len(one.static), self.seasons)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.recipe.train.seed)
            return build_denoiser(self.recipe.backbone, width, one.values.shape[1])

    def base_law(self) -> TimeSeriesDenoiser:
        """A model that corrects nothing."""
        made = self._fresh().eval()
        made.strength.zero_()
        return made

    def batch(self, examples: Tensor) -> Batch:
        u = uniforms(self.recipe.train.seed, examples, 4)
        return ask([self._question(int(example), row) for example, row in zip(examples.tolist(), u, strict=True)], self.seasons).batch

    def _question(self, example: int, u: NDArray[np.float64]) -> Question:
        series = self.split.training[int(self._chosen(u[0]))]
        begin = int(u[1] * (max(len(series.values) - self.recipe.windows.horizon, 0) + 1))
        return self._hide(series, begin, float(_share(u[2])), "random" if u[3] < 0.5 else "blocks", example)

    def _chosen(self, u: Any) -> Any:
        return np.searchsorted(self._cumulative, u * self._cumulative[-1], side="right")

    def _hide(self, series: Prepared, begin: int, share: float, kind: GapKind, number: int) -> Question:
        values = series.window(begin, begin + self.recipe.windows.horizon)
        free = hidden(np.isfinite(values), share, kind=kind, seed=self.recipe.train.seed, number=number)
        return Question(series, begin, values, free)

    def validation(self, limit: int = _VALIDATION) -> list[Question]:
        """Windows one after the other, evenly spread if there are more than ``limit``; shares and kinds of gaps take turns."""
        length = self.recipe.windows.horizon
        places = [
            (series, begin) for series in self.split.validation for begin in range(0, max(len(series.values) - length, 0) + 1, length)
        ]
        kinds: tuple[GapKind, ...] = ("random", "blocks")
        asked = [
            self._hide(series, begin, _SHARES[k % len(_SHARES)], kinds[k % len(kinds)], EXAMPLES + k)
            for k, (series, begin) in enumerate(thinned(places, limit))
        ]
        return [question for question in asked if question.free.any()]

    def preview(self, denoiser: Denoiser, folder: Path, step: int) -> Preview:
        return Preview({})

    def finish(self, denoiser: Denoiser) -> dict[str, Any]:
        """Strength by the log score, temperature by the interval scores of the hidden entries of the validation windows."""
        assert isinstance(denoiser, TimeSeriesDenoiser)
        denoiser.log_temperature.zero_()
        gains = self.gains(denoiser, STRENGTHS)
        strength = max(STRENGTHS, key=lambda s: gains[s])
        denoiser.strength.fill_(strength)
        questions = self.validation()
        temperature = descend(TEMPERATURES, 1.0, lambda tau: self._intervals(denoiser, questions, tau))
        denoiser.log_temperature.fill_(math.log(temperature))
        found = {"windows": len(questions), "strength": strength, "temperature": temperature, "gain": gains[strength]}
        return {"calibration": found}

    def _intervals(self, denoiser: TimeSeriesDenoiser, questions: Sequence[Question], temperature: float) -> float:
        """In transformed units, each entry over its channel's volatility, so that no channel outweighs the others."""
        denoiser.log_temperature.fill_(math.log(temperature))
        drawn = draw_paths(denoiser, questions, self.seasons, _PATHS, self.recipe.sampler)
        paths: list[Array] = []
        truth: list[Array] = []
        for question, each in zip(questions, drawn, strict=True):
            volatility = np.array([channel.volatility for channel in question.series.fit.channels])
            made = question.series.forward(np.where(question.free, each, np.nan), question.begin)
            paths.append((made / volatility)[:, question.free])
            truth.append((question.values / volatility)[question.free])
        return wql(np.concatenate(paths, 1).T[..., None], np.concatenate(truth)[:, None], levels=BOUNDS)

    def metadata(self) -> dict[str, Any]:
        return {"domain": "timeseries gaps", "recipe": self.recipe.model_dump(mode="json", exclude={"data"})}


def _share(u: Any) -> Any:
    """Of known entries, hidden."""
    return 0.05 + 0.9 * u
