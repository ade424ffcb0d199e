"""The methods that are compared: ours, fitted once before the first window, and baselines, each shown the same histories."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scidiff.errors import UserError, did_you_mean
from scidiff_timeseries.backtest.windows import Windows
from scidiff_timeseries.baselines import BASELINES, Baseline, baseline
from scidiff_timeseries.forecaster import Forecaster
from scidiff_timeseries.panel import Panel
from scidiff_timeseries.recipe import Recipe

Array = NDArray[np.float64]
OURS = "ours"
SIMPLE = (
    "naive", "seasonal_naive", "random_walk", "random_walk_ewma", "seasonal_bootstrap", "seasonal_bootstrap_centred", "climatology",
)  # fmt: skip
"""Baselines that estimate a volatility at most; the best of them is what every method is compared with."""


@dataclass(frozen=True)
class Contender:
    """A method ready to forecast.

    Attributes:
        key: its name in ``methods``.
        title: its name in tables.
        forecast: number of the window -> paths [series, n_paths, horizon] or [series, n_paths, horizon, channel].
        fit_seconds: what fitting took; None where each forecast fits anew.
    """

    key: str
    title: str
    forecast: Callable[[int, Callable[[], None]], Array]
    fit_seconds: float | None = None


def check_names(methods: Sequence[str]) -> tuple[str, ...]:
    """The methods without repetitions. Raises UserError for none, and for an unknown name."""
    known = (OURS, *BASELINES)
    for name in methods:
        if name not in known:
            raise UserError(f"unknown method {name!r}{did_you_mean(name, known)}; known: {', '.join(known)}")
    if not methods:
        raise UserError(f"no method was named; known: {', '.join(known)}")
    return tuple(dict.fromkeys(methods))


def fit_ours(
    windows: Windows, options: dict[str, Any], recipe: Recipe | None, steps: int | None, seed: int, device: str = "cpu"
) -> tuple[Forecaster, float]:
    """A forecaster fitted on what was known before the first window, and the seconds it took."""
    panel = windows.before(0)
    if recipe is not None:
        recipe = recipe.model_copy(update={"windows": recipe.windows.model_copy(update={"horizon": windows.horizon})})
    columns = panel.columns
    frame = {**options, "freq": panel.frequency.name}
    if columns.layout == "wide" and not columns.multivariate and frame.get("targets") is not None:
        frame["targets"] = list(columns.targets)
    began = time.perf_counter()
    made = Forecaster(windows.horizon, recipe=recipe, steps=steps, seed=seed if recipe is None else None, **frame)
    forecaster = made.fit(panel, device=device)
    return forecaster, time.perf_counter() - began


def ours(windows: Windows, forecaster: Forecaster, n_paths: int, seed: int, calls: int | None, fit_seconds: float | None) -> Contender:
    """The forecaster, shown a frame of what was known at each origin."""
    strength = float(forecaster.denoiser.strength.max())
    many = forecaster.recipe.sampler.calls if calls is None else calls
    title = "ours, base law alone" if strength == 0 else f"ours, {many} call{'s' if many > 1 else ''}"

    def forecast(roll: int, advance: Callable[[], None]) -> Array:
        before = windows.before(roll)
        longer = _gap(before)
        paths = forecaster.predict(windows.horizon + longer, n_paths, df=before.to_frame(), seed=seed + roll, calls=calls)
        found: dict[str, tuple[NDArray[np.int64], Array]] = {}
        ids, stamps = list(map(str, paths[paths.id_column])), pd.DatetimeIndex(paths[paths.time_column])
        unit: Any = stamps.unit
        for rows, values in paths.blocks():
            found[ids[int(rows[0, 0])]] = stamps.asi8[rows[0]], values
        parts: list[Array] = []
        for number in windows.kept:
            series = before.series[number]
            wanted = before.stamps(number, len(series), len(series) + windows.horizon).as_unit(unit).asi8
            have, values = found[str(series.id)]
            first = int(np.searchsorted(have, wanted[0]))
            if not np.array_equal(have[first : first + windows.horizon], wanted):
                raise ValueError(f"series {series.id!r}: the forecast of window {roll} does not lie on its steps")
            parts.append(values[:, first : first + windows.horizon])
            advance()
        drawn = np.stack(parts)
        return drawn if windows.multivariate else drawn[..., 0]

    return Contender(OURS, title, forecast, fit_seconds)


def _gap(panel: Panel) -> int:
    """The most steps at the end of a series of which nothing is known: with known-future covariates a frame cannot tell them from steps
    to be forecast."""
    if not panel.columns.future:
        return 0
    longest = 0
    for series in panel:
        seen = np.flatnonzero(np.isfinite(np.concatenate([series.values, series.past], axis=1)).any(axis=1))
        longest = max(longest, len(series) - 1 - int(seen[-1]) if len(seen) else 0)
    return longest


def simple(windows: Windows, name: str, seasons: Sequence[int], n_paths: int, seed: int) -> Contender:
    """A baseline by its registered name."""
    law: Baseline = baseline(name, seasons)

    def forecast(roll: int, advance: Callable[[], None]) -> Array:
        return law(windows.window(roll).histories, windows.horizon, n_paths, seed + roll, advance)

    return Contender(name, law.name, forecast)
