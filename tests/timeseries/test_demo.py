"""The demo's section: complete, offline, and in the run."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from support.pages import Page, references

from scidiff.tour import tour
from scidiff_timeseries import demo
from scidiff_timeseries.registry import shipped_models


def test_the_page_shows_forecast_gap_and_backtest_and_loads_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("ROWS", 220), ("ROLLS", 2), ("PATHS", 12), ("METHODS", ("ours", "random_walk_ewma"))):
        monkeypatch.setattr(demo, name, value)
    page = tour(["timeseries"], tmp_path / "demo", "off").read_text()
    assert references(page) == []
    parsed = Page(page)
    assert [tag for tag, _ in parsed.elements].count("img") == 3  # forecast, gap, backtest
    text = " ".join("".join(parsed.text).split())
    for said in ("US Treasury yields", "CRPS over 2 windows", "random walk, EWMA volatility", "Methods", "How it was made"):
        assert said in text
    assert "treasury" in shipped_models() or "base laws alone, fitted here" in text
    paths = pd.read_csv(tmp_path / "demo" / "timeseries" / "paths.csv")
    assert paths["path"].nunique() == 12
    lines = [json.loads(line) for line in (tmp_path / "demo" / "tracking" / "spool.jsonl").read_text().splitlines()]
    logged = {name for line in lines if line["kind"] == "metrics" for name in line["values"]}
    assert {"backtest/ours/crps", "backtest/random_walk_ewma/coverage_90"} <= logged
    files = {Path(line["file"]).name for line in lines if line["kind"] == "artifact"}
    assert {"forecast.png", "paths.csv", "backtest.html", "index.html"} <= files
