"""Writing results: tables of paths as CSV or parquet, pictures; a file appears whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from scidiff.errors import UserError
from scidiff.files import TEMPORARY, sync_folder
from scidiff_timeseries.tables import write_csv

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
        yield part
        with part.open("rb+") as stream:
            os.fsync(stream.fileno())
        part.replace(path)
        sync_folder(path.parent)
    finally:
        part.unlink(missing_ok=True)


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """CSV (text that spreadsheets would run is made harmless) or parquet, by the ending."""
    with replacing(path) as part:
        if path.suffix.lower() == ".parquet":
            frame.to_parquet(part, index=False)
        else:
            write_csv(pd.DataFrame(frame), part)


def write_figure(figure: object, path: Path) -> None:
    """A matplotlib figure, in the format of the ending."""
    with replacing(path) as part:
        figure.savefig(part)  # type: ignore[attr-defined]
