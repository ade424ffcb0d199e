"""Where GluonTS is not installed, the predictor's module says what to do."""

from __future__ import annotations

import importlib
import sys

import pytest


def test_the_import_names_the_extra_and_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("gluonts", "gluonts.model", "gluonts.model.forecast"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "scidiff_timeseries.gluonts", raising=False)
    with pytest.raises(ModuleNotFoundError, match=r"of its own, pip install 'scidiffusion\[timeseries,gluonts\]'.* pandas before 3"):
        importlib.import_module("scidiff_timeseries.gluonts")
