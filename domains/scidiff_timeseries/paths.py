"""Sample paths: what forecasting, filling and simulating return."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scidiff.errors import UserError, did_you_mean
from scidiff_timeseries.frames import RESERVED, id_column
from scidiff_timeseries.frequency import Frequency
from scidiff_timeseries.tables import write_csv

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from scidiff_timeseries.panel import Panel

__all__ = ["NINE", "SamplePaths"]

NINE = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_INFO = "sample_paths"


class SamplePaths(pd.DataFrame):
    """Joint sample paths as a long DataFrame: an id column, a time column, ``path`` (0, 1, ...) and a column for each channel.

    One path runs through all times *and channels* of a series: functionals of whole paths (a sum over the horizon, a maximum, a
    drawdown) have the law that the model states, which quantiles at each time cannot give.

    It is a DataFrame in every respect. Which columns play which part stands in ``attrs["sample_paths"]``, so it is kept by
    selecting rows, sorting, copying, assigning and :func:`pandas.concat`, and by files that keep ``attrs`` (parquet), from which
    ``SamplePaths(frame)`` brings the methods back. Results that are no paths any more (a column of it, a group's mean) keep the
    type at most: the methods then say which column is missing. Summaries are plain DataFrames.
    """

    def __init__(self, data: Any = None, *args: Any, **kwargs: Any) -> None:
        super().__init__(data, *args, **kwargs)
        if isinstance(data, pd.DataFrame) and _INFO in data.attrs:  # pandas' constructor drops them
            self.attrs[_INFO] = data.attrs[_INFO]

    @property
    def _constructor(self) -> type[SamplePaths]:
        return SamplePaths

    # -- making ---------------------------------------------------------------------------------------------------------

    @classmethod
    def from_array(cls, array: np.ndarray | Sequence[np.ndarray], panel: Panel, *, begin: Sequence[int] | None = None) -> SamplePaths:
        """Paths of a panel's series.

        Args:
            array: [series, path, time, channel], or [series, path, time] of one channel; or one array for each series, whose
                times may differ in number.
            panel: whose ids, channels, stamps and column names they get.
            begin: step of each series at which its paths begin; None is the step after its last, a forecast.

        Raises:
            UserError: the shape is not the panel's; a value is not finite (the series is named).
        """
        blocks = [np.asarray(block, dtype=np.float64) for block in array]
        blocks = [block[..., None] if block.ndim == 2 else block for block in blocks]
        if len(blocks) != len(panel):
            raise UserError(f"paths of {len(blocks)} series were given for a panel of {len(panel)}; give one array for each series")
        begins = [len(series) for series in panel.series] if begin is None else list(begin)
        if len(begins) != len(panel):
            raise UserError(f"begin has {len(begins)} steps for a panel of {len(panel)} series; give one for each")
        for series, block in zip(panel.series, blocks, strict=True):
            if block.ndim != 3 or block.shape[2] != len(panel.channels):
                raise UserError(
                    f"series {series.id!r}: paths of shape {block.shape}; [path, time, {len(panel.channels)} channels] is needed"
                )
            if not np.isfinite(block).all():
                raise UserError(f"series {series.id!r}: its paths are not finite; look for what its history lacks")
        stamps = [
            panel.stamps(series, first, first + block.shape[1]) for series, first, block in zip(panel.series, begins, blocks, strict=True)
        ]
        dtype = panel.columns.dtypes.get(panel.columns.id)
        ids = id_column(panel.ids, dtype, [block.shape[0] * block.shape[1] for block in blocks])
        names = {"id": panel.columns.id_name, "time": panel.columns.time_name}
        return cls._build(blocks, ids, stamps, {**names, "channels": list(panel.channels), "frequency": panel.frequency.name})

    @classmethod
    def _build(cls, blocks: list[np.ndarray], ids: pd.Series, stamps: list[pd.DatetimeIndex], info: dict[str, Any]) -> SamplePaths:
        times = [np.tile(index.asi8, block.shape[0]) for index, block in zip(stamps, blocks, strict=True)]
        numbers = [np.repeat(np.arange(block.shape[0]), block.shape[1]) for block in blocks]
        flat = [block.reshape(-1, block.shape[2]) for block in blocks]
        values = np.concatenate(flat) if flat else np.empty((0, len(info["channels"])))
        if stamps:
            utc = pd.DatetimeIndex(np.concatenate(times).view(f"M8[{stamps[0].unit}]"))
            time = utc if stamps[0].tz is None else utc.tz_localize("UTC").tz_convert(stamps[0].tz)
        else:
            time = pd.DatetimeIndex([])
        columns: dict[str, Any] = {
            info["id"]: ids,
            info["time"]: time,
            RESERVED: np.concatenate(numbers) if numbers else np.empty(0, dtype=np.int64),
            **{channel: values[:, k] for k, channel in enumerate(info["channels"])},
        }
        paths = cls(columns)
        paths.attrs[_INFO] = info
        return paths

    # -- what it holds --------------------------------------------------------------------------------------------------

    @property
    def _info(self) -> dict[str, Any]:
        info = self.attrs.get(_INFO)
        if info is None:
            remedy = "use the frame that the model returned, or bring it back with frame.attrs.update(paths.attrs)"
            raise UserError(f"these are no sample paths any more, attrs['sample_paths'] is gone; {remedy}")
        for name in (info["id"], info["time"], RESERVED, *info["channels"]):
            if name not in self.columns:
                raise UserError(f"the sample paths lack their column {name!r}; use the frame with all its columns")
        return info

    @property
    def id_column(self) -> str:
        return self._info["id"]

    @property
    def time_column(self) -> str:
        return self._info["time"]

    @property
    def channels(self) -> tuple[str, ...]:
        return tuple(self._info["channels"])

    @property
    def frequency(self) -> Frequency:
        return Frequency(self._info["frequency"])

    @property
    def ids(self) -> list[Any]:
        """Ids of the series, in the order of their appearance."""
        return list(self[self.id_column].unique())

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """For each series, in the order of their ids' appearance: row numbers [path, time] and values [path, time, channel]."""
        codes, ids = pd.factorize(self[self.id_column])
        time, path = pd.DatetimeIndex(self[self.time_column]).asi8, self[RESERVED].to_numpy()
        order = np.lexsort((time, path, codes))
        bounds = np.searchsorted(codes[order], np.arange(len(ids) + 1))
        values = self[list(self.channels)].to_numpy(dtype=np.float64)
        for code, name in enumerate(ids):
            rows = order[bounds[code] : bounds[code + 1]]
            n_paths = len(np.unique(path[rows]))
            grid = rows.reshape(n_paths, -1) if len(rows) % n_paths == 0 else np.empty((0, 0), dtype=np.int64)
            times = time[grid]
            if grid.size == 0 or np.any(path[grid] != path[grid[:, :1]]) or np.any(times != times[0]) or np.any(np.diff(times[0]) <= 0):
                raise UserError(f"series {name!r}: a path lacks a time that another has, or has it twice; select whole paths or times")
            yield grid, values[grid]

    def to_array(self) -> np.ndarray:
        """float64 [series, path, time, channel]; series with fewer times are padded with NaN behind their last.

        Raises:
            UserError: series with different numbers of paths; paths with different times.
        """
        blocks = [values for _, values in self.blocks()]
        counts = {len(block) for block in blocks}
        if len(counts) > 1:
            raise UserError(f"series have different numbers of paths ({sorted(counts)}); select series with the same")
        array = np.full((len(blocks), max(counts, default=0), max((b.shape[1] for b in blocks), default=0), len(self.channels)), np.nan)
        for k, block in enumerate(blocks):
            array[k, :, : block.shape[1]] = block
        return array

    # -- summaries over paths, at each time -----------------------------------------------------------------------------

    def _each_time(self, summarise: Callable[[np.ndarray], np.ndarray], names: Sequence[str]) -> pd.DataFrame:
        """``summarise``: [path, time, channel] -> [column, time]."""
        rows, parts = [np.empty(0, dtype=np.int64)], [np.empty((len(names), 0))]
        for grid, values in self.blocks():
            rows.append(grid[0])
            parts.append(summarise(values))
        frame = pd.DataFrame(self)[[self.id_column, self.time_column]].iloc[np.concatenate(rows)].reset_index(drop=True)
        frame.attrs = {}
        return frame.assign(**dict(zip(names, np.concatenate(parts, axis=1), strict=True)))

    def quantiles(self, levels: Sequence[float | int] = NINE) -> pd.DataFrame:
        """Quantiles over paths at each time (linear between order statistics), in columns ``y-q-0.1``, ...

        Raises:
            UserError: a level outside [0, 1].
        """
        levels = _levels(levels)
        names = [f"{channel}-q-{level:g}" for channel in self.channels for level in levels]
        return self._each_time(lambda values: np.quantile(values, levels, axis=0).transpose(2, 0, 1).reshape(len(names), -1), names)

    def intervals(self, levels: Sequence[float | int] = (0.5, 0.9)) -> pd.DataFrame:
        """Central intervals at each time, in columns ``y-lo-90`` and ``y-hi-90``, ...: between the quantiles (1 -+ level)/2.

        Raises:
            UserError: a level outside [0, 1].
        """
        levels = _levels(levels)
        ends = [(1 + side * level) / 2 for level in levels for side in (-1, 1)]
        names = [f"{channel}-{side}-{100 * level:g}" for channel in self.channels for level in levels for side in ("lo", "hi")]
        return self._each_time(lambda values: np.quantile(values, ends, axis=0).transpose(2, 0, 1).reshape(len(names), -1), names)

    def mean_path(self) -> pd.DataFrame:
        """The mean over paths at each time."""
        return self._each_time(lambda values: values.mean(axis=0).T, self.channels)

    # -- functionals of whole paths -------------------------------------------------------------------------------------

    def _each_path(self, summarise: Callable[[np.ndarray], np.ndarray], names: Sequence[str] | None = None) -> pd.DataFrame:
        """``summarise``: [path, time, channel] -> [path, column]."""
        rows, parts = [np.empty(0, dtype=np.int64)], []
        for grid, values in self.blocks():
            rows.append(grid[:, 0])
            parts.append(summarise(values))
        names = self.channels if names is None else names
        frame = pd.DataFrame(self)[[self.id_column, RESERVED]].iloc[np.concatenate(rows)].reset_index(drop=True)
        frame.attrs = {}
        return frame.assign(**dict(zip(names, np.concatenate(parts or [np.empty((0, len(names)))]).T, strict=True)))

    def total(self) -> pd.DataFrame:
        """Sum over the times of each path; a row for each series and path."""
        return self._each_path(lambda values: values.sum(axis=1))

    def maximum(self) -> pd.DataFrame:
        """Maximum of each path."""
        return self._each_path(lambda values: values.max(axis=1))

    def minimum(self) -> pd.DataFrame:
        """Minimum of each path."""
        return self._each_path(lambda values: values.min(axis=1))

    def drawdown(self, *, relative: bool = False) -> pd.DataFrame:
        """Largest fall of each path from its own running maximum: max_t (m_t - x_t), m_t = max_{s <= t} x_s, in the values' unit.

        Args:
            relative: as a share of the running maximum, max_t (1 - x_t / m_t), the usual one of prices.

        Raises:
            UserError: relative, and a path does not start above 0.
        """

        def fall(values: np.ndarray) -> np.ndarray:
            peak = np.maximum.accumulate(values, axis=1)
            if relative and np.any(peak[:, 0] <= 0):
                raise UserError("a relative drawdown needs paths that start above 0; take the absolute one, drawdown()")
            return ((peak - values) / peak if relative else peak - values).max(axis=1)

        return self._each_path(fall)

    def functional(self, function: Callable[[np.ndarray], Any], name: str = "value") -> pd.DataFrame:
        """Any functional of whole paths; a row for each series and path.

        Args:
            function: of a float64 array [time, channel]: a number, or a number for each channel.
            name: of the column of a number; numbers for each channel get the channels' names.

        Raises:
            UserError: the function returns something else.
        """
        many = len(self.channels)

        def apply(values: np.ndarray) -> np.ndarray:
            results = [np.asarray(function(path), dtype=np.float64) for path in values]
            if any(result.shape not in ((), (many,)) or result.shape != results[0].shape for result in results):
                shape = next((r.shape for r in results if r.shape not in ((), (many,))), "that changes")
                raise UserError(f"the functional returned an array of shape {shape}; return a number, or one for each of {many} channels")
            return np.stack(results).reshape(len(values), -1)

        first = next(self.blocks(), None)
        scalar = first is not None and np.ndim(function(first[1][0])) == 0
        return self._each_path(apply, (name,) if scalar else self.channels)

    # -- showing and writing --------------------------------------------------------------------------------------------

    def plot(  # pandas' accessor would draw lines through all paths at once
        self,
        history: Panel | pd.DataFrame | pd.Series | None = None,
        id: Hashable = None,  # noqa: A002
        channel: str | None = None,
        ax: Axes | None = None,
        levels: Sequence[float | int] = (0.5, 0.9),
    ) -> Axes:
        """A fan chart of one series, see :func:`scidiff_timeseries.plot.fan_chart`."""
        from scidiff_timeseries.plot import fan_chart

        return fan_chart(self, history, id=id, channel=channel, ax=ax, levels=levels)

    def to_csv(self, path_or_buf: Any = None, **options: Any) -> str | None:
        """As pandas writes it, without the index; text that spreadsheets run (ids that begin with ``= + - @``) gets an apostrophe."""
        return write_csv(pd.DataFrame(self), path_or_buf, **options)

    def select(self, id: Hashable) -> SamplePaths:  # noqa: A002
        """The paths of one series.

        Raises:
            UserError: no such series.
        """
        mask = (self[self.id_column] == id).to_numpy()
        if not mask.any():
            hint = did_you_mean(str(id), map(str, self.ids))
            raise UserError(f"no series {id!r}{hint}; the paths hold {', '.join(map(repr, self.ids[:12]))}")
        return self[mask]  # type: ignore[return-value]


def _levels(levels: Sequence[float | int]) -> list[float]:
    for level in levels:
        if not 0 <= level <= 1:
            raise UserError(f"level {level} is no share; give levels between 0 and 1, such as 0.9 for 90 %")
    return [float(level) for level in levels]
