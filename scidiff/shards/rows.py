"""Parquet files of rows: written in sections, merged row group by row group."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

__all__ = ["ROW_GROUP", "merge_rows", "write_sections"]

ROW_GROUP = 2**20
"""Rows of a group: what :func:`pyarrow.parquet.write_table` takes by default, so what pandas writes."""


def write_sections(path: Path, sections: Iterable[Any]) -> None:
    """Tables of one schema, one after the other; each begins with a row group of its own, so that a merge reads no other rows."""
    writer: Any = None
    try:
        for table in sections:
            writer = pq.ParquetWriter(path, table.schema) if writer is None else writer
            writer.write_table(table, row_group_size=ROW_GROUP)
    finally:
        if writer is not None:
            writer.close()


def merge_rows(parts: Sequence[Path], sections: Sequence[Sequence[int]], out: Path) -> None:
    """The first sections (of so many rows) of all parts, then the second ones; what one process writes of all rows, byte for byte."""
    first: Any = pq.ParquetFile(parts[0])
    with pq.ParquetWriter(out, first.schema_arrow) as writer:
        for table in _regrouped(_in_order(parts, sections)):
            writer.write_table(table, row_group_size=ROW_GROUP)


def _in_order(parts: Sequence[Path], sections: Sequence[Sequence[int]]) -> Iterator[Any]:
    next_group = [0] * len(parts)
    for section in range(len(sections[0])):
        for number, path in enumerate(parts):
            groups = -(-sections[number][section] // ROW_GROUP)
            with pq.ParquetFile(path) as file:
                for group in range(next_group[number], next_group[number] + groups):
                    yield file.read_row_group(group)
            next_group[number] += groups


def _regrouped(tables: Iterable[Any]) -> Iterator[Any]:
    """The same rows in tables of ROW_GROUP rows, the last one shorter."""
    waiting: list[Any] = []
    count = 0
    for table in tables:
        waiting.append(table)
        count += len(table)
        while count >= ROW_GROUP:
            joined = pa.concat_tables(waiting)
            yield joined.slice(0, ROW_GROUP).combine_chunks()
            waiting, count = [joined.slice(ROW_GROUP)], count - ROW_GROUP
    if count:
        yield pa.concat_tables(waiting).combine_chunks()
