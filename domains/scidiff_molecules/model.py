"""The molecule model: a joint process over positions, elements and bonds, and the denoiser over it, built from a plain specification."""

from __future__ import annotations

from typing import Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn

from scidiff import posterior as post
from scidiff.config import Config
from scidiff.denoiser import Condition, Denoiser, Parametrisation, Target
from scidiff.process import Categorical, Gaussian, Joint, Layouts, Process, State
from scidiff.sampling.grid import GridName
from scidiff.schedule import SCHEDULES, Schedule, Straight, Warp
from scidiff_molecules.backbone import EquivariantTransformer, fourier
from scidiff_molecules.pairs import PairIndex
from scidiff_molecules.statistics import Statistics
from scidiff_molecules.tensor_product import TensorProductNetwork
from scidiff_molecules.tokens import BOND_LABELS, BONDS, ELEMENTS, HYDROGENS, POSITIONS, PROPERTIES

__all__ = ["BackboneConfig", "MoleculeBackbone", "NoiseConfig", "SamplerConfig", "Statistics", "build_denoiser", "build_process"]

MAX_STEPS = 1000
PROPERTY_WAVES, PROPERTY_REACH = 6, 16.0
"""Waves that a property's value is shown as, the longest so many standard deviations long."""

BackboneKind = Literal["attention", "tensor_product"]
LabelNoise = Literal["absorbing", "uniform", "marginal"]
ScheduleName = Literal["vp", "cosine", "polynomial", "subvp", "ve", "edm", "straight"]


class NoiseConfig(Config):
    """Which noise each field gets. ``*_power`` > 1 keeps that field clean for longer than its neighbours under the one clock."""

    positions: ScheduleName = "straight"
    target: Target = "edm"
    elements: LabelNoise = "uniform"
    bonds: LabelNoise = "uniform"
    labels: Literal["vp", "cosine", "polynomial", "subvp", "straight"] = "straight"
    hydrogens: Literal["token", "field"] = Field(default="token", description="implicit ones: part of an atom's token, or a field apart")
    elements_power: float = Field(default=1.0, gt=0, le=8)
    bonds_power: float = Field(default=1.0, gt=0, le=8)


BACKBONES: dict[BackboneKind, type[EquivariantTransformer] | type[TensorProductNetwork]] = {
    "attention": EquivariantTransformer,
    "tensor_product": TensorProductNetwork,
}
IRREPS: dict[BackboneKind, str] = {"attention": "32x1o", "tensor_product": "32x0e+8x1o+8x2e"}


class BackboneConfig(Config):
    """Which network, and its sizes; see :class:`~scidiff_molecules.backbone.EquivariantTransformer` and
    :class:`~scidiff_molecules.tensor_product.TensorProductNetwork`. ``width`` counts an atom's scalars, ``pair_width`` a pair's, ``irreps``
    an atom's steerable features (left out, they are that kind's own), ``radial`` the Gaussians that a distance from 0 to 8 Angstrom is
    shown as; ``heads`` are attention's. The cost is that of the pairs: N (N - 1) / 2 times ``pair_width`` times ``blocks``."""

    kind: BackboneKind = "attention"
    width: int = Field(default=192, ge=8, le=2048)
    pair_width: int = Field(default=64, ge=8, le=512)
    blocks: int = Field(default=6, ge=1, le=64)
    heads: int = Field(default=8, ge=1, le=64)
    irreps: str = Field(
        default_factory=lambda known: IRREPS[known.get("kind", "attention")], pattern=r"^\d{1,3}x\d[eo](\+\d{1,3}x\d[eo]){0,7}$"
    )
    radial: int = Field(default=32, ge=4, le=256)
    self_conditioning: bool = True

    @model_validator(mode="after")
    def _heads_are_attentions(self) -> BackboneConfig:
        if self.kind != "attention" and self.heads != BackboneConfig.model_fields["heads"].default:
            raise ValueError(f"heads: a backbone of kind {self.kind} has none; leave them out")
        return self

    def sizes(self) -> dict[str, Any]:
        """What the network of this kind is built from."""
        return self.model_dump(exclude={"kind", "self_conditioning"} | (set() if self.kind == "attention" else {"heads"}))


def _label_process(kind: LabelNoise, schedule: Schedule, law: tuple[float, ...]) -> Categorical:
    if kind == "absorbing":
        return Categorical.absorbing(len(law), schedule)
    if kind == "uniform":
        return Categorical.uniform(len(law), schedule)
    return Categorical(law, schedule)


def build_process(noise: NoiseConfig, statistics: Statistics) -> Joint:
    """Positions: Gaussian on a schedule. Elements, bonds and hydrogens: categorical noise of the chosen kind. Properties: Gaussian; they
    are given (t = 0) or missing (t = 1)."""
    labels = SCHEDULES[noise.labels]()

    def warped(power: float) -> Schedule:
        return labels if power == 1 else Warp(labels, power)

    fields: dict[str, Process] = {
        POSITIONS: Gaussian(SCHEDULES[noise.positions]()),
        ELEMENTS: _label_process(noise.elements, warped(noise.elements_power), statistics.element_law),
        BONDS: _label_process(noise.bonds, warped(noise.bonds_power), statistics.bond_law),
    }
    if statistics.hydrogen_law:
        fields[HYDROGENS] = _label_process(noise.elements, warped(noise.elements_power), statistics.hydrogen_law)
    if statistics.properties:
        fields[PROPERTIES] = Gaussian(Straight())
    return Joint(fields)


class SamplerConfig(Config):
    """How to walk from noise to molecules; docs/results.md compares them.

    Churn of positions and the corrector add fresh noise. A model that was trained on aligned noise (``loss.alignment``) never saw such
    positions, so for it they are heuristics; churn of labels is exact for any.
    """

    steps: int = Field(default=30, ge=1, le=MAX_STEPS)
    rule: Literal["first", "multistep", "heun", "corrector"] = "multistep"
    grid: GridName = "power"
    churn_positions: float = Field(default=0.0, ge=0, le=1)
    churn_labels: float = Field(default=1.0, ge=0, le=1)


class MoleculeBackbone(nn.Module):
    """Turns a noisy molecule and its clocks into the features of one of :data:`BACKBONES`, and its outputs into raw predictions.

    ``law``: standardised properties and the number of atoms of some training molecules, kept with the weights.
    """

    law: Float[Tensor, "row column"]

    def __init__(self, config: BackboneConfig, process: Joint, parametrisation: Parametrisation, statistics: Statistics) -> None:
        super().__init__()
        labels = {f: p for f, p in process.fields.items() if isinstance(p, Categorical)}
        bonds, positions = labels.pop(BONDS), process.fields[POSITIONS]
        assert isinstance(positions, Gaussian)
        self.atom_labels, self.atom_outputs = {f: p.labels for f, p in labels.items()}, {f: p.data_labels for f, p in labels.items()}
        self.bond_labels, self.properties = bonds.labels, len(statistics.properties)
        self.schedule, self.parametrisation, self.scale = positions.schedule, parametrisation, statistics.scale
        self.self_conditioning = config.self_conditioning
        seen = 2 if config.self_conditioning else 1  # labels now, and as they were predicted before
        self.transformer = BACKBONES[config.kind](
            atom_features=seen * sum(self.atom_labels.values()) + 1,
            pair_features=seen * bonds.labels + 1 + (config.radial + 2) * config.self_conditioning,
            time_features=2 * 6 + 3 + len(self.atom_labels) + self.properties * (2 * PROPERTY_WAVES + 2),
            atom_outputs=sum(self.atom_outputs.values()) + 2 * self.properties,
            pair_outputs=bonds.data_labels,
            **config.sizes(),
        )
        if self.properties:
            self.register_buffer("law", torch.zeros(statistics.law_rows, self.properties + 1))

    def forward(
        self,
        inputs: State,
        t: dict[str, Tensor],
        layouts: Layouts,
        condition: Condition | None = None,
        previous: post.Posteriors | None = None,
    ) -> State:
        """Raw predictions of every field, for :class:`~scidiff.denoiser.Denoiser` to read: positions u' [B, N, 3] in its parametrisation's
        units, logits of labels [B, N, labels] and of bonds [B, N, N, orders], from inputs that it has scaled and entries' clocks ``t``."""
        u, mask = inputs[POSITIONS], layouts[POSITIONS].mask
        c_in = self.parametrisation.c_in(self.schedule, t[POSITIONS])
        skip, out = self.parametrisation.coefficients(self.schedule, t[POSITIONS])
        x_skip = (skip / c_in * self.scale)[..., None].to(u.dtype) * u
        per_vector = (out * self.scale)[..., None].to(u.dtype)
        atoms, bonds = self._features(inputs, t, mask, previous)
        time = torch.cat((self._time(t), *self._given(inputs, t, mask)), -1).to(u.dtype)
        scalars, pairs, vectors = self.transformer(atoms, bonds, time, u * self.scale, lambda v: x_skip + per_vector * v, mask)
        *labels, described = scalars.to(u.dtype).split([*self.atom_outputs.values(), 2 * self.properties], -1)
        raw = {POSITIONS: vectors, BONDS: PairIndex(mask.shape[1], mask.device).matrix(pairs).to(u.dtype)}
        raw |= dict(zip(self.atom_outputs, labels, strict=True))
        return raw | ({PROPERTIES: _pooled(described, mask)} if self.properties else {})

    def compile(self, *args: Any, **options: Any) -> None:
        """Compile the transformer alone: what surrounds it branches on self-conditioning, and is cheap."""
        self.transformer.compile(*args, **options)

    def _features(self, inputs: State, t: dict[str, Tensor], mask: Tensor, previous: post.Posteriors | None) -> tuple[Tensor, Tensor]:
        dtype = inputs[POSITIONS].dtype
        size = (mask.sum(1, keepdim=True).to(dtype).log() / 3).expand(mask.shape)[..., None]
        atoms = [nn.functional.one_hot(inputs[f], labels).to(dtype) for f, labels in self.atom_labels.items()] + [size]
        index = PairIndex(mask.shape[1], mask.device)
        orders, known = index.of(inputs[BONDS]), index.of(t[BONDS]) == 0
        bonds = [nn.functional.one_hot(orders, self.bond_labels).to(dtype), known[..., None].to(dtype)]
        if self.self_conditioning:
            extra_atoms, extra_bonds = self._previous(mask, previous, index, dtype)
            atoms, bonds = [*atoms, extra_atoms], [*bonds, extra_bonds]
        return torch.cat(atoms, -1), torch.cat(bonds, -1)

    def _previous(self, mask: Tensor, previous: post.Posteriors | None, index: PairIndex, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        basis = self.transformer.basis
        if previous is None:
            atoms = torch.zeros(*mask.shape, sum(self.atom_labels.values()), dtype=dtype, device=mask.device)
            return atoms, atoms.new_zeros(len(mask), len(index.first), self.bond_labels + basis.features)
        x, bonds = previous[POSITIONS], previous[BONDS]
        assert isinstance(x, post.Gaussian)
        assert isinstance(bonds, post.Categorical)
        atoms = [previous[f] for f in self.atom_labels]
        labels = torch.cat([one.probabilities.to(dtype) for one in atoms if isinstance(one, post.Categorical)], -1)
        radial, _ = self.transformer.look(x.mean * self.scale, index)
        return labels, torch.cat((index.of(bonds.probabilities).to(dtype), radial.to(dtype)), -1)

    def _time(self, t: dict[str, Tensor]) -> Tensor:
        """Of every atom: waves of its positions' time, its logarithm, and which of its fields are known."""
        x = t[POSITIONS]
        known = [(t[f] == 0).double() for f in (POSITIONS, *self.atom_labels)]
        return torch.cat((fourier(x, 6, longest=2.0), torch.stack((x, torch.log(x + 1e-3) / 7, *known), -1)), -1)

    def _given(self, inputs: State, t: dict[str, Tensor], mask: Tensor) -> list[Float[Tensor, "batch atom feature"]]:
        """The properties as every atom sees them: value, waves of it, and whether it is given; of what is not given all are 0."""
        if not self.properties:
            return []
        value, given = inputs[PROPERTIES][..., 0], t[PROPERTIES] == 0
        shown = torch.cat((torch.ones_like(value)[..., None], value[..., None], fourier(value, PROPERTY_WAVES, PROPERTY_REACH)), -1)
        flat = torch.where(given[..., None], shown, 0.0).flatten(1)
        return [flat[:, None].expand(*mask.shape, flat.shape[-1])]


def _pooled(described: Float[Tensor, "batch atom twice"], mask: Tensor) -> Float[Tensor, "batch property 1"]:
    """What atoms say of the molecule: the mean of one number and the sum of another, for what does not and what does grow with size."""
    shown = torch.where(mask[..., None], described, 0.0).sum(1)
    intensive, extensive = shown.chunk(2, -1)
    count = mask.sum(1, keepdim=True).to(shown.dtype)
    return (intensive / count + extensive / 9)[..., None]


def build_denoiser(noise: NoiseConfig, backbone: BackboneConfig, statistics: Statistics) -> Denoiser:
    """The denoiser of a specification, with fresh weights."""
    assert len(statistics.bond_law) == BOND_LABELS
    process = build_process(noise, statistics)
    parametrisation = Parametrisation(noise.target)
    read = {POSITIONS: parametrisation} | ({PROPERTIES: Parametrisation("x0")} if statistics.properties else {})
    return Denoiser(MoleculeBackbone(backbone, process, parametrisation, statistics), process, read)
