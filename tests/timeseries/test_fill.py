"""Filling: windows cover what is missing, paths are joint across them, and noise belongs to (seed, series, window, path)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scidiff_timeseries.backbone import BackboneConfig, ConvNet
from scidiff_timeseries.fill import Lengths, Window, fill, plan, rounds
from scidiff_timeseries.law import BaseLaw, Part
from scidiff_timeseries.model import TimeSeriesDenoiser
from scidiff_timeseries.recipe import SamplerConfig
from scidiff_timeseries.selection import ChannelFit, SeriesFit
from scidiff_timeseries.transforms import Transform
from scidiff_timeseries.windows import Prepared, Question, ask, feature_width

LENGTHS = Lengths(lead=4, view=12, horizon=6)


def prepared(values: np.ndarray, transform: str = "identity", correlation: float = 0.6) -> Prepared:
    """Random walks whose volatility is stated, not measured: ``prior`` outweighs every innovation."""
    law = BaseLaw(name="walk", parts=(Part(kind="level", weight=1.0),), prior=1e12)
    channels = values.shape[1]
    each = ChannelFit(transform=Transform(name=transform), law=law, centre=1.0, volatility=0.5)  # type: ignore[arg-type]
    r = np.full((channels, channels), correlation) + (1 - correlation) * np.eye(channels)
    fit = SeriesFit(channels=(each,) * channels, correlation=tuple(map(tuple, r.tolist())))
    none = np.zeros((len(values), 0))
    return Prepared.of(fit, values, none, none, np.zeros(0), np.full((len(values), 2), 0.5))


def model(channels: int, *, learned: bool = False) -> TimeSeriesDenoiser:
    torch.manual_seed(0)
    made = TimeSeriesDenoiser(ConvNet(BackboneConfig(width=8, blocks=2, heads=2), feature_width(0, 0, 0, ()), channels)).eval()
    with torch.no_grad():
        for p in made.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    made.strength.fill_(float(learned))
    return made


def walk(length: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    return 5 + np.cumsum(np.random.default_rng(seed).normal(size=(length, channels)) * 0.5, 0)


def filled(values: np.ndarray, n_paths: int, seed: int = 0) -> np.ndarray:
    one = prepared(values)
    return fill(model(values.shape[1]), [one], [values], (), n_paths, SamplerConfig(), LENGTHS, seed=seed)[0]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 90), st.integers(1, 3), st.floats(0, 1), st.integers(0, 10**6), st.booleans())
def test_every_missing_entry_is_asked_for_once_within_the_view(length: int, channels: int, share: float, seed: int, block: bool) -> None:
    rng = np.random.default_rng(seed)
    missing = rng.random((length, channels)) < share
    if block:
        missing[rng.integers(length) :][: rng.integers(1, 60)] = True
    windows, asked = plan(missing, LENGTHS), np.zeros(length, dtype=int)
    for window in windows:
        asked[window.low : window.high] += 1
        assert window.begin <= window.low < window.high <= window.begin + LENGTHS.seen <= window.end
    assert (asked[missing.any(1)] == 1).all()
    assert (asked <= 1).all()
    turns = rounds(windows, LENGTHS.lead)
    for i, one in enumerate(windows):
        for j, other in enumerate(windows[:i]):
            if turns[i] == turns[j]:  # drawn at once: neither sees what the other asks for
                assert one.begin - LENGTHS.lead >= other.high
                assert other.end <= one.low
            if turns[j] > turns[i]:
                assert one.begin - LENGTHS.lead >= other.high


def test_a_gap_longer_than_a_window_is_bridged_to_its_far_end() -> None:
    """40 steps missing, 6 to 9 asked for at a time: still the Brownian bridge between the two ends, jointly."""
    values = walk(60)
    values[10:50] = np.nan
    assert len(plan(~np.isfinite(values), LENGTHS)) > 3
    paths = filled(values, 6000)[:, 10:50, 0]
    s = np.arange(1, 41) / 41
    mean = values[9, 0] + s * (values[50, 0] - values[9, 0])
    cov = 0.25 * 41 * (np.minimum(s[:, None], s) - s[:, None] * s)
    deviation = np.sqrt(cov.diagonal())
    assert np.abs((paths.mean(0) - mean) / deviation).max() < 5 / np.sqrt(6000)
    assert np.abs((np.cov(paths.T) - cov) / (deviation[:, None] * deviation)).max() < 6 / np.sqrt(6000)


def test_gaps_of_two_channels_get_the_correlation_of_their_innovations() -> None:
    values = walk(40, 2)
    values[15:17] = np.nan
    paths = filled(values, 6000)[:, 15:17]
    bridge = 0.25 * np.array([[2 / 3, 1 / 3], [1 / 3, 2 / 3]])
    expected = np.kron(bridge, np.array([[1, 0.6], [0.6, 1]]))
    assert np.abs(np.cov(paths.reshape(6000, 4).T) - expected).max() < 0.02


def test_known_values_stay_to_the_bit_under_a_logarithm() -> None:
    values = np.exp(walk(60) / 3)
    values[20:45] = np.nan
    paths = fill(model(1), [prepared(values, "log")], [values], (), 3, SamplerConfig(), LENGTHS)[0]
    known = np.isfinite(values)
    assert (paths[:, known] == values[known]).all()
    assert (paths > 0).all()


@pytest.mark.parametrize("learned", [False, True])
def test_a_series_is_filled_alone_as_among_others(learned: bool) -> None:
    tables = [walk(50, 2, seed) for seed in range(3)]
    for k, table in enumerate(tables):
        table[5 + k : 30 + 2 * k, k % 2] = np.nan
        table[-3:] = np.nan
    denoiser, each = model(2, learned=learned), [prepared(table) for table in tables]
    among = fill(denoiser, each, tables, (), 4, SamplerConfig(calls=2), LENGTHS, seed=3)
    alone = fill(denoiser, each[1:2], tables[1:2], (), 4, SamplerConfig(calls=2), LENGTHS, seed=3, numbers=[1])
    fewer = fill(denoiser, each[1:2], tables[1:2], (), 2, SamplerConfig(calls=2), LENGTHS, seed=3, numbers=[1])
    assert np.abs(among[1] - alone[0]).max() < 1e-4
    assert np.abs(among[1][:2] - fewer[0]).max() < 1e-4
    other = fill(denoiser, each[1:2], tables[1:2], (), 4, SamplerConfig(calls=2), LENGTHS, seed=3, numbers=[2])
    missing = ~np.isfinite(tables[1])
    assert (np.abs(other[0] - alone[0])[:, missing] > 1e-6).all()


def test_paths_of_one_window_are_asked_about_as_each_would_be_alone() -> None:
    """Each path's own values, in one question or in as many as there are paths."""
    rng = np.random.default_rng(0)
    each = walk(20, 2)[None] + rng.normal(size=(3, 20, 2))
    each[:, 3, 0] = np.nan
    law = BaseLaw(name="walk", parts=(Part(kind="level", weight=1.0), Part(kind="noise", weight=0.3)))  # measures its volatility
    one = prepared(walk(20, 2))
    channels = tuple(channel.model_copy(update={"law": law}) for channel in one.fit.channels)
    one = replace(one, fit=one.fit.model_copy(update={"channels": channels}))
    free = np.zeros((20, 2), dtype=bool)
    free[9:13, 0] = free[11, 1] = True
    together = ask([Question(one, 0, each, free)], (), paths=3, drop=2, keep=15)
    for p in range(3):
        alone = ask([Question(one, 0, each[p], free)], (), drop=2, keep=15)
        for name in ("base_mean", "base_covariance", "features"):
            row = 0 if name == "base_covariance" else p
            assert together.batch.condition is not None
            assert alone.batch.condition is not None
            assert torch.allclose(together.batch.condition[name][row], alone.batch.condition[name][0], atol=1e-9), name
        assert torch.allclose(together.unit[p], alone.unit[0])
        assert torch.equal(together.batch.state["values"][p], alone.batch.state["values"][0])
        assert together.batch.state["values"].shape[1] == 15


def test_windows_far_apart_are_drawn_at_once() -> None:
    windows = [Window(10, 12, 2, 20), Window(14, 16, 6, 24), Window(60, 61, 50, 68)]
    assert rounds(windows, 4) == [0, 1, 0]


def test_the_temperature_widens_what_follows_data_and_does_not_compound() -> None:
    values = np.concatenate((walk(40), np.full((18, 1), np.nan)))
    hot = model(1)
    hot.log_temperature.fill_(np.log(2.0))
    one_call = SamplerConfig(calls=1)

    def steps(denoiser: TimeSeriesDenoiser, given: np.ndarray) -> np.ndarray:
        return np.diff(fill(denoiser, [prepared(given)], [given], (), 20, one_call, LENGTHS)[0][..., 0], axis=1)

    plain, wide = steps(model(1), values)[:, 39:], steps(hot, values)[:, 39:]
    np.testing.assert_allclose(wide[:, :6], 2 * plain[:, :6], rtol=1e-3, atol=1e-3)  # the horizon
    np.testing.assert_allclose(wide[:, 6:], plain[:, 6:], rtol=1e-3, atol=1e-3)
    nothing = np.full((40, 1), np.nan)
    np.testing.assert_array_equal(steps(hot, nothing), steps(model(1), nothing))
    hot.log_steady.fill_(np.log(0.5))
    np.testing.assert_allclose(steps(hot, nothing), 0.5 * steps(model(1), nothing), rtol=1e-3, atol=1e-3)
