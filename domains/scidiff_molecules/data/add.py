"""``scidiff molecules data add``: a training set of the user's own molecules, from an SDF file or SMILES, checked record by record.

3D coordinates in an SDF file are used as they are. What has none, SMILES and flat drawings, gets a conformer from RDKit (see `embed`),
and the set says how many did.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from rdkit import Chem, rdBase

from scidiff.errors import UserError
from scidiff.files import file_sha256
from scidiff_molecules.sdf import ReadFailure, count_records, read_sdf

from .dataset import MoleculeDataset
from .embed import METHOD, embed
from .gather import BLOCK, gather, work
from .qm9 import cache_folder
from .records import LeftOut, Taken, graph_fault, smiles_of, take
from .smiles import SUFFIXES, check_file, form_of, parse_smiles, read_smiles

Conformers = Literal["embed", "none"]
SDF_SUFFIXES = (".sdf", ".sd", ".mol")
MAX_ATOMS, MOST_ATOMS = 100, 400
"""Heavy atoms a molecule may have: by default (the command's is the same), and at the most that can be asked for."""
OWN_FOLDER = "own"


def own_path(name: str, cache: Path | None = None) -> Path:
    """Where the set of this name lies in the user's cache. Raises UserError for other than letters, digits, ``_`` and ``-``."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
        raise UserError(f"{name!r} is no name for a data set: give one of at most 64 letters, digits, '_' and '-' with --name")
    return (cache or cache_folder()) / OWN_FOLDER / f"{name}.safetensors"


def add_molecules(
    file: str | Path,
    out: str | Path,
    *,
    conformers: Conformers = "embed",
    seed: int = 0,
    largest_fragment: bool = False,
    max_atoms: int = MAX_ATOMS,
    force: bool = False,
    workers: int | None = None,
    progress: bool = True,
) -> MoleculeDataset:
    """Check every record of ``file`` (see `records`), write what can be trained on to ``out`` (safetensors), and return it.

    Parameters
    ----------
    file:
        SDF (``.sdf``, ``.sd``, ``.mol``), or SMILES, one a line (``.smi``, ``.smiles``, ``.txt``, ``.csv``; see `smiles`).
    conformers:
        ``embed`` gives a record without 3D coordinates one from RDKit; ``none`` leaves it out.
    seed:
        of those conformers; each is a function of the seed and the molecule alone.
    largest_fragment:
        take the largest fragment of salts and solvates (most heavy atoms, then heaviest); its charge stays. By default they are left out.
    max_atoms:
        heavy atoms of a molecule, at most 400.
    force:
        replace a set that is there already.

    ``metadata['left_out']`` counts what was left out by reason, ``metadata['left_out_records']`` lists the first hundred by index
    (SDF, from 0) or line (SMILES, from 1); ``metadata['index']`` says which. Equal files give equal sets, whatever ``workers`` is.

    Raises
    ------
    UserError
        for a file that cannot be read, is over a limit, or holds no usable molecule; for an ``out`` that is there already.
    """
    file, out = Path(file), Path(out)
    if out.suffix != ".safetensors":
        raise UserError(f"{out}: the set's name must end in .safetensors")
    if not 1 <= max_atoms <= MOST_ATOMS:
        raise UserError(f"max_atoms = {max_atoms}: between 1 and {MOST_ATOMS} heavy atoms can be asked for")
    if out.exists() and not force:
        raise UserError(f"{out}: there already; choose another name, or replace it (--force)")
    job = FileJob(str(file), conformers, seed, largest_fragment, max_atoms)
    dataset, _, _ = gather(job, job.count(), workers=workers, progress=progress)
    embedded = dataset.metadata.pop("embedded")
    dataset.metadata |= {
        "name": out.stem,
        "source": file.name,
        "source_sha256": file_sha256(file),
        "index": "record from 0" if job.is_sdf else "line from 1",
        "column": None if job.is_sdf else form_of(file).header,
        "fragments": "largest" if largest_fragment else "whole molecules",
        "conformers": {"file": len(dataset) - embedded, "embedded": embedded, "how": METHOD if embedded else "", "seed": seed},
    }
    dataset.save(out)
    return dataset


@dataclass(frozen=True)
class FileJob:
    """Implements `gather.Job` for a user's file."""

    file: str
    conformers: Conformers
    seed: int
    largest_fragment: bool
    max_atoms: int

    @property
    def entry(self) -> str:
        return f"{__name__}:worker"

    @property
    def title(self) -> str:
        return Path(self.file).name

    @property
    def is_sdf(self) -> bool:
        return Path(self.file).suffix.lower() in SDF_SUFFIXES

    def arguments(self) -> str:
        return json.dumps(asdict(self))

    def count(self) -> int:
        """Records of the file. Raises UserError if it is of another kind, cannot be read, or is over a limit."""
        path = Path(self.file)
        if self.is_sdf:
            return count_records(path)
        if path.suffix.lower() not in SUFFIXES:
            raise UserError(f"{path}: SDF files end in {', '.join(SDF_SUFFIXES)}, SMILES in {', '.join(SUFFIXES)}; rename it")
        return check_file(path)

    def items(self, shard: int, of: int) -> Iterator[Taken | LeftOut]:
        if self.is_sdf:
            for index, item in read_sdf(self.file, only=lambda index: index // BLOCK % of == shard):
                yield LeftOut(index, item.reason) if isinstance(item, ReadFailure) else self._from_record(index, item)
        else:
            for line, item in read_smiles(Path(self.file)):
                if line // BLOCK % of == shard:
                    yield LeftOut(line, item.reason) if isinstance(item, ReadFailure) else self._from_smiles(line, item)

    def _from_record(self, index: int, mol: Chem.Mol) -> Taken | LeftOut:
        if self.largest_fragment:
            mol = _largest(mol)
        if mol.GetConformer().Is3D():
            return take(index, mol, max_atoms=self.max_atoms)
        if self.conformers == "none":
            return LeftOut(index, "no 3D coordinates, and --conformers none")
        return self._embedded(index, _with_drawn_stereo(mol))

    def _from_smiles(self, line: int, smiles: str) -> Taken | LeftOut:
        if self.conformers == "none":
            raise UserError(f"{self.file}: SMILES have no coordinates; leave out --conformers none, or give an SDF file that has")
        mol = parse_smiles(smiles)
        if isinstance(mol, str):
            return LeftOut(line, mol)
        return self._embedded(line, _largest(mol) if self.largest_fragment else mol)

    def _embedded(self, index: int, mol: Chem.Mol) -> Taken | LeftOut:
        if fault := graph_fault(mol, self.max_atoms):
            return LeftOut(index, fault)
        whole = embed(smiles_of(mol), self.seed)
        return LeftOut(index, whole) if isinstance(whole, str) else take(index, whole, max_atoms=self.max_atoms, embedded=True)


def worker() -> None:
    """Entry of a worker process."""
    work(lambda arguments: FileJob(**json.loads(arguments)))


def _largest(mol: Chem.Mol) -> Chem.Mol:
    """The fragment with most heavy atoms, then of most electrons, then of the first SMILES in the alphabet."""
    fragments = Chem.GetMolFrags(mol, asMols=True, sanitizeFrags=False)

    def rank(fragment: Chem.Mol) -> tuple[int, int, str]:
        return -fragment.GetNumHeavyAtoms(), -sum(atom.GetAtomicNum() for atom in fragment.GetAtoms()), smiles_of(fragment)

    return min(fragments, key=rank) if len(fragments) > 1 else mol


def _with_drawn_stereo(mol: Chem.Mol) -> Chem.Mol:
    """Stereochemistry from the wedges and double bonds of a drawing; without them it stays open."""
    mol = Chem.Mol(mol)
    with rdBase.BlockLogs():
        Chem.AssignChiralTypesFromBondDirs(mol)
        Chem.DetectBondStereochemistry(mol)
        Chem.AssignStereochemistry(mol, cleanIt=True, force=True)
    return mol
