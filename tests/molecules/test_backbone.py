"""Law 5 on the molecule model with random weights: rotate, reflect, relabel or pad the input, and the output moves with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import cast

import pytest
import torch
from e3nn import o3
from e3nn.util.test import assert_equivariant
from scipy.spatial.transform import Rotation
from support.molecules import SMALL, Motion, MovedNoise, as_tensors, clean, diffused, error, random_denoiser
from torch import Tensor

from scidiff import posterior as post
from scidiff.denoiser import Denoiser
from scidiff.errors import UserError
from scidiff.process import Layouts, State
from scidiff.random import Noise, NoiseSource
from scidiff.sampling import RULES, sample, time_grid
from scidiff_molecules import backbone, tensor_product
from scidiff_molecules.backbone import Block, EquivariantTransformer
from scidiff_molecules.data import MoleculeDataset
from scidiff_molecules.generator import MoleculeGenerator
from scidiff_molecules.model import BACKBONES, IRREPS, BackboneConfig, BackboneKind, MoleculeBackbone, Statistics
from scidiff_molecules.pairs import directions, harmonics
from scidiff_molecules.tensor_product import Messages, TensorProductNetwork, invariants_first
from scidiff_molecules.tokens import BONDS, ELEMENTS, HYDROGENS, POSITIONS, layouts

CALL_FLOAT64 = 1e-12
CALL_FLOAT32 = 1e-5
WALK_FLOAT64 = 1e-10
TOLERANCES = {torch.float64: CALL_FLOAT64, torch.float32: CALL_FLOAT32}
MOTIONS = 100
NETWORKS: dict[str, tuple[BackboneKind, str]] = {
    "attention": ("attention", "8x1o+8x2e"),
    "attention, vectors": ("attention", "16x1o"),
    "tensor product": ("tensor_product", "8x0e+4x1o+4x2e"),
    "tensor product, all parities": ("tensor_product", "4x0e+2x0o+4x1o+2x1e+2x2e+2x2o"),
}
BOTH = ("attention", "tensor product")
T_MIN = 1e-3


def network(name: str, statistics: Statistics, dtype: torch.dtype = torch.float64) -> Denoiser:
    kind, irreps = NETWORKS[name]
    return random_denoiser(statistics, irreps, dtype, kind)


def ask(denoiser: Denoiser, x: State, t: Tensor, layouts: Layouts, previous: post.Posteriors | None = None) -> post.Posteriors:
    with torch.no_grad():
        return denoiser(x, t, layouts, None, previous)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("name", [*BOTH, "attention, vectors"])
@pytest.mark.parametrize("twice", [False, True], ids=["first", "self-conditioned"])
def test_one_call_moves_with_its_input(heavy: MoleculeDataset, statistics: Statistics, name: str, dtype: torch.dtype, twice: bool) -> None:
    denoiser = network(name, statistics, dtype)
    x, layout = clean(heavy, statistics, MOTIONS, dtype)
    t = torch.linspace(T_MIN, 1, MOTIONS, dtype=torch.float64)
    x_t = diffused(denoiser, x, layout, t)
    motion = Motion.random(layout[ELEMENTS].mask, seed=1)
    previous = ask(denoiser, x_t, t, layout) if twice else None
    answer = ask(denoiser, x_t, t, layout, previous)
    wanted = as_tensors(motion.posteriors(answer, layout))
    moved = None if previous is None else motion.posteriors(previous, layout)
    found = as_tensors(ask(denoiser, motion.fields(x_t, layout), t, motion.layouts(layout), moved))
    assert error(found, wanted) < TOLERANCES[dtype]
    # The same molecules as they lie, or in their own order, would be far off: the test has power.
    assert error(as_tensors(answer), wanted) > 0.1


@pytest.mark.parametrize("name", NETWORKS)
def test_a_mirror_image_cannot_be_told_from_its_original(heavy: MoleculeDataset, statistics: Statistics, name: str) -> None:
    denoiser = network(name, statistics)
    x, layout = clean(heavy, statistics, 8, torch.float64)
    t = torch.linspace(T_MIN, 1, 8, dtype=torch.float64)
    x_t = diffused(denoiser, x, layout, t)
    mirror = torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64)
    straight, mirrored = (as_tensors(ask(denoiser, {**x_t, POSITIONS: x_t[POSITIONS] * m}, t, layout)) for m in (1.0, mirror))
    assert error(mirrored, {**straight, POSITIONS: straight[POSITIONS] * mirror}) < CALL_FLOAT64


def test_under_bfloat16_what_points_somewhere_still_turns_with_the_molecule(heavy: MoleculeDataset, statistics: Statistics) -> None:
    """Autocast rounds what enters products, component by component: geometry stays out of it."""
    net = cast("MoleculeBackbone", network("attention", statistics, torch.float32).backbone).transformer
    block = cast("Block", net.blocks[0])
    generator = torch.Generator().manual_seed(0)
    irreps = o3.Irreps(str(block.mix_harmonics.irreps_in))
    turn = torch.from_numpy(Rotation.random(random_state=0).as_matrix())
    big, turn = irreps.D_from_matrix(turn).float(), turn.float()
    x, v = torch.randn(2, 9, 3, generator=generator), irreps.randn(2, 9, -1)
    attention = torch.rand(2, 9, 9, block.heads, generator=generator)
    signed = torch.randn(2, 9, 9, block.multiplicity, generator=generator)

    def aggregated(x: Tensor, v: Tensor) -> Tensor:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            return block._aggregate(attention, signed, v, harmonics(net.degrees, directions(x)[1]))

    torch.testing.assert_close(aggregated(x @ turn.T, v @ big.T), aggregated(x, v) @ big.T, rtol=1e-5, atol=1e-5)


def squeezed(x: Tensor) -> tuple[Tensor, Tensor]:
    """One axis a millionth longer than the others."""
    return directions(x * torch.tensor([1.0, 1.0, 1.0 + 1e-6]).to(x))


def counted(x: Tensor) -> tuple[Tensor, Tensor]:
    """Distances that know the atoms' numbers."""
    distance, unit = directions(x)
    return distance * (1 + 1e-6 * torch.arange(x.shape[1])), unit


def handed(x: Tensor) -> tuple[Tensor, Tensor]:
    """Distances that know left from right, and nothing else that they should not."""
    distance, unit = directions(x)
    radius, centre = x.norm(dim=-1), x.mean(1, keepdim=True)
    first = torch.einsum("bn,bni->bi", radius, x - centre)
    second, third = (torch.einsum("bn,bni->bi", radius**power, x - centre) for power in (2, 3))
    volume = torch.linalg.det(torch.stack((first, second, third), 1))
    return distance * (1 + 1e-6 * torch.tanh(volume))[:, None, None], unit


@pytest.mark.parametrize("name", ["attention, vectors", "tensor product"])
@pytest.mark.parametrize("planted", [squeezed, counted, handed])
def test_the_law_catches_a_planted_fault(
    heavy: MoleculeDataset,
    statistics: Statistics,
    monkeypatch: pytest.MonkeyPatch,
    planted: Callable[[Tensor], tuple[Tensor, Tensor]],
    name: str,
) -> None:
    denoiser = network(name, statistics)
    x, layout = clean(heavy, statistics, 10, torch.float64)
    t = torch.linspace(T_MIN, 1, 10, dtype=torch.float64)
    x_t, motion = diffused(denoiser, x, layout, t), Motion.random(layout[ELEMENTS].mask, seed=1)
    monkeypatch.setattr(backbone, "directions", planted)
    wanted = as_tensors(motion.posteriors(ask(denoiser, x_t, t, layout), layout))
    assert error(as_tensors(ask(denoiser, motion.fields(x_t, layout), t, layout)), wanted) > 1000 * CALL_FLOAT64


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("twice", [False, True], ids=["first", "self-conditioned"])
def test_padding_changes_nothing(heavy: MoleculeDataset, statistics: Statistics, twice: bool, name: str) -> None:
    denoiser = network(name, statistics)
    t = torch.linspace(T_MIN, 1, 20, dtype=torch.float64)
    found = []
    for width in (9, 14):
        x, layout = clean(heavy, statistics, 20, torch.float64, width)
        x_t = diffused(denoiser, x, layout, t)
        answer = as_tensors(ask(denoiser, x_t, t, layout, ask(denoiser, x_t, t, layout) if twice else None))
        found.append({k: v[:, :9, :9] if k == BONDS else v[:, :9] for k, v in answer.items()})
        found.append({k: v[:, :9, :9].double() if k == BONDS else v[:, :9].double() for k, v in x_t.items()})
    assert error(found[2], found[0]) < CALL_FLOAT64
    assert error(found[3], found[1]) < CALL_FLOAT64


@pytest.mark.parametrize("name", BOTH)
def test_an_atom_alone_does_not_see_the_padding(statistics: Statistics, name: str) -> None:
    denoiser = network(name, statistics)
    t = torch.tensor([0.5], dtype=torch.float64)
    found = []
    for width in (1, 9):
        x: State = {
            POSITIONS: torch.zeros(1, width, 3, dtype=torch.float64),
            ELEMENTS: torch.full((1, width), 2),
            BONDS: torch.zeros(1, width, width, dtype=torch.int64),
        }
        alone = layouts(torch.tensor([1]), width)
        answer = as_tensors(ask(denoiser, x, t, alone, ask(denoiser, x, t, alone)))
        found.append({ELEMENTS: answer[ELEMENTS][:, :1]})
    assert error(found[1], found[0]) < CALL_FLOAT64


def large(name: str, heavy: MoleculeDataset, statistics: Statistics) -> list[tuple[Tensor, ...]]:
    """(scalars, steerable features, pairs) that a middle block makes of steerable features 1e6 and 1e9 times what they were."""
    denoiser = network(name, statistics)
    x, layout = clean(heavy, statistics, 20, torch.float64)
    t = torch.full((20,), 0.5, dtype=torch.float64)
    block = cast("MoleculeBackbone", denoiser.backbone).transformer.blocks[1]
    seen: list[tuple[Tensor, ...]] = []
    with block.register_forward_pre_hook(lambda _, inputs: seen.append(inputs)):
        ask(denoiser, diffused(denoiser, x, layout, t), t, layout)
    s, v, *rest = seen[0]
    with torch.no_grad():
        return [block(s, v * scale, *rest) for scale in (1e6, 1e9)]


def grows(made: list[tuple[Tensor, ...]]) -> bool:
    """Do scalars and pairs depend on how large the steerable features are, once they are, or these grow faster than themselves?"""
    (s, v, e), (s_more, v_more, e_more) = made
    ratio = (v_more.norm() / v.norm()).item()
    return not (torch.allclose(s, s_more, atol=1e-2) and torch.allclose(e, e_more, atol=1e-2) and ratio < 1.1e3)


@pytest.mark.parametrize("name", NETWORKS)
def test_no_molecule_makes_features_grow_without_bound(
    heavy: MoleculeDataset, statistics: Statistics, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However large steerable features come in, they go out no larger than in proportion; what they do to the others has a limit."""
    assert not grows(large(name, heavy, statistics))
    for module in (backbone, tensor_product):
        monkeypatch.setattr(module, "calmed", lambda v: v)
    assert grows(large(name, heavy, statistics))


def test_the_noise_of_real_entries_does_not_depend_on_the_padding() -> None:
    sizes, noise = torch.tensor([3, 7, 1]), Noise(5, torch.tensor([0, 731, 2**40]))
    narrow, wide = layouts(sizes, 7), layouts(sizes, 12)
    for name in (POSITIONS, ELEMENTS):
        mask = narrow[name].mask
        assert torch.equal(noise.at(name, 3).normal(wide[name], 3)[:, :7][mask], noise.at(name, 3).normal(narrow[name], 3)[mask])
    mask = narrow[BONDS].mask
    assert torch.equal(noise.at(BONDS, 3).uniform(wide[BONDS])[:, :7, :7][mask], noise.at(BONDS, 3).uniform(narrow[BONDS])[mask])


def walk(denoiser: Denoiser, x: State, layout: Layouts, noise: NoiseSource, rule: str, churn: float, steps: int = 4) -> dict[str, Tensor]:
    grid = time_grid(denoiser.process.fields[POSITIONS].schedule, steps)
    drawn = sample(denoiser, denoiser.process, layout, noise, grid, RULES[rule], x, churn=churn, self_conditioning=True)
    return drawn.state


@pytest.mark.parametrize(
    ("name", "churn", "scaffold"),
    [("attention", 0.0, False), ("attention", 1.0, False), ("attention", 1.0, True), ("tensor product", 1.0, True)],
)
@pytest.mark.parametrize("rule", sorted(RULES))
def test_the_whole_sampler_moves_with_its_noise(
    heavy: MoleculeDataset, statistics: Statistics, rule: str, name: str, churn: float, scaffold: bool
) -> None:
    denoiser = network(name, statistics)
    x, layout = clean(heavy, statistics, 20, torch.float64)
    layout = with_scaffold(layout) if scaffold else layout
    noise, motion = Noise(3, torch.arange(20)), Motion.random(layout[ELEMENTS].mask, seed=2)
    wanted = motion.fields(walk(denoiser, x, layout, noise, rule, churn), layout)
    found = walk(denoiser, motion.fields(x, layout), motion.layouts(layout), MovedNoise(noise, motion), rule, churn)
    assert error({POSITIONS: found[POSITIONS]}, {POSITIONS: wanted[POSITIONS]}) < WALK_FLOAT64
    assert torch.equal(found[ELEMENTS], wanted[ELEMENTS])
    assert torch.equal(found[BONDS], wanted[BONDS])


def with_scaffold(layout: Layouts, atoms: int = 3) -> Layouts:
    """The first atoms, and the bonds between them, are given."""
    node = layout[ELEMENTS].mask & (torch.arange(layout[ELEMENTS].mask.shape[1]) < atoms)
    pair = layout[BONDS].mask & node[:, :, None] & node[:, None]
    known = {POSITIONS: node, ELEMENTS: node, BONDS: pair}
    return {name: replace(one, known=known[name]) for name, one in layout.items()}


@pytest.mark.parametrize("rule", sorted(RULES))
def test_what_is_known_stays_as_given_to_the_bit(heavy: MoleculeDataset, statistics: Statistics, rule: str) -> None:
    denoiser = network("attention", statistics, torch.float32)
    x, layout = clean(heavy, statistics, 10, torch.float32)
    layout = with_scaffold(layout)
    for churn in (0.0, 0.5, 1.0):
        drawn = walk(denoiser, x, layout, Noise(4, torch.arange(10)), rule, churn)
        for name, one in layout.items():
            assert one.known is not None
            assert torch.equal(drawn[name][one.known], x[name][one.known])
            assert not torch.equal(drawn[name][one.free], x[name][one.free])
        assert torch.equal(drawn[BONDS], drawn[BONDS].transpose(1, 2))


def test_in_float32_a_moved_molecule_has_the_same_graph() -> None:
    """With the shipped model: trained weights are what matters, random ones amplify rounding as they please."""
    generator = MoleculeGenerator.load("qm9")
    denoiser, sizes = generator.denoiser, generator.statistics.sizes
    numbers = torch.multinomial(torch.tensor(sizes).double(), MOTIONS, replacement=True, generator=torch.Generator().manual_seed(0))
    layout = layouts(numbers, int(numbers.max()), hydrogens=HYDROGENS in denoiser.process.fields)
    shape = layout[ELEMENTS].mask.shape
    like: State = {name: torch.zeros(shape, dtype=torch.int64) for name in layout}
    like |= {POSITIONS: torch.zeros(*shape, 3), BONDS: torch.zeros(*shape, shape[1], dtype=torch.int64)}
    noise, motion = Noise(0, torch.arange(MOTIONS)), Motion.random(layout[ELEMENTS].mask, seed=3)
    wanted = motion.fields(walk(denoiser, like, layout, noise, "first", 1.0, steps=8), layout)
    found = walk(denoiser, like, layout, MovedNoise(noise, motion), "first", 1.0, steps=8)
    same = (found[ELEMENTS] == wanted[ELEMENTS]).all(1) & (found[BONDS] == wanted[BONDS]).flatten(1).all(1)
    assert int(same.sum()) >= 99


def test_messages_turn_with_their_inputs_whatever_precision_they_were_in() -> None:
    messages = Messages(invariants_first(o3.Irreps("2x1o+2x2e+3x0e+2x0o+1x1e+1x2o"))).to(torch.float32).to(torch.float64)
    generator = torch.Generator().manual_seed(0)
    sent, y, weights = (
        torch.randn(20, size, generator=generator, dtype=torch.float64)
        for size in (messages.irreps_in1.dim, messages.irreps_in2.dim, messages.weight_numel)
    )
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # the precision of e3nn's own rotation matrices
    try:
        sides = {"args_in": [sent, y], "irreps_in": [messages.irreps_in1, messages.irreps_in2], "irreps_out": [messages.irreps_out]}
        # e3nn goes by Euler angles, which lose digits where a rotation is about one axis.
        assert_equivariant(lambda x, y: messages(x, y, weights), **sides, ntrials=5, tolerance=1e-8)
        wrong = [*sides["irreps_in"][:1], o3.Irreps("0e+1e+2e")]  # a harmonic of l = 1 that would not change sign in a mirror
        with pytest.raises(AssertionError, match="equivariance error"):
            assert_equivariant(lambda x, y: messages(x, y, weights), **{**sides, "irreps_in": wrong}, tolerance=1e-8)
    finally:
        torch.set_default_dtype(before)


def test_a_header_without_a_kind_is_of_the_first_and_each_kind_has_irreps_of_its_own() -> None:
    assert BackboneConfig.model_validate(SMALL).kind == "attention"
    for kind, irreps in IRREPS.items():
        config = BackboneConfig(kind=kind)
        assert config.irreps == irreps
        assert BackboneConfig.model_validate(config.model_dump()) == config
        BACKBONES[kind](4, 4, 4, 4, 4, **{**config.sizes(), "blocks": 1})
    with pytest.raises(ValueError, match="a backbone of kind tensor_product has none"):
        BackboneConfig(kind="tensor_product", heads=4)


@pytest.mark.parametrize("irreps", ["8x1o+8x2e", "8x0e+8x1e", "8x0o+8x1o"])
def test_messages_without_scalars_or_vectors_are_refused(irreps: str) -> None:
    with pytest.raises(UserError, match="messages need scalars 0e and vectors 1o"):
        TensorProductNetwork(4, 4, 4, 4, 4, irreps=irreps)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"irreps": "8x0e+8x1o"}, "steerable harmonics of one multiplicity"),
        ({"irreps": "8x1e"}, "steerable harmonics of one multiplicity"),
        ({"irreps": "32x2e"}, "1o among them"),
        ({"irreps": "8x1o+16x2e"}, "steerable harmonics of one multiplicity"),
        ({"width": 36}, r"heads \(8\) must divide"),
        ({"irreps": "12x1o"}, r"heads \(8\) must divide"),
    ],
)
def test_impossible_sizes_are_refused_with_the_reason(settings: dict[str, object], reason: str) -> None:
    sizes = {"width": 32, "pair_width": 16, "blocks": 1, "irreps": "8x1o", **settings}
    with pytest.raises(UserError, match=reason):
        EquivariantTransformer(4, 4, 4, 4, 4, **sizes)  # type: ignore[arg-type]
