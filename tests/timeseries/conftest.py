"""What several tests of the time-series domain share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest


@pytest.fixture
def frame_of() -> Callable[..., pd.DataFrame]:
    """A long frame of one series ``a`` over given stamps, its values 0, 1, 2, ..."""

    def make(stamps: object, **columns: object) -> pd.DataFrame:
        ds = pd.Series(stamps)
        return pd.DataFrame({"unique_id": "a", "ds": ds, "y": np.arange(len(ds), dtype=float)} | columns)

    return make
