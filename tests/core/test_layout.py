"""Layouts: what counts once, which subspace a field lives in, and how many degrees of freedom that leaves."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scidiff.layout import Layout
from scidiff.testing import projection_matrix


def known_first(layout: Layout) -> Layout:
    index = torch.arange(layout.mask.shape[1])
    return layout.with_known((index == 0) & layout.mask)


LAYOUTS = {
    "nodes": Layout.nodes(torch.tensor([4]), 6),
    "centred": Layout.nodes(torch.tensor([4]), 6, centred=True),
    "one centred": Layout.nodes(torch.tensor([1]), 3, centred=True),
    "anchored": known_first(Layout.nodes(torch.tensor([4]), 6, centred=True)),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_projection_is_an_orthogonal_projection(name: str) -> None:
    p = projection_matrix(LAYOUTS[name], 3)
    torch.testing.assert_close(p @ p, p, rtol=0, atol=1e-15)
    torch.testing.assert_close(p, p.T, rtol=0, atol=1e-15)


@pytest.mark.parametrize("name", LAYOUTS)
def test_degrees_of_freedom_are_the_rank_of_the_free_projection(name: str) -> None:
    layout = LAYOUTS[name]
    free = layout.free[0][:, None].expand(-1, 3).flatten().double()
    p = projection_matrix(layout, 3) * free
    assert int(layout.degrees_of_freedom(3)[0]) == int(torch.linalg.matrix_rank(p * free[:, None]))


def test_degrees_of_freedom_by_hand() -> None:
    sizes = torch.tensor([5, 1, 0])
    assert Layout.nodes(sizes, 5).degrees_of_freedom(3).tolist() == [15, 3, 0]
    assert Layout.nodes(sizes, 5, centred=True).degrees_of_freedom(3).tolist() == [12, 0, 0]
    assert Layout.symmetric_pairs(sizes, 5).degrees_of_freedom(1).tolist() == [10, 0, 0]


def test_projection_of_positions_is_the_subtraction_of_their_mean() -> None:
    x = torch.arange(24.0, dtype=torch.float64).reshape(1, 4, 6).transpose(1, 2)[:, :, :3] ** 2
    layout = Layout.nodes(torch.tensor([4]), 6, centred=True)
    right = x[0, :4] - x[0, :4].mean(0)
    torch.testing.assert_close(layout.project(x)[0, :4], right)
    assert bool((layout.project(x)[0, 4:] == 0).all())


def test_known_entries_fix_the_frame() -> None:
    x = torch.arange(12.0).reshape(1, 4, 3)
    anchored = known_first(Layout.nodes(torch.tensor([4]), 4, centred=True))
    assert torch.equal(anchored.project(x), x)
    assert anchored.free.tolist() == [[False, True, True, True]]
    assert anchored.degrees_of_freedom(3).tolist() == [9]


def test_anchoring_is_decided_sample_by_sample() -> None:
    layout = Layout.nodes(torch.tensor([2, 2]), 2, centred=True).with_known(torch.tensor([[True, False], [False, False]]))
    x = torch.tensor([[[1.0], [3.0]], [[1.0], [3.0]]])
    assert layout.project(x)[:, :, 0].tolist() == [[1.0, 3.0], [-1.0, 1.0]]


@given(st.integers(0, 7))
def test_an_unordered_pair_counts_once(n: int) -> None:
    layout = Layout.symmetric_pairs(torch.tensor([n]), 8)
    i = torch.arange(8.0, dtype=torch.float64)
    values = torch.maximum(i[:, None], i) * 10 + torch.minimum(i[:, None], i)
    by_hand = sum(float(values[a, b]) for a in range(n) for b in range(a))
    assert float(layout.sum(values[None])[0]) == by_hand


def test_sum_leaves_out_padding_and_known_entries_even_if_nan() -> None:
    layout = known_first(Layout.nodes(torch.tensor([3]), 5))
    values = torch.tensor([[float("nan"), 2.0, 3.0, float("inf"), float("nan")]])
    assert layout.sum(values).tolist() == [5.0]


def test_clock_is_zero_where_nothing_moves() -> None:
    layout = known_first(Layout.nodes(torch.tensor([3, 2]), 3))
    assert layout.clock(torch.tensor([0.5, 0.25])).tolist() == [[0.0, 0.5, 0.5], [0.0, 0.25, 0.0]]
    per_entry = torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]], dtype=torch.float64)
    assert layout.clock(per_entry).tolist() == [[0.0, 0.2, 0.3], [0.0, 0.5, 0.0]]


@given(st.integers(2, 9), st.integers(0, 5))
def test_entry_index_does_not_depend_on_padding(n: int, padding: int) -> None:
    for build in (Layout.nodes, Layout.symmetric_pairs):
        small, large = (build(torch.tensor([n]), m).entry_index()[0] for m in (n, n + padding))
        window = (slice(0, n),) * small.ndim
        assert torch.equal(small, large[window])


def test_entry_index_numbers_pairs_once() -> None:
    index, count = Layout.symmetric_pairs(torch.tensor([6]), 6).entry_index()
    lower = torch.tril_indices(6, 6, -1)
    assert sorted(index[lower[0], lower[1]].tolist()) == list(range(15))
    assert count == 15
    assert torch.equal(index, index.T)


def test_bad_layouts_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\[batch, n, n\]"):
        Layout(torch.ones(1, 3, dtype=torch.bool), pairs=True)
    with pytest.raises(ValueError, match="padding"):
        Layout.nodes(torch.tensor([2]), 3).with_known(torch.tensor([[False, False, True]]))
    lopsided = torch.zeros(1, 3, 3, dtype=torch.bool)
    lopsided[0, 0, 1] = True
    with pytest.raises(ValueError, match="symmetric"):
        Layout(lopsided, pairs=True)
    with pytest.raises(ValueError, match="diagonal"):
        Layout(torch.ones(1, 3, 3, dtype=torch.bool), pairs=True)
    with pytest.raises(ValueError, match="symmetric"):
        Layout.symmetric_pairs(torch.tensor([3]), 3).with_known(lopsided)
