"""Posteriors: what is certain, what is impossible, and the algebra of combining them."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scidiff.posterior import Categorical, Gaussian, combine

INF = math.inf


def labels(*p: float) -> Categorical:
    return Categorical(torch.tensor([[p]], dtype=torch.float64).log())


def law(posterior: object) -> list[float]:
    assert isinstance(posterior, Categorical)
    return posterior.probabilities.flatten().tolist()


def test_points_are_mean_and_mode() -> None:
    mean = torch.tensor([[[1.0, 2.0]]])
    assert torch.equal(Gaussian(mean).point(), mean)
    assert labels(0.2, 0.5, 0.3).point().tolist() == [[1]]


def test_known_entries_are_certain() -> None:
    known, value = torch.tensor([[True, False]]), torch.tensor([[2, 0]])
    replaced = Categorical(torch.zeros(1, 2, 3)).replace(known, value)
    assert replaced.probabilities[0, 0].tolist() == [0, 0, 1]
    torch.testing.assert_close(replaced.probabilities[0, 1], torch.full((3,), 1 / 3))
    real = Gaussian(torch.zeros(1, 2, 1)).replace(known, torch.ones(1, 2, 1))
    assert real.mean.flatten().tolist() == [1, 0]


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=2), st.floats(-2, 3))
def test_gaussians_combine_affinely(means: list[float], w: float) -> None:
    parts = [Gaussian(torch.full((1, 1, 1), m, dtype=torch.float64)) for m in means]
    out = combine(parts, (w, 1 - w))
    assert isinstance(out, Gaussian)
    assert float(out.mean) == pytest.approx(w * means[0] + (1 - w) * means[1], abs=1e-12)
    assert out.variance is None


def test_averages_of_labels_are_mixtures() -> None:
    out = combine((labels(0.8, 0.2, 0.0), labels(0.0, 0.5, 0.5)), (0.25, 0.75))
    assert law(out) == pytest.approx([0.2, 0.425, 0.375], abs=1e-15)


def test_extrapolated_labels_are_geometric() -> None:
    now, then = (0.5, 0.3, 0.2), (0.2, 0.3, 0.5)
    raw = [a**1.5 * b**-0.5 for a, b in zip(now, then, strict=True)]
    out = combine((labels(*now), labels(*then)), (1.5, -0.5))
    assert law(out) == pytest.approx([r / sum(raw) for r in raw], abs=1e-14)


def test_the_whole_weight_on_one_returns_it() -> None:
    for a, b in (((0.5, 0.5, 0.0), (0.1, 0.1, 0.8)), ((0.1, 0.1, 0.8), (1.0, 0.0, 0.0))):
        assert law(combine((labels(*a), labels(*b)), (1.0, 0.0))) == pytest.approx(a, abs=1e-15)
        weights = (torch.ones(1, 1), torch.zeros(1, 1))
        assert law(combine((labels(*a), labels(*b)), weights)) == pytest.approx(a, abs=1e-15)


def test_what_a_positive_weight_excludes_stays_excluded() -> None:
    assert law(combine((labels(0.5, 0.5, 0.0), labels(0.2, 0.2, 0.6)), (1.5, -0.5)))[2] == 0


def test_what_only_a_negative_weight_excludes_stays_as_the_others_say() -> None:
    """-1 * -inf must not become +inf: after a label was certain and noise took it again, extrapolation has nothing to extrapolate from."""
    out = law(combine((labels(0.25, 0.5, 0.25), labels(1.0, 0.0, 0.0)), (1.5, -0.5)))
    raw = [0.25**1.5, 0.5**1.5, 0.25**1.5]
    assert out == pytest.approx([r / sum(raw) for r in raw], abs=1e-14)


def test_weights_may_differ_by_entry_and_sign() -> None:
    a, b = (Categorical(torch.tensor([[p, p]], dtype=torch.float64).log()) for p in ([0.8, 0.2], [0.4, 0.6]))
    weight = torch.tensor([[0.5, 1.5]], dtype=torch.float64)
    out = combine((a, b), (weight, 1 - weight))
    assert isinstance(out, Categorical)
    assert out.probabilities[0, 0].tolist() == pytest.approx([0.6, 0.4])
    raw = [0.8**1.5 / 0.4**0.5, 0.2**1.5 / 0.6**0.5]
    assert out.probabilities[0, 1].tolist() == pytest.approx([raw[0] / sum(raw), raw[1] / sum(raw)])


@given(
    st.lists(st.sampled_from([0.0, 1e-12, 0.3, 1.0]), min_size=3, max_size=3).filter(any),
    st.lists(st.sampled_from([0.0, 1e-12, 0.3, 1.0]), min_size=3, max_size=3).filter(any),
    st.sampled_from([-3.0, -0.5, 0.0, 0.25, 1.0, 1.5, 4.0]),
)
def test_combined_labels_are_a_law_whatever_is_impossible(p: list[float], q: list[float], w: float) -> None:
    a, b = labels(*p), labels(*q)
    # Two laws that exclude each other's labels leave nothing when both count.
    possible = [(x > 0 or w <= 0) and (y > 0 or w >= 1) for x, y in zip(p, q, strict=True)]
    if any(possible):
        out = law(combine((a, b), (w, 1 - w)))
        assert sum(out) == pytest.approx(1, abs=1e-12)
        assert min(out) >= 0


def test_bad_combinations_are_refused() -> None:
    with pytest.raises(ValueError, match="one weight per posterior"):
        combine((labels(0.5, 0.5),), (0.5, 0.5))
    with pytest.raises(ValueError, match="one weight per posterior"):
        combine((), ())
    with pytest.raises(ValueError, match="one kind"):
        combine((labels(0.5, 0.5), Gaussian(torch.zeros(1, 1, 1))), (0.5, 0.5))
