"""Tokens: labels and back, by hand and on the whole shipped sample; what has no token is named."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from scidiff_molecules.data import MoleculeDataset, load_sample
from scidiff_molecules.tokens import BONDS, ELEMENTS, POSITIONS, Token, Vocabulary, layouts, state

tokens = st.tuples(st.integers(1, 118), st.integers(-4, 4), st.integers(0, 4))


@given(st.lists(tokens, min_size=1, max_size=30), st.data())
def test_labels_and_back(atoms: list[tuple[int, int, int]], data: st.DataObject) -> None:
    vocabulary = Vocabulary.of(*torch.tensor(atoms).unbind(1))
    assert {(t.number, t.charge, t.hydrogens) for t in vocabulary.tokens} == set(atoms)
    picked = data.draw(st.lists(st.sampled_from(atoms), min_size=1, max_size=12))
    labels = vocabulary.encode(*torch.tensor(picked).unbind(1))
    assert [vocabulary.tokens[label] for label in labels.tolist()] == [Token(*atom) for atom in picked]
    assert Vocabulary.from_list(vocabulary.to_list()) == vocabulary


def test_most_frequent_first_and_ties_in_a_fixed_order() -> None:
    vocabulary = Vocabulary.of(torch.tensor([8, 7, 6, 6, 7, 1]), torch.tensor([0, 1, 0, 0, 1, 0]), torch.zeros(6, dtype=torch.int64))
    assert vocabulary.tokens == (Token(6, 0, 0), Token(7, 1, 0), Token(1, 0, 0), Token(8, 0, 0))


def test_an_atom_without_a_token_is_named_with_its_place() -> None:
    vocabulary = Vocabulary((Token(6, 0, 3), Token(8, 0, 1)))
    number, charge, hydrogens = torch.tensor([[6, 8], [8, 7]]), torch.tensor([[0, 0], [0, 1]]), torch.tensor([[3, 1], [1, 2]])
    with pytest.raises(ValueError, match=r"atom \(1, 1\) \(atomic number, charge, hydrogens\) = \(7, 1, 2\) .* vocabulary of 2 tokens"):
        vocabulary.encode(number, charge, hydrogens)
    assert vocabulary.covers(number, charge, hydrogens).tolist() == [[True, True], [True, False]]


def test_a_batch_by_hand() -> None:
    """Water and carbon monoxide; the padding holds what the data set puts there."""
    vocabulary = Vocabulary((Token(8, 0, 2), Token(6, -1, 0), Token(8, 1, 0)))
    dense: dict[str, Tensor] = {
        "pos": torch.tensor([[[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]], [[0.0, 0.0, 0.0], [0.0, 0.0, 1.2]]]),
        "z": torch.tensor([[8, 0], [6, 8]]),
        "charge": torch.tensor([[0, 0], [-1, 1]]),
        "num_h": torch.tensor([[2, 0], [0, 0]]),
        "mask": torch.tensor([[True, False], [True, True]]),
        "bonds": torch.tensor([[[0, 0], [0, 0]], [[0, 3], [3, 0]]]),
    }
    x, layout = state(dense, vocabulary, 2.0)
    assert x[ELEMENTS].tolist() == [[0, 0], [1, 2]]
    assert x[BONDS].tolist() == [[[0, 0], [0, 0]], [[0, 3], [3, 0]]]
    assert torch.allclose(x[POSITIONS], torch.tensor([[[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]], [[0.0, 0.0, -0.3], [0.0, 0.0, 0.3]]]))
    assert layout[POSITIONS].degrees_of_freedom(3).tolist() == [0, 3]
    assert layout[ELEMENTS].degrees_of_freedom(1).tolist() == [1, 2]
    assert layout[BONDS].degrees_of_freedom(1).tolist() == [0, 1]


def test_layouts_count_atoms_and_unordered_pairs() -> None:
    layout = layouts(torch.tensor([1, 4, 9]), 9)
    assert layout[ELEMENTS].degrees_of_freedom(1).tolist() == [1, 4, 9]
    assert layout[BONDS].degrees_of_freedom(1).tolist() == [0, 6, 36]
    assert layout[POSITIONS].degrees_of_freedom(3).tolist() == [0, 9, 24]


@pytest.mark.parametrize("hydrogens", ["implicit", "explicit"])
def test_the_whole_sample_comes_back_from_its_labels(hydrogens: str) -> None:
    dataset: MoleculeDataset = load_sample("valid", hydrogens=hydrogens)
    dense = dataset.dense(torch.arange(len(dataset)))
    mask = dense["mask"]
    vocabulary = Vocabulary.of(*(dense[key][mask] for key in ("z", "charge", "num_h")))
    x, layout = state(dense, vocabulary, 1.3)
    table = torch.tensor(vocabulary.to_list())[x[ELEMENTS]]
    for place, key in enumerate(("z", "charge", "num_h")):
        assert torch.equal(table[..., place][mask], dense[key][mask])
    assert torch.equal(x[BONDS], dense["bonds"])
    back = x[POSITIONS] * 1.3
    shift = torch.where(mask[..., None], dense["pos"] - back, 0.0)
    assert torch.allclose(shift, torch.where(mask[..., None], shift[:, :1], 0.0), atol=1e-5)  # one translation a molecule
    assert torch.allclose(layout[POSITIONS].project(x[POSITIONS]), x[POSITIONS], atol=1e-6)
