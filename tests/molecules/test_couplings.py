"""Couplings: the nearest of all equivalent noises, found as scipy and brute force find it; a noise moved, never changed."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from torch import Tensor

from scidiff.layout import Layout
from scidiff.objective import JointCoupling
from scidiff.process import Layouts
from scidiff.random import Noise
from scidiff_molecules.couplings import COUPLINGS, permute, permute_and_rotate, rotate
from scidiff_molecules.known import Known
from scidiff_molecules.task import MoleculeTask
from scidiff_molecules.tokens import ELEMENTS, POSITIONS

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


def alike(layout: Layout) -> Layouts:
    """Of the atoms of these positions nothing else is known."""
    return {POSITIONS: layout, ELEMENTS: Layout(layout.mask)}


def distance(x: Tensor, z: Tensor) -> Tensor:
    return (x - z).square().sum((1, 2))


@given(pairs(), st.sampled_from(sorted(COUPLINGS)))
@settings(max_examples=150)
def test_alignment_brings_nearer_and_only_moves(drawn: tuple[Tensor, Tensor, Layout], name: str) -> None:
    x, z, layout = drawn
    moved = COUPLINGS[name](x, z, alike(layout))
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
def test_aligning_twice_is_aligning_once(drawn: tuple[Tensor, Tensor, Layout], coupling: JointCoupling) -> None:
    x, z, layout = drawn
    once = coupling(x, z, alike(layout))
    twice = coupling(x, once, alike(layout))
    room = 1e-10 * (1 + x.square().sum((1, 2)) + z.square().sum((1, 2)))
    assert bool((distance(x, twice) - distance(x, once)).abs().le(room).all())
    if coupling is permute and bool((x != 0).any(2)[layout.mask].all()):
        assert torch.equal(twice, once)


@given(pairs())
@settings(max_examples=60)
def test_the_descent_on_both_never_goes_up(drawn: tuple[Tensor, Tensor, Layout]) -> None:
    x, z, layout = drawn
    room = EXACT * (1 + x.square().sum((1, 2)) + z.square().sum((1, 2)))
    both = distance(x, permute_and_rotate(x, z, alike(layout)))
    assert bool((both <= distance(x, rotate(x, z, alike(layout))) + room).all())
    assert bool((distance(x, permute_and_rotate(x, permute_and_rotate(x, z, alike(layout)), alike(layout))) <= both + room).all())


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
    assert torch.allclose(rotate(x, z, alike(layout)), best, atol=1e-10)


@pytest.mark.parametrize("seed", range(10))
def test_noise_that_is_a_moved_molecule_is_moved_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    layout = Layout.nodes(torch.tensor([9]), 9, centred=True)
    x = layout.project(torch.from_numpy(rng.normal(size=(1, 9, 3))))
    turn = torch.from_numpy(Rotation.random(rng=rng).as_matrix()) * (-1.0) ** seed
    order = torch.from_numpy(rng.permutation(9))
    assert torch.allclose(rotate(x, x @ turn, alike(layout)), x, atol=1e-12)
    assert torch.equal(permute(x, x[:, order], alike(layout)), x)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("seed", range(4))
def test_permutation_is_the_best_of_all(n: int, seed: int) -> None:
    layout = Layout.nodes(torch.tensor([n]), n + 2, centred=True)
    generator = torch.Generator().manual_seed(seed)
    x, z = (layout.project(torch.randn(1, n + 2, 3, dtype=torch.float64, generator=generator)) for _ in range(2))
    orders = [[*order, n, n + 1] for order in itertools.permutations(range(n))]
    best = min((z[:, order] for order in orders), key=lambda one: float(distance(x, one)))
    assert torch.equal(permute(x, z, alike(layout)), best)


@pytest.mark.parametrize("name", sorted(COUPLINGS))
def test_padding_and_neighbours_in_the_batch_do_not_matter(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    sizes = torch.tensor([4, 9, 1, 6])
    wide, coupling = Layout.nodes(sizes, 12, centred=True), COUPLINGS[name]
    x, z = (wide.project(torch.randn(4, 12, 3, dtype=torch.float64, generator=generator)) for _ in range(2))
    together = coupling(x, z, alike(wide))
    for row, n in enumerate(sizes.tolist()):
        alone = coupling(x[row : row + 1, :n], z[row : row + 1, :n], alike(Layout.nodes(sizes[row : row + 1], n, centred=True)))
        assert torch.allclose(together[row, :n], alone[0], atol=1e-12)


@pytest.mark.parametrize("name", sorted(COUPLINGS))
def test_mixed_precision_does_not_blunt_the_alignment(name: str) -> None:
    """The loss is computed under autocast, which makes bfloat16 of matrix products."""
    layout = Layout.nodes(torch.tensor([9, 5]), 9, centred=True)
    generator = torch.Generator().manual_seed(0)
    x, z = (layout.project(torch.randn(2, 9, 3, generator=generator)) for _ in range(2))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = COUPLINGS[name](x, z, alike(layout))
    assert torch.equal(mixed, COUPLINGS[name](x, z, alike(layout)))


@given(pairs(), st.sampled_from(sorted(COUPLINGS)), st.integers(0, 2**31))
@settings(max_examples=100)
def test_noise_of_atoms_that_are_told_apart_keeps_its_place(drawn: tuple[Tensor, Tensor, Layout], name: str, seed: int) -> None:
    """Given which atoms are which, noise has the law that sampling draws from: independent, up to a rotation of it all. So the distances
    between noise of known atoms, and from it to the others' as a set, are what they were."""
    x, z, layout = drawn
    told = layout.mask & (torch.rand(layout.mask.shape, generator=torch.Generator().manual_seed(seed)) < 0.5)
    moved = COUPLINGS[name](x, z, {POSITIONS: layout, ELEMENTS: Layout(layout.mask, known=told)})
    for row, known in enumerate(told):
        before, after = (one[row, known, None] - one[row, None, layout.mask[row]] for one in (z, moved))
        inside = known[layout.mask[row]]
        assert torch.allclose(before[:, inside].norm(dim=-1), after[:, inside].norm(dim=-1), atol=1e-10)
        others = (one[:, ~inside].norm(dim=-1).sort(1).values for one in (before, after))
        assert torch.allclose(*others, atol=1e-10)


def test_were_all_alike_noise_of_known_atoms_would_move() -> None:
    """The fault that the law above finds."""
    layout = Layout.nodes(torch.tensor([9]), 9, centred=True)
    generator = torch.Generator().manual_seed(0)
    x, z = (layout.project(torch.randn(1, 9, 3, dtype=torch.float64, generator=generator)) for _ in range(2))
    moved = permute(x, z, alike(layout))
    assert float(((moved[0, 0] - moved[0, 1]).norm() - (z[0, 0] - z[0, 1]).norm()).abs()) > 0.1


def test_what_is_known_of_other_fields_is_seen_in_training(tiny_task: MoleculeTask) -> None:
    """The loss hands over all layouts; with a coupling that looks at positions alone, the noise of known atoms would move."""
    seen: list[Layouts] = []

    def watched(x: Tensor, z: Tensor, layouts: Layouts) -> Tensor:
        seen.append(layouts)
        return z

    examples = torch.arange(32)
    batch = tiny_task.batch(examples)
    objective = replace(tiny_task.objective, couplings={POSITIONS: watched}, reveal=Known(substructure=1.0, geometry=0.0))
    objective(tiny_task.denoiser, batch.state, batch.layouts, Noise(0, examples), torch.rand(32, dtype=torch.float64))
    [layouts] = seen
    assert layouts[POSITIONS].known is None or not bool(layouts[POSITIONS].known.any())
    assert bool((layouts[ELEMENTS].known is not None) and layouts[ELEMENTS].known.any())
