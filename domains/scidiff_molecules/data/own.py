"""The user's own molecules as training data: an SDF file with 3D coordinates, or a set that `add` has made of a file."""

from __future__ import annotations

from pathlib import Path

from scidiff.errors import UserError
from scidiff.random import permutation
from scidiff_molecules.sdf import ReadFailure, read_sdf

from .add import SDF_SUFFIXES, own_path
from .build import flat_dataset
from .dataset import MoleculeDataset
from .hydrogens import to_implicit
from .records import LeftOut, Taken, Tally, take


def load_own(path: str | Path, *, hydrogens: str = "explicit", cache: Path | None = None) -> MoleculeDataset:
    """The molecules of an SDF file (see `load_sdf`), of a ``.safetensors`` set, or of the set of that name in the user's cache.

    Raises UserError for a file that cannot be read, and for a name that no set has, naming those there are.
    """
    path = Path(path)
    if path.suffix.lower() in SDF_SUFFIXES:
        return load_sdf(path, hydrogens=hydrogens)
    if path.suffix != ".safetensors":
        if path.suffix or len(path.parts) > 1:
            raise UserError(f"{path}: neither an SDF file nor a set; make one: `scidiff molecules data add {path} --name NAME`")
        path = own_path(str(path), cache)
    if not path.is_file():
        known = ", ".join(sorted(other.stem for other in path.parent.glob("*.safetensors"))) or "none"
        raise UserError(f"{path}: no such set (there: {known}); make it with `scidiff molecules data add FILE --name {path.stem}`")
    dataset = MoleculeDataset.load(path)
    return to_implicit(dataset) if hydrogens == "implicit" and dataset.metadata.get("hydrogens") != "implicit" else dataset


def load_sdf(path: str | Path, *, hydrogens: str = "explicit") -> MoleculeDataset:
    """Every usable molecule of an SDF file, bonds and charges as the file has them (Kekule orders), hydrogens added where they lack.

    Records that cannot be used are left out: ``metadata['left_out']`` counts them by reason, ``metadata['left_out_records']`` lists the
    first hundred by their index in the file. Raises UserError for a file that cannot be read, or without a usable molecule.
    """
    done: list[Taken] = []
    tally = Tally()
    for index, item in read_sdf(path):
        if isinstance(item, ReadFailure):
            made = LeftOut(index, item.reason)
        elif item.GetConformer().Is3D():
            made = take(index, item)
        else:
            made = LeftOut(index, f"no 3D coordinates: give it conformers with `scidiff molecules data add {Path(path).name}`")
        if isinstance(made, LeftOut):
            tally.add(made)
        else:
            done.append(made)
    if not done:
        told = "; ".join(f"record {index}: {reason}" for index, reason in tally.records[:5])
        raise UserError(f"{path}: no molecule can be trained on ({told})")
    facts = {"source": Path(path).name, **tally.facts(), "hydrogens": "explicit"}
    dataset = flat_dataset([(one.record, one.bonds) for one in done], facts)
    return to_implicit(dataset) if hydrogens == "implicit" else dataset


def split(dataset: MoleculeDataset, valid: int) -> tuple[MoleculeDataset, MoleculeDataset]:
    """(training, validation): up to ``valid`` molecules, a tenth at most, by a fixed shuffle. Raises UserError for fewer than two."""
    count = len(dataset)
    if count < 2:
        raise UserError(f"{dataset.metadata.get('source')}: {count} molecule to train on; at least two are needed, one of them to validate")
    order = permutation(0, 0, count)
    held = max(1, min(valid, count // 10))
    return dataset.select(order[held:].sort().values, split="train"), dataset.select(order[:held].sort().values, split="valid")


def describe_left_out(dataset: MoleculeDataset) -> str | None:
    """One line on what was left out, or None."""
    reasons: dict[str, int] = dataset.metadata.get("left_out", {})
    if not reasons:
        return None
    told = "; ".join(f"{count:,}: {reason}" for reason, count in sorted(reasons.items(), key=lambda item: -item[1])[:5])
    return f"{sum(reasons.values()):,} records of {dataset.metadata['source']} are left out ({told})"


__all__ = ["describe_left_out", "load_own", "load_sdf", "split"]
