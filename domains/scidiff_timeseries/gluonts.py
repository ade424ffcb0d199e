"""GluonTS interoperability: a fitted forecaster as a GluonTS predictor.

Needs the extra ``gluonts`` in an environment of its own, as GluonTS 0.17 needs pandas before 3.
"""

# pyright: reportMissingImports=false, reportUntypedBaseClass=false, reportUnknownParameterType=false
# The type checker's environment has pandas 3 and so no gluonts.

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scidiff.errors import UserError
from scidiff_timeseries.forecaster import Forecaster
from scidiff_timeseries.frequency import Frequency
from scidiff_timeseries.grid import Grid
from scidiff_timeseries.panel import Columns, Panel, Series

try:
    from gluonts.model.forecast import SampleForecast
    from gluonts.model.predictor import Predictor
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"{error}: scidiff_timeseries.gluonts needs GluonTS; install it in an environment of its own, "
        "pip install 'scidiffusion[timeseries,gluonts]', as it needs pandas before 3",
        name=error.name,
    ) from error

__all__ = ["ForecasterPredictor"]

Array = NDArray[np.float64]
_MODEL, _OPTIONS = "forecaster.safetensors", "forecaster.json"


class ForecasterPredictor(Predictor):
    """A fitted :class:`~scidiff_timeseries.forecaster.Forecaster` as ``gluonts.model.predictor.Predictor``.

    GluonTS' ``make_evaluation_predictions``, ``backtest_metrics`` and ``Evaluator`` run it as they run their own.

    Entries of the data set hold

    - ``start``: a pandas Period of the forecaster's frequency; a forecaster with stamps elsewhere in the period (the first of a month,
      Wednesdays) takes the one stamp that lies in it;
    - ``target``: [time], or [channel, time] for a forecaster of several channels, in its channels' order; NaN is missing;
    - ``item_id``: a series that the forecaster was fitted on keeps the base law chosen then; any other gets one from its own history.
      Without an id it is ``"series"``, as in frames without ids;
    - ``feat_dynamic_real`` [covariate, time + horizon], ``past_feat_dynamic_real`` [covariate, time], ``feat_static_real`` [covariate]: the
      known-future, past and static covariates, in the order of the forecaster's, and only looked at if it has any.

    An entry's paths depend on the entry and ``seed`` alone: not on the others, their order, or the number of workers.

    Args:
        forecaster: a fitted one.
        prediction_length: steps of a forecast; None is the forecaster's own horizon.
        lead_time: steps between the end of the target and the forecast's first step.
        num_samples: paths where GluonTS does not ask for a number.
        seed, calls: as :meth:`~scidiff_timeseries.forecaster.Forecaster.predict` takes them.

    Raises:
        UserError: the forecaster is not fitted.
    """

    def __init__(
        self,
        forecaster: Forecaster,
        prediction_length: int | None = None,
        lead_time: int = 0,
        *,
        num_samples: int = 100,
        seed: int = 0,
        calls: int | None = None,
    ) -> None:
        super().__init__(forecaster.recipe.windows.horizon if prediction_length is None else prediction_length, lead_time)
        if not hasattr(forecaster, "metadata"):
            raise UserError("this forecaster is not fitted yet; call fit(df) or Forecaster.load(path) first")
        self.forecaster, self.num_samples, self.seed, self.calls = forecaster, num_samples, seed, calls
        self._counts = {kind: len(forecaster.metadata["fit"][kind]["mean"]) for kind in ("future", "past", "static")}

    def predict(self, dataset: Iterable[Mapping[str, Any]], num_samples: int | None = None, **_: Any) -> Iterator[SampleForecast]:
        """A ``SampleForecast`` for each entry, in their order: samples [path, time], or [path, time, channel] for several channels.

        Raises:
            UserError: an entry does not fit the forecaster; it is named, with the remedy.
        """
        for number, entry in enumerate(dataset):
            yield self._forecast(entry, f"entry {number} ({entry.get('item_id', 'no item_id')})", num_samples or self.num_samples)

    def _forecast(self, entry: Mapping[str, Any], place: str, n_paths: int) -> SampleForecast:
        channels = self.forecaster.channels
        panel = self._panel(entry, place)
        horizon, lead, length = self.prediction_length, self.lead_time, len(panel.series[0])
        seed = _seed(self.seed, entry)
        paths = self.forecaster.predict(lead + horizon, n_paths, df=panel, seed=seed, calls=self.calls).to_array()[0, :, lead:]
        samples = paths[..., 0] if len(channels) == 1 else paths
        name = entry.get("item_id")
        info = entry.get("info")
        return SampleForecast(samples, entry["start"] + length + lead, None if name is None else str(name), cast(Any, info))

    def _panel(self, entry: Mapping[str, Any], place: str) -> Panel:
        """The entry as a panel of one series."""
        channels, frequency = self.forecaster.channels, self.forecaster.frequency
        target = np.asarray(entry["target"], dtype=np.float64)
        values = target[None] if target.ndim == 1 else target
        if values.ndim != 2 or len(values) != len(channels):
            want = "[time]" if len(channels) == 1 else f"[{len(channels)} channels ({', '.join(channels)}), time]"
            raise UserError(f"{place}: its target has shape {target.shape}; the forecaster needs {want}")
        if np.isinf(values).any():
            raise UserError(f"{place}: its target holds an infinite value; write NaN if it is missing")
        length = values.shape[1]
        until = length + self.lead_time + self.prediction_length
        series = Series(
            id=entry.get("item_id", "series"),
            start=_stamp(entry["start"], frequency, place),
            values=values.T.copy(),
            future=self._covariates(entry, "future", "feat_dynamic_real", until, place)[:until],
            past=self._covariates(entry, "past", "past_feat_dynamic_real", length, place)[:length],
            static=self._covariates(entry, "static", "feat_static_real", None, place)[0],
        )
        columns = Columns("long", False, "unique_id", "ds", False, tuple(channels))
        return Panel((series,), tuple(channels), frequency, columns)

    def _covariates(self, entry: Mapping[str, Any], kind: str, field: str, steps: int | None, place: str) -> Array:
        """[time, covariate] of one kind, at least ``steps`` of them; one row of static ones."""
        count = self._counts[kind]
        if not count:
            return np.zeros((1 if steps is None else steps, 0))
        found = np.asarray(entry.get(field, np.zeros((0, 0))), dtype=np.float64)
        table = found.reshape(-1, 1) if steps is None else found
        if table.ndim != 2 or len(table) != count or table.shape[1] < (1 if steps is None else steps):
            want = f"[{count}]" if steps is None else f"[{count}, {steps} or more steps]"
            raise UserError(f"{place}: {field} has shape {found.shape}; the forecaster has {count} {kind} covariates and needs {want}")
        return table.T

    # -- keeping --------------------------------------------------------------------------------------------------------

    def serialize(self, path: Path) -> None:
        """Write the model and the options into a folder, from which ``Predictor.deserialize`` makes the predictor again."""
        super().serialize(path)
        self.forecaster.save(Path(path) / _MODEL)
        names = ("prediction_length", "lead_time", "num_samples", "seed", "calls")
        (Path(path) / _OPTIONS).write_text(json.dumps({name: getattr(self, name) for name in names}))

    @classmethod
    def deserialize(cls, path: Path, **_: Any) -> ForecasterPredictor:
        return cls(Forecaster.load(Path(path) / _MODEL), **json.loads((Path(path) / _OPTIONS).read_text()))


def _stamp(start: pd.Period, frequency: Frequency, place: str) -> pd.Timestamp:
    """The one stamp of the frequency's grid that lies in a period."""
    given = Frequency.parse(start.freqstr)
    if (given.family, given.every) != (frequency.family, frequency.every):
        raise UserError(f"{place}: its start {start} has the frequency {given.name}, the forecaster {frequency.name}; convert the data set")
    first, last = start.start_time, start.end_time
    index = pd.DatetimeIndex([first])
    grid = Grid.fit(frequency, index)
    near = int(grid.nearest(index)[0])
    return next(stamp for stamp in grid.stamps(near - 1, near + 2) if first <= stamp <= last)


def _seed(seed: int, entry: Mapping[str, Any]) -> int:
    """A seed below 2^63 from the whole entry that a forecast is made from."""
    digest = hashlib.blake2b(f"{seed} {entry.get('item_id')!r} {entry['start']}".encode(), digest_size=8)
    digest.update(np.ascontiguousarray(entry["target"], dtype=np.float64).tobytes())
    return int.from_bytes(digest.digest(), "big") >> 1
