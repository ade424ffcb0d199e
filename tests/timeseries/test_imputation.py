"""What imputation is measured with: hidden entries are exactly as many as stated, and the simple fillings are what they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scidiff.errors import UserError
from scidiff_timeseries.baselines.imputation import last_value, linear_interpolation
from scidiff_timeseries.hiding import GapKind, hidden

NAN = np.nan


def test_lines_between_known_values_and_constants_at_the_ends() -> None:
    values = np.array([[NAN, 1.0, NAN], [2.0, NAN, NAN], [NAN, NAN, NAN], [NAN, 7.0, NAN], [8.0, NAN, NAN], [NAN, 7.5, NAN]])
    expected = np.array([[2.0, 1, 9], [2, 3, 9], [4, 5, 9], [6, 7, 9], [8, 7.25, 9], [8, 7.5, 9]])
    assert np.array_equal(linear_interpolation(values, 9.0)[0], expected)
    assert np.array_equal(linear_interpolation(values[:, 1], n_paths=3), np.tile(expected[:, 1], (3, 1)))
    assert np.isnan(linear_interpolation(values)[0, :, 2]).all()


def test_the_last_value_and_before_it_the_first() -> None:
    values = np.array([[NAN, 1.0, NAN], [2.0, NAN, NAN], [NAN, NAN, NAN], [NAN, 7.0, NAN], [8.0, NAN, NAN], [NAN, 7.5, NAN]])
    expected = np.array([[2.0, 1, -1], [2, 1, -1], [2, 1, -1], [2, 7, -1], [8, 7, -1], [8, 7.5, -1]])
    assert np.array_equal(last_value(values, [0.0, 0.0, -1.0])[0], expected)


@pytest.mark.parametrize(("values", "message"), [(np.zeros((2, 2, 2)), "shape"), (np.array([1.0, np.inf]), r"\(1,\) is infinite")])
def test_fillings_refuse_what_they_cannot_read(values: np.ndarray, message: str) -> None:
    for filling in (linear_interpolation, last_value):
        with pytest.raises(UserError, match=message):
            filling(values)


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 1), st.sampled_from(["random", "blocks"]), st.integers(0, 10**6), st.floats(0, 1), st.integers(1, 30))
def test_exactly_the_stated_share_of_the_observed_entries_is_hidden(
    share: float, kind: GapKind, seed: int, density: float, longest: int
) -> None:
    observed = np.random.default_rng(seed).random((20, 4)) < density
    found = hidden(observed, share, kind=kind, seed=seed, longest=longest)
    assert found.sum() == round(share * observed.sum())
    assert not (found & ~observed).any()
    assert np.array_equal(found, hidden(observed, share, kind=kind, seed=seed, longest=longest))


def test_blocks_are_runs_and_windows_differ() -> None:
    observed = np.ones((100, 5), dtype=bool)
    scattered, blocks = (hidden(observed, 0.3, kind=kind, seed=1) for kind in ("random", "blocks"))
    ends = [np.abs(np.diff(mask.astype(int), axis=0)).sum() for mask in (scattered, blocks)]
    assert ends[1] < 0.5 * ends[0]
    assert not np.array_equal(blocks, hidden(observed, 0.3, kind="blocks", seed=1, number=1))


def test_more_than_all_cannot_be_hidden() -> None:
    with pytest.raises(UserError, match=r"share = 1\.5"):
        hidden(np.ones((3, 1), dtype=bool), 1.5)
