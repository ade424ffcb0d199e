"""What two devices must agree on, and how far: one against the other on a machine with a GPU, the CPU against itself everywhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from support.training import Log, terminate_at, tiny_task, train_config
from torch import Tensor

from scidiff import posterior as post
from scidiff.layout import Layout
from scidiff.process import Layouts, State
from scidiff.random import Noise, philox4x32
from scidiff.train.loop import Terminated, fit
from scidiff_molecules import MoleculeGenerator
from scidiff_molecules.decode import Generated
from scidiff_timeseries.forecaster import Forecaster

ULPS_32, ULPS_64 = 1, 8
"""Of a normal: after rounding to float32; and in float64, where CUDA's logarithm and cosine may each be off by one or two."""
CALL = 1e-4
"""One network call in float32, relative to each sample's largest value."""
GRAPHS, MOLECULES = 95, 100
"""Generated molecules with the same elements, charges and bonds; of how many."""
PATHS = 1e-3
"""Sample paths, relative to their standard deviation."""
LOSS = 1e-4
"""A training step's loss, relative."""
RESUMED = 1e-3
"""Losses of steps after a continuation, relative: rounding has gone through the optimiser by then."""


@dataclass(frozen=True)
class Place:
    """Where, and how: ``threads`` on a CPU, and molecules or paths in one network call."""

    device: str = "cpu"
    threads: int = 1
    batch: int = 50

    @contextmanager
    def entered(self) -> Iterator[torch.device]:
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            yield torch.device(self.device)
        finally:
            torch.set_num_threads(before)


def noise(place: Place) -> dict[str, Tensor]:
    """Integers, uniforms and normals of samples with large ids and small, on nodes and pairs."""
    ids = torch.tensor([0, 1, 731, 2**31 + 5, 2**40 + 3, 2**62])
    with place.entered() as device:
        sizes = torch.tensor([3, 9, 1, 4, 7, 2], device=device)
        streams = Noise(7, ids.to(device))
        counter = torch.arange(400, device=device).reshape(100, 4) * 2_654_435_761 % 2**32
        found = {
            "integers": philox4x32(counter, (2**32 - 1, 12345)),
            "uniforms": streams.at("a", 3).flat_uniform(101),
            "of pairs": streams.at("a", 4).uniform(Layout.symmetric_pairs(sizes, 9)),
            "normals": streams.at("b", 2**32 - 1).normal(Layout.nodes(sizes, 9), 3),
            "sizes": streams.scalar("size", 0),
        }
    return {name: values.cpu() for name, values in found.items()}


def assert_same_noise(ones: dict[str, Tensor], others: dict[str, Tensor]) -> None:
    for name in ones.keys() - {"normals"}:
        assert torch.equal(ones[name], others[name]), name
    a, b = (values["normals"].numpy() for values in (ones, others))
    for dtype, ulps in ((np.float64, ULPS_64), (np.float32, ULPS_32)):
        one, other = a.astype(dtype), b.astype(dtype)
        assert (np.abs(one - other) <= ulps * np.spacing(np.maximum(np.abs(one), np.abs(other)))).all(), dtype


def posteriors(denoiser: Any, place: Place, x_t: State, t: Tensor, layouts: Layouts, condition: Any = None) -> dict[str, Tensor]:
    """One network call: means, and log-probabilities of labels that can be; ``place.batch`` rows at a time."""
    found: dict[str, list[Tensor]] = {name: [] for name in x_t}
    with place.entered() as device, torch.no_grad():
        denoiser = denoiser.to(device)
        for start in range(0, len(t), place.batch):
            rows = slice(start, start + place.batch)
            part = {name: value[rows].to(device) for name, value in x_t.items()}
            cut = {name: Layout(one.mask[rows], one.pairs, one.centred).to(device) for name, one in layouts.items()}
            for name, one in denoiser(part, t[rows].to(device), cut, condition).items():
                values = one.mean if isinstance(one, post.Gaussian) else one.log_probabilities.masked_fill(one.logits.isneginf(), 0.0)
                found[name].append(values.cpu())
        denoiser.to("cpu")
    return {name: torch.cat(values) for name, values in found.items()}


def molecules(generator: MoleculeGenerator, place: Place, count: int, steps: int) -> list[Generated]:
    with place.entered() as device:
        generator.denoiser.to(device)
        found = list(generator.stream(count, seed=0, steps=steps, batch_size=place.batch))
        generator.denoiser.to("cpu")
    return found


def graph(one: Generated) -> tuple[Any, ...]:
    """Elements, charges and bonds."""
    atoms = tuple((atom.GetAtomicNum(), atom.GetFormalCharge()) for atom in one.mol.GetAtoms())
    return atoms, tuple((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx(), str(bond.GetBondType())) for bond in one.mol.GetBonds())


def same_graphs(ones: list[Generated], others: list[Generated]) -> int:
    return sum(graph(one) == graph(other) for one, other in zip(ones, others, strict=True))


def paths(forecaster: Forecaster, df: Any, place: Place) -> dict[str, np.ndarray]:
    """A forecast, filled gaps and a simulation."""
    with place.entered():
        asked: dict[str, Any] = {"seed": 2, "calls": 3, "device": place.device}
        found = {
            "forecast": forecaster.predict(9, 6, df=df, **asked).to_array(),
            "filled": forecaster.impute(df, 3, **asked).to_array(),
            "simulated": forecaster.simulate(4, 15, **asked).to_array(),
        }
        forecaster.to("cpu")
    return found


def assert_same_paths(ones: dict[str, np.ndarray], others: dict[str, np.ndarray]) -> None:
    for name, one in ones.items():
        assert np.nanmax(np.abs(one - others[name])) <= PATHS * np.nanstd(one), name
        assert (np.isnan(one) == np.isnan(others[name])).all(), name


def trained(place: Place, folder: Path, steps: int, stops: tuple[int, ...] = (), then: Place | None = None) -> dict[int, dict[str, float]]:
    """Losses by step of a training of molecules, which is stopped after some steps and continued (``then``: in another place)."""
    found, done = dict[int, dict[str, float]](), 0
    for after in (*stops, 0):
        with place.entered():
            log = Log()
            try:
                fit(terminate_at(tiny_task(), after - done), train_config(steps=steps), folder, log, device=place.device)
            except Terminated:
                assert after
            found |= log.losses()
        place, done = then or place, after
    return found


def assert_same_losses(ones: dict[int, dict[str, float]], others: dict[int, dict[str, float]], tolerance: float) -> None:
    assert ones.keys() == others.keys()
    for step, losses in ones.items():
        for name in ("train/loss", "train/loss/positions", "train/loss/elements", "train/loss/bonds"):
            np.testing.assert_allclose(losses[name], others[step][name], rtol=tolerance, err_msg=f"{name} at step {step}")
