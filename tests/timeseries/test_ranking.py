"""How candidates are ranked by losses on few windows of many series."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scidiff_timeseries.ranking import TRUSTS, scores, trust


@given(st.integers(0, 1000), st.sampled_from(TRUSTS))
def test_of_one_series_the_panel_is_itself(seed: int, weight: float) -> None:
    losses = np.random.default_rng(seed).uniform(1, 2, (4, 1, 6))
    assert scores(losses, weight).argsort(0).tolist() == losses.mean(2).argsort(0).tolist()


def test_scores_by_hand() -> None:
    """Own means 2, 4 and 3, 1 relative to the best are 1, 2 and 3, 1; the panel's mean 2, 1.5; half of each."""
    losses = np.array([[[1.0, 3.0], [3.0, 3.0]], [[4.0, 4.0], [1.0, 1.0]]])
    np.testing.assert_allclose(scores(losses, 0.5), [[1.5, 2.5], [1.75, 1.25]])
    np.testing.assert_allclose(scores(losses, 0.0), [[2.0, 2.0], [1.5, 1.5]])


def test_what_a_series_cannot_use_is_last_and_one_without_windows_follows_the_panel() -> None:
    losses = np.array([[[1.0], [np.nan], [np.inf]], [[2.0], [np.nan], [1.0]]])
    ranked = scores(losses, 1.0)
    assert np.isinf(ranked[0, 2])
    np.testing.assert_allclose(ranked[:, 1], np.clip([[1.0, np.inf], [2.0, 1.0]], None, 10.0).mean(1))


@pytest.mark.parametrize("noise", [0.01, 3.0])
def test_own_windows_count_as_far_as_they_foretell_other_windows(noise: float) -> None:
    """Every series has a best candidate of its own, and candidate 0 is nearly as good for all. Where windows hardly vary their own say
    which; where noise drowns the difference, the panel's candidate is the better choice."""
    rng = np.random.default_rng(0)
    best = rng.integers(1, 5, 200)
    mean = np.full((5, 200, 1), 3.0)
    mean[best, np.arange(200)] = 2.6
    mean[0] = 2.7
    losses = mean + noise * rng.exponential(size=(5, 200, 4))
    chosen = scores(losses, trust(losses)).argmin(0)
    assert chosen.tolist() == (best if noise < 1 else 0 * best).tolist()


def test_a_window_left_out_is_not_looked_at() -> None:
    """With one window there are no others: every trust loses the same, and the panel's choice is kept."""
    assert trust(np.random.default_rng(1).uniform(1, 2, (3, 10, 1))) == 0.0
