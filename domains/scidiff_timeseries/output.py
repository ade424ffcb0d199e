"""Writing results: tables of paths as CSV or parquet, pictures; a file appears whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scidiff.errors import UserError
from scidiff.files import TEMPORARY, discard, naming, sync_folder
from scidiff_timeseries.paths import SamplePaths
from scidiff_timeseries.tables import write_csv

_LINES = 100_000
"""Of a CSV file, made into text at a time."""
TABLES, PICTURES, MODELS = (".csv", ".parquet"), (".png", ".svg", ".pdf"), (".safetensors",)


def check_out(option: str, path: Path | None, endings: Sequence[str]) -> None:
    """Before the work: can this file be written?

    Raises:
        UserError: another ending, a folder that does not exist or may not be written to, or the path of a folder.
    """
    if path is None:
        return
    if path.suffix.lower() not in endings:
        raise UserError(f"{option} {path}: the name must end in {' or '.join(endings)}")
    if path.is_dir():
        raise UserError(f"{option} {path}: is a folder; a file name is needed")
    if not path.parent.is_dir():
        raise UserError(f"{option} {path}: the folder {path.parent} does not exist; make it first")
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"{option} {path}: the folder {path.parent} may not be written to; choose another")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name beside ``path`` to write to; the file takes the place of ``path`` when the block ends well, and vanishes otherwise."""
    part = path.with_name(f".{path.stem}.{secrets.token_hex(4)}{TEMPORARY}{path.suffix}")
    try:
        with naming(path):
            yield part
            with part.open("rb+") as stream:
                os.fsync(stream.fileno())
            part.replace(path)
            sync_folder(path.parent)
    finally:
        discard(part)


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """CSV (text that spreadsheets would run is made harmless) or parquet, by the ending."""
    with replacing(path) as part:
        if path.suffix.lower() == ".parquet":
            frame.to_parquet(part, index=False)
        else:
            write_csv(pd.DataFrame(frame), part)


def write_paths(paths: SamplePaths, path: Path) -> tuple[int, tuple[int, ...]]:
    """Simulated paths, of which all series have the same number and length, as CSV or parquet: what is written of a path does not depend on
    which others are written with it. Returns where the first series begins, and the length of each series' section: bytes, or rows of
    parquet.
    """
    series = np.array_split(np.arange(len(paths)), len(paths.ids))  # rows of each, which are consecutive
    frame = pd.DataFrame(paths)
    frame.attrs = paths.attrs
    with replacing(path) as part:
        if path.suffix.lower() == ".parquet":
            _write_rows(frame, series, part)
            return 0, tuple(map(len, series))
        return _write_text(_with_text_stamps(frame, paths.time_column), series, part)


def _write_rows(frame: pd.DataFrame, series: Sequence[np.ndarray], path: Path) -> None:
    import io

    import pyarrow.parquet as pq

    from scidiff.shards.rows import write_sections

    def table(rows: np.ndarray) -> Any:
        """As pandas makes one, with what its files say of a frame, attrs included."""
        content: bytes = frame.iloc[rows[0] : rows[-1] + 1].to_parquet(index=False)
        return pq.read_table(io.BytesIO(content))

    write_sections(path, map(table, series))


def _write_text(frame: pd.DataFrame, series: Sequence[np.ndarray], path: Path) -> tuple[int, tuple[int, ...]]:
    sizes: list[int] = []
    with path.open("wb") as file:
        file.write(str(write_csv(frame.iloc[:0])).encode())
        header = file.tell()
        for rows in series:
            before = file.tell()
            for low in range(rows[0], rows[-1] + 1, _LINES):
                some = frame.iloc[low : min(low + _LINES, rows[-1] + 1)]
                file.write(str(write_csv(some, header=False)).encode())
            sizes.append(file.tell() - before)
    return header, tuple(sizes)


def _with_text_stamps(frame: pd.DataFrame, time: str) -> pd.DataFrame:
    """Stamps as pandas writes all of them: of some of them alone it might leave out the time of the day."""
    codes, stamps = pd.factorize(frame[time])
    changed = frame.copy(deep=False)
    changed[time] = np.asarray(pd.Index(stamps).astype(str), dtype=object)[codes]
    return changed


def write_figure(figure: object, path: Path) -> None:
    """A matplotlib figure, in the format of the ending."""
    with replacing(path) as part:
        figure.savefig(part)  # type: ignore[attr-defined]
