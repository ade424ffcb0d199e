"""Backtests: rolling windows of ours beside simple baselines, in one table with intervals, one picture and one page.

>>> result = backtest(df, horizon=30, rolls=5)      # doctest: +SKIP
>>> result.table, result.verdict, result.figure()   # doctest: +SKIP
"""

from __future__ import annotations

from scidiff_timeseries.backtest.page import section
from scidiff_timeseries.backtest.result import COLUMNS, Backtest
from scidiff_timeseries.backtest.run import METHODS, backtest

__all__ = ["COLUMNS", "METHODS", "Backtest", "backtest", "section"]
