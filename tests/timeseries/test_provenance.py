"""What a run records of series: hash, rows, and the terms where they are known."""

from __future__ import annotations

import numpy as np
import pandas as pd

from scidiff_timeseries.panel import Panel, read_frame
from scidiff_timeseries.provenance import data_info, provenance
from scidiff_timeseries.samples import SAMPLES, load_sample


def panel(**changes: float) -> Panel:
    values = np.arange(30, dtype=float)
    values[7] = np.nan
    for name, value in changes.items():
        values[int(name.removeprefix("at_"))] = value
    return read_frame(pd.DataFrame({"unique_id": ["a"] * 20 + ["b"] * 10, "ds": _days(20).append(_days(10)), "y": values}))


def _days(count: int) -> pd.DatetimeIndex:
    return pd.date_range("2024-01-01", periods=count, freq="D")


def test_a_files_data() -> None:
    known = data_info(panel(), "sales.csv")
    assert (known.name, known.source, known.examples, known.licence) == ("sales.csv", "sales.csv", 30, "")
    assert known.digest == provenance(panel())["data"]["sha256"]
    assert dict(known.profile) == {"series": 2, "channels": 1, "values": 29, "frequency": "D", "title": "sales.csv"}
    assert data_info(panel()).name == "frame"
    assert data_info(panel(at_3=np.nextafter(3.0, 4.0)), "sales.csv").digest != known.digest
    assert data_info(panel(at_7=0.0), "sales.csv").digest != known.digest


def test_the_terms_of_a_shipped_sample_are_known() -> None:
    sample = SAMPLES["co2"]
    whole = read_frame(load_sample("co2"), **sample.frame)
    known = data_info(whole, "sample:co2")
    assert (known.name, known.source, known.licence) == ("sample:co2", sample.source, sample.licence)
    assert known.examples == 2284
    assert known.profile["values"] == 2284 - 59
    assert data_info(whole.until(1), "sample:co2").digest != known.digest
