"""What a training gives away: connected parts that scipy also finds connected, choices that depend on seed, epoch and example alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.sparse.csgraph import connected_components
from support.molecules import SMALL, Motion, MovedNoise, as_tensors, error, shake
from torch import Tensor

from scidiff.layout import Layout
from scidiff.process import Layouts, State
from scidiff.random import Noise
from scidiff_molecules.data import MoleculeDataset
from scidiff_molecules.known import Known, grow, pieces
from scidiff_molecules.model import BackboneConfig, BackboneKind, NoiseConfig, build_denoiser
from scidiff_molecules.statistics import Statistics, measure, property_law, standardised
from scidiff_molecules.tokens import BONDS, ELEMENTS, HYDROGENS, POSITIONS, PROPERTIES, state

NAMES = ("alpha", "gap", "mu")
CALL_FLOAT64 = 1e-12
BINOMIAL = 4.5
"""Standard deviations that a share of fixed draws may be off."""


@pytest.fixture(scope="module")
def full(heavy: MoleculeDataset) -> Statistics:
    return measure(heavy, hydrogens=True, properties=NAMES)


def molecules(heavy: MoleculeDataset, full: Statistics, count: int, width: int | None = None) -> tuple[State, Layouts]:
    rows = torch.arange(count) % len(heavy)
    x, layouts = state(heavy.dense(rows, width), full.vocabulary, full.scale, hydrogens=True)
    x[PROPERTIES] = standardised(heavy, full.properties)[rows][..., None]
    layouts[PROPERTIES] = Layout(torch.ones(count, len(NAMES), dtype=torch.bool))
    return x, layouts


def components(bonded: Tensor, atoms: Tensor) -> int:
    index = atoms.nonzero()[:, 0].numpy()
    return int(connected_components(bonded.numpy()[np.ix_(index, index)], directed=False)[0])


@pytest.mark.parametrize("seed", range(3))
def test_what_grows_is_as_large_as_asked_and_connected(heavy: MoleculeDataset, full: Statistics, seed: int) -> None:
    x, layouts = molecules(heavy, full, 200)
    mask, bonded = layouts[ELEMENTS].mask, x[BONDS] > 0
    generator = torch.Generator().manual_seed(seed)
    priority = torch.rand(mask.shape, generator=generator)
    size = (torch.rand(200, generator=generator) * (mask.sum(1) + 1)).long()
    part = grow(bonded, mask, priority, size, torch.zeros_like(size))
    assert torch.equal(part.sum(1), size)
    assert not bool((part & ~mask).any())
    assert all(components(bonded[row], part[row]) == 1 for row in range(200) if size[row] > 0)
    first = torch.where(mask, priority, 2.0).argmin(1)
    assert bool(part[torch.arange(200), first][size > 0].all())


def test_a_break_begins_a_second_piece_where_there_is_room(heavy: MoleculeDataset, full: Statistics) -> None:
    """Two atoms after a break at one: apart wherever some atom is not a neighbour of the first."""
    x, layouts = molecules(heavy, full, 200)
    mask, bonded = layouts[ELEMENTS].mask, x[BONDS] > 0
    priority = torch.rand(mask.shape, generator=torch.Generator().manual_seed(0))
    two = torch.full((200,), 2).clamp(max=mask.sum(1))
    part = grow(bonded, mask, priority, two, torch.ones(200, dtype=torch.int64))
    first = torch.where(mask, priority, 2.0).argmin(1)
    room = (mask.sum(1) - 1 - bonded[torch.arange(200), first].sum(1)) > 0
    found = torch.tensor([components(bonded[row], part[row]) for row in range(200)])
    assert torch.equal(found[mask.sum(1) > 1], torch.where(room, 2, 1)[mask.sum(1) > 1])
    assert bool(room.any())
    star = torch.zeros(1, 4, 4, dtype=torch.bool)
    star[0, 0, 1:] = star[0, 1:, 0] = True  # every atom is a neighbour of the first: there is no second piece to begin
    ranks = torch.tensor([[0.0, 0.3, 0.1, 0.2]])
    assert grow(star, torch.ones(1, 4, dtype=torch.bool), ranks, two[:1], torch.ones(1, dtype=torch.int64)).tolist() == [
        [True, False, True, False]
    ]


@pytest.mark.parametrize("seed", range(5))
def test_pieces_are_scipys_components(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    bonded = torch.rand(20, 13, 13, generator=generator) < 0.08
    bonded = bonded | bonded.transpose(1, 2)
    bonded.diagonal(dim1=1, dim2=2).fill_(False)
    part = torch.rand(20, 13, generator=generator) < 0.8
    found = pieces(bonded, part)
    for row in range(20):
        inside = bonded[row] & part[row][:, None] & part[row]
        label = torch.from_numpy(connected_components(inside.numpy(), directed=False)[1])
        assert torch.equal(found[row], (label[:, None] == label) & part[row][:, None] & part[row])


def test_choices_depend_on_seed_epoch_and_example_alone(heavy: MoleculeDataset, full: Statistics) -> None:
    known = Known(substructure=0.7, properties=0.8)
    x, layouts = molecules(heavy, full, 64)
    whole, marked = known(x, layouts, Noise(3, torch.arange(64)), 5)
    chosen = torch.tensor([40, 7])
    rows = {name: value[chosen] for name, value in x.items()}
    few = {name: Layout(one.mask[chosen], one.pairs, one.centred) for name, one in layouts.items()}
    alone, again = known(rows, few, Noise(3, chosen), 5)
    for name, one in again.items():
        expected = marked[name].known
        assert (one.known is None) == (expected is None), name
        assert one.known is None or torch.equal(one.known, expected[chosen]), name
    assert all(torch.equal(alone[name], whole[name][chosen]) for name in x)
    for other in (known(x, layouts, Noise(4, torch.arange(64)), 5), known(x, layouts, Noise(3, torch.arange(64)), 6)):
        assert not torch.equal(other[1][ELEMENTS].known, marked[ELEMENTS].known)


def test_the_shares_are_those_asked_for(heavy: MoleculeDataset, full: Statistics) -> None:
    count = 4000
    x, layouts = molecules(heavy, full, count)
    _, marked = Known(substructure=0.3, geometry=0.25, properties=0.8)(x, layouts, Noise(0, torch.arange(count)), 0)
    properties, part, placed = (marked[name].known for name in (PROPERTIES, ELEMENTS, POSITIONS))
    large, closed, bonded = layouts[ELEMENTS].mask.sum(1) > 1, marked[HYDROGENS].known, x[BONDS] > 0
    could_close = (part & ~(bonded & ~part[:, None]).any(2)).any(1)
    given = properties.sum(1)
    for found, share, of in (
        ((given > 0), 0.8, torch.ones(count, dtype=torch.bool)),
        ((given == 1), 0.5, given > 0),
        ((given == 2), 0.5, given > 1),
        (properties[:, 2], 1 / 3, given == 1),
        (part.any(1), 0.3, large),
        (placed.any(1), 0.25, part.any(1)),
        (closed.any(1), 0.4, could_close),
    ):
        n = int(of.sum())
        assert abs(float(found[of].double().mean()) - share) < BINOMIAL * (share * (1 - share) / n) ** 0.5
    assert not bool((placed & ~part).any())
    # Nothing grows at a closed atom: it is bonded to known atoms alone, and all its bonds are known.
    assert not bool((closed & (~part | (bonded & ~part[:, None]).any(2))).any())
    assert bool((marked[BONDS].known | ~layouts[BONDS].mask | ~closed[:, :, None]).all())


def test_a_known_part_lies_around_the_origin_with_its_bonds(heavy: MoleculeDataset, full: Statistics) -> None:
    x, layouts = molecules(heavy, full, 300, width=12)
    found, marked = Known(substructure=1.0, geometry=0.5)(x, layouts, Noise(0, torch.arange(300)), 0)
    placed, part, mask = marked[POSITIONS].known, marked[ELEMENTS].known, layouts[ELEMENTS].mask
    anchored = placed.any(1)
    centre = torch.where(placed[..., None], found[POSITIONS], 0.0).sum(1) / placed.sum(1).clamp(min=1)[:, None]
    assert float(centre.abs().max()) < 1e-5
    moved = found[POSITIONS] - x[POSITIONS]  # a shift of the whole molecule, and of those with known positions alone
    assert float(torch.where(mask[..., None], moved - moved[:, :1], 0.0).abs().max()) < 1e-5
    assert float(moved[~anchored].abs().max()) == 0
    closed, bonds = marked[HYDROGENS].known, marked[BONDS].known
    assert torch.equal(bonds, (pieces(x[BONDS] > 0, part) | closed[:, None] | closed[:, :, None]) & layouts[BONDS].mask)
    assert bool((bonds & (x[BONDS] > 0)).any())


def test_a_judge_is_given_the_molecule_and_none_of_its_properties(heavy: MoleculeDataset, full: Statistics) -> None:
    x, layouts = molecules(heavy, full, 8)
    found, marked = Known(molecule=True)(x, layouts, Noise(0, torch.arange(8)), 0)
    assert all(not bool(marked[name].free.any()) for name in (POSITIONS, ELEMENTS, HYDROGENS, BONDS))
    assert marked[PROPERTIES].known is None
    assert all(torch.equal(found[name], x[name]) for name in x)


def test_choices_move_with_the_order_of_atoms(heavy: MoleculeDataset, full: Statistics) -> None:
    x, layouts = molecules(heavy, full, 32)
    motion, noise, known = Motion.random(layouts[ELEMENTS].mask, seed=2), Noise(0, torch.arange(32)), Known(substructure=0.8)
    atoms = (ELEMENTS, BONDS, POSITIONS)
    few = {name: layouts[name] for name in atoms}
    _, here = known(x, few, noise, 0)
    moved = motion.fields({name: x[name] for name in atoms}, few)

    class Moved(MovedNoise):
        def at(self, field: str, step: int):
            return super().at(field, step) if field == "growth of the part" else self.base.at(field, step)

    _, there = known(moved, few, Moved(noise, motion), 0)
    for name in atoms:
        assert torch.equal(there[name].known, motion.permute(here[name].known, pairs=name == BONDS))


def test_the_law_holds_properties_and_sizes_of_training_molecules(heavy: MoleculeDataset, full: Statistics) -> None:
    law = property_law(heavy, full.properties)
    assert law.shape == (full.law_rows, len(NAMES) + 1) == (len(heavy), 4)
    assert torch.allclose(law[:, :-1].mean(0), torch.zeros(3), atol=1e-5)
    assert torch.allclose(law[:, :-1].std(0), torch.ones(3), atol=1e-4)
    assert torch.equal(law[:, -1].long(), heavy.sizes)
    gap = heavy.fields["y"][heavy.rows, heavy.metadata["properties"].index("gap")] * 27.211386245988
    assert torch.allclose(law[:, 1] * full.properties[1].std + full.properties[1].mean, gap, atol=1e-4)
    assert Statistics.from_json(full.to_json()) == full


@pytest.mark.parametrize("kind", ["attention", "tensor_product"])
def test_one_call_with_parts_and_properties_moves_with_its_input(heavy: MoleculeDataset, full: Statistics, kind: BackboneKind) -> None:
    """Rotated, reflected about the known part's centre, and relabelled; what is said of the molecule as a whole stays."""
    sizes = {key: value for key, value in SMALL.items() if kind == "attention" or key != "heads"}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        denoiser = build_denoiser(NoiseConfig(hydrogens="field"), BackboneConfig.model_validate({**sizes, "kind": kind}), full)
    shake(denoiser)
    denoiser.double()
    x, layouts = molecules(heavy, full, 40)
    x[POSITIONS], x[PROPERTIES] = x[POSITIONS].double(), x[PROPERTIES].double()
    x, layouts = Known(substructure=0.8, properties=0.8)(x, layouts, Noise(0, torch.arange(40)), 0)
    t = torch.linspace(0.05, 1, 40, dtype=torch.float64)
    clocks = dict.fromkeys(x, t) | {PROPERTIES: torch.ones(40, dtype=torch.float64)}
    x_t = denoiser.process.diffuse(x, dict.fromkeys(x, torch.zeros_like(t)), clocks, layouts, Noise(1, torch.arange(40)))
    motion, whole = Motion.random(layouts[ELEMENTS].mask, seed=1), {PROPERTIES}
    atoms = {name: one for name, one in layouts.items() if name not in whole}
    with torch.no_grad():
        answer = denoiser(x_t, clocks, layouts)
        there = motion.fields({name: value for name, value in x_t.items() if name not in whole}, atoms)
        found = denoiser({**there, PROPERTIES: x_t[PROPERTIES]}, clocks, {**layouts, **motion.layouts(atoms)})
    wanted = motion.posteriors({name: one for name, one in answer.items() if name not in whole}, atoms)
    assert error(as_tensors(found), as_tensors({**wanted, PROPERTIES: answer[PROPERTIES]})) < CALL_FLOAT64
    assert error(as_tensors(answer), as_tensors({**wanted, PROPERTIES: answer[PROPERTIES]})) > 0.1
