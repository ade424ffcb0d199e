"""The drug-like ligands of the Protein Data Bank: the Chemical Component Dictionary in ``biotite``, filtered.

Kept is a component that

1. is neither obsolete nor ambiguous;
2. has no other elements than H, B, C, N, O, F, Si, P, S, Cl, Br and I, among them carbon, and 6 to 50 heavy atoms;
3. is sanitised by RDKit with exactly the hydrogens it lists, is one fragment and no radical;
4. has a net charge from -2 to 2;
5. has complete and sound ideal coordinates (`geometry_fault`);
6. has a canonical SMILES, stereochemistry included, that no component before it has.

Monomers of polymers are whole molecules here (their leaving atoms are listed), so no chain is left hanging: one that lacks them is a
radical and goes. Coordinates are the dictionary's ideal ones, and stereochemistry is theirs.

The split is a hash of the canonical SMILES without stereochemistry: 90 % train, 5 % valid, 5 % test. Stereoisomers stay together, and a
ligand's part does not depend on the dictionary's version.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from rdkit import Chem

from scidiff.errors import UserError
from scidiff_molecules.sdf import Structure, build_mol, sanitize_fault, with_conformer

from .components import Component, Dictionary, number_of, source
from .dataset import MoleculeDataset
from .gather import BLOCK, gather, work
from .hydrogens import to_implicit
from .qm9 import cache_folder
from .records import LeftOut, Taken, graph_fault, take

ELEMENTS = frozenset(("H", "B", "C", "N", "O", "F", "Si", "P", "S", "Cl", "Br", "I"))
HEAVY = (6, 50)
CHARGE = 2
CACHE_FILE = "ligands.safetensors"
RULES = 2
"""Of what is kept and where it belongs: a cached file of other rules is made anew."""
SPLITS = {"train": 90, "valid": 5, "test": 5}
"""Per cent."""
BOND_RATIO = (0.70, 1.25)
"""Of the sum of covalent radii: a sound bond's length."""
APART = 1.0
"""Angstrom: sound atoms with three or more bonds between them are at least so far apart."""
Split = Literal["train", "valid", "test", "all"]


def load_ligands(
    split: Split | str = "all", *, hydrogens: str = "explicit", cache: Path | None = None, progress: bool = True, workers: int | None = None
) -> MoleculeDataset:
    """The ligands, made on first use (some minutes), then read from one cached file.

    Parameters
    ----------
    split:
        ``train``, ``valid``, ``test``, or ``all``: those three in this order, each in the order of the components' numbers
        (``index``; `components.name_of` gives the identifier).
    hydrogens:
        ``explicit``, or ``implicit``: heavy atoms alone, their hydrogens counted in ``num_h``.
    cache:
        folder of the cached file; default `cache_folder`.

    ``metadata['left_out']`` counts by reason what was left out, ``metadata['splits']`` the molecules of each split.

    Raises
    ------
    UserError
        for another split or value of ``hydrogens``; if biotite is not installed; if the cache is damaged.
    """
    if split != "all" and split not in SPLITS:
        raise UserError(f"the ligands have no split {split!r}; they have {', '.join(SPLITS)}, all")
    if hydrogens not in ("explicit", "implicit"):
        raise UserError(f"hydrogens must be 'explicit' or 'implicit', not {hydrogens!r}")
    path = (cache or cache_folder()) / CACHE_FILE
    whole = MoleculeDataset.load(path) if path.exists() else None
    if whole is None or whole.metadata.get("rules") != RULES:
        whole = prepare(path, progress=progress, workers=workers)
    if split != "all":
        sizes = [whole.metadata["splits"][name] for name in SPLITS]
        first = sum(sizes[: list(SPLITS).index(split)])
        whole = whole.select(range(first, first + whole.metadata["splits"][split]), split=split)
    return to_implicit(whole) if hydrogens == "implicit" else whole


def prepare(path: Path, *, progress: bool = True, workers: int | None = None) -> MoleculeDataset:
    """Filter the dictionary and write the cached file ``path``; the dataset itself is returned."""
    dictionary = Dictionary()
    dataset, keys, _ = gather(LigandJob(dictionary), len(dictionary), workers=workers, progress=progress)
    return arrange(dataset, keys, path)


def arrange(dataset: MoleculeDataset, keys: list[str], path: Path) -> MoleculeDataset:
    """One molecule of each key (see `records.Taken`), split after split, written to ``path``."""
    first = {key: row for row, key in reversed(list(enumerate(keys)))}
    rows = {split: [row for row in sorted(first.values()) if split_of(keys[row]) == split] for split in SPLITS}
    facts = dict(dataset.metadata)
    facts["left_out"] = {**facts["left_out"], "the same canonical SMILES as an earlier component": len(keys) - len(first)}
    whole = dataset.select(torch.tensor([row for some in rows.values() for row in some], dtype=torch.int64))
    facts.pop("embedded")
    whole.metadata = facts | {
        "name": "ligands",
        "source": source(),
        "split": "all",
        "molecules": len(whole),
        "splits": {split: len(some) for split, some in rows.items()},
        "rules": RULES,
        "conformers": {"how": "the dictionary's ideal coordinates"},
    }
    whole.save(path)
    return whole


def split_of(key: str) -> str:
    """The split of a molecule, from the hash of its SMILES without stereochemistry (`records.Taken`)."""
    percent, end = int(key[:16], 16) % 100, 0
    for split, share in SPLITS.items():
        end += share
        if percent < end:
            return split
    raise AssertionError("the splits are a hundred per cent")


class LigandJob:
    """Implements `gather.Job` for the dictionary."""

    title = "ligands"
    entry = f"{__name__}:worker"

    def __init__(self, dictionary: Dictionary | None = None) -> None:
        self._dictionary = dictionary

    def arguments(self) -> str:
        return ""

    def items(self, shard: int, of: int) -> Iterator[Taken | LeftOut]:
        dictionary = self._dictionary or Dictionary()
        return (judge(component) for component in dictionary.components(BLOCK, shard, of))


def worker() -> None:
    """Entry of a worker process."""
    work(lambda _: LigandJob())


def judge(component: Component) -> Taken | LeftOut:
    """A component as a record, or the first of the module's rules that it breaks."""
    index = number_of(component.name)
    if fault := _rule(component):
        return LeftOut(index, fault)
    structure = component.structure
    if structure is None:
        return LeftOut(index, component.fault)
    mol = build_mol(structure)
    if fault := sanitize_fault(mol) or graph_fault(mol):
        return LeftOut(index, fault)
    if abs(net := int(structure.charges.sum())) > CHARGE:
        return LeftOut(index, f"a net charge of {net}")
    if fault := geometry_fault(structure):
        return LeftOut(index, f"ideal coordinates: {fault}")
    whole = with_conformer(mol, structure).GetMol()
    Chem.AssignStereochemistryFrom3D(whole)
    return take(index, whole)


def _rule(component: Component) -> str | None:
    if component.obsolete:
        return "obsolete"
    if component.ambiguous:
        return "ambiguous"
    if component.elements - ELEMENTS:
        return "an element other than " + ", ".join(sorted(ELEMENTS))
    if "C" not in component.elements:
        return "no carbon"
    if component.heavy < HEAVY[0]:
        return f"fewer than {HEAVY[0]} heavy atoms"
    if component.heavy > HEAVY[1]:
        return f"more than {HEAVY[1]} heavy atoms"
    return None


def geometry_fault(structure: Structure) -> str | None:
    """Why positions cannot be used: missing; a bond shorter or longer than `BOND_RATIO` of the sum of its atoms' covalent radii; or atoms
    with three or more bonds between them nearer than `APART`."""
    if fault := structure.coordinate_fault():
        return fault
    table, positions = Chem.GetPeriodicTable(), structure.positions
    assert positions is not None
    radii = np.array([table.GetRcovalent(number) for number in structure.numbers.tolist()])
    distance = np.sqrt(((positions[:, None] - positions[None]) ** 2).sum(-1))
    hops = Chem.GetDistanceMatrix(build_mol(structure))
    ratio = (distance / (radii[:, None] + radii[None]))[hops == 1]
    if ratio.size and not (BOND_RATIO[0] <= ratio.min() and ratio.max() <= BOND_RATIO[1]):
        return "a bond's length is unsound"
    return "atoms clash" if (distance[hops >= 3] < APART).any() else None
