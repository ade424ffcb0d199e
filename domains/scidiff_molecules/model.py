"""The molecule model: a joint process over positions, elements and bonds, and the denoiser over it, built from a plain specification."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, model_validator
from torch import Tensor, nn

from scidiff import posterior as post
from scidiff.config import Config
from scidiff.denoiser import Condition, Denoiser, Parametrisation, Target
from scidiff.process import Categorical, Gaussian, Joint, Layouts, State
from scidiff.schedule import SCHEDULES, Schedule, Warp
from scidiff_molecules.backbone import EquivariantTransformer, fourier
from scidiff_molecules.sdf.reading import MAX_ATOMS
from scidiff_molecules.tensor_product import TensorProductNetwork
from scidiff_molecules.tokens import BOND_LABELS, BONDS, ELEMENTS, POSITIONS, Vocabulary

BackboneKind = Literal["attention", "tensor_product"]
LabelNoise = Literal["absorbing", "uniform", "marginal"]
ScheduleName = Literal["vp", "cosine", "polynomial", "subvp", "ve", "edm", "straight"]


class NoiseConfig(Config):
    """Which noise each field gets. ``*_power`` > 1 keeps that field clean for longer than its neighbours under the one clock."""

    positions: ScheduleName = "straight"
    target: Target = "edm"
    elements: LabelNoise = "uniform"
    bonds: LabelNoise = "uniform"
    labels: ScheduleName = "straight"
    elements_power: float = Field(default=1.0, gt=0, le=8)
    bonds_power: float = Field(default=1.0, gt=0, le=8)


BACKBONES: dict[BackboneKind, type[EquivariantTransformer] | type[TensorProductNetwork]] = {
    "attention": EquivariantTransformer,
    "tensor_product": TensorProductNetwork,
}
IRREPS: dict[BackboneKind, str] = {"attention": "32x1o", "tensor_product": "32x0e+8x1o+8x2e"}


class BackboneConfig(Config):
    """Which network, and its sizes; see :class:`~scidiff_molecules.backbone.EquivariantTransformer` and
    :class:`~scidiff_molecules.tensor_product.TensorProductNetwork`. ``irreps`` left out are that kind's own; ``heads`` are attention's."""

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


@dataclass(frozen=True)
class Statistics:
    """What a model must know of its training data: tokens, their frequencies, those of bonds, the scale of positions (Angstrom), sizes."""

    vocabulary: Vocabulary
    element_law: tuple[float, ...]
    bond_law: tuple[float, ...]
    scale: float
    sizes: tuple[int, ...]

    def to_json(self) -> dict[str, object]:
        return {
            "tokens": self.vocabulary.to_list(),
            "element_law": list(self.element_law),
            "bond_law": list(self.bond_law),
            "scale": self.scale,
            "sizes": list(self.sizes),
        }

    @classmethod
    def from_json(cls, data: Any) -> Statistics:
        """What :meth:`to_json` gave, checked: it may come from a file. Raises ValueError for anything else."""
        stored = _StoredStatistics.model_validate(data)
        if len(stored.tokens) != len(stored.element_law) or not any(stored.sizes[1:]):
            raise ValueError("statistics: element_law needs one entry for each of the tokens, and sizes at least one molecule")
        vocabulary = Vocabulary.from_list([list(token) for token in stored.tokens])
        return cls(vocabulary, stored.element_law, stored.bond_law, stored.scale, stored.sizes)


class _StoredStatistics(Config):
    tokens: list[tuple[Annotated[int, Field(ge=1, le=118)], Annotated[int, Field(ge=-8, le=8)], Annotated[int, Field(ge=0, le=8)]]]
    element_law: tuple[NonNegativeFloat, ...] = Field(min_length=1, max_length=1000)
    bond_law: tuple[NonNegativeFloat, ...] = Field(min_length=BOND_LABELS, max_length=BOND_LABELS)
    scale: float = Field(gt=0, le=1000)
    sizes: tuple[NonNegativeInt, ...] = Field(min_length=2, max_length=MAX_ATOMS + 1)


def _label_process(kind: LabelNoise, schedule: Schedule, law: tuple[float, ...]) -> Categorical:
    if kind == "absorbing":
        return Categorical.absorbing(len(law), schedule)
    if kind == "uniform":
        return Categorical.uniform(len(law), schedule)
    return Categorical(law, schedule)


def build_process(noise: NoiseConfig, statistics: Statistics) -> Joint:
    """Positions: Gaussian on a schedule. Elements and bonds: categorical noise of the chosen kind."""
    labels = SCHEDULES[noise.labels]()

    def warped(power: float) -> Schedule:
        return labels if power == 1 else Warp(labels, power)

    return Joint({
        POSITIONS: Gaussian(SCHEDULES[noise.positions]()),
        ELEMENTS: _label_process(noise.elements, warped(noise.elements_power), statistics.element_law),
        BONDS: _label_process(noise.bonds, warped(noise.bonds_power), statistics.bond_law),
    })


class MoleculeBackbone(nn.Module):
    """Turns a noisy molecule and its clocks into the features of one of :data:`BACKBONES`, and its outputs into raw predictions."""

    def __init__(self, config: BackboneConfig, process: Joint, parametrisation: Parametrisation, scale: float) -> None:
        super().__init__()
        elements, bonds, positions = process.fields[ELEMENTS], process.fields[BONDS], process.fields[POSITIONS]
        assert isinstance(elements, Categorical)
        assert isinstance(bonds, Categorical)
        assert isinstance(positions, Gaussian)
        self.element_labels, self.bond_labels = elements.labels, bonds.labels
        self.schedule, self.parametrisation, self.scale = positions.schedule, parametrisation, scale
        self.self_conditioning = config.self_conditioning
        previous_atoms, previous_bonds = (elements.labels, bonds.labels) if config.self_conditioning else (0, 0)
        self.transformer = BACKBONES[config.kind](
            atom_features=elements.labels + previous_atoms + 1,
            pair_features=bonds.labels + previous_bonds + 1 + (config.radial + 2) * config.self_conditioning,
            time_features=2 * 6 + 4,
            atom_outputs=elements.data_labels,
            pair_outputs=bonds.data_labels,
            **config.sizes(),
        )

    def forward(
        self,
        inputs: State,
        t: dict[str, Tensor],
        layouts: Layouts,
        condition: Condition | None = None,
        previous: post.Posteriors | None = None,
    ) -> State:
        u, mask = inputs[POSITIONS], layouts[POSITIONS].mask
        c_in = self.parametrisation.c_in(self.schedule, t[POSITIONS])
        skip, out = self.parametrisation.coefficients(self.schedule, t[POSITIONS])
        x_skip = (skip / c_in * self.scale)[..., None].to(u.dtype) * u
        per_vector = (out * self.scale)[..., None].to(u.dtype)
        atoms, bonds = self._features(inputs, t, mask, previous)
        elements, pairs, vectors = self.transformer(
            atoms, bonds, self._time(t).to(u.dtype), u * self.scale, lambda v: x_skip + per_vector * v, mask
        )
        # The bonds head sees symmetric features; averaging removes the rounding that sums in two orders leave.
        return {POSITIONS: vectors, ELEMENTS: elements.to(u.dtype), BONDS: (0.5 * (pairs + pairs.transpose(1, 2))).to(u.dtype)}

    def compile(self, *args: Any, **options: Any) -> None:
        """Compile the transformer alone: what surrounds it branches on self-conditioning, and is cheap."""
        self.transformer.compile(*args, **options)

    def _features(self, inputs: State, t: dict[str, Tensor], mask: Tensor, previous: post.Posteriors | None) -> tuple[Tensor, Tensor]:
        dtype = inputs[POSITIONS].dtype
        size = (mask.sum(1, keepdim=True).to(dtype).log() / 3).expand(mask.shape)[..., None]
        atoms = [nn.functional.one_hot(inputs[ELEMENTS], self.element_labels).to(dtype), size]
        bonds = [nn.functional.one_hot(inputs[BONDS], self.bond_labels).to(dtype), (t[BONDS] == 0)[..., None].to(dtype)]
        if self.self_conditioning:
            extra_atoms, extra_bonds = self._previous(mask, previous, dtype)
            atoms, bonds = [*atoms, extra_atoms], [*bonds, extra_bonds]
        return torch.cat(atoms, -1), torch.cat(bonds, -1)

    def _previous(self, mask: Tensor, previous: post.Posteriors | None, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        basis = self.transformer.basis
        b, n = mask.shape
        if previous is None:
            zeros = torch.zeros(b, n, n, self.bond_labels + basis.features, dtype=dtype, device=mask.device)
            return zeros.new_zeros(b, n, self.element_labels), zeros
        x, atoms, bonds = previous[POSITIONS], previous[ELEMENTS], previous[BONDS]
        assert isinstance(x, post.Gaussian)
        assert isinstance(atoms, post.Categorical)
        assert isinstance(bonds, post.Categorical)
        radial, _ = self.transformer.look(x.mean * self.scale)
        return atoms.probabilities.to(dtype), torch.cat((bonds.probabilities.to(dtype), radial.to(dtype)), -1)

    def _time(self, t: dict[str, Tensor]) -> Tensor:
        """Of every atom: waves of its positions' time, its logarithm, and which of its fields are known."""
        x, e = t[POSITIONS], t[ELEMENTS]
        flags = torch.stack((x, torch.log(x + 1e-3) / 7, (x == 0).double(), (e == 0).double()), -1)
        return torch.cat((fourier(x, 6, longest=2.0), flags), -1)


def build_denoiser(noise: NoiseConfig, backbone: BackboneConfig, statistics: Statistics) -> Denoiser:
    """The denoiser of a specification, with fresh weights."""
    assert len(statistics.bond_law) == BOND_LABELS
    process = build_process(noise, statistics)
    parametrisation = Parametrisation(noise.target)
    return Denoiser(MoleculeBackbone(backbone, process, parametrisation, statistics.scale), process, {POSITIONS: parametrisation})
