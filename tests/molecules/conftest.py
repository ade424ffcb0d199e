"""What several tests of the molecule domain share. Heavy imports wait inside the fixtures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from scidiff_molecules.data import MoleculeDataset
    from scidiff_molecules.model import Statistics
    from scidiff_molecules.task import MoleculeTask


@pytest.fixture(scope="session")
def heavy() -> MoleculeDataset:
    """The shipped sample's training split, hydrogens implicit."""
    from scidiff_molecules.data import load_sample

    return load_sample("train", hydrogens="implicit")


@pytest.fixture(scope="session")
def statistics(heavy: MoleculeDataset) -> Statistics:
    from scidiff_molecules.task import measure

    return measure(heavy)


@pytest.fixture(scope="session")
def tiny_task() -> MoleculeTask:
    """A tiny model on a part of the shipped sample; its weights are random, and no test may change them."""
    from support.molecules import SMALL, shake

    from scidiff_molecules.recipe import Recipe
    from scidiff_molecules.task import MoleculeTask

    data = {"source": "sample", "limit": 256, "valid": 64}
    backbone = {**SMALL, "width": 16, "blocks": 1, "irreps": "8x1o"}
    preview = {"molecules": 8, "steps": 3}
    task = MoleculeTask(Recipe.model_validate({"name": "tiny", "data": data, "backbone": backbone, "preview": preview}))
    shake(task.denoiser)
    return task


@pytest.fixture(scope="session")
def tiny_model(tiny_task: MoleculeTask, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights file as a training writes it."""
    from scidiff.train.weights import save_weights

    path = tmp_path_factory.mktemp("tiny") / "tiny.safetensors"
    save_weights(path, dict(tiny_task.denoiser.state_dict()), {**tiny_task.metadata(), "step": 0})
    return path
