"""A CUDA device against the CPU, to the tolerances that ``support.devices`` states. Skipped without one; what these tests call runs in
``test_devices.py`` everywhere.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.devices import (
    CALL,
    GRAPHS,
    LOSS,
    MOLECULES,
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

from scidiff.device import choose_device
from scidiff_molecules import MoleculeGenerator
from scidiff_molecules.data import load_sample as load_molecules
from scidiff_timeseries.forecaster import Forecaster
from scidiff_timeseries.samples import load_sample

pytestmark = pytest.mark.gpu
CPU, CUDA = Place("cpu"), Place("cuda")


def test_auto_is_the_gpu() -> None:
    assert choose_device("auto").type == "cuda"
    assert MoleculeGenerator.load("qm9", device="auto").device.type == "cuda"


def test_noise_is_the_same_to_the_bit() -> None:
    assert_same_noise(noise(CPU), noise(CUDA))


def test_one_network_call() -> None:
    generator = MoleculeGenerator.load("qm9")
    x, layouts = clean(load_molecules("valid", hydrogens="implicit"), generator.statistics, 24, torch.float32)
    t = torch.linspace(0.05, 0.95, 24, dtype=torch.float64)
    x_t = diffused(generator.denoiser, x, layouts, t)
    assert error(posteriors(generator.denoiser, CUDA, x_t, t, layouts), posteriors(generator.denoiser, CPU, x_t, t, layouts)) < CALL


def test_the_same_molecules() -> None:
    generator = MoleculeGenerator.load("qm9")
    assert same_graphs(molecules(generator, CPU, MOLECULES, 20), molecules(generator, CUDA, MOLECULES, 20)) >= GRAPHS


@pytest.mark.parametrize("name", ["treasury", "stations"])
def test_the_same_paths(name: str) -> None:
    forecaster = Forecaster.load(name)
    df = load_sample(name).groupby("unique_id").tail(300) if name == "stations" else load_sample(name).tail(300)
    assert_same_paths(paths(forecaster, df, CPU), paths(forecaster, df, CUDA))


def test_one_training_step(tmp_path: Path) -> None:
    assert_same_losses(trained(CPU, tmp_path / "cpu", 1), trained(CUDA, tmp_path / "cuda", 1), LOSS)


def test_a_training_on_the_gpu_is_continued(tmp_path: Path) -> None:
    whole = trained(CUDA, tmp_path / "whole", 6)
    assert_same_losses(whole, trained(CUDA, tmp_path / "stopped", 6, stops=(2, 4)), RESUMED)


def test_a_training_goes_from_one_device_to_the_other(tmp_path: Path) -> None:
    """A checkpoint knows no device."""
    whole = trained(CPU, tmp_path / "whole", 4)
    for first, second in ((CUDA, CPU), (CPU, CUDA)):
        moved = trained(first, tmp_path / f"{first.device}-{second.device}", 4, stops=(2,), then=second)
        assert_same_losses(whole, moved, RESUMED)


def test_a_forecaster_is_fitted_on_the_gpu() -> None:
    df = load_sample("co2").tail(260).reset_index(drop=True)
    made = [Forecaster(4, steps=3, freq="W-SAT").fit(df, device=device) for device in ("cpu", "cuda")]
    assert [one.denoiser.strength.device.type for one in made] == ["cpu", "cuda"]
    a, b = (one.predict(4, 20, device="cpu").to_array() for one in made)
    assert abs(a.mean() - b.mean()) < 0.1 * a.std()
