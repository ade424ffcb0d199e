"""``scidiff timeseries``: fit, forecast, impute, simulate, backtest."""

from __future__ import annotations

import typer

from scidiff_timeseries.cli.asking import forecast, impute, simulate
from scidiff_timeseries.cli.fitting import fit
from scidiff_timeseries.cli.judging import backtest

app = typer.Typer(help="Time series: fit a model of joint sample paths; forecast, fill gaps, simulate; judge.", no_args_is_help=True)
for _command in (fit, forecast, impute, simulate, backtest):
    app.command()(_command)
