"""The typed configuration of a molecule training: ``scidiff train configs/molecules/qm9.yaml``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from scidiff.config import Config
from scidiff.errors import UserError
from scidiff.objective import WeightName
from scidiff.train.config import TrainConfig
from scidiff.train.start import fill_in, read_start
from scidiff_molecules.model import BackboneConfig, NoiseConfig
from scidiff_molecules.registry import find_model

Alignment = Literal["none", "rotation", "permutation", "permutation_rotation"]


class DataConfig(Config):
    """Which molecules. ``limit`` takes the first so many of the training split; implicit ``hydrogens`` are part of an atom's label.
    ``source: own`` takes the user's: ``path`` is an SDF file with 3D coordinates (``sdf`` is an older word for it), or a set that `scidiff
    molecules data add` has made, a .safetensors file or its name; a tenth of them at most validates."""

    source: Literal["qm9", "sample", "ligands", "own", "sdf"] = "qm9"
    path: Path | None = None
    hydrogens: Literal["implicit", "explicit"] = "implicit"
    limit: int | None = Field(default=None, ge=1)
    valid: int = Field(default=1024, ge=1, description="how many molecules of the validation split the loss is measured on")
    bucket: int = Field(default=1, ge=1, description="pad to a multiple of this many atoms: few shapes, as torch.compile wants them")
    cache: Path | None = None

    @model_validator(mode="after")
    def _names_a_file(self) -> DataConfig:
        if (self.source in ("own", "sdf")) != (self.path is not None):
            raise ValueError("path is the file of source: own (or sdf), and of no other source")
        return self


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
    init: str | None = Field(default=None, description="a model to start from: noise, backbone, hydrogens and tokens are then its own")

    @model_validator(mode="before")
    @classmethod
    def _like_the_start(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not isinstance(values.get("init"), str):
            return values
        start = read_start(values["init"], find_model, "molecules")
        known = {"noise": (NoiseConfig, start.metadata["noise"]), "backbone": (BackboneConfig, start.metadata["backbone"])}
        hydrogens = start.metadata["data"]["hydrogens"]
        given = values.get("data") or {}
        if isinstance(given, dict):
            if given.get("hydrogens", hydrogens) != hydrogens:
                raise UserError(f"init = {start.model}: it was trained with {hydrogens} hydrogens: leave data.hydrogens out of the recipe")
            values = {**values, "data": {**given, "hydrogens": hydrogens}}
        return fill_in(values, start, known)
