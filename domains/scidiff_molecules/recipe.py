"""The typed configuration of a molecule training: ``scidiff train configs/molecules/qm9.yaml``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from scidiff.config import Config
from scidiff.errors import UserError
from scidiff.objective import WeightName
from scidiff.train.config import TrainConfig
from scidiff.train.start import fill_in, read_start
from scidiff_molecules.model import MAX_STEPS, BackboneConfig, NoiseConfig, SamplerConfig
from scidiff_molecules.properties import PROPERTIES
from scidiff_molecules.registry import find_model

Alignment = Literal["none", "rotation", "permutation", "permutation_rotation"]


class DataConfig(Config):
    """Which molecules. ``limit`` takes the first so many of the training split; with implicit ``hydrogens`` heavy atoms count theirs.
    ``properties`` are those that a model is told of, or that a judge predicts; ``half`` of the training split, so that the judge of a
    generator has never seen its molecules.
    ``source: own`` takes the user's: ``path`` is an SDF file with 3D coordinates (``sdf`` is an older word for it), or a set that `scidiff
    molecules data add` has made, a .safetensors file or its name; a tenth of them at most validates."""

    source: Literal["qm9", "sample", "ligands", "own", "sdf"] = "qm9"
    path: Path | None = None
    hydrogens: Literal["implicit", "explicit"] = "implicit"
    limit: int | None = Field(default=None, ge=1)
    valid: int = Field(default=1024, ge=1, description="how many molecules of the validation split the loss is measured on")
    bucket: int = Field(default=1, ge=1, description="pad to a multiple of this many atoms: few shapes, as torch.compile wants them")
    cache: Path | None = None
    properties: tuple[str, ...] = ()
    half: Literal["judge", "generator"] | None = None

    @field_validator("properties")
    @classmethod
    def _known_properties(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [name for name in names if name not in PROPERTIES]:
            raise ValueError(f"unknown property {unknown[0]!r}; known: {', '.join(PROPERTIES)}")
        return tuple(name for name in PROPERTIES if name in names)

    @model_validator(mode="after")
    def _names_a_file(self) -> DataConfig:
        if (self.source in ("own", "sdf")) != (self.path is not None):
            raise ValueError("path is the file of source: own (or sdf), and of no other source")
        if self.path is not None and self.half is not None:
            raise ValueError("half is one of a training split that everybody has; a file of your own has none: give each half as a file")
        return self


class LossConfig(Config):
    """Weights relative to each other, as :mod:`scidiff.objective` defines them. Losses are sums over a molecule's entries."""

    positions: WeightName = "snr_plus_one"
    labels: Literal["cross_entropy", "elbo"] = "cross_entropy"
    positions_scale: float = Field(default=1.0, gt=0)
    elements_scale: float = Field(default=1.0, gt=0)
    bonds_scale: float = Field(default=1.0, gt=0)
    properties_scale: float = Field(default=1.0, gt=0)
    time_law: Literal["uniform", "logit_normal", "power"] = "uniform"
    time_mean: float = Field(default=0.0, lt=1)
    time_std: float = Field(default=1.0, gt=0)
    alignment: Alignment = "rotation"


class KnownConfig(Config):
    """What the training gives away, so that the model can complete it later; see :class:`~scidiff_molecules.known.Known`."""

    substructure: float = Field(default=0.0, ge=0, le=1, description="share of the molecules of which a connected part is known")
    geometry: float = Field(default=0.5, ge=0, le=1, description="share of those whose part has its positions known too")
    properties: float = Field(default=0.85, ge=0, le=1, description="share of the molecules of which some properties are known")
    molecule: bool = Field(default=False, description="all is known but the properties: a judge that predicts them")


class PreviewConfig(Config):
    """The small sample that a training draws at intervals."""

    molecules: int = Field(default=64, ge=1, le=10_000)
    steps: int | None = Field(default=None, ge=1, le=MAX_STEPS, description="default: the sampler's")


class Recipe(Config):
    """A training of the molecule domain."""

    domain: Literal["molecules"] = "molecules"
    name: str = "molecules"
    data: DataConfig = Field(default_factory=DataConfig)
    noise: NoiseConfig = Field(default_factory=NoiseConfig)
    backbone: BackboneConfig = Field(default_factory=BackboneConfig)
    loss: LossConfig = Field(default_factory=LossConfig)
    known: KnownConfig = Field(default_factory=KnownConfig)
    sampler: SamplerConfig = Field(default_factory=SamplerConfig, description="the default of the model that is trained")
    preview: PreviewConfig = Field(default_factory=PreviewConfig)
    train: TrainConfig = Field(default_factory=TrainConfig)
    init: str | None = Field(default=None, description="a model to start from: noise, backbone, hydrogens and tokens are then its own")

    @model_validator(mode="after")
    def _hydrogens_fit(self) -> Recipe:
        if self.noise.hydrogens == "field" and self.data.hydrogens == "explicit":
            raise ValueError("noise.hydrogens: field is for implicit hydrogens; these are explicit: leave it out")
        if self.known.molecule and not self.data.properties:
            raise ValueError("known.molecule leaves nothing to learn but data.properties: name some")
        if self.known.substructure and self.noise.hydrogens != "field":
            raise ValueError("known.substructure: hydrogens of a known part give way to what grows, so they need noise.hydrogens: field")
        if self.backbone.self_conditioning and not self.train.self_conditioning:
            raise ValueError("backbone.self_conditioning looks at what train.self_conditioning = 0 never shows it: set both or neither")
        return self

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
            properties = [one["name"] for one in start.metadata["statistics"].get("properties", [])]
            values = {**values, "data": {**given, "hydrogens": hydrogens, "properties": properties}}
        inherited = {"known": tuple(KnownConfig.model_fields), "loss": ("alignment",), "sampler": tuple(SamplerConfig.model_fields)}
        for section, keys in inherited.items():
            its, mine = start.metadata.get(section, {}), values.get(section) or {}
            if isinstance(mine, dict):  # what it was trained to complete, the coupling its network knows, its calls, unless told otherwise
                values = {**values, section: {key: its[key] for key in keys if key in its} | mine}
        return fill_in(values, start, known)
