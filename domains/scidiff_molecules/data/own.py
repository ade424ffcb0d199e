"""The user's own molecules as training data: an SDF file with 3D coordinates, checked record by record."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
from rdkit import Chem, rdBase

from scidiff.errors import UserError
from scidiff.random import permutation
from scidiff_molecules.sdf import ReadFailure, read_sdf

from .bonds import Bonds
from .build import flat_dataset
from .dataset import MoleculeDataset
from .hydrogens import to_implicit
from .sources import Record

_ORDERS = {Chem.BondType.SINGLE: 1, Chem.BondType.DOUBLE: 2, Chem.BondType.TRIPLE: 3}


def load_sdf(path: str | Path, *, hydrogens: str = "explicit") -> MoleculeDataset:
    """Every usable molecule of an SDF file, bonds and charges as the file has them (Kekule orders), hydrogens added where they lack.

    Records that cannot be used are left out: ``metadata['left_out']`` counts them by reason, ``metadata['left_out_records']`` lists the
    first hundred by their index in the file. Raises UserError for a file that cannot be read, or without a usable molecule.
    """
    done: list[tuple[Record, Bonds]] = []
    reasons: Counter[str] = Counter()
    records: list[tuple[int, str]] = []
    for index, item in read_sdf(path):
        made = item.reason if isinstance(item, ReadFailure) else _molecule(index, item)
        if isinstance(made, str):
            reasons[made] += 1
            records.append((index, made))
        else:
            done.append(made)
    if not done:
        told = "; ".join(f"record {index}: {reason}" for index, reason in records[:5])
        raise UserError(f"{path}: no molecule can be trained on ({told})")
    facts = {"source": Path(path).name, "left_out": dict(reasons), "left_out_records": records[:100], "hydrogens": "explicit"}
    dataset = flat_dataset(done, facts)
    return to_implicit(dataset) if hydrogens == "implicit" else dataset


def split(dataset: MoleculeDataset, valid: int) -> tuple[MoleculeDataset, MoleculeDataset]:
    """(training, validation): up to ``valid`` molecules, a tenth at most, by a fixed shuffle. Raises UserError for fewer than two."""
    count = len(dataset)
    if count < 2:
        raise UserError(f"{dataset.metadata.get('source')}: {count} molecule to train on; at least two are needed, one of them to validate")
    order = permutation(0, 0, count)
    held = max(1, min(valid, count // 10))
    return dataset.select(order[held:].sort().values, split="train"), dataset.select(order[:held].sort().values, split="valid")


def _molecule(index: int, mol: Chem.Mol) -> tuple[Record, Bonds] | str:
    """A record with its bonds, or why it cannot be trained on."""
    if not mol.GetConformer().Is3D():
        return "no 3D coordinates: embed it first (RDKit's EmbedMolecule), or take a file with conformers"
    if len(Chem.GetMolFrags(mol)) > 1:
        return "several fragments: strip salts and solvents first"
    if any(atom.GetNumRadicalElectrons() for atom in mol.GetAtoms()):
        return "a radical"
    if any(atom.GetAtomicNum() == 0 for atom in mol.GetAtoms()):
        return "an atom without an element"
    with rdBase.BlockLogs():
        whole = Chem.AddHs(mol, addCoords=True)
        Chem.Kekulize(whole, clearAromaticFlags=True)
    if any(bond.GetBondType() not in _ORDERS for bond in whole.GetBonds()):
        return "a bond that is neither single, double nor triple"
    z = np.array([atom.GetAtomicNum() for atom in whole.GetAtoms()], dtype=np.int64)
    charges = np.array([atom.GetFormalCharge() for atom in whole.GetAtoms()], dtype=np.int64)
    pairs = [(*sorted((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx())), _ORDERS[bond.GetBondType()]) for bond in whole.GetBonds()]
    table = np.array(sorted(pairs), dtype=np.int64).reshape(-1, 3)
    record = Record(index, (), z, whole.GetConformer().GetPositions(), np.zeros(0))
    return record, Bonds(table[:, :2], table[:, 2], charges, "smiles")


def describe_left_out(dataset: MoleculeDataset) -> str | None:
    """One line on what was left out, or None."""
    reasons: dict[str, int] = dataset.metadata.get("left_out", {})
    if not reasons:
        return None
    told = "; ".join(f"{count:,}: {reason}" for reason, count in sorted(reasons.items(), key=lambda item: -item[1])[:5])
    return f"{sum(reasons.values()):,} records of {dataset.metadata['source']} are left out ({told})"


__all__ = ["describe_left_out", "load_sdf", "split"]
