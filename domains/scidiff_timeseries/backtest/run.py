"""The backtest itself."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from scidiff import __version__
from scidiff.errors import UserError
from scidiff_timeseries.backtest.methods import OURS, check_names, fit_ours, ours, simple
from scidiff_timeseries.backtest.notes import notes_on, training_of
from scidiff_timeseries.backtest.result import Backtest
from scidiff_timeseries.backtest.scoring import Score, run
from scidiff_timeseries.backtest.windows import Windows, agreed, read_windows
from scidiff_timeseries.bars import late_bar
from scidiff_timeseries.baselines.base import standing_in
from scidiff_timeseries.forecaster import MAX_VALUES, Forecaster
from scidiff_timeseries.recipe import Recipe

METHODS = (OURS, "naive", "seasonal_naive", "random_walk", "random_walk_ewma", "seasonal_bootstrap", "ets", "arima", "garch_t")


def backtest(
    df: pd.DataFrame,
    horizon: int,
    rolls: int = 5,
    *,
    methods: Sequence[str] = METHODS,
    n_paths: int = 100,
    seed: int = 0,
    forecaster: Forecaster | None = None,
    recipe: Recipe | None = None,
    steps: int | None = None,
    calls: int | None = None,
    seasons: Sequence[int] | None = None,
    device: str = "cpu",
    **frame: Any,
) -> Backtest:
    """Forecast ``rolls`` windows at the end of the data, and compare.

    Window r of every series ends (rolls - 1 - r) horizons before the series does. Ours is fitted once, on what was known before the first
    window; every method then forecasts each window from the history before it. Missing values are shown to every method as missing; each
    baseline's docstring says what it does with them.

    Args:
        df: the data, in any layout of :func:`~scidiff_timeseries.panel.read_frame`.
        horizon: steps of a window.
        rolls: how many windows.
        methods: ``"ours"`` and names of baselines (:data:`~scidiff_timeseries.baselines.BASELINES`).
        n_paths: sample paths of each forecast.
        seed: of the paths (window r takes seed + r), of the intervals, and of the training where no recipe says it.
        forecaster: a fitted one, taken as it is instead of fitting; whether it may have seen the windows is stated.
        recipe: of the fit; its horizon is replaced by this one's.
        steps: optimiser steps of the fit; 0 is the base law alone.
        calls: network calls a forecast.
        seasons: of the baselines, in steps; None takes the frequency's. The first is that of MASE.
        device: of the fit, and of what it fitted: cpu, cuda or auto.
        frame: how the frame is laid out, as :func:`~scidiff_timeseries.panel.read_frame` takes it.

    Raises:
        UserError: what cannot be read or asked; an unknown method; every method failed. A method whose forecasts fail (a package is
            missing, a path is not finite) is named in ``failures``, with the reason, and the others go on.
    """
    names = check_names(methods)
    options = dict(frame) if forecaster is None else {"freq": forecaster.frequency, **agreed(forecaster.frame, frame)}
    windows = read_windows(df, horizon, rolls, options)
    _check_size(windows, n_paths)
    asked = _Asked(names, tuple(sorted(set(seasons or windows.panel.frequency.seasons or (1,)))), int(n_paths), seed, calls)
    given = forecaster is not None
    fit_seconds: float | None = None
    if OURS not in names:
        forecaster = None
    elif forecaster is None:
        forecaster, fit_seconds = fit_ours(windows, options, recipe, steps, seed, device)
    with late_bar("backtest", len(names) * rolls * len(windows.kept)) as bar, standing_in() as stand_ins:
        scores, failures = _compare(windows, asked, forecaster, fit_seconds, bar)
    fitted = "" if forecaster is None else training_of(forecaster, windows, given)
    notes = notes_on(windows, scores, stand_ins)
    return Backtest(windows, scores, failures, forecaster, fitted, _settings(windows, asked, forecaster), notes, seed)


@dataclass(frozen=True)
class _Asked:
    """What is the same for all methods; ``seasons`` are the baselines'."""

    names: tuple[str, ...]
    seasons: tuple[int, ...]
    n_paths: int
    seed: int
    calls: int | None


def _compare(
    windows: Windows, asked: _Asked, forecaster: Forecaster | None, fit_seconds: float | None, bar: Callable[..., None]
) -> tuple[dict[str, Score], dict[str, str]]:
    """(scores, failures) by method."""
    scores: dict[str, Score] = {}
    failures: dict[str, str] = {}
    done = itertools.count(1)
    for name in asked.names:
        try:
            if name == OURS:
                assert forecaster is not None
                contender = ours(windows, forecaster, asked.n_paths, asked.seed, asked.calls, fit_seconds)
            else:
                contender = simple(windows, name, asked.seasons, asked.n_paths, asked.seed)
            advance = partial(_advance, bar, done, contender.title)
            scores[name] = run(contender, windows, asked.seasons[0], asked.seed, advance)
        except Exception as error:  # of whatever kind, a library's too: hours of the other methods must not be lost for it
            failures[name] = f"{error}" if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    if not scores:
        raise UserError("every method failed: " + "; ".join(f"{name}: {reason}" for name, reason in failures.items()))
    return scores, failures


def _advance(bar: Callable[..., None], done: Iterator[int], what: str) -> None:
    bar(next(done), what=what)


def _check_size(windows: Windows, n_paths: int) -> None:
    if isinstance(n_paths, bool) or not isinstance(n_paths, (int, np.integer)) or n_paths < 1:
        raise UserError(f"n_paths = {n_paths}: a whole number of at least 1 is needed")
    values = int(n_paths) * windows.horizon * len(windows.kept) * len(windows.panel.channels)
    if values > MAX_VALUES:
        raise UserError(f"{n_paths:,} paths of a window are {values:,} values; the limit is {MAX_VALUES:,}: ask for fewer paths")


def _settings(windows: Windows, asked: _Asked, forecaster: Forecaster | None) -> dict[str, Any]:
    spans = [windows.origins(roll) for roll in range(windows.rolls)]
    found: dict[str, Any] = {
        "horizon": windows.horizon, "rolls": windows.rolls, "series": len(windows.kept), "channels": len(windows.panel.channels),
        "frequency": windows.panel.frequency.name, "first_window": str(min(first for span in spans for first, _ in span)),
        "last_window_ends": str(max(last for span in spans for _, last in span)), "n_paths": asked.n_paths, "seed": asked.seed,
        "seasons": list(asked.seasons), "methods": list(asked.names), "version": __version__,
    }  # fmt: skip
    if forecaster is not None:
        found["calls"] = forecaster.recipe.sampler.calls if asked.calls is None else asked.calls
        found["steps"] = forecaster.metadata.get("step", 0)
        found["training_seed"] = forecaster.recipe.train.seed
    return found
