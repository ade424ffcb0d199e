"""Results appear whole or not at all, and the bar stays out of files."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from scidiff.errors import UserError
from scidiff_timeseries.bars import late_bar
from scidiff_timeseries.output import TABLES, check_out, replacing, write_table


@pytest.mark.parametrize("name", ["p.csv", "p.parquet"])
def test_a_table_is_read_back_and_text_that_spreadsheets_run_is_harmless_in_csv(tmp_path: Path, name: str) -> None:
    df = pd.DataFrame({"unique_id": ["=1+1", "b"], "y": [-1.5, 2.0]})
    write_table(df, tmp_path / name)
    read = pd.read_csv(tmp_path / name) if name.endswith("csv") else pd.read_parquet(tmp_path / name)
    expected = df.assign(unique_id=["'=1+1", "b"]) if name.endswith("csv") else df
    pd.testing.assert_frame_equal(read, expected, check_dtype=False)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_what_breaks_leaves_the_old_content_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "paths.csv"
    path.write_text("old")

    def write() -> None:
        with replacing(path) as part:
            part.write_text("half of the n")
            raise error

    with pytest.raises(error):
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    check_out("--out", None, TABLES)
    check_out("--out", tmp_path / "a.CSV", TABLES)
    (tmp_path / "folder.csv").mkdir()
    for path, message in (("a.txt", "must end in"), ("folder.csv", "is a folder"), ("no/a.csv", "does not exist; make it first")):
        with pytest.raises(UserError, match=message):
            check_out("--out", tmp_path / path, TABLES)


def test_the_bar_is_silent_where_nobody_looks(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("scidiff_timeseries.bars.SECONDS", 0.0)
    with late_bar("working", 3) as done:
        done(1)
    assert capfd.readouterr() == ("", "")


def test_the_bar_shows_only_what_takes_long_and_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    for seconds, shown in ((60.0, False), (0.0, True)):
        monkeypatch.setattr("scidiff_timeseries.bars.SECONDS", seconds)
        outer, inner = (Console(file=io.StringIO(), force_terminal=True, width=80) for _ in range(2))
        with late_bar("outer", 2, console=outer) as progress, late_bar("inner", 3, console=inner) as part:
            time.sleep(0.05)
            part(3)
            progress(1, what="renamed")
            progress(2)
        text = outer.file.getvalue()
        assert ("renamed" in text and "2/2" in text) == shown
        assert "inner" not in inner.file.getvalue()
