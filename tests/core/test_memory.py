"""Out of memory: the same results from smaller parts, said once, and nothing that did not fit tried twice."""

from __future__ import annotations

import gc
import warnings
import weakref
from collections.abc import Sequence

import pytest
import torch

from scidiff.memory import Room, is_out_of_memory, split_when_full

CPU_SAYS = "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."


class Machine:
    """Has room for ``most`` items; keeps what it was asked."""

    def __init__(self, most: int, error: Exception | None = None) -> None:
        self.most, self.error, self.asked = most, error or MemoryError(), list[int]()

    def __call__(self, part: Sequence[int]) -> list[int]:
        self.asked.append(len(part))
        if len(part) > self.most:
            raise self.error
        return [item * item for item in part]


def test_what_fits_is_computed_at_once() -> None:
    machine = Machine(10)
    assert split_when_full(machine, range(10)) == [[item * item for item in range(10)]]
    assert machine.asked == [10]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError(CPU_SAYS), MemoryError()], ids=type)
@pytest.mark.parametrize("most", [1, 2, 6, 7, 49])
def test_parts_are_halved_until_they_fit_and_keep_their_order(most: int, error: Exception) -> None:
    machine, room = Machine(most, error), Room()
    with pytest.warns(UserWarning, match=r"molecules: memory does not suffice for more than \d+ at a time") as said:
        parts = split_when_full(machine, range(50), room, what="molecules")
    assert len(said) == 1
    assert [item for part in parts for item in part] == [item * item for item in range(50)]
    assert room.size is not None
    assert room.size <= most < 2 * room.size
    asked = len(machine.asked)
    with warnings.catch_warnings():  # what is known is neither tried nor said again
        warnings.simplefilter("error")
        split_when_full(machine, range(50), room)
    assert max(machine.asked[asked:]) == room.size


def test_one_that_does_not_fit_alone_is_an_error() -> None:
    with pytest.raises(MemoryError) as caught:
        split_when_full(Machine(0), range(4), what="paths")
    assert caught.value.__notes__ == ["one alone of the paths does not fit in memory"]


def test_other_errors_are_no_lack_of_memory() -> None:
    machine = Machine(2, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="shapes"):
        split_when_full(machine, range(4))
    assert machine.asked == [4]
    assert not is_out_of_memory(ValueError("out of memory"))


def test_what_the_failed_part_held_is_free_before_the_next() -> None:
    held: list[weakref.ref[torch.Tensor]] = []

    def compute(part: Sequence[int]) -> int:
        assert all(ref() is None for ref in held)
        big = torch.zeros(len(part))
        held.append(weakref.ref(big))
        if len(part) > 2:
            raise MemoryError
        return int(big.numel())

    gc.disable()  # not by chance
    try:
        with pytest.warns(UserWarning, match="more than 2 at a time"):
            assert split_when_full(compute, range(8)) == [2, 2, 2, 2]
    finally:
        gc.enable()


def test_the_allocators_own_errors_are_known() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**62, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
