"""Properties of given molecules, predicted by a model that was trained to (``known.molecule`` in its recipe): the judge of targets.

It sees heavy atoms with their positions, elements, charges, hydrogens and bonds, all clean, and states the mean of each property.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from rdkit import Chem
from torch import Tensor

from scidiff.errors import UserError
from scidiff_molecules.data import MoleculeDataset, to_implicit
from scidiff_molecules.data.build import flat_dataset
from scidiff_molecules.data.records import LeftOut, take
from scidiff_molecules.described import read
from scidiff_molecules.generator import MoleculeGenerator
from scidiff_molecules.sdf import in_space
from scidiff_molecules.statistics import covered
from scidiff_molecules.tokens import HYDROGENS, state

_BATCH = 256


class PropertyJudge:
    """A trained judge. ``names``: the properties that it predicts, in the units of :data:`~scidiff_molecules.properties.PROPERTIES`.

    >>> gaps = PropertyJudge.load("qm9_judge").predict(molecules)  # doctest: +SKIP
    """

    def __init__(self, model: MoleculeGenerator) -> None:
        if not model.metadata.get("known", {}).get("molecule"):
            name = model.metadata.get("name")
            raise UserError(f"model {name!r} generates molecules and predicts nothing; a judge is trained with known.molecule")
        self.model = model
        self.names = tuple(one.name for one in model.statistics.properties)

    @classmethod
    def load(cls, model: str | Path = "qm9_judge", *, device: str = "cpu") -> PropertyJudge:
        """A shipped judge by name, or a safetensors file. Raises UserError for a model that is none."""
        return cls(MoleculeGenerator.load(model, device=device))

    def predict(self, molecules: Iterable[Chem.Mol | None]) -> Float[Tensor, "molecule property"]:
        """Of each molecule (sanitised, with a 3D conformer), float64; NaN where it cannot be read: None, no 3D coordinates, fragments,
        radicals, atoms that the judge has never seen."""
        parts = [self._some(some) for some in _chunks(molecules)]
        return torch.cat(parts) if parts else torch.zeros(0, len(self.names), dtype=torch.float64)

    def of(self, dataset: MoleculeDataset) -> Float[Tensor, "molecule property"]:
        """Of the molecules of a data set, hydrogens implicit; all of its tokens must be known."""
        return torch.cat([self._asked(dataset, rows) for rows in torch.arange(len(dataset)).split(_BATCH)])

    def _some(self, molecules: Sequence[Chem.Mol | None]) -> Float[Tensor, "molecule property"]:
        found = torch.full((len(molecules), len(self.names)), torch.nan, dtype=torch.float64)
        taken = [take(row, mol) if mol is not None and in_space(mol) else LeftOut(row, "none") for row, mol in enumerate(molecules)]
        usable = [one for one in taken if not isinstance(one, LeftOut)]
        if not usable:
            return found
        heavy = to_implicit(flat_dataset([(one.record, one.bonds) for one in usable], {"hydrogens": "explicit"}))
        known = self.knows(heavy)
        if bool(known.any()):
            some = heavy.select(known.nonzero()[:, 0])
            found[some.fields["index"]] = self._asked(some, torch.arange(len(some)))
        return found

    def knows(self, dataset: MoleculeDataset) -> Bool[Tensor, " stored"]:
        """Which of a data set's stored molecules (hydrogens implicit) have known atoms alone."""
        law = self.model.statistics
        return covered(dataset, law.vocabulary, hydrogens=bool(law.hydrogen_law))

    @torch.no_grad()
    def _asked(self, dataset: MoleculeDataset, rows: Tensor) -> Float[Tensor, "molecule property"]:
        law, denoiser = self.model.statistics, self.model.denoiser
        x, layouts = state(dataset.dense(rows), law.vocabulary, law.scale, hydrogens=HYDROGENS in denoiser.process.fields)
        there = self.model.device
        given = {f: one.with_known(one.mask).to(there) for f, one in layouts.items()}
        stated = read(denoiser, {f: v.to(there) for f, v in x.items()}, 1.0, given, len(self.names))
        mean, std = (torch.tensor([getattr(one, key) for one in law.properties], dtype=torch.float64) for key in ("mean", "std"))
        return stated.cpu() * std + mean


def _chunks(molecules: Iterable[Chem.Mol | None]) -> Iterator[list[Chem.Mol | None]]:
    stream = iter(molecules)
    while some := list(islice(stream, _BATCH)):
        yield some
