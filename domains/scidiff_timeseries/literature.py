"""The literature's data sets, read from the folder that ``--data-root`` or the environment variable SCIDIFF_DATA names.

None of them is part of the package; their licences do not allow it. Missing values are NaN.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from scidiff.errors import UserError
from scidiff_timeseries import packed

Array = NDArray[np.float64]
Arrays = dict[str, NDArray[Any]]
_T = TypeVar("_T")

# fmt: off
ICU_PARAMETERS = (
    "DiasABP", "HR", "Na", "Lactate", "NIDiasABP", "PaO2", "WBC", "pH", "Albumin",
    "ALT", "Glucose", "SaO2", "Temp", "AST", "Bilirubin", "HCO3", "BUN", "RespRate",
    "Mg", "HCT", "SysABP", "FiO2", "K", "GCS", "Cholesterol", "NISysABP", "TroponinT",
    "MAP", "TroponinI", "PaCO2", "Platelets", "Urine", "NIMAP", "Creatinine", "ALP",
)
# fmt: on
"""The 35 parameters of the imputation literature (BRITS, CSDI), in its order."""


def data_root(folder: str | os.PathLike[str] | None = None) -> Path:
    """The folder of the data sets: ``folder`` (the option --data-root), or else SCIDIFF_DATA.

    Raises:
        UserError: neither is given, or there is no such folder.
    """
    named = folder or os.environ.get("SCIDIFF_DATA")
    if not named:
        raise UserError("the literature's data sets are not part of the package: name their folder by --data-root or SCIDIFF_DATA")
    path = Path(named).expanduser()
    if not path.is_dir():
        source = "--data-root" if folder else "SCIDIFF_DATA"
        raise UserError(f"{source} names {path}, which is no folder")
    return path


@dataclass(frozen=True)
class Window:
    """One forecast to make: histories, one array [time] a series, and what followed, [series, horizon]."""

    histories: tuple[Array, ...]
    truth: Array


@dataclass(frozen=True)
class Benchmark:
    """A forecasting data set with its test windows.

    Window r of ``rolls`` ends (rolls - 1 - r) horizons before the series do. ``seasons`` are in steps, the first one is that of the
    published seasonal naive forecast. ``aligned``: all series share their time stamps. ``start`` is None where it is not known.
    """

    name: str
    names: tuple[str, ...]
    series: tuple[Array, ...]
    start: np.datetime64 | None
    frequency: str
    horizon: int
    rolls: int
    seasons: tuple[int, ...]
    aligned: bool

    def train(self) -> tuple[Array, ...]:
        """Every series up to the first test window; selection and fitting see nothing else."""
        return tuple(values[: len(values) - self.rolls * self.horizon] for values in self.series)

    def windows(self) -> Iterator[Window]:
        """The test windows, oldest first."""
        for left in range(self.rolls, 0, -1):
            cut = [len(values) - left * self.horizon for values in self.series]
            truth = np.stack([values[end : end + self.horizon] for values, end in zip(self.series, cut, strict=True)])
            yield Window(tuple(values[:end] for values, end in zip(self.series, cut, strict=True)), truth)


@dataclass(frozen=True)
class Table:
    """A multivariate series: values [time, column], stamps [time] and the pandas name of its frequency."""

    values: Array
    names: tuple[str, ...]
    stamps: NDArray[Any]  # of datetime64
    frequency: str


@dataclass(frozen=True)
class AirQuality:
    """Beijing's air: values [time, station, variable]; wind direction [time, station], a code into ``wind_names`` or -1 if missing."""

    values: Array
    stations: tuple[str, ...]
    variables: tuple[str, ...]
    stamps: NDArray[Any]  # of datetime64
    frequency: str
    wind: NDArray[np.int16]
    wind_names: tuple[str, ...]


@dataclass(frozen=True)
class IcuStays:
    """PhysioNet 2012: single observations at minutes after admission, sorted by (parameter, patient, minute).

    Attributes:
        patients: record numbers, [patient].
        parameters: names, [parameter].
        outcomes: SAPS-I, SOFA, length of stay in days, survival in days (-1: none known), in-hospital death; [patient, 5].
        set_b: whether the patient belongs to set B (otherwise set A), [patient].
        parameter, patient, minute, value: of every observation.
    """

    patients: NDArray[np.int64]
    parameters: tuple[str, ...]
    outcomes: NDArray[np.int64]
    set_b: NDArray[np.bool_]
    parameter: NDArray[np.intp]
    patient: NDArray[np.intp]
    minute: NDArray[np.int64]
    value: Array

    def hourly(self, parameters: Sequence[str] = ICU_PARAMETERS, hours: int = 48) -> Array:
        """A regular grid [patient, hour, parameter]: the last observation of each hour, NaN where there is none.

        With set A only and the default parameters this is the table of BRITS and CSDI, before standardising.
        """
        unknown = set(parameters) - set(self.parameters)
        if unknown:
            raise UserError(f"no such parameters: {', '.join(sorted(unknown))}; known: {', '.join(self.parameters)}")
        grid = np.full((len(self.patients), hours, len(parameters)), np.nan)
        for column, name in enumerate(parameters):
            chosen = (self.parameter == self.parameters.index(name)) & (self.minute < 60 * hours)
            patient, hour, value = self.patient[chosen], self.minute[chosen] // 60, self.value[chosen]
            last = np.ones(len(value), dtype=bool)  # rows are in order of time: the next one of the same cell comes later
            last[:-1] = (patient[1:] != patient[:-1]) | (hour[1:] != hour[:-1])
            grid[patient[last], hour[last], column] = value[last]
        return grid


def exchange_rate(root: str | os.PathLike[str] | None = None) -> Benchmark:
    """exchange_rate_nips exactly as GluonTS has it: 8 currencies, business days from 1990, 5 windows of 30 days after 6,071 days.

    Units of a currency in dollars; the source does not label its columns, the names follow its README's order.
    """
    path = data_root(root) / "exchange_rate"
    return _read(path / "exchange_rate_1990_2016.npz.xz", lambda arrays: _exchange(arrays, _json(path / "gluonts_split.json")))


def _exchange(arrays: Arrays, split: dict[str, Any]) -> Benchmark:
    horizon, first, ends = int(split["prediction_length"]), int(split["train_len"]), [int(n) for n in split["test_lengths"]]
    if ends != [first + horizon * (k + 1) for k in range(len(ends))]:
        raise ValueError(f"windows that end at {ends} do not follow a training part of {first} in steps of {horizon}")
    values = packed.table(arrays)[: ends[-1]]
    if len(values) != ends[-1]:
        raise ValueError(f"{len(values)} rows, the windows need {ends[-1]}")
    names = packed.lines(arrays["columns"])
    start = np.datetime64(str(split["start"]).split()[0], "D")
    return Benchmark("exchange_rate_nips", names, tuple(values.T.copy()), start, "B", horizon, len(ends), (5,), aligned=True)


def m4_hourly(root: str | os.PathLike[str] | None = None) -> Benchmark:
    """M4 hourly: 414 series of 748 or 1,008 hours, the last 48 hours of each are the test window. Their start is not known."""
    return _read(data_root(root) / "m4" / "m4_hourly.npz.xz", _m4)


def _m4(arrays: Arrays) -> Benchmark:
    lengths = arrays["length"].astype(np.int64)
    values = packed.run_sums(packed.integers(arrays["planes"]), lengths) / 10.0 ** float(arrays["decimals"][0])
    series = tuple(np.split(values, np.cumsum(lengths)[:-1]))
    horizon = int(arrays["horizon"][0])
    return Benchmark("m4_hourly", packed.lines(arrays["ids"]), series, None, "h", horizon, 1, (24, 168), aligned=False)


def beijing_air(root: str | os.PathLike[str] | None = None) -> AirQuality:
    """Beijing multi-site air quality (UCI 501): 12 stations x 11 variables, hourly, March 2013 to February 2017, 1.6 % missing."""
    return _read(data_root(root) / "beijing_air" / "beijing_air.npz.xz", _air)


def _air(arrays: Arrays) -> AirQuality:
    values = packed.table(arrays)
    pairs = [name.split("|") for name in packed.lines(arrays["columns"])]
    stations, variables = (tuple(dict.fromkeys(column)) for column in zip(*pairs, strict=True))
    if [tuple(pair) for pair in pairs] != [(s, v) for s in stations for v in variables]:
        raise ValueError("the columns are not every variable of every station in turn")
    stamps = np.datetime64(packed.lines(arrays["start"])[0], "h") + np.arange(len(values))
    wind = np.where(arrays["wd"] == 255, -1, arrays["wd"].astype(np.int16)).T
    grid = values.reshape(len(values), len(stations), len(variables))
    return AirQuality(grid, stations, variables, stamps, "h", wind.astype(np.int16), packed.lines(arrays["wd_names"]))


def sp500(root: str | os.PathLike[str] | None = None) -> Table:
    """488 stocks of the S&P 500, logarithm of the adjusted close, 1,259 trading days from 2016-04-21 to 2021-04-21.

    Stamps are the days on which the market was open: business days without holidays. The members are those of 2021 (survivorship bias).
    """
    return _read(data_root(root) / "sp500_1999_2021" / "sp500_5y_logadjclose.npz.xz", _sp500)


def _sp500(arrays: Arrays) -> Table:
    days = np.cumsum(packed.integers(arrays["t"]))
    return Table(packed.table(arrays), packed.lines(arrays["columns"]), np.datetime64("1970-01-01", "D") + days, "B")


def physionet2012(root: str | os.PathLike[str] | None = None) -> IcuStays:
    """PhysioNet / Computing in Cardiology Challenge 2012, sets A and B: 8,000 ICU stays, 3,293,708 observations of 42 parameters."""
    return _read(data_root(root) / "physionet2012" / "physionet2012_ab.npz.xz", _physionet)


def _physionet(arrays: Arrays) -> IcuStays:
    parameters, patients = packed.lines(arrays["params"]), arrays["patient"].astype(np.int64)
    counts = packed.integers(arrays["counts"])
    grid = counts.reshape(len(parameters), len(patients))
    parameter = np.repeat(np.arange(len(parameters)), grid.sum(axis=1))
    patient = np.repeat(np.tile(np.arange(len(patients)), len(parameters)), counts)
    minute = packed.run_sums(packed.integers(arrays["dminute"]), counts)
    value = packed.run_sums(packed.integers(arrays["dvalue"]), counts) / 10.0 ** arrays["decimals"].astype(np.float64)[parameter]
    outcomes = arrays["outcomes"].astype(np.int64)
    return IcuStays(patients, parameters, outcomes, arrays["set_b"].astype(bool), parameter, patient, minute, value)


def _read(path: Path, build: Callable[[Arrays], _T]) -> _T:
    arrays = packed.load(path)
    try:
        return build(arrays)
    except UserError:
        raise
    except (KeyError, ValueError, IndexError) as error:
        raise UserError(f"{path} does not hold what it should ({error}); get the file again") from error


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"{path} is missing; --data-root (or SCIDIFF_DATA) has to name the folder of the literature's data sets")
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path} is no JSON ({error}); get the file again") from error
