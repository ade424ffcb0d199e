"""The library's messages in the words of the command line: every argument they name is an option, every row a line of the file."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from typer.main import get_command

from scidiff.errors import UserError
from scidiff_timeseries.cli import app
from scidiff_timeseries.cli.words import in_words_of, reworded
from scidiff_timeseries.panel import read_frame
from scidiff_timeseries.tables import read_csv


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("give another freq=, resample, or repair=True moves", "give another --freq, resample, or --repair moves"),
        ("is that freq='B'? Otherwise", "is that --freq B? Otherwise"),
        ("or name the columns of values with targets=", "or name the columns of values with --target"),
        ("sort with df.sort_values(['unique_id', 'ds']), or repair=True", "sort the rows by ['unique_id', 'ds'], or --repair"),
        ("say so with df[time].dt.tz_localize('Europe/Paris', ambiguous='infer'), or", "say so with --time-zone Europe/Paris, or"),
        ("with tz_localize('UTC') or repair=True", "with --time-zone UTC or --repair"),
        ("or convert the column with pd.to_datetime(column, format=...) (of a file: time_format=...)", "or give --time-format"),
        ("nothing to translate", "nothing to translate"),
    ],
)
def test_arguments_become_options(message: str, words: str) -> None:
    assert reworded(message) == words


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("ds,y\n2024-01-01,1\n2024-01-02,2\n2024-01-02,3\n", "line 4 (2024-01-02 00:00:00): the same time as line 3"),
        ("ds,y\n2024-01-01,1\n2024-01-03,2\n2024-01-02,3\n", "line 4 (2024-01-02 00:00:00): earlier than the row before it"),
        ("ds,y\n2024-01-01,1\n2024-01-02,inf\n2024-01-03,3\n", "line 3 (2024-01-02 00:00:00), column 'y': the value is infinite"),
        ("ds,y\n2024-01-01,1\nyesterday,2\n", "line 3: 'yesterday' is not an ISO 8601 time stamp"),
        ("ds,y\n2024-01-01,1\n\n2024-01-02,2\n2024-01-02,3\n", "data row (from 0) 2 (2024-01-02 00:00:00)"),  # lines cannot be counted
    ],
)
def test_rows_become_lines_of_the_file(tmp_path: Path, text: str, line: str) -> None:
    path = tmp_path / "data.csv"
    path.write_text(text)
    with pytest.raises(UserError) as caught, in_words_of(path):
        read_frame(read_csv(path))
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert line in message
    assert "repair=True" not in message


def test_every_option_that_a_message_names_is_one() -> None:
    options = {name for command in get_command(app).commands.values() for parameter in command.params for name in parameter.opts}  # type: ignore[attr-defined]
    named = ["freq", "id", "time", "layout", "sep", "decimal", "future", "past", "start"]
    assert {f"--{name}" for name in named} | {"--target", "--repair", "--time-zone", "--time-format"} <= options
    for name in named:
        assert reworded(f"give {name}= now") == f"give --{name} now"


def test_other_errors_pass() -> None:
    with pytest.raises(ZeroDivisionError), in_words_of(Path("x")):
        _ = pd.Timedelta(1) / 0
