"""Three data sets in the package, so that examples, demo and tests need no download.

``scripts/make_timeseries_samples.py`` makes the files; ``SAMPLES.md`` beside them says where they come from and under which terms.
"""

from __future__ import annotations

import lzma
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import pandas as pd

from scidiff.errors import UserError, did_you_mean

__all__ = ["SAMPLES", "Sample", "load_sample"]


@dataclass(frozen=True)
class Sample:
    """A shipped data set.

    Attributes:
        name: what :func:`load_sample` calls it.
        title: a line for headings, with the period.
        source: who measured it.
        licence: the terms of the data.
        units: of every column of values.
        frame: how its frame is laid out, as :class:`~scidiff_timeseries.forecaster.Forecaster` and
            :func:`~scidiff_timeseries.panel.read_frame` take it: ``Forecaster(horizon=20, **SAMPLES["treasury"].frame)``.
    """

    name: str
    title: str
    source: str
    licence: str
    units: Mapping[str, str]
    frame: Mapping[str, Any]

    @property
    def path(self) -> Path:
        """The file: a CSV, compressed by xz, that ``pandas.read_csv`` opens."""
        return Path(__file__).with_name(f"{self.name}.csv.xz")


_ALL = (
    Sample(
        name="treasury",
        title="US Treasury constant-maturity yields, 8 tenors, business days 1990-2017",
        source="US Department of the Treasury (by zipline 1.4.1)",
        licence="a work of the US government, in the public domain; zipline is under the Apache License 2.0",
        units=MappingProxyType(dict.fromkeys(("3m", "6m", "1y", "2y", "3y", "5y", "7y", "10y"), "per cent")),
        frame=MappingProxyType({"layout": "wide", "multivariate": True, "freq": "B"}),
    ),
    Sample(
        name="stations",
        title="Four weather stations of Brittany, daily temperatures and precipitation 1990-2024",
        source="Météo-France, données climatologiques de base quotidiennes (by tslearn 0.10.0)",
        licence="Licence Ouverte / Open Licence 2.0 (Etalab)",
        units=MappingProxyType({"tn": "°C", "tx": "°C", "rr": "mm"}),
        frame=MappingProxyType({"freq": "D"}),
    ),
    Sample(
        name="co2",
        title="Atmospheric CO2 at Mauna Loa, weekly 1958-2001, 59 weeks missing",
        source="C. D. Keeling and T. P. Whorf, Scripps Institution of Oceanography (by statsmodels)",
        licence="public domain",
        units=MappingProxyType({"y": "ppmv"}),
        frame=MappingProxyType({"freq": "W-SAT"}),
    ),
)
SAMPLES: Final[Mapping[str, Sample]] = MappingProxyType({sample.name: sample for sample in _ALL})
"""The shipped data sets by name."""


def load_sample(name: str) -> pd.DataFrame:
    """A shipped data set as the frame that ``Forecaster(**SAMPLES[name].frame).fit`` takes; units in ``SAMPLES[name].units``.

    - ``treasury``: wide, a row for each of 6,816 trading days (``ds``) and a column for each of 8 tenors; days on which the market was
      closed have no row.
    - ``stations``: long, ``unique_id`` (4 stations), ``ds`` (12,784 days each, none missing), minimum and maximum temperature ``tn``
      and ``tx``, precipitation ``rr``.
    - ``co2``: long, ``unique_id``, ``ds`` (2,284 Saturdays), ``y``; 59 weeks without a measurement are NaN.

    Raises:
        UserError: an unknown name, or a file that is missing or damaged.
    """
    if name not in SAMPLES:
        raise UserError(f"no sample {name!r}{did_you_mean(name, SAMPLES)}; shipped are {', '.join(SAMPLES)}")
    path = SAMPLES[name].path
    try:
        return pd.read_csv(path, compression="xz", parse_dates=["ds"])
    except (OSError, EOFError, lzma.LZMAError, UnicodeDecodeError, ValueError) as error:
        raise UserError(f"{path}: the sample cannot be read ({error}); reinstall scidiffusion") from error
