"""Streams: Random123's integers, the laws of what is made of them, and draws of labels that are unbiased to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from scidiff.layout import Layout
from scidiff.random import FieldNoise, Noise, NoiseSource, draw_categorical, permutation, philox4x32, stratified, stream_key
from scidiff.testing import check_streams, drawn_law

P_LIMIT = 1e-3
"""The seeds are fixed, so these tests cannot flicker: either the numbers pass or they do not."""

KNOWN = [
    ((0, 0, 0, 0), (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0), "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN)
def test_philox_gives_random123s_known_answers(counter: tuple[int, ...], key: tuple[int, int], words: str) -> None:
    """kat_vectors of Random123 1.14, "philox4x32 10"."""
    out = philox4x32(torch.tensor(counter), key)
    assert " ".join(f"{w:08x}" for w in out.tolist()) == words


def test_philox_works_on_batches_as_on_single_counters() -> None:
    counters = torch.tensor([k[0] for k in KNOWN])
    alone = torch.stack([philox4x32(c, (1, 2)) for c in counters])
    assert torch.equal(philox4x32(counters, (1, 2)), alone)


def test_fewer_rounds_are_another_function() -> None:
    """Random123's "philox4x32 7" on zeros: 5f6fb709 0d893f64 4f121f81 4f730a48."""
    assert (
        " ".join(f"{w:08x}" for w in philox4x32(torch.zeros(4, dtype=torch.int64), (0, 0), 7).tolist())
        == "5f6fb709 0d893f64 4f121f81 4f730a48"
    )


@pytest.mark.gpu
def test_integers_are_equal_on_a_gpu() -> None:
    ids, layout = torch.arange(257), Layout.nodes(torch.full((257,), 9), 9)
    here, there = Noise(3, ids).at("x", 5).uniform(layout), Noise(3, ids.cuda()).at("x", 5).uniform(layout.to(torch.device("cuda")))
    assert torch.equal(here, there.cpu())


def uniforms(count: int = 200_000) -> np.ndarray:
    return Noise(0, torch.arange(50)).at("x", 0).flat_uniform(count // 50).flatten().numpy()


def test_uniforms_are_uniform_to_their_last_bits() -> None:
    u = uniforms()
    assert stats.kstest(u, "uniform").pvalue > P_LIMIT
    bits = (u * 2.0**53).astype(np.int64)
    low = np.bincount(bits & 255, minlength=256)
    assert stats.chisquare(low).pvalue > P_LIMIT
    assert u.min() >= 0
    assert u.max() < 1


def test_neighbours_are_independent() -> None:
    """Pairs along the stream, along ids, along steps and across fields, each on an 8 x 8 table."""
    ids, n = torch.arange(200), 200
    a = Noise(0, ids).at("x", 0).flat_uniform(n)
    others = [
        a.roll(1, 1),
        Noise(0, ids + 1).at("x", 0).flat_uniform(n),
        Noise(0, ids).at("x", 1).flat_uniform(n),
        Noise(0, ids).at("y", 0).flat_uniform(n),
        Noise(1, ids).at("x", 0).flat_uniform(n),
    ]
    for other in others:
        table = torch.bincount(((a * 8).long() * 8 + (other * 8).long()).flatten(), minlength=64)
        assert stats.chisquare(table.numpy()).pvalue > P_LIMIT


def test_normals_are_normal() -> None:
    z = Noise(0, torch.arange(50)).at("x", 0).flat_normal(4000).flatten().numpy()
    assert stats.kstest(z, "norm").pvalue > P_LIMIT
    n = len(z)
    # Standard errors of the first four moments of n normals.
    for moment, right, error in ((1, 0, 1), (2, 1, 2**0.5), (3, 0, 15**0.5), (4, 3, 96**0.5)):
        assert abs((z**moment).mean() - right) < 3.3 * error / n**0.5


def test_both_normals_of_a_block_are_box_muller_of_its_uniforms() -> None:
    draws = Noise(9, torch.tensor([4])).at("x", 2)
    u, z = draws.flat_uniform(2)[0].tolist(), draws.flat_normal(2)[0].tolist()
    radius = (-2 * np.log1p(-u[0])) ** 0.5
    assert z == pytest.approx([radius * np.cos(2 * np.pi * u[1]), radius * np.sin(2 * np.pi * u[1])], rel=1e-14)


def test_a_longer_stream_begins_with_the_shorter_one() -> None:
    draws = Noise(9, torch.tensor([4, 2**40])).at("x", 2)
    for n in range(1, 20):
        assert torch.equal(draws.flat_normal(n), draws.flat_normal(40)[:, :n])
        assert torch.equal(draws.flat_uniform(n), draws.flat_uniform(40)[:, :n])


def test_both_halves_of_the_id_count() -> None:
    a, b = (Noise(0, torch.tensor([i])).at("x", 0).flat_uniform(8) for i in (1, 1 + 2**32))
    assert not bool((a == b).any())


def test_noise_is_local() -> None:
    check_streams(lambda ids: Noise(5, ids))


def test_branches_have_streams_of_their_own_whatever_their_number() -> None:
    noise = Noise(3, torch.tensor([7, 0, 2**48 - 1]))
    few, many = (noise.branch(n).at("x", 2).flat_uniform(4).unflatten(0, (3, n)) for n in (2, 5))
    assert torch.equal(few, many[:, :2])
    assert torch.equal(few[:, 0], noise.at("x", 2).flat_uniform(4))
    assert len(many.flatten().unique()) == many.numel()
    for count, sample in ((0, 7), (2**15 + 1, 7), (2, 2**48)):
        with pytest.raises(ValueError, match="branch takes"):
            Noise(0, torch.tensor([sample])).branch(count)


def test_noise_implements_the_protocols() -> None:
    noise = Noise(0, torch.arange(2))
    assert isinstance(noise, NoiseSource)
    assert isinstance(noise.at("x", 0), FieldNoise)


def test_keys_tell_seeds_and_fields_apart() -> None:
    keys = {stream_key(seed, field) for seed in range(20) for field in ("x", "y", "1/x")}
    assert len(keys) == 60


@pytest.mark.parametrize("step", [-1, 2**32])
def test_steps_out_of_range_are_refused(step: int) -> None:
    with pytest.raises(ValueError, match="step"):
        Noise(0, torch.arange(1)).at("x", step)


def test_scalar_is_the_first_uniform() -> None:
    noise = Noise(0, torch.arange(3))
    assert torch.equal(noise.scalar("t", 4), noise.at("t", 4).flat_uniform(1)[:, 0])


@pytest.mark.parametrize("place", [0, 1, 2])
def test_tiny_probabilities_are_drawn_without_bias_in_float32(place: int) -> None:
    """The interval of uniforms that yields a label of probability 1e-8 is as long as that, to float32's own rounding of 1e-8."""
    p = torch.tensor([0.5, 0.25, 0.25], dtype=torch.float32)
    p[place] = 1e-8
    law = drawn_law(lambda u: draw_categorical(p.expand(*u.shape, 3), u), 3, ())
    right = p.double() / p.double().sum()
    torch.testing.assert_close(law, right, rtol=0, atol=2e-16)
    assert float(law[place]) == pytest.approx(float(right[place]), rel=1e-7)


@given(st.lists(st.sampled_from([0.0, 1e-30, 1e-8, 0.1, 1.0, 3.0]), min_size=1, max_size=7).filter(any), st.floats(0, 1, exclude_max=True))
def test_impossible_labels_are_never_drawn(weights: list[float], u: float) -> None:
    for uniform in (u, 0.0, 1 - 2.0**-53):
        label = int(draw_categorical(torch.tensor(weights), torch.tensor(uniform, dtype=torch.float64)))
        assert weights[label] > 0


def test_frequencies_follow_the_law() -> None:
    p = torch.tensor([0.1, 0.0, 0.6, 0.3])
    u = Noise(0, torch.arange(100)).at("c", 0).flat_uniform(300)
    counts = torch.bincount(draw_categorical(p.expand(100, 300, 4), u).flatten(), minlength=4)
    assert int(counts[1]) == 0
    assert stats.chisquare(counts[[0, 2, 3]].numpy(), [3000, 18000, 9000]).pvalue > P_LIMIT


@given(st.integers(0, 2**31), st.integers(0, 1000), st.integers(0, 500))
def test_an_epoch_visits_everything_once(seed: int, epoch: int, count: int) -> None:
    order = permutation(seed, epoch, count)
    assert sorted(order.tolist()) == list(range(count))
    assert torch.equal(order, permutation(seed, epoch, count))


def test_epochs_are_shuffled_differently_and_evenly() -> None:
    assert permutation(0, 0, 100).tolist() != permutation(0, 1, 100).tolist() != permutation(1, 1, 100).tolist()
    first = torch.stack([permutation(0, epoch, 5) for epoch in range(500)])[:, 0]
    assert stats.chisquare(torch.bincount(first).numpy()).pvalue > P_LIMIT


def test_stratified_times_fill_their_strata_once() -> None:
    u = stratified(3, 17, torch.arange(64), 64)
    assert sorted((u * 64).long().tolist()) == list(range(64))
    assert not torch.equal(u, stratified(3, 18, torch.arange(64), 64))


def test_stratified_times_do_not_depend_on_how_the_batch_is_split() -> None:
    whole = stratified(3, 17, torch.arange(10), 10)
    assert torch.equal(whole[4:], stratified(3, 17, torch.arange(4, 10), 10))
