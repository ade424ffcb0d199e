"""The arithmetic of benchmarks/molecules: who runs when, and what a ratio and its interval are, on made-up times."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest
from support.benchmarks import benchmark


@pytest.fixture(scope="module")
def interleaved() -> ModuleType:
    return benchmark("molecules/interleaved")


def test_every_round_runs_each_in_turn_and_the_first_is_not_kept(interleaved: ModuleType) -> None:
    clock: list[float] = [0.0, 0.0]
    order: list[tuple[int, str]] = []

    def work(name: str, seconds: float) -> Callable[[int], None]:
        def run(number: int) -> None:
            order.append((number, name))
            clock[0] += seconds * 2**number  # a machine that slows by half every round
            clock[1] += 2 * seconds

        return run

    found = interleaved.interleave({"a": work("a", 3.0), "b": work("b", 1.0)}, range(8), lambda: (clock[0], clock[1]))
    assert order == [(number, name) for number in range(8) for name in "ab"]
    assert found["a"].wall == [3.0 * 2**number for number in range(1, 8)]
    assert found["b"].cpu == [2.0] * 7
    drifting = interleaved.ratio(found["a"].wall, found["b"].wall)
    assert (drifting.value, drifting.low, drifting.high) == (3.0, 3.0, 3.0)


def test_the_interval_is_the_pair_of_order_statistics_that_the_binomial_law_gives(interleaved: ModuleType) -> None:
    """Of nine the second and the eighth: between them the median lies with probability 1 - 2 (1 + 9) / 2^9 = 0.961; the third and the
    seventh would give 0.820. Of seven the first and the last: 1 - 2 / 2^7 = 0.984."""
    nine = interleaved.ratio([10.0, 80, 30, 70, 50, 40, 60, 20, 900], [10.0] * 9)
    assert (nine.value, nine.low, nine.high) == (5.0, 2.0, 8.0)
    seven = interleaved.ratio([7.0, 1, 6, 2, 5, 3, 4], [1.0] * 7)
    assert (seven.value, seven.low, seven.high) == (4.0, 1.0, 7.0)


def test_too_few_rounds_are_refused(interleaved: ModuleType) -> None:
    with pytest.raises(ValueError, match="6 rounds: a ratio needs at least 7"):
        interleaved.ratio([1.0] * 6, [1.0] * 6)
    with pytest.raises(ValueError, match="shorter"):
        interleaved.ratio([1.0] * 8, [1.0] * 7)
