"""When memory does not suffice for a batch: less of it at a time, the same results to rounding.

What is computed for an item must depend on that item alone, as a sample's noise depends on its id alone; then only the order of
floating-point sums in matrix products changes with the size of a batch.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

__all__ = ["Room", "is_out_of_memory", "split_when_full"]

T = TypeVar("T")
R = TypeVar("R")

_SAID = (
    "can't allocate memory",  # torch's CPU allocator
    "not enough memory",  # the same on other systems
    "out of memory",  # CUDA, where it is no torch.OutOfMemoryError
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "could not allocate",  # oneDNN
    "bad_alloc",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on whatever device: ``torch.OutOfMemoryError``, ``MemoryError``, or a ``RuntimeError``
    whose message is one of torch's for it."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _SAID)


@dataclass
class Room:
    """How many items were found to fit at once; None: never too many. Kept by the caller, so that what did not fit is not tried again."""

    size: int | None = None


def split_when_full(
    compute: Callable[[Sequence[T]], R], items: Sequence[T], room: Room | None = None, *, what: str = "items"
) -> list[R]:
    """``compute`` of all items at once; where memory does not suffice, of consecutive parts, each half as long as what did not fit.

    Args:
        compute: a function of a part of the items. Where it runs out of memory it must leave nothing behind (no gradient half added):
            that part is computed again in smaller ones.
        items: anything with a length that can be sliced: a list, a range.
        room: what is known from earlier calls, and where it is kept; None: nothing, nowhere.
        what: the items' name in the warning, which says once for each size that so many are computed at a time.

    Returns:
        The results of the parts, in order: one where everything fitted.

    Raises:
        Whatever ``compute`` raises that is no lack of memory; and a lack of memory for a single item, with a note that says so.
    """
    room = Room() if room is None else room
    found: list[R] = []
    done, halved = 0, False
    while done < len(items):
        size = len(items) - done if room.size is None else min(room.size, len(items) - done)
        part = items[done : done + size]
        try:
            result = compute(part)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            if size == 1:
                error.add_note(f"one alone of the {what} does not fit in memory")
                raise
        else:
            found.append(result)
            done += size
            if halved:
                said = f"{what}: memory does not suffice for more than {size} at a time; results stay the same to rounding"
                warnings.warn(said, stacklevel=2)
                halved = False
            continue
        # Outside the handler: the error's traceback held the frames, and these the tensors, of what did not fit.
        room.size, halved = (size + 1) // 2, True
        _release()
    return found


def _release() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
