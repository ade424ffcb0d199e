"""Decoding of the compact tables of the literature's data folder: an uncompressed .npz in an .xz stream, no pickle.

Integers are zig-zag coded (u = 2v for v >= 0, -2v - 1 below) and split into byte planes, a uint8 array [bytes, n]. Columns and runs are
delta-coded: the first difference of a run is its first value. Decimal numbers are integers over a power of ten.
"""

from __future__ import annotations

import io
import lzma
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scidiff.errors import UserError

LARGEST = 256 * 1024**2  # bytes after decompression, and of all arrays together


def load(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of one file.

    Raises:
        UserError: the file is missing, damaged, holds pickled objects, or unpacks to more than 256 MiB.
    """
    if not path.is_file():
        raise UserError(f"{path} is missing; --data-root (or SCIDIFF_DATA) has to name the folder of the literature's data sets")
    try:
        with lzma.open(path) as stream:
            content = stream.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise UserError(f"{path} unpacks to more than {LARGEST} bytes and was not read")
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > LARGEST:
                raise UserError(f"{path} declares more than {LARGEST} bytes of arrays and was not read")
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except UserError:
        raise
    except (lzma.LZMAError, zipfile.BadZipFile, EOFError, OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); get the file again") from error


def integers(planes: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Undo the byte planes [bytes, n] and the zig-zag code: signed integers [n]."""
    if planes.ndim != 2 or planes.shape[0] > 8:
        raise ValueError(f"byte planes have the shape [up to 8, n], got {planes.shape}")
    padded = np.zeros((planes.shape[1], 8), dtype=np.uint8)
    padded[:, : planes.shape[0]] = planes.T
    code = padded.view("<u8")[:, 0]
    return (code >> np.uint64(1)).astype(np.int64) ^ -(code & np.uint64(1)).astype(np.int64)


def lines(characters: NDArray[np.uint8]) -> tuple[str, ...]:
    """Strings joined by newlines in a uint8 array."""
    return tuple(characters.tobytes().decode().split("\n"))


def run_sums(differences: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Cumulative sums within consecutive runs of the given lengths."""
    total = np.cumsum(differences)
    ends = np.cumsum(lengths)
    if lengths.sum() != len(differences):
        raise ValueError(f"runs of {int(lengths.sum())} entries in all do not fit {len(differences)} differences")
    starts = (ends - lengths)[lengths > 0]
    before = np.where(starts > 0, total[starts - 1], 0)
    return total - np.repeat(before, lengths[lengths > 0])


def table(arrays: dict[str, NDArray[Any]]) -> NDArray[np.float64]:
    """Values [time, column] of a delta-coded table, NaN where its bit mask says so."""
    rows, columns = (int(n) for n in arrays["shape"])
    deltas = integers(arrays["planes"])
    if deltas.size != rows * columns:
        raise ValueError(f"a table of {rows} x {columns} does not fit {deltas.size} entries")
    values = np.cumsum(deltas.reshape(columns, rows).T, axis=0) / 10.0 ** arrays["decimals"].astype(np.float64)
    if "nan" in arrays:
        values[np.unpackbits(arrays["nan"], count=rows * columns).reshape(columns, rows).T.astype(bool)] = np.nan
    return values
