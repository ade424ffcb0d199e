"""The user's own molecules as training data: an SDF file with 3D coordinates, or a set that `add` has made of a file."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

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
    """(training, validation): about ``valid`` molecules, a tenth at most, by a fixed shuffle. All conformers and stereoisomers of a graph
    lie on one side, except in a data set of a single graph. Raises UserError for fewer than two molecules."""
    count = len(dataset)
    if count < 2:
        raise UserError(f"{dataset.metadata.get('source')}: {count} molecule to train on; at least two are needed, one of them to validate")
    order, held = permutation(0, 0, count), max(1, min(valid, count // 10))
    _, group, size = graph_invariant(dataset).unique(return_inverse=True, return_counts=True)
    if len(size) == 1:
        group, size = torch.arange(count), torch.ones(count, dtype=torch.int64)
    place = torch.full_like(size, count).scatter_reduce_(0, group[order], torch.arange(count), "amin")
    shuffled = place.argsort()
    small = shuffled[size[shuffled] <= held]
    if not len(small):
        small = size.argmin()[None]  # every graph has more molecules than are to be held: the one with fewest
    before = size[small].cumsum(0) - size[small]
    chosen = torch.isin(group, small[before < held][: len(size) - 1])
    return dataset.select((~chosen).nonzero()[:, 0], split="train"), dataset.select(chosen.nonzero()[:, 0], split="valid")


def graph_invariant(dataset: MoleculeDataset) -> Int[Tensor, " molecule"]:
    """A number that equal graphs share, of Weisfeiler and Leman's colours after four rounds: elements, charges, hydrogens and connectivity.
    Orders of bonds are left out, so that it does not depend on the Kekule form; now and then different molecules share one too. A SMILES of
    each would tell them apart, and take RDKit minutes for a large set, at the start of every training."""
    whole = dataset.select(torch.arange(len(dataset)))
    nodes, edges = whole.node_ptr.diff(), whole.edge_ptr.diff()
    molecule = torch.repeat_interleave(torch.arange(len(whole)), nodes)
    first, second = whole.fields["bond_index"] + torch.repeat_interleave(whole.node_ptr[:-1], edges)
    z, charge, hydrogens = (whole.fields[key] for key in ("z", "charge", "num_h"))
    colour = _mixed((z * 100 + charge) * 100 + hydrogens)
    for _ in range(4):
        around = torch.zeros_like(colour).index_add_(0, first, colour[second]).index_add_(0, second, colour[first])
        colour = _mixed(3 * colour + around)
    return torch.zeros_like(nodes).index_add_(0, molecule, colour)


def _mixed(x: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
    """A fixed one-to-one map of 64-bit integers that leaves no trace of sums (two rounds of a multiplicative hash)."""
    for odd in (-7046029254386353131, -4658895280553007687):
        x = (x ^ (x >> 29)) * odd
    return x ^ (x >> 32)


def describe_left_out(dataset: MoleculeDataset) -> str | None:
    """One line on what was left out, or None."""
    reasons: dict[str, int] = dataset.metadata.get("left_out", {})
    if not reasons:
        return None
    told = "; ".join(f"{count:,}: {reason}" for reason, count in sorted(reasons.items(), key=lambda item: -item[1])[:5])
    return f"{sum(reasons.values()):,} records of {dataset.metadata['source']} are left out ({told})"


__all__ = ["describe_left_out", "graph_invariant", "load_own", "load_sdf", "split"]
