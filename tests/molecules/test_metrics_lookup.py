"""Metric A's bond orders: the table at its exact thresholds, an independent reading of the definition, and planted faults."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from scidiff_molecules.metrics import lookup as module
from scidiff_molecules.metrics.lookup import bond_orders, lookup, lookup_smiles, stable_atoms
from scidiff_molecules.sdf import Structure

Z = {"H": 1, "C": 6, "N": 7, "O": 8, "F": 9}
# pm, margins added by hand: below the first number single, below the second double, below the third triple
THRESHOLDS = {
    "HH": (84,), "HC": (119,), "HN": (111,), "HO": (106,), "HF": (102,),
    "CC": (164, 139, 123), "CN": (157, 134, 119), "CO": (153, 125, 116), "CF": (145,),
    "NN": (155, 130, 113), "NO": (150, 126), "NF": (146,), "OO": (158, 126), "OF": (152,), "FF": (152,),
}  # fmt: skip
CASES = [(pair, order, pm) for pair, thresholds in THRESHOLDS.items() for order, pm in enumerate(thresholds, start=1)]
Orders = Callable[[NDArray[np.float64], NDArray[np.int64]], NDArray[np.int8]]


def order_at(pair: str, pm: float, orders: Orders = bond_orders) -> int:
    """Order of a two-atom molecule at a distance in pm, laid along x, as an SDF would state it (Angstrom)."""
    positions = np.array([[[0.0, 0.0, 0.0], [pm / 100, 0.0, 0.0]]])
    found = orders(positions, np.array([[Z[pair[0]], Z[pair[1]]]]))
    assert (found == found.transpose(0, 2, 1)).all()
    return int(found[0, 0, 1])


def check_thresholds(orders: Orders) -> None:
    """At a threshold the pair has the order below it, just inside the order itself; both ways round."""
    for pair, order, pm in CASES:
        for name in (pair, pair[::-1]):
            assert order_at(name, pm, orders) == order - 1, f"{name} exactly at {pm} pm"
            assert order_at(name, pm - 1e-6, orders) == order, f"{name} just inside {pm} pm"
            assert order_at(name, pm + 1e-6, orders) == order - 1, f"{name} just outside {pm} pm"
    for pair, thresholds in THRESHOLDS.items():
        assert order_at(pair, 1.0, orders) == len(thresholds), f"{pair}: highest order"


def test_every_threshold_is_strict_and_where_the_definition_puts_it() -> None:
    assert len(CASES) == 15 + 6 + 4
    check_thresholds(bond_orders)


def _scaled(positions: NDArray[np.float64], numbers: NDArray[np.int64], *, order: int, by: float) -> NDArray[np.int8]:
    """The same lookup with one order's thresholds shifted by ``by`` pm."""
    table = module.THRESHOLDS.copy()
    table[order] += by
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "THRESHOLDS", table)
        return bond_orders(positions, numbers)


FAULTS: dict[str, Orders] = {
    "not strict": lambda x, z: bond_orders(x * (1 - 1e-9), z),
    "margin of single bonds 9": lambda x, z: _scaled(x, z, order=1, by=-1.0),
    "margin of double bonds 6": lambda x, z: _scaled(x, z, order=2, by=1.0),
    "margin of triple bonds 2": lambda x, z: _scaled(x, z, order=3, by=-1.0),
    "distances in the wrong unit": lambda x, z: bond_orders(x * 1.01, z),
    "C and N swapped": lambda x, z: bond_orders(x, np.where(z == 6, 7, np.where(z == 7, 6, z))),
    "no triple bonds": lambda x, z: np.minimum(bond_orders(x, z), 2),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_caught(fault: str) -> None:
    with pytest.raises(AssertionError):
        check_thresholds(FAULTS[fault])


def by_the_words(symbols: list[str], x: NDArray[np.float64]) -> list[list[int]]:
    """The definition read aloud, pair by pair, sharing nothing with the implementation."""
    orders = [[0] * len(symbols) for _ in symbols]
    for i in range(len(symbols)):
        for j in range(len(symbols)):
            key = symbols[i] + symbols[j]
            thresholds = THRESHOLDS.get(key, THRESHOLDS.get(key[::-1], ()))
            pm = 100 * sum((float(x[i, k]) - float(x[j, k])) ** 2 for k in range(3)) ** 0.5
            for order, threshold in enumerate(thresholds, start=1):
                if i == j or not pm < threshold:
                    break
                orders[i][j] = order
    return orders


@given(
    symbols=st.lists(st.sampled_from(sorted(Z)), min_size=1, max_size=9),
    data=st.data(),
    padding=st.integers(0, 3),
)
def test_agrees_with_the_words_of_the_definition_in_any_batch(symbols: list[str], data: st.DataObject, padding: int) -> None:
    n = len(symbols)
    x = data.draw(arrays(np.float64, (n, 3), elements=st.floats(-1.5, 1.5, width=32)))
    positions = np.zeros((2, n + padding, 3))
    numbers = np.zeros((2, n + padding), dtype=np.int64)
    positions[1, :n], numbers[1, :n] = x, [Z[s] for s in symbols]  # row 0 is padding only
    orders = bond_orders(positions, numbers)
    expected = np.array(by_the_words(symbols, x))
    assert (orders[1, :n, :n] == expected).all()
    assert orders.sum() == expected.sum()
    valence = {"H": 1, "C": 4, "N": 3, "O": 2, "F": 1}
    assert stable_atoms(orders, numbers)[1, :n].tolist() == [sum(row) == valence[s] for s, row in zip(symbols, expected, strict=True)]
    assert not stable_atoms(orders, numbers)[0].any()
    (result,) = lookup([structure([Z[s] for s in symbols], x)])
    assert result.stable_atoms == int(stable_atoms(orders, numbers).sum())
    assert [(i, j, int(expected[i, j])) for i in range(n) for j in range(i + 1, n) if expected[i, j]] == list(result.bonds)


def structure(numbers: list[int], positions: object) -> Structure:
    z = np.array(numbers, dtype=np.int64)
    return Structure(z, np.zeros_like(z), np.array(positions, dtype=np.float64).reshape(-1, 3), ())


def test_molecules_keep_their_place_whatever_their_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    hydrogen = structure([1, 1], [[0, 0, 0], [0.74, 0, 0]])
    chain = structure([8] * 7, [[1.5 * i, 0, 0] for i in range(7)])
    alone = structure([9], [[0, 0, 0]])
    mixed = [chain, hydrogen, alone, hydrogen, chain, alone]
    whole = lookup(mixed)
    monkeypatch.setattr(module, "_PAIR_BUDGET", 50)  # forces many small batches
    assert lookup(mixed) == whole
    assert [r.stable_atoms for r in whole] == [5, 2, 0, 2, 5, 0]
    assert [r.stable for r in whole] == [False, True, False, True, False, False]
    assert whole[0].bonds == tuple((i, i + 1, 1.0) for i in range(6))


def test_smiles_are_those_of_the_largest_fragment_with_hydrogens_explicit() -> None:
    # water and, five Angstrom away, methane: methane is larger
    water = [[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]]
    t = 1.09 / 3**0.5
    methane = [[5, 0, 0], [5 + t, t, t], [5 + t, -t, -t], [5 - t, t, -t], [5 - t, -t, t]]
    both = structure([8, 1, 1, 6, 1, 1, 1, 1], water + methane)
    (found,) = lookup([both])
    assert found.stable
    assert lookup_smiles(both, found.bonds) == "[H]C([H])([H])[H]"


def test_too_few_bonds_are_completed_too_many_are_rejected() -> None:
    carbon = structure([6], [[0, 0, 0]])
    assert lookup_smiles(carbon, ()) == "C"
    nitrogen = structure([7, 1, 1, 1, 1], np.zeros((5, 3)))
    assert lookup_smiles(nitrogen, tuple((0, i, 1.0) for i in range(1, 5))) is None
    assert lookup_smiles(nitrogen, tuple((0, i, 1.0) for i in range(1, 4))) == "[H]N([H])[H]"  # the loose H is the smaller piece


def test_elements_outside_the_definition_have_no_bonds_and_no_smiles() -> None:
    chloride = structure([1, 17], [[0, 0, 0], [0.9, 0, 0]])
    (found,) = lookup([chloride])
    assert (found.stable_atoms, found.bonds) == (0, ())
    assert lookup_smiles(chloride, ()) is None
    assert lookup_smiles(structure([], []), ()) is None


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"positions \(B, N, 3\)"):
        bond_orders(np.zeros((2, 3)), np.zeros((2, 3), dtype=np.int64))
    with pytest.raises(ValueError, match="needs coordinates"):
        lookup([Structure(np.array([1]), np.array([0]), None, ())])
