"""Properties of molecules: their names, units, and values in a data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from scidiff.errors import UserError, did_you_mean
from scidiff_molecules.data import MoleculeDataset

HARTREE = 27.211386245988
"""eV (CODATA 2018)."""


@dataclass(frozen=True)
class Property:
    """A property: what it is, the unit that users state and see, and that unit's size in the data set's own unit."""

    name: str
    meaning: str
    unit: str
    per_stored: float = 1.0


PROPERTIES = {
    one.name: one
    for one in (
        Property("alpha", "isotropic polarisability", "Bohr^3"),
        Property("gap", "gap between HOMO and LUMO", "eV", HARTREE),
        Property("homo", "energy of the highest occupied orbital", "eV", HARTREE),
        Property("lumo", "energy of the lowest unoccupied orbital", "eV", HARTREE),
        Property("mu", "dipole moment", "Debye"),
        Property("Cv", "heat capacity at 298.15 K", "cal/(mol K)"),
    )
}
"""The six on which conditional generation is compared in the literature; QM9's level of theory, B3LYP/6-31G(2df,p)."""


def values_of(dataset: MoleculeDataset, names: Sequence[str]) -> Float[Tensor, "molecule property"]:
    """The named properties of every molecule, float64, in the units of :data:`PROPERTIES`.

    Raises UserError for a name that is unknown here or that the data set does not state.
    """
    known = list(dataset.metadata.get("properties", []))
    columns: list[Tensor] = []
    for name in names:
        if name not in PROPERTIES:
            raise UserError(f"property {name!r}: known are {', '.join(PROPERTIES)}{did_you_mean(name, PROPERTIES)}")
        if name not in known:
            raise UserError(f"property {name!r}: {dataset.metadata.get('source', 'the data set')} states no such property of its molecules")
        columns.append(dataset.fields["y"][dataset.rows, known.index(name)].double() * PROPERTIES[name].per_stored)
    return torch.stack(columns, 1) if columns else torch.zeros(len(dataset), 0, dtype=torch.float64)
