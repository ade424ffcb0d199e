"""The time-series domain's training task: questions about windows of a panel, scored in nats against the base law."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from scidiff.denoiser import Denoiser
from scidiff.errors import UserError
from scidiff.objective import Objective, Term, TimeLaw
from scidiff.random import Noise
from scidiff.tracking import DataInfo
from scidiff.train.start import read_start
from scidiff.train.task import Batch, Preview
from scidiff_timeseries.arrays import thinned
from scidiff_timeseries.backbone import BackboneConfig, ConvNet
from scidiff_timeseries.bars import late_bar
from scidiff_timeseries.features import calendar_width
from scidiff_timeseries.model import VALUES, TimeSeriesDenoiser
from scidiff_timeseries.panel import Panel
from scidiff_timeseries.prepare import PanelFit
from scidiff_timeseries.provenance import data_info, provenance
from scidiff_timeseries.questions import pattern, sizes, uniforms
from scidiff_timeseries.recipe import Recipe
from scidiff_timeseries.registry import find_model
from scidiff_timeseries.windows import Prepared, Question, ask, feature_width

EXAMPLES = 2**16
"""Examples are questions drawn by number; so many make an epoch."""
_T_MIN = 1e-3
_VALIDATION_BATCH = 64


def build_denoiser(config: BackboneConfig, features: int, channels: int) -> TimeSeriesDenoiser:
    return TimeSeriesDenoiser(ConvNet(config, features, channels))


def width_of(panel: Panel) -> int:
    """How many features a window of such a panel has."""
    series = panel.series[0]
    extra = calendar_width(panel.frequency) + 2 * series.future.shape[1]
    return feature_width(extra, 2 * series.past.shape[1], 2 * len(series.static), panel.frequency.seasons)


class TimeSeriesTask:
    """Implements :class:`scidiff.train.task.Task` for series [all of them] of which the last ``windows.rolls`` horizons validate."""

    monitor = "gain"
    monitor_goal: Literal["minimise", "maximise"] = "maximise"

    def __init__(self, recipe: Recipe, panel: Panel, fit: PanelFit, about: Mapping[str, Any] | None = None) -> None:
        self.recipe, self.panel, self.fit, self.about = recipe, panel, fit, dict(about or {})
        self.seasons = panel.frequency.seasons
        self.context, self.view = recipe.windows.lengths(self.seasons)
        self.prepared = fit.prepared(panel, fit.fits)
        u = uniforms(recipe.train.seed, torch.arange(EXAMPLES), 6)
        shape = (self.view + recipe.windows.horizon, len(panel.channels))
        self.sizes = torch.from_numpy(sizes(recipe.questions, u, shape, recipe.windows.horizon))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.train.seed)  # initial weights: torch's own initialisers draw from its global generator
            self.denoiser: Denoiser = build_denoiser(recipe.backbone, width_of(panel), len(panel.channels))
        self._start = None if recipe.init is None else self._start_from(recipe.init)
        self.objective = Objective(self.denoiser.process, {VALUES: Term(score="log_score")}, TimeLaw(t_min=_T_MIN))
        self._ends = [len(one.values) - recipe.windows.rolls * recipe.windows.horizon for one in self.prepared]
        able = [max(end - recipe.windows.horizon, 0) for end in self._ends]
        self._cumulative = np.cumsum([min(n, 50 * recipe.windows.horizon) for n in able])

    def _start_from(self, model: str) -> dict[str, str]:
        """Take that model's network; base laws and calibration are of these data. What the file of the new model says of it."""
        start, said = read_start(model, find_model, "timeseries"), {"step": "frequency", "number of channels": "channels"}
        here = {"frequency": self.panel.frequency.name, "channels": len(self.panel.channels), "features": width_of(self.panel)}
        there = {**start.metadata, "channels": len(start.metadata["channels"])}
        for name, key in {**said, "number of inputs (covariates, calendar)": "features"}.items():
            if here[key] != there[key]:
                raise UserError(f"init = {model}: its {name} is {there[key]}, that of these data {here[key]}: start from fresh weights")
        network = {name: tensor for name, tensor in start.tensors.items() if name.startswith("backbone.")}
        self.denoiser.load_state_dict({**self.denoiser.state_dict(), **network})
        return start.about()

    @property
    def trainable(self) -> bool:
        """Is there any window before the validation windows?"""
        return bool(self._cumulative[-1] > 0)

    def batch(self, examples: Tensor) -> Batch:
        u = uniforms(self.recipe.train.seed, examples, 6)
        questions = [self._question(int(example), row) for example, row in zip(examples.tolist(), u, strict=True)]
        return ask(questions, self.seasons, drop=self.context - self.view).batch

    def _question(self, example: int, u: np.ndarray) -> Question:
        horizon = self.recipe.windows.horizon
        chosen = int(np.searchsorted(self._cumulative, u[4] * self._cumulative[-1], side="right"))
        series, last = self.prepared[chosen], self._ends[chosen]
        end = horizon + 1 + int(u[5] * (last - horizon))
        begin = end - self.context - horizon
        values = series.window(begin, end)
        shape = (self.view + horizon, values.shape[1])
        free, lead = np.zeros(values.shape, dtype=bool), self.context - self.view
        free[lead:], shown = pattern(self.recipe.questions, u[:4], self.recipe.train.seed, example, shape, horizon)
        if shown:
            values[: lead + shown] = np.nan
        return Question(series, begin, values, free).answerable()

    def strengthen(self, strengths: Sequence[float], later: float) -> None:
        """Give every series its factor of the network's correction, and say that of series that come later."""
        series = tuple(fit.model_copy(update={"strength": one}) for fit, one in zip(self.fit.series, strengths, strict=True))
        self.fit = self.fit.model_copy(update={"series": series, "strength": later})
        self.prepared = [replace(one, fit=fit) for one, fit in zip(self.prepared, self.fit.fits, strict=True)]

    def validation(self, limit: int = 512) -> list[Question]:
        """Forecasts of the last ``rolls`` horizons; evenly spread if there are more than ``limit``."""
        horizon, rolls = self.recipe.windows.horizon, self.recipe.windows.rolls
        ends = [(series, len(series.values) - roll * horizon) for series in self.prepared for roll in range(rolls)]
        places = [(series, end) for series, end in ends if end > horizon]
        asked = [forecast_question(series, end, horizon, self.context).answerable() for series, end in thinned(places, limit)]
        return [question for question in asked if question.free.any()]

    def spread(self, limit: int) -> list[Question]:
        """Forecasts from all over the data, evenly spread, at most ``limit``."""
        horizon = self.recipe.windows.horizon
        places = [(one, end) for one in self.prepared for end in range(self.context + horizon, len(one.values) + 1, horizon)]
        return [forecast_question(one, end, horizon, self.context) for one, end in thinned(places, limit)]

    def learnt(self, limit: int) -> list[Question]:
        """Forecasts of windows that are trained on, evenly spread, at most ``limit``."""
        horizon = self.recipe.windows.horizon
        series = zip(self.prepared, self._ends, strict=True)
        places = [(one, end) for one, last in series for end in range(last, horizon, -horizon)]
        asked = [forecast_question(one, end, horizon, self.context).answerable() for one, end in thinned(places, limit)]
        return [question for question in asked if question.free.any()]

    def validate(self, denoiser: Denoiser, training: bool = False) -> dict[str, float]:
        """Nats an entry by which the model's log score is below (better than) the base law's on the validation forecasts: at all times, and
        at t = 1, where the whole horizon is forecast in one call. ``training``: on as many forecasts of the training's windows."""
        assert isinstance(denoiser, TimeSeriesDenoiser)
        strength, questions = float(denoiser.strength), self.validation()
        questions = self.learnt(len(questions)) if training else questions
        times = (("", None), ("_at_1", 1.0))
        return {f"gain{suffix}": self.gains(denoiser, [strength], t, questions)[strength] for suffix, t in times}

    @torch.no_grad()
    def gains(
        self, denoiser: TimeSeriesDenoiser, strengths: Sequence[float], t: float | None = 1.0, questions: Sequence[Question] | None = None
    ) -> dict[float, float]:
        """As :meth:`validate`, for other strengths of the correction. ``t`` None: times spread over (0, 1)."""
        questions = self.validation() if questions is None else questions
        sums, entries = dict.fromkeys((0.0, *strengths), 0.0), 0
        given = denoiser.strength.clone()
        for start in range(0, len(questions), _VALIDATION_BATCH):
            batch = ask(questions[start : start + _VALIDATION_BATCH], self.seasons, drop=self.context - self.view).batch
            count = len(batch.state[VALUES])
            times = (torch.arange(count).double() + 0.5) / count if t is None else torch.full((count,), t, dtype=torch.float64)
            for strength in sums:
                denoiser.strength.fill_(strength)
                sums[strength] += self._score(denoiser, batch, times, start)
            entries += int(batch.layouts[VALUES].free.sum())
        denoiser.strength.copy_(given)
        return {strength: (sums[0.0] - sums[strength]) / max(entries, 1) for strength in strengths}

    def _score(self, denoiser: TimeSeriesDenoiser, batch: Batch, t: Tensor, start: int) -> float:
        place = next(denoiser.parameters()).device
        batch, t = batch.to(place), t.clamp(min=_T_MIN).to(place)
        x, layouts = batch.state, batch.layouts
        noise = Noise(self.recipe.train.seed, torch.arange(start, start + len(t), device=place))
        x_t = denoiser.process.diffuse(x, torch.zeros_like(t), t, layouts, noise, 2**31)
        posterior = denoiser(x_t, t, layouts, batch.condition)[VALUES]
        return float(posterior.log_score(x[VALUES], layouts[VALUES]).sum())

    def preview(self, denoiser: Denoiser, folder: Path, step: int) -> Preview:
        """Fan charts of the newest validation windows, and the scores of all."""
        from scidiff_timeseries.preview import preview  # it asks tasks

        assert isinstance(denoiser, TimeSeriesDenoiser)
        return preview(self, denoiser, folder, step)

    def finish(self, denoiser: Denoiser) -> dict[str, Any]:
        """Calibrate on the validation windows."""
        from scidiff_timeseries.calibration import calibrate  # it asks tasks

        assert isinstance(denoiser, TimeSeriesDenoiser)
        with late_bar("calibrating"):
            return {"calibration": calibrate(denoiser, self, self.recipe.sampler)}

    def data(self) -> DataInfo:
        return data_info(self.panel, str(self.about.get("source", "")))

    def metadata(self) -> dict[str, Any]:
        recipe = self.recipe
        return {
            "domain": "timeseries",
            "name": recipe.name,
            "recipe": recipe.model_dump(mode="json", exclude={"data", "init"}),  # a model holds no data, nor where they were
            **self.about,
            "fit": self.fit.model_dump(mode="json"),
            "frequency": self.panel.frequency.name,
            "channels": [str(channel) for channel in self.panel.channels],
            "features": width_of(self.panel),
            **({"init": self._start} if self._start else {}),
            **provenance(self.panel),
        }


def forecast_question(series: Prepared, end: int, horizon: int, context: int) -> Question:
    """The ``horizon`` steps before ``end``, known or not, given the ``context`` before them."""
    begin = end - horizon - context
    values = series.window(begin, end)
    free = np.zeros(values.shape, dtype=bool)
    free[context:] = True
    return Question(series, begin, values, free)

