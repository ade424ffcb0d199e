"""The hash of what a molecule model is trained on: the same for the same molecules, another for any change of them."""

from __future__ import annotations

from pathlib import Path

import torch
from support.molecules import SMALL

from scidiff.tracking import DataInfo
from scidiff_molecules.data import MoleculeDataset, load_sample
from scidiff_molecules.provenance import data_info, dataset_sha256
from scidiff_molecules.recipe import DataConfig, Recipe
from scidiff_molecules.task import MoleculeTask


def altered(dataset: MoleculeDataset, field: str) -> MoleculeDataset:
    """A copy with the last value of a field changed by as little as may be."""
    fields = {name: values.clone() for name, values in dataset.fields.items()}
    flat = fields[field].view(-1)
    last = flat[-1].clone()
    if flat.is_floating_point():
        flat[-1] = torch.nextafter(last, last + 1)
    else:
        flat[-1] = ~last if last.dtype is torch.bool else last % 3 + 1  # a bond's order lies between 1 and 3
    return MoleculeDataset(fields, dataset.node_ptr.diff(), dataset.edge_ptr.diff(), dataset.metadata)


def test_views_copies_and_files_of_the_same_molecules_have_one_hash(tmp_path: Path) -> None:
    whole = load_sample("valid")
    part = whole.select(range(10, 60))
    part.save(tmp_path / "part.safetensors")
    same = [dataset_sha256(one) for one in (part, whole[10:60], MoleculeDataset.load(tmp_path / "part.safetensors"))]
    assert len(set(same)) == 1


def test_any_change_is_another_hash() -> None:
    dataset = load_sample("valid").select(range(20))
    seen = {dataset_sha256(dataset), dataset_sha256(dataset.select(range(19))), dataset_sha256(dataset.select([1, 0, *range(2, 20)]))}
    seen |= {dataset_sha256(altered(dataset, field)) for field in ("pos", "charge", "num_h", "bond_order", "y", "assigned")}
    halves = dataset.select(range(10)), dataset.select(range(10, 20))
    seen |= {dataset_sha256(*halves), dataset_sha256(*reversed(halves))}
    assert len(seen) == 11


def test_a_task_says_what_it_is_trained_on() -> None:
    def info(**data: object) -> DataInfo:
        return MoleculeTask(
            Recipe.model_validate({"data": {"source": "sample", "limit": 30, "valid": 10, **data}, "backbone": SMALL})
        ).data()

    whole = load_sample("valid")
    own = data_info(DataConfig(source="sdf", path=Path("mine/drugs.sdf")), whole, whole)
    assert (own.name, own.source, own.licence, "citation" in own.profile) == ("drugs.sdf", "drugs.sdf", "", False)
    known = info()
    assert (known.name, known.examples, known.licence) == ("QM9 sample", 30, "CC0 1.0")
    assert known.source == "https://doi.org/10.6084/m9.figshare.c.978904"
    assert (known.profile["validation_examples"], known.profile["hydrogens"]) == (10, "implicit")
    assert info() == known
    assert info(bucket=3).digest == known.digest  # how they are padded is no part of them
    assert len({one.digest for one in (known, info(limit=29), info(valid=9), info(hydrogens="explicit"))}) == 4
