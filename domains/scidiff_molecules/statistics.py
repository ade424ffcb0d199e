"""What a model must know of its training data, and how it is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import torch
from jaxtyping import Bool, Float
from pydantic import Field, NonNegativeFloat, NonNegativeInt
from torch import Tensor

from scidiff.config import Config
from scidiff_molecules.data import MoleculeDataset, size_histogram
from scidiff_molecules.properties import values_of
from scidiff_molecules.sdf.reading import MAX_ATOMS
from scidiff_molecules.tokens import BOND_LABELS, HYDROGEN_LABELS, Vocabulary

LAW_ROWS = 10_000
"""Training molecules whose properties and sizes a model with properties keeps: what targets are drawn from."""


@dataclass(frozen=True)
class PropertyScale:
    """A property's mean and standard deviation over the training molecules, in its unit: the field holds (value - mean) / std."""

    name: str
    mean: float
    std: float


@dataclass(frozen=True)
class Statistics:
    """Tokens, their frequencies, those of bonds, the scale of positions (Angstrom), sizes.

    ``hydrogen_law``: frequencies of 0 to 4 implicit hydrogens, where they are a field of their own and no part of a token; else empty.
    ``properties``: of the properties field, if there is one; ``law_rows``: how many molecules' properties are kept with the weights.
    """

    vocabulary: Vocabulary
    element_law: tuple[float, ...]
    bond_law: tuple[float, ...]
    scale: float
    sizes: tuple[int, ...]
    hydrogen_law: tuple[float, ...] = ()
    properties: tuple[PropertyScale, ...] = ()
    law_rows: int = 0

    def to_json(self) -> dict[str, object]:
        plain: dict[str, object] = {
            "tokens": self.vocabulary.to_list(),
            "element_law": list(self.element_law),
            "bond_law": list(self.bond_law),
            "scale": self.scale,
            "sizes": list(self.sizes),
        }
        if self.hydrogen_law:
            plain["hydrogen_law"] = list(self.hydrogen_law)
        if self.properties:
            plain |= {"properties": [asdict(one) for one in self.properties], "law_rows": self.law_rows}
        return plain

    @classmethod
    def from_json(cls, data: Any) -> Statistics:
        """What :meth:`to_json` gave, checked: it may come from a file. Raises ValueError for anything else."""
        stored = _StoredStatistics.model_validate(data)
        if len(stored.tokens) != len(stored.element_law) or not any(stored.sizes[1:]):
            raise ValueError("statistics: element_law needs one entry for each of the tokens, and sizes at least one molecule")
        if len(stored.hydrogen_law) not in (0, HYDROGEN_LABELS) or bool(stored.properties) != bool(stored.law_rows):
            raise ValueError(f"statistics: hydrogen_law has {HYDROGEN_LABELS} entries or none, and properties come with law_rows")
        vocabulary = Vocabulary.from_list([list(token) for token in stored.tokens])
        properties = tuple(PropertyScale(one.name, one.mean, one.std) for one in stored.properties)
        laws = (vocabulary, stored.element_law, stored.bond_law, stored.scale, stored.sizes, stored.hydrogen_law)
        return cls(*laws, properties, stored.law_rows)


class _StoredProperty(Config):
    name: str = Field(pattern=r"^\w{1,40}$")
    mean: float
    std: float = Field(gt=0)


class _StoredStatistics(Config):
    tokens: list[tuple[Annotated[int, Field(ge=1, le=118)], Annotated[int, Field(ge=-8, le=8)], Annotated[int, Field(ge=0, le=8)]]]
    element_law: tuple[NonNegativeFloat, ...] = Field(min_length=1, max_length=1000)
    bond_law: tuple[NonNegativeFloat, ...] = Field(min_length=BOND_LABELS, max_length=BOND_LABELS)
    scale: float = Field(gt=0, le=1000)
    sizes: tuple[NonNegativeInt, ...] = Field(min_length=2, max_length=MAX_ATOMS + 1)
    hydrogen_law: tuple[NonNegativeFloat, ...] = ()
    properties: tuple[_StoredProperty, ...] = Field(default=(), max_length=64)
    law_rows: int = Field(default=0, ge=0, le=10 * LAW_ROWS)


def measure(dataset: MoleculeDataset, *, hydrogens: bool = False, properties: Sequence[str] = ()) -> Statistics:
    """The statistics of a training set. ``hydrogens``: they are a field of their own. Memory grows with its atoms, not with pairs."""
    whole = dataset.select(torch.arange(len(dataset)))
    fields, sizes = whole.fields, whole.sizes
    z, charge, num_h = (fields[key] for key in ("z", "charge", "num_h"))
    in_token = torch.zeros_like(num_h) if hydrogens else num_h
    vocabulary = Vocabulary.of(z, charge, in_token)
    bonds = torch.bincount(fields["bond_order"], minlength=BOND_LABELS).double()
    bonds[0] = (sizes * (sizes - 1) // 2).sum() - len(fields["bond_order"])
    which = torch.repeat_interleave(torch.arange(len(sizes)), sizes)
    centre = torch.zeros(len(sizes), 3).index_add_(0, which, fields["pos"]) / sizes[:, None]
    return Statistics(
        vocabulary,
        _shares(torch.bincount(vocabulary.encode(z, charge, in_token), minlength=len(vocabulary))),
        _shares(bonds),
        round(float((fields["pos"] - centre[which]).square().mean().sqrt()), 4),
        tuple(size_histogram(dataset).tolist()),
        _shares(torch.bincount(num_h, minlength=HYDROGEN_LABELS)) if hydrogens else (),
        tuple(_scales(dataset, properties)),
        min(len(dataset), LAW_ROWS) if properties else 0,
    )


def covered(dataset: MoleculeDataset, vocabulary: Vocabulary, *, hydrogens: bool) -> Bool[Tensor, " stored"]:
    """Which of a data set's stored molecules have tokens for all of their atoms. ``hydrogens``: they are a field of their own."""
    fields = dataset.fields
    num_h = torch.zeros_like(fields["num_h"]) if hydrogens else fields["num_h"]
    unknown = ~vocabulary.covers(fields["z"], fields["charge"], num_h)
    return torch.nn.functional.pad(unknown.cumsum(0), (1, 0))[dataset.node_ptr].diff() == 0


def _shares(counts: Tensor) -> tuple[float, ...]:
    return tuple((counts.double() / counts.sum()).tolist())


def _scales(dataset: MoleculeDataset, properties: Sequence[str]) -> list[PropertyScale]:
    values = values_of(dataset, properties)
    return [
        PropertyScale(name, float(f"{one.mean():.6g}"), float(f"{one.std().clamp(min=1e-6):.6g}"))
        for name, one in zip(properties, values.T, strict=True)
    ]


def standardised(dataset: MoleculeDataset, scales: Sequence[PropertyScale]) -> Float[Tensor, "molecule property"]:
    """The properties field of every molecule, float32."""
    values = values_of(dataset, [one.name for one in scales])
    mean, std = (torch.tensor([getattr(one, key) for one in scales], dtype=torch.float64) for key in ("mean", "std"))
    return ((values - mean) / std).float()


def property_law(dataset: MoleculeDataset, scales: Sequence[PropertyScale]) -> Float[Tensor, "row column"]:
    """Standardised properties and, last, the number of atoms of :data:`LAW_ROWS` molecules, evenly spread: the empirical law from which
    sizes and what is left open are drawn, given targets."""
    rows = min(len(dataset), LAW_ROWS)
    part = dataset.select(torch.arange(rows) * len(dataset) // rows)
    return torch.cat((standardised(part, scales), part.sizes[:, None].float()), 1)
