"""Couplings: the nearest of all equivalent noises, found as scipy and brute force find it; a noise moved, never changed."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from torch import Tensor

from scidiff.layout import Layout
from scidiff.process import Coupling
from scidiff_molecules.couplings import COUPLINGS, permute, permute_and_rotate, rotate

EXACT = 1e-12
ROOM = 9


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Tensor, Tensor, Layout]:
    """Data and noise of a few samples of 1 to 9 atoms, centred, in float64; data of any scale, also flat or a line."""
    sizes = torch.tensor(draw(st.lists(st.integers(1, ROOM), min_size=1, max_size=4)))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    layout = Layout.nodes(sizes, ROOM, centred=True)
    x, z = (torch.randn(len(sizes), ROOM, 3, dtype=torch.float64, generator=generator) for _ in range(2))
    axes = torch.tensor(draw(st.sampled_from([(1.0, 1.0, 1.0), (1.0, 1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 0.0)])), dtype=torch.float64)
    return layout.project(x * axes * draw(st.sampled_from([1e-3, 1.0, 1e3]))), layout.project(z), layout


def distance(x: Tensor, z: Tensor) -> Tensor:
    return (x - z).square().sum((1, 2))


@given(pairs(), st.sampled_from(sorted(COUPLINGS)))
@settings(max_examples=150)
def test_alignment_brings_nearer_and_only_moves(drawn: tuple[Tensor, Tensor, Layout], name: str) -> None:
    x, z, layout = drawn
    moved = COUPLINGS[name](x, z, layout)
    room = EXACT * (1 + x.square().sum((1, 2)) + z.square().sum((1, 2)))
    assert bool((distance(x, moved) <= distance(x, z) + room).all())
    # An orthogonal map and a relabelling keep every distance, so the sorted distances are those of the noise; so the norm is too.
    assert torch.allclose(all_distances(moved), all_distances(z), atol=1e-10)
    assert torch.allclose(moved, layout.project(moved), atol=1e-12)
    assert bool((moved[~layout.mask] == 0).all())


def all_distances(z: Tensor) -> Tensor:
    """Of every two entries, and of every entry from the origin, sorted."""
    origin = torch.zeros(len(z), 1, 3, dtype=z.dtype)
    everything = torch.cat((origin, z), 1)
    # cdist's matrix product loses half the digits near 0.
    return (everything[:, None] - everything[:, :, None]).norm(dim=-1).flatten(1).sort(1).values


@given(pairs(), st.sampled_from([rotate, permute]))
@settings(max_examples=100)
def test_aligning_twice_is_aligning_once(drawn: tuple[Tensor, Tensor, Layout], coupling: Coupling) -> None:
    x, z, layout = drawn
    once = coupling(x, z, layout)
    twice = coupling(x, once, layout)
    room = 1e-10 * (1 + x.square().sum((1, 2)) + z.square().sum((1, 2)))
    assert bool((distance(x, twice) - distance(x, once)).abs().le(room).all())
    if coupling is permute and bool((x != 0).any(2)[layout.mask].all()):
        assert torch.equal(twice, once)


@given(pairs())
@settings(max_examples=60)
def test_the_descent_on_both_never_goes_up(drawn: tuple[Tensor, Tensor, Layout]) -> None:
    x, z, layout = drawn
    room = EXACT * (1 + x.square().sum((1, 2)) + z.square().sum((1, 2)))
    both = distance(x, permute_and_rotate(x, z, layout))
    assert bool((both <= distance(x, rotate(x, z, layout)) + room).all())
    assert bool((distance(x, permute_and_rotate(x, permute_and_rotate(x, z, layout), layout)) <= both + room).all())


@pytest.mark.parametrize("seed", range(10))
def test_rotation_is_scipys_with_the_better_of_both_hands(seed: int) -> None:
    layout = Layout.nodes(torch.tensor([7]), 7, centred=True)
    generator = torch.Generator().manual_seed(seed)
    x, z = (layout.project(torch.randn(1, 7, 3, dtype=torch.float64, generator=generator)) for _ in range(2))
    candidates = []
    for hand in (1.0, -1.0):
        turn, _ = Rotation.align_vectors(x[0].numpy(), hand * z[0].numpy())
        candidates.append(torch.from_numpy(turn.apply(hand * z[0].numpy()))[None])
    best = min(candidates, key=lambda one: float(distance(x, one)))
    assert torch.allclose(rotate(x, z, layout), best, atol=1e-10)


@pytest.mark.parametrize("seed", range(10))
def test_noise_that_is_a_moved_molecule_is_moved_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    layout = Layout.nodes(torch.tensor([9]), 9, centred=True)
    x = layout.project(torch.from_numpy(rng.normal(size=(1, 9, 3))))
    turn = torch.from_numpy(Rotation.random(rng=rng).as_matrix()) * (-1.0) ** seed
    order = torch.from_numpy(rng.permutation(9))
    assert torch.allclose(rotate(x, x @ turn, layout), x, atol=1e-12)
    assert torch.equal(permute(x, x[:, order], layout), x)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("seed", range(4))
def test_permutation_is_the_best_of_all(n: int, seed: int) -> None:
    layout = Layout.nodes(torch.tensor([n]), n + 2, centred=True)
    generator = torch.Generator().manual_seed(seed)
    x, z = (layout.project(torch.randn(1, n + 2, 3, dtype=torch.float64, generator=generator)) for _ in range(2))
    orders = [[*order, n, n + 1] for order in itertools.permutations(range(n))]
    best = min((z[:, order] for order in orders), key=lambda one: float(distance(x, one)))
    assert torch.equal(permute(x, z, layout), best)


@pytest.mark.parametrize("name", sorted(COUPLINGS))
def test_padding_and_neighbours_in_the_batch_do_not_matter(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    sizes = torch.tensor([4, 9, 1, 6])
    wide, coupling = Layout.nodes(sizes, 12, centred=True), COUPLINGS[name]
    x, z = (wide.project(torch.randn(4, 12, 3, dtype=torch.float64, generator=generator)) for _ in range(2))
    together = coupling(x, z, wide)
    for row, n in enumerate(sizes.tolist()):
        alone = coupling(x[row : row + 1, :n], z[row : row + 1, :n], Layout.nodes(sizes[row : row + 1], n, centred=True))
        assert torch.allclose(together[row, :n], alone[0], atol=1e-12)


@pytest.mark.parametrize("name", sorted(COUPLINGS))
def test_mixed_precision_does_not_blunt_the_alignment(name: str) -> None:
    """The loss is computed under autocast, which makes bfloat16 of matrix products."""
    layout = Layout.nodes(torch.tensor([9, 5]), 9, centred=True)
    generator = torch.Generator().manual_seed(0)
    x, z = (layout.project(torch.randn(2, 9, 3, generator=generator)) for _ in range(2))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = COUPLINGS[name](x, z, layout)
    assert torch.equal(mixed, COUPLINGS[name](x, z, layout))
