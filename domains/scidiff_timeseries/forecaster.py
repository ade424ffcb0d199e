"""Forecaster: one fitted model that forecasts, fills gaps and simulates, for pandas users."""

from __future__ import annotations

import tempfile
from collections.abc import Hashable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from scidiff.device import choose_device
from scidiff.errors import UserError
from scidiff.train.card import write_card
from scidiff.train.log import NoLog, RunLog
from scidiff.train.weights import load_weights, save_weights
from scidiff_timeseries.arguments import MAX_PATHS, MAX_STEPS, MAX_VALUES, check_size, chosen_series, plain, stamp_asked, within
from scidiff_timeseries.bars import late_bar
from scidiff_timeseries.covariates import with_future
from scidiff_timeseries.data import FrameLayout
from scidiff_timeseries.domain import DOMAIN
from scidiff_timeseries.fill import Lengths, fill_blocks
from scidiff_timeseries.frames import RESERVED
from scidiff_timeseries.frequency import Frequency
from scidiff_timeseries.generate import MAX_PATHS as NUMBERS
from scidiff_timeseries.model import TimeSeriesDenoiser
from scidiff_timeseries.panel import Panel, read_frame
from scidiff_timeseries.paths import SamplePaths
from scidiff_timeseries.prepare import PanelFit, describe, fit_series
from scidiff_timeseries.provenance import blank, restored, stamp_of
from scidiff_timeseries.recipe import Recipe, SamplerConfig, WindowConfig
from scidiff_timeseries.registry import find_model
from scidiff_timeseries.selection import Rolls, SeriesFit
from scidiff_timeseries.task import build_denoiser
from scidiff_timeseries.training import make_task
from scidiff_timeseries.windows import Prepared

__all__ = ["MAX_PATHS", "MAX_STEPS", "MAX_VALUES", "Forecaster"]

Array = NDArray[np.float64]


class Forecaster:
    """One model of joint sample paths; sklearn's and nixtla's habits.

    >>> forecaster = Forecaster(horizon=30).fit(df)              # doctest: +SKIP
    >>> paths = forecaster.predict(30, n_paths=100)               # a DataFrame of joint sample paths
    >>> filled, invented = forecaster.impute(df), forecaster.simulate(10, length=250)

    Args:
        horizon: steps a forecast is trained and judged on; :meth:`predict` takes any.
        recipe: everything else (network, training, questions); ``steps`` and ``seed`` are its most wanted fields.
        steps: optimiser steps; 0 keeps the base laws alone.
        init: a model to start from (a name, a file, a training's folder): its network, on base laws and a calibration of these data.
        frame: how the frame is laid out, as :func:`~scidiff_timeseries.panel.read_frame` takes it (layout, id, time, targets, freq, future,
            past, static, multivariate, repair).
    """

    def __init__(
        self,
        horizon: int = 30,
        *,
        recipe: Recipe | None = None,
        steps: int | None = None,
        seed: int | None = None,
        init: str | None = None,
        **frame: Any,
    ) -> None:
        recipe = Recipe(windows=WindowConfig(horizon=within("horizon", horizon, 1, 10_000)), init=init) if recipe is None else recipe
        changes = {key: value for key, value in (("steps", steps or None), ("seed", seed)) if value is not None}
        self.recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update=changes)})
        self.frame = frame
        self._learn = steps != 0
        self._fit: PanelFit | None = None
        self._panel: Panel | None = None

    # -- fitting --------------------------------------------------------------------------------------------------------

    def fit(
        self, df: pd.DataFrame | Panel, *, log: RunLog | None = None, folder: str | Path | None = None, device: str = "cpu"
    ) -> Forecaster:
        """Choose base laws, train the network, calibrate on the last ``recipe.windows.rolls`` horizons.

        ``folder`` keeps checkpoints, from which an interrupted fit continues bit-identically. ``device``: where the network is trained, and
        asked from then on; cpu, cuda or auto. Raises UserError for frames that cannot be read, or without a single usable value.
        """
        panel, _ = df if isinstance(df, Panel) else read_frame(df, **self.frame), choose_device(device)
        self._panel, self.frequency, self.channels = panel, panel.frequency, panel.channels
        task = make_task(self.recipe, panel, {"frame": plain(self.frame)})
        self._fit, self.metadata = task.fit, task.metadata()
        assert isinstance(task.denoiser, TimeSeriesDenoiser)
        self.denoiser = task.denoiser.eval()
        if self._learn and task.trainable:
            from scidiff.train.loop import fit as train  # two seconds, which asking a model need not wait

            with tempfile.TemporaryDirectory() if folder is None else nullcontext(str(folder)) as place:
                weights = train(task, self.recipe.train, Path(place), log or NoLog(), device=device, resume=folder is not None)
                tensors, trained = load_weights(weights)
            self.denoiser.load_state_dict(tensors)
            self._fit = task.fit
            self.metadata |= {key: trained[key] for key in ("fit", "step", "seconds", "calibration")}
        else:
            self.denoiser.strength.zero_()
        return self.to(device)

    def to(self, device: str | None) -> Forecaster:
        """Call the network on this device (cpu, cuda, auto) from now on; base laws stay on the CPU. None: where it is called now."""
        if device is not None:
            self.denoiser = self.denoiser.to(choose_device(device))
        return self

    def _rolls(self, panel: Panel) -> Rolls:
        return self.recipe.windows.selection(panel)

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
        self,
        horizon: int | None = None,
        n_paths: int = 100,
        *,
        df: pd.DataFrame | Panel | None = None,
        future: pd.DataFrame | None = None,
        seed: int = 0,
        calls: int | None = None,
        device: str | None = None,
    ) -> SamplePaths:
        """Joint sample paths of the ``horizon`` steps after the data (of ``df`` if given, else those fitted on). More steps than the model
        was fitted for are drawn window by window, each path given what it holds so far.

        ``future``: known-future covariates of these steps, with the id and time columns, where the data do not hold them already. Steps
        that have none anywhere are forecast without, as the network is told.
        ``device``: as in :meth:`to`. Raises UserError for rows or columns that ``future`` lacks, by their stamps and names.
        """
        panel, fits = self.to(device)._data(df)
        horizon = within("horizon", self.recipe.windows.horizon if horizon is None else horizon, 1, MAX_STEPS)
        check_size(n_paths, horizon, len(panel) * len(panel.channels), seed)
        if future is not None:
            panel = with_future(panel, future, horizon, self.frame)
        prepared, context = self._fitted.prepared(panel, fits, horizon), self._windows[0]
        ends = [(len(series) - context, len(series) + horizon) for series in panel]
        tails = [series.cut(*end) for series, end in zip(prepared, ends, strict=True)]
        given = [series.window(*end) for series, end in zip(panel, ends, strict=True)]
        drawn = self._fill("forecasting", tails, given, n_paths, seed, calls, begin=context)
        return SamplePaths.from_array(np.stack(drawn)[:, :, context:], panel)

    def impute(
        self, df: pd.DataFrame | None = None, n_paths: int = 100, *, seed: int = 0, calls: int | None = None, device: str | None = None
    ) -> SamplePaths:
        """Joint sample paths of every step of every series; what is known is in all of them exactly as given, what is missing varies.

        Long series are filled window by window, each path given what it holds so far, so paths stay joint across windows.
        """
        panel, fits = self.to(device)._data(df)
        check_size(n_paths, max(len(series) for series in panel), len(panel) * len(panel.channels), seed)
        given = [series.values for series in panel]
        filled = self._fill("filling", self._fitted.prepared(panel, fits), given, n_paths, seed, calls)
        return SamplePaths.from_array(filled, panel, begin=[0] * len(panel))

    def simulate(
        self,
        n: int = 100,
        length: int = 250,
        *,
        id: Hashable | None = None,  # noqa: A002
        start: str | pd.Timestamp | None = None,
        first: int = 0,
        seed: int = 0,
        calls: int | None = None,
        device: str | None = None,
    ) -> SamplePaths:
        """``n`` paths of ``length`` steps that never happened, for every series (or the one named): nothing is given but what was learned.

        Their stamps begin at the series' own start, or at its step nearest to ``start``, whose calendar the paths then follow. A loaded
        model simulates as well; it holds no covariates but static ones. Paths are numbered from ``first`` on: whole blocks
        (:data:`scidiff_timeseries.generate.BLOCK`) are the same to the bit whichever paths are asked for with them.
        """
        chosen = self.to(device).check_simulation(n, first + n, length, id, seed)
        panel = self._training_panel()
        series = (blank(panel, panel.series[number], stamp_asked(start), length) for number in chosen)
        part = replace(panel, series=tuple(series))
        prepared = self._fitted.prepared(part, tuple(self._fitted.fits[number] for number in chosen))
        made = self._fill("simulating", prepared, [series.values for series in part], n, seed, calls, first, numbers=chosen)
        paths = SamplePaths.from_array(made, part, begin=[0] * len(chosen))
        paths[RESERVED] += first
        return paths

    def check_simulation(self, n: int, end: int, length: int, id: Hashable | None, seed: int) -> list[int]:  # noqa: A002
        """The numbers of the series of ``n`` paths up to number ``end`` - 1. Raises UserError as :meth:`simulate` does."""
        within("first + n", end, n, NUMBERS)
        return chosen_series(self._training_panel(), n, length, id, seed)

    def _fill(
        self, what: str, prepared: list[Prepared], given: list[Array], n: int, seed: int, calls: int | None, first: int = 0, **options: Any
    ) -> list[Array]:
        context, view = self._windows
        lengths, sampler, seasons = Lengths(context - view, view, self.recipe.windows.horizon), self._sampler(calls), self.frequency.seasons
        with late_bar(what) as progress:
            return fill_blocks(
                self.denoiser, prepared, given, seasons, range(first, first + n), sampler, lengths, seed=seed, progress=progress, **options
            )

    def _sampler(self, calls: int | None) -> SamplerConfig:
        sampler = self.recipe.sampler
        return sampler if calls is None else sampler.model_copy(update={"calls": within("calls", calls, 1, 256)})

    @property
    def _windows(self) -> tuple[int, int]:
        """Steps before a question that the base law sees, and the network of these."""
        return self.recipe.windows.lengths(self.frequency.seasons)

    @property
    def data_end(self) -> dict[Hashable, pd.Timestamp]:
        """The last stamp that training saw of each series. Windows up to there are no test of this model."""
        self._fitted  # noqa: B018 - raises if there is none
        return {said["id"]: stamp_of(said["end"]) for said in self.metadata["series"]}

    def _training_panel(self) -> Panel:
        """The panel fitted on; of a loaded model what its file says of it, without values."""
        self._fitted  # noqa: B018
        if self._panel is None and "series" not in self.metadata:
            raise UserError("this model's file does not say when its series start (an older version wrote it); fit it again")
        return restored(self.metadata, self.channels, self.frequency) if self._panel is None else self._panel

    def _data(self, df: pd.DataFrame | Panel | None) -> tuple[Panel, tuple[SeriesFit, ...]]:
        """The panel asked about, and its series' fits: those of the training by id, new ones from their own history."""
        fitted = self._fitted
        if df is None:
            if self._panel is None:
                raise UserError("this model was loaded from a file, which holds no data; give df")
            return self._panel, fitted.fits
        options: dict[str, Any] = {"freq": self.frequency, **self.frame}
        panel = df if isinstance(df, Panel) else read_frame(df, **options)
        if panel.channels != self.channels:
            raise UserError(f"the frame's channels {list(panel.channels)} are not the model's {list(self.channels)}")
        if fitted.pool:
            return panel, fitted.series * len(panel)
        known = dict(zip(fitted.ids, fitted.series, strict=True))
        new = [series for series in panel if str(series.id) not in known]
        part = Panel(tuple(new), panel.channels, panel.frequency, panel.columns)
        fresh = dict(zip((str(series.id) for series in new), fit_series(part, self._rolls(panel)) if new else (), strict=True))
        fresh = {name: fit.model_copy(update={"strength": fitted.strength}) for name, fit in fresh.items()}
        return panel, tuple((known | fresh)[str(series.id)] for series in panel)

    # -- keeping --------------------------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write the model, without its data, to one safetensors file, and beside it its card, NAME.card.md."""
        save_weights(path, dict(self.denoiser.state_dict()), {**self.metadata, "frame": plain(self.frame)})
        write_card(path, DOMAIN)

    @classmethod
    def load(cls, path: str | Path, *, device: str = "cpu") -> Forecaster:
        """A saved model, or a training's folder; ``device`` as in :meth:`to`. Raises UserError for what is none, or no forecaster."""
        tensors, metadata = load_weights(find_model(path))
        if metadata.get("domain") != "timeseries":
            raise UserError(f"{path}: these weights are not a time-series model (domain {metadata.get('domain')!r})")
        try:
            made = cls._made(tensors, metadata)
        except KeyError as error:
            raise UserError(f"{path}: the header of these weights lacks {error}: write them with Forecaster.save") from error
        except (ValueError, TypeError, AssertionError) as error:
            raise UserError(f"{path}: the header of these weights describes no model that is known here: {error}") from error
        except RuntimeError as error:
            raise UserError(f"{path}: the weights do not fit the model that their header describes: {error}") from error
        return made.to(device)

    @classmethod
    def _made(cls, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> Forecaster:
        recipe, features, frame = Recipe.model_validate(metadata["recipe"]), int(metadata["features"]), metadata.get("frame", {})
        if unknown := sorted(set(frame) - set(FrameLayout.model_fields)):
            raise ValueError(f"unknown options of a frame: {', '.join(unknown)}")
        backbone, numbers = recipe.backbone, sum(tensor.numel() for tensor in tensors.values())
        if max(features, backbone.blocks * backbone.width) * backbone.width > numbers:  # before it takes memory
            raise RuntimeError(f"{features} features, {backbone.blocks} blocks of width {backbone.width}: the file holds fewer numbers")
        made = cls(recipe=recipe, **frame)
        made._fit = PanelFit.model_validate(metadata["fit"])
        made.frequency, made.channels = Frequency(metadata["frequency"]), tuple(metadata["channels"])
        made.metadata = dict(metadata)
        if "series" in metadata:
            restored(made.metadata, made.channels, made.frequency)  # what it says of them must be readable
        made.denoiser = build_denoiser(backbone, features, len(made.channels)).eval()
        made.denoiser.load_state_dict(tensors)
        return made
