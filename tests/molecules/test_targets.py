"""Targets: read as written, drawn from the law of the training molecules, shown to the network only where they are given."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.molecules import SMALL, shake

from scidiff.denoiser import Denoiser
from scidiff.errors import UserError
from scidiff.process import State
from scidiff.random import Noise
from scidiff_molecules.candidates import APART, Fit
from scidiff_molecules.data import MoleculeDataset
from scidiff_molecules.described import Described, read
from scidiff_molecules.generator import MoleculeGenerator
from scidiff_molecules.model import BackboneConfig, NoiseConfig, SamplerConfig, build_denoiser
from scidiff_molecules.statistics import PropertyScale, Statistics, measure, property_law
from scidiff_molecules.targets import IN_RANGE, Drawn, TargetLaw, Targets
from scidiff_molecules.tokens import BONDS, ELEMENTS, HYDROGENS, POSITIONS, PROPERTIES, state
from scidiff_molecules.wish import CANDIDATES, Wish

NAMES = ("alpha", "gap", "mu")
SCALES = (PropertyScale("gap", 6.0, 2.0), PropertyScale("mu", 3.0, 1.0))
# gap 4, 6, 8, 10 and mu 3, 3, 4, 2, of molecules of 5, 6, 7 and 9 atoms.
LAW = torch.tensor([[-1.0, 0.0, 5], [0.0, 0.0, 6], [1.0, 1.0, 7], [2.0, -1.0, 9]])
MANY = Noise(0, torch.arange(4000))
BINOMIAL = 4.5


@pytest.fixture(scope="module")
def full(heavy: MoleculeDataset) -> Statistics:
    return measure(heavy, hydrogens=True, properties=NAMES)


@pytest.fixture(scope="module")
def denoiser(heavy: MoleculeDataset, full: Statistics) -> Denoiser:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = build_denoiser(NoiseConfig(hydrogens="field"), BackboneConfig.model_validate({**SMALL, "irreps": "8x1o"}), full)
    shake(made)
    made.backbone.law.copy_(property_law(heavy, full.properties))
    return made.eval()


@pytest.mark.parametrize(
    ("texts", "ranges"),
    [
        (["gap=5.5"], {"gap": (5.5, 5.5)}),
        (["mu=2..3", "alpha=70"], {"mu": (2.0, 3.0), "alpha": (70.0, 70.0)}),
        (["homo=-6.5..-6"], {"homo": (-6.5, -6.0)}),
        ([" lumo = -.5 .. 1e-1 "], {"lumo": (-0.5, 0.1)}),
        (["Cv=2.5..30."], {"Cv": (2.5, 30.0)}),
    ],
)
def test_targets_are_read_as_they_are_written(texts: list[str], ranges: dict[str, tuple[float, float]]) -> None:
    assert Targets.parse(texts).ranges == ranges


@given(st.dictionaries(st.sampled_from(["gap", "mu", "alpha"]), st.tuples(*[st.floats(-1e6, 1e6)] * 2), min_size=1))
def test_what_is_written_is_read_again(asked: dict[str, tuple[float, float]]) -> None:
    targets = Targets.of({name: (min(ends), max(ends)) for name, ends in asked.items()})
    assert Targets.parse(targets.to_text()) == targets


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["gap"], "NAME=VALUE"),
        (["gap=x"], "NAME=VALUE"),
        (["gap=1..2..3"], "NAME=VALUE"),
        (["gap=3..2"], "the lower one first"),
        (["gap=nan"], "finite"),
        (["gap=5_5"], "NAME=VALUE"),
        (["gap=1", "gap=2"], "twice"),
        (["gpa=5"], "did you mean 'gap'"),
        ([], "at least one"),
    ],
)
def test_what_cannot_be_asked_is_named(texts: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Targets.parse(texts)


@pytest.mark.parametrize("value", [None, "5", (1,), (1, 2, 3), ("a", 2)])
def test_what_is_no_number_and_no_range_is_named(value: Any) -> None:
    with pytest.raises(UserError, match="give a number, or"):
        Targets.of({"gap": value})


def test_what_lies_far_from_all_training_molecules_is_refused_and_what_none_meets_is_told() -> None:
    with pytest.raises(UserError, match=r"target gap=40.0: this model was trained on 4 to 10 eV"):
        TargetLaw(Targets.of({"gap": 40.0}), SCALES, LAW).check()
    with pytest.warns(UserWarning, match="no training molecule meets gap=11.5"):
        TargetLaw(Targets.of({"gap": 11.5}), SCALES, LAW).check()


def share(found: torch.Tensor, expected: float) -> bool:
    return abs(float(found.double().mean()) - expected) < BINOMIAL * math.sqrt(expected * (1 - expected) / len(found))


def test_a_range_is_filled_as_the_training_molecules_fill_it() -> None:
    law = TargetLaw(Targets.of({"gap": (5, 9)}), SCALES, LAW)
    drawn = law.draw(MANY)
    assert law.supported() == 2
    assert set(drawn.sizes.tolist()) == {6, 7}
    assert share(drawn.sizes == 6, 0.5)
    assert torch.equal(drawn.values[:, 0], torch.where(drawn.sizes == 6, 0.0, 1.0))
    assert drawn.given[0].tolist() == [True, False]
    assert not bool(drawn.values[:, 1].any())


def test_several_ranges_are_met_by_the_molecules_that_meet_all() -> None:
    drawn = TargetLaw(Targets.of({"gap": (5, 9), "mu": (3.5, 5)}), SCALES, LAW).draw(MANY)
    assert set(drawn.sizes.tolist()) == {7}
    assert drawn.values[0].tolist() == [1.0, 1.0]
    assert bool(drawn.given.all())


def test_a_single_value_is_asked_as_it_is_and_sizes_go_with_its_neighbours() -> None:
    """w ∝ exp(-d^2 / (2 · .25^2)) with d = .5 to two molecules and 1.5 to the others, which then never come."""
    drawn = TargetLaw(Targets.of({"gap": 7.0}), SCALES, LAW).draw(MANY)
    assert torch.equal(drawn.values[:, 0], torch.full((4000,), 0.5))
    assert set(drawn.sizes.tolist()) == {6, 7}
    assert share(drawn.sizes == 6, 0.5)


@given(st.floats(-50, 50), st.floats(0, 20))
@settings(max_examples=50)
def test_what_no_molecule_meets_goes_to_the_nearest_and_stays_in_the_range(low: float, width: float) -> None:
    law = TargetLaw(Targets.of({"gap": (low, low + width)}), SCALES, LAW)
    drawn = law.draw(Noise(1, torch.arange(20)))
    gaps = drawn.values[:, 0].double() * 2 + 6
    assert bool((gaps >= low - 1e-4).all())
    assert bool((gaps <= low + width + 1e-4).all())
    if law.supported() == 0:
        outside = torch.maximum(low - (LAW[:, 0] * 2 + 6), LAW[:, 0] * 2 + 6 - low - width)
        assert int(LAW[outside.argmin(), 2]) in drawn.sizes.tolist()


def test_a_scaffolds_molecules_are_larger_than_it() -> None:
    drawn = TargetLaw(Targets.of({"gap": (3, 11)}), SCALES, LAW, least=7).draw(MANY)
    assert set(drawn.sizes.tolist()) == {7, 9}
    with pytest.raises(UserError, match="10 atoms or more"):
        TargetLaw(Targets.of({"gap": 5.0}), SCALES, LAW, least=10)


def test_a_draw_depends_on_seed_and_id_alone() -> None:
    law = TargetLaw(Targets.of({"gap": (3, 11)}), SCALES, LAW)
    alone = law.draw(Noise(0, torch.tensor([731])))
    assert torch.equal(alone.values[0], law.draw(MANY).values[731])
    assert alone.sizes[0] == law.draw(MANY).sizes[731]


def test_a_property_that_a_model_does_not_know_is_named() -> None:
    with pytest.raises(UserError, match="not trained on it; it knows gap, mu"):
        TargetLaw(Targets.of({"alpha": 70.0}), SCALES, LAW)


def test_the_network_sees_what_is_given_and_nothing_of_the_rest(heavy: MoleculeDataset, full: Statistics, denoiser: Denoiser) -> None:
    x, layouts = state(heavy.dense(torch.arange(6)), full.vocabulary, full.scale, hydrogens=True)
    t = torch.linspace(0.2, 0.9, 6).double()
    some, other = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0))
    given = torch.tensor([[True, False, True]] * 3 + [[False, False, False]] * 3)

    def ask(values: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            found = Described(denoiser, values, given)(x, t, layouts)
        assert PROPERTIES not in found
        return torch.cat([found[POSITIONS].mean.flatten(1), found[ELEMENTS].logits.flatten(1), found[HYDROGENS].logits.flatten(1)], 1)

    assert torch.equal(ask(some), ask(torch.where(given, some, other)))
    changed = (ask(some) != ask(other)).any(1)
    assert changed.tolist() == [True] * 3 + [False] * 3


def test_guidance_of_one_is_the_conditional_law_and_of_none_the_free_one(full: Statistics, denoiser: Denoiser) -> None:
    generator = MoleculeGenerator(denoiser, full, {"backbone": {"self_conditioning": True}}, SamplerConfig(steps=3))

    def positions(**asked: object) -> np.ndarray:
        made = generator.generate(3, seed=4, batch_size=3, atoms=7, candidates=1, **asked)
        return np.stack([mol.GetConformer().GetPositions()[:7] for mol in made])

    asked = positions(targets={"gap": 5.5, "mu": (2, 3)})
    np.testing.assert_array_equal(asked, positions(targets={"gap": 5.5, "mu": (2, 3)}, guidance=1.0))
    free = positions()
    np.testing.assert_allclose(positions(targets={"gap": 5.5, "mu": (2, 3)}, guidance=0.0), free, atol=1e-3)
    further = positions(targets={"gap": 5.5, "mu": (2, 3)}, guidance=3.0)
    assert all(np.abs(one - other).max() > 1e-3 for one, other in ((asked, free), (further, asked), (further, free)))
    assert generator.calls(3, Wish.of({"targets": {"gap": 5.5}, "guidance": 3.0, "candidates": 1})) == 6
    assert generator.calls(3, Wish.of({"targets": {"gap": 5.5}, "guidance": 3.0})) == CANDIDATES * (6 + 1)


@torch.no_grad()
def test_a_candidate_weighs_what_the_model_reads_off_it(heavy: MoleculeDataset, full: Statistics, denoiser: Denoiser) -> None:
    """Two samples with three candidates each; what falls apart weighs less than anything that does not."""
    x, layouts = state(heavy.dense(torch.arange(6)), full.vocabulary, full.scale, hydrogens=True)
    x[BONDS][4] = 0
    said = read(denoiser, x, 1e-3, layouts, 3)
    values, given = torch.randn(2, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([[True, False, True], [False, True, False]])
    found = Fit(denoiser, Drawn(values, given, torch.tensor([9, 9])), full, 1e-3)(x, layouts)
    for row in range(6):
        off = [(float(said[row, p] - values[row // 3, p]) / IN_RANGE) ** 2 for p in range(3) if given[row // 3, p]]
        assert float(found[row]) == pytest.approx(-sum(off) / 2 - (APART if row == 4 else 0), rel=1e-6)
    assert int(found.argmin()) == 4


@torch.no_grad()
def test_candidates_read_nearer_to_what_is_asked_and_one_is_none(full: Statistics, denoiser: Denoiser) -> None:
    generator = MoleculeGenerator(denoiser, full, {"backbone": {"self_conditioning": True}}, SamplerConfig(steps=3))
    ids, targets = torch.arange(24), Targets.of({"gap": (4, 9)})

    def misfit(candidates: int) -> tuple[torch.Tensor, State]:
        wish = Wish(targets=targets, candidates=candidates)
        drawn, layouts = generator.sample(ids, 4, generator.sampler, wish)
        assert drawn.calls == generator.calls(3, wish) == (3 if candidates == 1 else 4 * candidates)
        law = wish.law(denoiser, full, targets).draw(Noise(4, ids))
        return (read(denoiser, drawn.state, 1e-3, layouts, 3)[:, 1] - law.values[:, 1]).abs(), drawn.state

    (plain, state), (best, _) = misfit(1), misfit(8)
    assert bool((best <= plain + 5 * IN_RANGE).all())  # the one is among the eight
    assert float((best < plain).double().mean()) > 0.6
    again = generator.sample(ids, 4, generator.sampler, Wish(targets=targets))[0].state
    assert all(torch.equal(state[f], again[f]) for f in state)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"targets": {"gap": 5.0}, "guidance": 30.0}, "between 0 and 20"),
        ({"targets": {"gap": 5.0}, "candidates": 0}, "between 1 and 64"),
        ({"targets": {"gap": 5.0}, "candidates": 65}, "between 1 and 64"),
        ({"candidates": 2}, "fits targets best, and none is given"),
        ({"targets": {"gap": 5.0}, "candidates": 64, "batch_size": 10_000}, "64 candidates each"),
        ({"guidance": 2.0}, "none is given"),
        ({"targets": {"Cv": 5.0}}, "not trained on it"),
    ],
)
def test_what_cannot_be_asked_of_a_model_is_refused_at_once(full: Statistics, denoiser: Denoiser, asked: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        MoleculeGenerator(denoiser, full, {}).stream(1, **asked)
