"""Forecaster: one fitted model that forecasts, fills gaps and simulates, for pandas users."""

from __future__ import annotations

import tempfile
from collections.abc import Hashable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scidiff.domain import find_weights
from scidiff.errors import UserError
from scidiff.train.loop import RunLog, fit
from scidiff.train.weights import load_weights, save_weights
from scidiff_timeseries.calibration import calibrate
from scidiff_timeseries.frequency import Frequency
from scidiff_timeseries.generate import draw_paths
from scidiff_timeseries.model import TimeSeriesDenoiser
from scidiff_timeseries.panel import Panel, read_frame
from scidiff_timeseries.paths import SamplePaths
from scidiff_timeseries.prepare import PanelFit, describe, fit_panel, fit_series
from scidiff_timeseries.recipe import Recipe, WindowConfig
from scidiff_timeseries.selection import Rolls, SeriesFit
from scidiff_timeseries.task import TimeSeriesTask, build_denoiser, forecast_question
from scidiff_timeseries.windows import Prepared, Question

Array = NDArray[np.float64]
MAX_PATHS = 100_000
MAX_STEPS = 20_000
MAX_VALUES = 200_000_000
"""Values in one answer: paths x steps x series x channels."""


class Forecaster:
    """One model of joint sample paths; sklearn's and nixtla's habits.

    >>> forecaster = Forecaster(horizon=30).fit(df)              # doctest: +SKIP
    >>> paths = forecaster.predict(30, n_paths=100)               # a DataFrame of joint sample paths
    >>> filled, invented = forecaster.impute(df), forecaster.simulate(10, length=250)

    Args:
        horizon: steps a forecast is trained and judged on; :meth:`predict` takes any.
        recipe: everything else (network, training, questions); ``steps`` and ``seed`` are its most wanted fields.
        steps: optimiser steps; 0 keeps the base laws alone.
        frame: how the frame is laid out, as :func:`~scidiff_timeseries.panel.read_frame` takes it (layout, id, time, targets, freq, future,
            past, static, multivariate, repair).
    """

    def __init__(
        self, horizon: int = 30, *, recipe: Recipe | None = None, steps: int | None = None, seed: int | None = None, **frame: Any
    ) -> None:
        recipe = Recipe(windows=WindowConfig(horizon=_within("horizon", horizon, 1, 10_000))) if recipe is None else recipe
        changes = {key: value for key, value in (("steps", steps or None), ("seed", seed)) if value is not None}
        self.recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update=changes)})
        self.frame = frame
        self._learn = steps != 0
        self._fit: PanelFit | None = None
        self._panel: Panel | None = None

    # -- fitting --------------------------------------------------------------------------------------------------------

    def fit(self, df: pd.DataFrame | Panel, *, log: RunLog | None = None, folder: str | Path | None = None) -> Forecaster:
        """Choose base laws, train the network, calibrate on the last ``recipe.windows.rolls`` horizons.

        ``folder`` keeps checkpoints, from which an interrupted fit continues bit-identically. Raises UserError for frames that cannot be
        read, or without a single usable value.
        """
        panel = df if isinstance(df, Panel) else read_frame(df, **self.frame)
        self._panel, self.frequency, self.channels = panel, panel.frequency, panel.channels
        if not any(np.isfinite(series.values).any() for series in panel):
            raise UserError("no series has a value; a forecaster needs data to learn from")
        self._fit = fit_panel(panel, self._rolls(panel))
        task = TimeSeriesTask(self.recipe, panel, self._fit)
        self.metadata = task.metadata()
        assert isinstance(task.denoiser, TimeSeriesDenoiser)
        self.denoiser = task.denoiser.eval()
        if self._learn and task.trainable:
            with tempfile.TemporaryDirectory() if folder is None else nullcontext(str(folder)) as place:
                weights = fit(task, self.recipe.train, Path(place), log or _Silent(), device="cpu", resume=folder is not None)
                tensors, trained = load_weights(weights)
            self.denoiser.load_state_dict(tensors)
            self.metadata |= {key: trained[key] for key in ("step", "seconds")}
            self.metadata["calibration"] = calibrate(self.denoiser, task, self.recipe.sampler)
        else:
            self.denoiser.strength.zero_()
        return self

    def _rolls(self, panel: Panel) -> Rolls:
        windows = self.recipe.windows
        context, _ = windows.lengths(panel.frequency.seasons)
        return Rolls(windows.horizon, windows.selection_rolls, context)

    @property
    def chosen(self) -> pd.DataFrame:
        """The transform and base law of every series and channel, and its volatility."""
        return pd.DataFrame(describe(self._fitted))

    @property
    def _fitted(self) -> PanelFit:
        if self._fit is None:
            raise UserError("this forecaster is not fitted yet; call fit(df) or Forecaster.load(path) first")
        return self._fit

    # -- asking ---------------------------------------------------------------------------------------------------------

    def predict(
        self, horizon: int | None = None, n_paths: int = 100, *, df: pd.DataFrame | None = None, seed: int = 0, calls: int | None = None
    ) -> SamplePaths:
        """Joint sample paths of the ``horizon`` steps after the data (of ``df`` if given, else those fitted on)."""
        panel, prepared = self._data(df)
        horizon = _within("horizon", self.recipe.windows.horizon if horizon is None else horizon, 1, MAX_STEPS)
        self._check(n_paths, horizon, len(panel) * len(panel.channels), seed)
        context, drop = self._lengths()
        questions = [forecast_question(series, len(series.values) + horizon, horizon, context) for series in prepared]
        drawn = self._draw(questions, n_paths, seed, calls, drop)
        return SamplePaths.from_array(drawn[:, :, context - drop :], panel)

    def impute(self, df: pd.DataFrame | None = None, n_paths: int = 100, *, seed: int = 0, calls: int | None = None) -> SamplePaths:
        """Joint sample paths of every step of every series; what is known is in all of them exactly as given, what is missing varies.

        Long series are filled window by window, each path given what it holds so far, so paths stay joint across windows.
        """
        panel, prepared = self._data(df)
        self._check(n_paths, max(len(series) for series in panel), len(panel) * len(panel.channels), seed)
        filled = [self._fill(series, n_paths, seed, number, calls) for number, series in enumerate(prepared)]
        return SamplePaths.from_array(filled, panel, begin=[0] * len(panel))

    def simulate(
        self, n: int = 100, length: int = 250, *, id: Hashable | None = None, seed: int = 0, calls: int | None = None  # noqa: A002
    ) -> SamplePaths:
        """``n`` paths of ``length`` steps that never happened, for every series (or the one named): nothing is given but what was learned.
        Their stamps begin at the series' own start."""
        panel, prepared = self._data(None)
        length = _within("length", length, 1, MAX_STEPS)
        chosen = [number for number, series in enumerate(panel) if id is None or series.id == id]
        if not chosen:
            raise UserError(f"no series {id!r}; known: {', '.join(map(str, panel.ids[:20]))}")
        self._check(n, length, len(chosen) * len(panel.channels), seed)
        blank = [_emptied(prepared[number], length) for number in chosen]
        made = [self._fill(series, n, seed, number, calls) for number, series in zip(chosen, blank, strict=True)]
        part = Panel(tuple(panel.series[number] for number in chosen), panel.channels, panel.frequency, panel.columns)
        return SamplePaths.from_array(made, part, begin=[0] * len(chosen))

    def _fill(self, series: Prepared, n_paths: int, seed: int, number: int, calls: int | None) -> Array:
        """[path, time, channel] of a whole series: windows from left to right, overlapping by the view."""
        context, _ = self._lengths()
        step = self.recipe.windows.horizon
        length = len(series.values)
        paths = np.repeat(series.values[None], n_paths, 0)  # transformed units
        missing = ~np.isfinite(series.values)
        result = np.repeat(_back(series, series.values)[None], n_paths, 0)
        position, window = 0, 0
        while position < length:
            if not missing[position : position + step].any():
                position += step
                continue
            end = min(position + step, length)
            begin, stop = max(position - context, 0), min(end + context, length)
            free = np.zeros((stop - begin, missing.shape[1]), dtype=bool)
            free[position - begin : end - begin] = missing[position:end]
            questions = [Question(series, begin, paths[p, begin:stop], free) for p in range(n_paths)]
            same = position == 0 or not missing[begin:position].any()
            first = (number << 40) + (window << 24)
            drawn = self._draw(questions[:1] if same else questions, n_paths if same else 1, seed, calls, 0, first)
            drawn = drawn[0] if same else drawn[:, 0]
            inside = slice(position - begin, end - begin)
            result[:, position:end] = np.where(free[inside], drawn[:, inside], result[:, position:end])
            forward = np.stack([c.transform.forward(result[:, position:end, k]) for k, c in enumerate(series.fit.channels)], -1)
            paths[:, position:end] = np.where(free[inside], forward, paths[:, position:end])
            position, window = end, window + 1
        return result

    def _draw(self, questions: Sequence[Question], n_paths: int, seed: int, calls: int | None, drop: int, first: int = 0) -> Array:
        sampler = self.recipe.sampler
        if calls is not None:
            sampler = sampler.model_copy(update={"calls": _within("calls", calls, 1, 256)})
        return draw_paths(self.denoiser, questions, self.frequency.seasons, n_paths, sampler, seed=seed, first=first, drop=drop)

    def _lengths(self) -> tuple[int, int]:
        """(context, steps of it that the base law alone sees)."""
        context, view = self.recipe.windows.lengths(self.frequency.seasons)
        return context, context - view

    def _data(self, df: pd.DataFrame | None) -> tuple[Panel, list[Prepared]]:
        """The panel asked about, and its series with their fits: those of the training by id, new ones from their own history."""
        fitted = self._fitted
        if df is None:
            if self._panel is None:
                raise UserError("this model was loaded from a file, which holds no data; give df")
            return self._panel, fitted.prepared(self._panel, fitted.series)
        options: dict[str, Any] = {"freq": self.frequency, **self.frame}
        panel = read_frame(df, **options)
        if panel.channels != self.channels:
            raise UserError(f"the frame's channels {list(panel.channels)} are not the model's {list(self.channels)}")
        known = dict(zip(fitted.ids, fitted.series, strict=True))
        new = [series for series in panel if str(series.id) not in known]
        part = Panel(tuple(new), panel.channels, panel.frequency, panel.columns)
        fresh = dict(zip((str(series.id) for series in new), fit_series(part, self._rolls(panel)) if new else (), strict=True))
        fits: tuple[SeriesFit, ...] = tuple((known | fresh)[str(series.id)] for series in panel)
        return panel, fitted.prepared(panel, fits)

    @staticmethod
    def _check(n_paths: int, steps: int, columns: int, seed: int) -> None:
        _within("n_paths", n_paths, 1, MAX_PATHS)
        _within("seed", seed, 0, 2**63)
        values = n_paths * steps * columns
        if values > MAX_VALUES:
            raise UserError(
                f"{n_paths:,} paths of {steps:,} steps for {columns:,} series and channels are {values:,} values; the limit of one answer "
                f"is {MAX_VALUES:,}: ask for less at a time"
            )

    # -- keeping --------------------------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write the model, without its data, to one safetensors file."""
        save_weights(path, dict(self.denoiser.state_dict()), {**self.metadata, "frame": _plain(self.frame)})

    @classmethod
    def load(cls, path: str | Path) -> Forecaster:
        """A saved model, or a training's folder. Raises UserError for what is not there and for files that are no forecasters."""
        tensors, metadata = load_weights(find_weights(path, {}))
        if metadata.get("domain") != "timeseries":
            raise UserError(f"{path}: these weights are not a time-series model (domain {metadata.get('domain')!r})")
        recipe = Recipe.model_validate(metadata["recipe"])
        made = cls(recipe=recipe, **metadata.get("frame", {}))
        made._fit = PanelFit.model_validate(metadata["fit"])
        made.frequency, made.channels = Frequency(metadata["frequency"]), tuple(metadata["channels"])
        made.metadata = dict(metadata)
        made.denoiser = build_denoiser(recipe.backbone, metadata["features"], len(made.channels)).eval()
        made.denoiser.load_state_dict(tensors)
        return made


class _Silent:
    """A training that nobody tracks."""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        pass

    def log_artifact(self, path: Path, artifact_path: str = "") -> None:
        pass


def _back(series: Prepared, values: Array) -> Array:
    return np.stack([channel.transform.inverse(values[:, c]) for c, channel in enumerate(series.fit.channels)], -1)


def _emptied(series: Prepared, length: int) -> Prepared:
    blank = np.full((length, series.values.shape[1]), np.nan)
    return Prepared(series.fit, blank, series.extra, np.zeros((0, series.past.shape[1])), series.static)


def _within(name: str, value: int, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not low <= value <= high:
        raise UserError(f"{name} = {value}: a whole number from {low:,} to {high:,} is needed")
    return int(value)


def _plain(frame: Mapping[str, Any]) -> dict[str, Any]:
    """The frame's options as JSON; a table of static covariates is data and not kept."""
    return {key: value for key, value in frame.items() if not isinstance(value, pd.DataFrame) and value is not None}
