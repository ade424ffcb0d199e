"""What the tests of CUDA call, on the CPU against itself: other threads and other batches must agree as devices must."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from support.devices import (
    CALL,
    LOSS,
    RESUMED,
    Place,
    assert_same_losses,
    assert_same_noise,
    assert_same_paths,
    molecules,
    noise,
    paths,
    posteriors,
    same_graphs,
    trained,
)  # fmt: skip
from support.molecules import clean, diffused, error

from scidiff_molecules import MoleculeGenerator
from scidiff_molecules.data import load_sample
from scidiff_timeseries.forecaster import Forecaster

ONE, OTHER = Place(threads=1, batch=20), Place(threads=2, batch=7)


def test_noise() -> None:
    first, second = noise(ONE), noise(OTHER)
    assert_same_noise(first, second)
    for name, harm in (("integers", 1), ("uniforms", 2.0**-53), ("normals", 1e-6)):
        with pytest.raises(AssertionError):
            assert_same_noise(first, {**second, name: second[name] + harm})


def test_a_network_call_and_the_molecules() -> None:
    generator = MoleculeGenerator.load("qm9")
    x, layouts = clean(load_sample("valid", hydrogens="implicit"), generator.statistics, 12, torch.float32)
    t = torch.linspace(0.05, 0.95, 12, dtype=torch.float64)
    x_t = diffused(generator.denoiser, x, layouts, t)
    one, other = (posteriors(generator.denoiser, place, x_t, t, layouts) for place in (ONE, OTHER))
    assert 0 < error(other, one) < CALL
    assert same_graphs(molecules(generator, ONE, 20, 2), molecules(generator, OTHER, 20, 2)) >= 19


def test_paths() -> None:
    forecaster = Forecaster.load("treasury")
    days, panel = pd.bdate_range("2020-01-01", periods=90), forecaster.channels
    walk = 3 + np.cumsum(np.random.default_rng(0).normal(size=(90, len(panel))) * 0.05, 0)
    df = pd.DataFrame(walk, columns=list(panel)).assign(ds=days)
    df.iloc[40:44, 0] = np.nan
    first, second = (paths(forecaster, df, place) for place in (ONE, OTHER))
    assert_same_paths(first, second)
    with pytest.raises(AssertionError, match="forecast"):
        assert_same_paths(first, {**second, "forecast": second["forecast"] + 0.01 * second["forecast"].std()})


def test_training_and_its_continuation(tmp_path: Path) -> None:
    first = trained(ONE, tmp_path / "one", 3)
    assert_same_losses(first, trained(OTHER, tmp_path / "other", 3, stops=(1,)), RESUMED)
    with pytest.raises(AssertionError):
        assert_same_losses(first, {step: {name: 1.001 * value for name, value in losses.items()} for step, losses in first.items()}, LOSS)
