"""The typed configuration of a molecule training: ``scidiff train configs/molecules/qm9.yaml``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from scidiff.config import Config
from scidiff.objective import WeightName
from scidiff.train.loop import TrainConfig
from scidiff_molecules.model import BackboneConfig, NoiseConfig

Alignment = Literal["none", "rotation", "permutation", "permutation_rotation"]


class DataConfig(Config):
    """Which molecules. ``limit`` takes the first so many of the training split; implicit ``hydrogens`` are part of an atom's label."""

    source: Literal["qm9", "sample"] = "qm9"
    hydrogens: Literal["implicit", "explicit"] = "implicit"
    limit: int | None = Field(default=None, ge=1)
    valid: int = Field(default=1024, ge=1, description="how many molecules of the validation split the loss is measured on")
    bucket: int = Field(default=1, ge=1, description="pad to a multiple of this many atoms: few shapes, as torch.compile wants them")
    cache: Path | None = None


class LossConfig(Config):
    """Weights relative to each other, as :mod:`scidiff.objective` defines them. Losses are sums over a molecule's entries."""

    positions: WeightName = "snr_plus_one"
    labels: Literal["cross_entropy", "elbo"] = "cross_entropy"
    positions_scale: float = Field(default=1.0, gt=0)
    elements_scale: float = Field(default=1.0, gt=0)
    bonds_scale: float = Field(default=1.0, gt=0)
    time_law: Literal["uniform", "logit_normal", "power"] = "uniform"
    time_mean: float = Field(default=0.0, lt=1)
    time_std: float = Field(default=1.0, gt=0)
    alignment: Alignment = "rotation"


class PreviewConfig(Config):
    """The small sample that a training draws at intervals."""

    molecules: int = Field(default=64, ge=1, le=10_000)
    steps: int = Field(default=50, ge=1, le=1000)


class Recipe(Config):
    """A training of the molecule domain."""

    domain: Literal["molecules"] = "molecules"
    name: str = "molecules"
    data: DataConfig = Field(default_factory=DataConfig)
    noise: NoiseConfig = Field(default_factory=NoiseConfig)
    backbone: BackboneConfig = Field(default_factory=BackboneConfig)
    loss: LossConfig = Field(default_factory=LossConfig)
    preview: PreviewConfig = Field(default_factory=PreviewConfig)
    train: TrainConfig = Field(default_factory=TrainConfig)
