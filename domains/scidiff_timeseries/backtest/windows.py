"""The rolling windows: what each method is shown, and what then happened."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scidiff.errors import UserError
from scidiff_timeseries.literature import Window
from scidiff_timeseries.metrics import seasonal_error
from scidiff_timeseries.panel import Panel, Series, read_frame

Array = NDArray[np.float64]
_NAMED = 5


@dataclass(frozen=True)
class Windows:
    """``rolls`` windows of ``horizon`` steps at the end of every series; window r ends (rolls - 1 - r) horizons before the series does,
    as in :class:`scidiff_timeseries.literature.Benchmark`.

    Attributes:
        panel: everything, series in the order of their ids as text, so that no figure depends on the order of the frame's rows.
        kept: numbers of the series that are scored; the others had no value before the first window to be forecast from, or end
            before it.
        left_out: their ids.
    """

    panel: Panel
    horizon: int
    rolls: int
    kept: tuple[int, ...]
    left_out: tuple[str, ...]

    @property
    def series(self) -> list[Series]:
        return [self.panel.series[number] for number in self.kept]

    @property
    def names(self) -> list[str]:
        return [str(one.id) for one in self.series]

    @property
    def multivariate(self) -> bool:
        return len(self.panel.channels) > 1

    def before(self, roll: int) -> Panel:
        """The panel as it was at the origin of a window, covariates known in advance included."""
        return self.panel.until((self.rolls - roll) * self.horizon)

    def window(self, roll: int) -> Window:
        """Histories [time] or [time, channel] and truth [series, horizon] or [series, horizon, channel] of a window."""
        cuts = [len(one) - (self.rolls - roll) * self.horizon for one in self.series]
        values = [one.values if self.multivariate else one.values[:, 0] for one in self.series]
        truth = np.stack([each[cut : cut + self.horizon] for each, cut in zip(values, cuts, strict=True)])
        return Window(tuple(each[:cut] for each, cut in zip(values, cuts, strict=True)), truth)

    def origins(self, roll: int) -> list[tuple[pd.Timestamp, pd.Timestamp]]:
        """First and last stamp of a window, of every series."""
        before = self.before(roll)
        found = [before.stamps(number, len(before.series[number]), len(before.series[number]) + self.horizon) for number in self.kept]
        return [(cast(pd.Timestamp, stamps[0]), cast(pd.Timestamp, stamps[-1])) for stamps in found]

    def seasonal_errors(self, roll: int, season: int) -> Array:
        """In-sample error of the seasonal naive forecast, [series] or [series, channel]."""
        histories = self.window(roll).histories
        if not self.multivariate:
            return np.array([seasonal_error(history, season) for history in histories])
        return np.array([[seasonal_error(column, season) for column in history.T] for history in histories])

    def units(self) -> Array:
        """Standard deviation of each channel before the first window, [series, channel]; 1 where it does not vary."""
        found = np.array([np.nanstd(one.values[: len(one) - self.rolls * self.horizon], axis=0) for one in self.series])
        return np.where(found > 0, found, 1.0)


def read_windows(df: pd.DataFrame, horizon: int, rolls: int, options: Mapping[str, Any]) -> Windows:
    """Read a frame and lay the windows.

    Raises:
        UserError: a frame that cannot be read (see :func:`~scidiff_timeseries.panel.read_frame`), horizon or rolls out of bounds, or no
            series has a value before the first window.
    """
    for name, value, most in (("horizon", horizon, 10_000), ("rolls", rolls, 1000)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 1 <= value <= most:
            raise UserError(f"{name} = {value}: a whole number from 1 to {most:,} is needed")
    panel = in_order(read_frame(df, **options))
    before = [one.values[: max(len(one) - rolls * horizon, 0)] for one in panel]
    usable = [bool(values.size) and bool(np.isfinite(values).any(axis=0).all()) for values in before]
    kept = tuple(number for number, good in enumerate(usable) if good)
    if not kept:
        longest = max((len(one) for one in panel), default=0)
        raise UserError(
            f"no series has a value in every channel before {rolls} windows of {horizon} steps (the longest has {longest} steps): give "
            "fewer rolls, a shorter horizon or more data"
        )
    return Windows(panel, horizon, rolls, kept, tuple(str(panel.series[n].id) for n, good in enumerate(usable) if not good))


def in_order(panel: Panel) -> Panel:
    """The same panel with its series in the order of their ids as text."""
    order = sorted(range(len(panel)), key=lambda number: str(panel.series[number].id))
    columns = panel.columns
    if columns.layout == "wide" and not columns.multivariate:
        targets = tuple(columns.targets[number] for number in order)
        columns = replace(columns, targets=targets, order=(*(label for label in columns.order if label not in targets), *targets))
    return replace(panel, series=tuple(panel.series[number] for number in order), columns=columns)


def agreed(own: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """How to read the frame for a forecaster that has options of its own, which those asked for may repeat.

    Raises:
        UserError: an option differs from the forecaster's.
    """
    defaults = {name: parameter.default for name, parameter in inspect.signature(read_frame).parameters.items()}
    for name, value in asked.items():
        known = own.get(name, defaults.get(name))
        if isinstance(value, pd.DataFrame) or isinstance(known, pd.DataFrame):
            continue
        if _plain(value) != _plain(known) and name not in ("freq", "repair"):
            raise UserError(f"the forecaster reads frames with {name}={known!r}, but {name}={value!r} was given; leave it out")
    return {**own, **{name: value for name, value in asked.items() if name in ("freq", "repair")}}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value


def named(ids: Sequence[str]) -> str:
    """A few names, and how many more there are."""
    more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
    return ", ".join(map(repr, ids[:_NAMED])) + more
