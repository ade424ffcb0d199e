"""From a :class:`~scidiff_molecules.data.MoleculeDataset` to what the metrics judge."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from rdkit import Chem

from scidiff_molecules.data import MoleculeDataset
from scidiff_molecules.sdf import Structure, build_mol, with_conformer


def structures(dataset: MoleculeDataset) -> Iterator[Structure]:
    """The molecules of a dataset with explicit hydrogens, in its order.

    A molecule whose bonds could not be assigned comes without bonds, so it has a metric A but is not connected under B.
    """
    fields = {key: dataset.fields[key].numpy() for key in ("pos", "z", "charge", "bond_index", "bond_order")}
    atoms, bonds = dataset.node_ptr.tolist(), dataset.edge_ptr.tolist()
    for row in dataset.rows.tolist():
        at, edge = slice(atoms[row], atoms[row + 1]), slice(bonds[row], bonds[row + 1])
        i, j = fields["bond_index"][:, edge]
        orders = fields["bond_order"][edge].astype(float)
        yield Structure(
            fields["z"][at],
            fields["charge"][at],
            fields["pos"][at].astype(np.float64),
            tuple(zip(i.tolist(), j.tolist(), orders.tolist(), strict=True)),
        )


def molecules(dataset: MoleculeDataset) -> Iterator[Chem.Mol]:
    """The same as RDKit molecules with conformers, not sanitised."""
    for structure in structures(dataset):
        yield with_conformer(build_mol(structure), structure).GetMol()
