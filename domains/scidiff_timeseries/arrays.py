"""Array arguments and rows. (``numpy.typing.ArrayLike`` cannot be checked at run time: a tuple of floats is none by its protocols.)"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")
ArrayLike = np.ndarray[Any, np.dtype[Any]] | Sequence[Any] | float


def rows(table: NDArray[np.float64], begin: int, end: int, fill: float = np.nan) -> NDArray[np.float64]:
    """Rows begin, ..., end - 1 of a table [row, column], as a copy; ``fill`` where it has none (begin may be negative)."""
    found = np.full((end - begin, table.shape[1]), fill)
    low, high = max(begin, 0), min(end, len(table))
    if low < high:
        found[low - begin : high - begin] = table[low:high]
    return found


def thinned(items: Sequence[T], limit: int) -> Sequence[T]:
    """Every n-th, with the least n that leaves at most ``limit``."""
    return items[:: max(-(-len(items) // limit), 1)]
