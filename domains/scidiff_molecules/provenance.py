"""What a molecule training is made on, and a hash of all of it."""

from __future__ import annotations

import hashlib

from scidiff.tracking import DataInfo
from scidiff_molecules.data import MoleculeDataset
from scidiff_molecules.recipe import DataConfig

__all__ = ["data_info", "dataset_sha256"]

SOURCE = "https://doi.org/10.6084/m9.figshare.c.978904"
LICENCE = "CC0 1.0"
CITATION = "Ramakrishnan, Dral, Rupp, von Lilienfeld, Scientific Data 1, 140022 (2014)"
LIGANDS_CITATION = "Westbrook et al., The chemical component dictionary, Bioinformatics 31, 1274 (2015)"


def data_info(config: DataConfig, training: MoleculeDataset, validation: MoleculeDataset) -> DataInfo:
    """QM9, the shipped sample of it, the ligands, or a user's own file, as ``config`` selects them. The hash is over both sets."""
    profile = {
        "validation_examples": len(validation),
        "atoms": int(training.sizes.sum()),
        "hydrogens": config.hydrogens,
        "limit": config.limit,
    }
    digest = dataset_sha256(training, validation)
    if config.path is not None:  # whose terms only its owner knows
        return DataInfo(config.path.name, digest, config.path.name, len(training), "", profile)
    if config.source == "ligands":
        made_of = f"{training.metadata['source']}, structure/info/components.bcif"
        return DataInfo("PDB ligands", digest, made_of, len(training), LICENCE, profile | {"citation": LIGANDS_CITATION})
    name = "QM9" if config.source == "qm9" else "QM9 sample"
    return DataInfo(name, digest, SOURCE, len(training), LICENCE, profile | {"citation": CITATION})


def dataset_sha256(*datasets: MoleculeDataset) -> str:
    """SHA-256 over every data set's fields in the order of their names: name, dtype, shape, bytes; and its molecules' sizes. A view and a
    copy of the same molecules have the same."""
    digest = hashlib.sha256()
    for dataset in datasets:
        whole = dataset.select(range(len(dataset)))
        fields = whole.fields | {"nodes": whole.node_ptr, "edges": whole.edge_ptr}
        for name in sorted(fields):
            array = fields[name].contiguous().numpy()
            digest.update(f"{name}\n{array.dtype.newbyteorder('<').str}\n{array.shape}\n".encode())
            digest.update(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
    return digest.hexdigest()
