"""What novelty is measured against: the SMILES of known molecules, kept as sorted 64-bit hashes.

The reference ``qm9`` is the whole training split of QM9 (100,000 molecules) and ships with the package: for metric A the SMILES
derived from 3D in the same way as the generated ones, for metric B those of the assigned bonds. It is made by
``scripts/make_qm9_reference.py``. ``sample`` is the sample that ships with the package; any SDF file is a reference too.

SMILES are canonical within one RDKit version only, so a reference names the version that made it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import rdkit
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from scidiff.errors import UserError, did_you_mean
from scidiff.files import atomic_write
from scidiff_molecules.metrics.verdict import Item, Verdict, items_of, judge

FORMAT = "scidiff-smiles-reference/1"
NAMES = ("qm9", "ligands", "sample")
_MAX_BYTES = 2**28
_QM9_FILE = "data_reference/qm9_reference.safetensors"


@dataclass(frozen=True)
class Reference:
    """Known molecules as hashes of their SMILES.

    Attributes:
        name: how it was asked for.
        molecules: how many molecules it was made from.
        a_hashes, b_hashes: sorted distinct uint64 hashes, for metrics A and B.
        rdkit_version: the RDKit that wrote the SMILES.
        sha256: identity of the reference: SHA-256 over both arrays, hexadecimal.
    """

    name: str
    molecules: int
    a_hashes: NDArray[np.uint64]
    b_hashes: NDArray[np.uint64]
    rdkit_version: str

    @property
    def sha256(self) -> str:
        digest = hashlib.sha256(self.a_hashes.astype("<u8").tobytes())
        digest.update(b"|" + self.b_hashes.astype("<u8").tobytes())
        return digest.hexdigest()


def contained(hashes: Iterable[int] | NDArray[np.uint64], known: NDArray[np.uint64]) -> int:
    """How many of ``hashes`` occur in ``known`` (sorted)."""
    asked = hashes if isinstance(hashes, np.ndarray) else np.fromiter(hashes, dtype=np.uint64)
    return int(np.isin(asked, known).sum())


def make_reference(name: str, verdicts: Iterable[Verdict]) -> Reference:
    """Collect the SMILES of judged molecules; those that are not valid contribute none."""
    molecules, a, b = 0, set[int](), set[int]()
    for verdict in verdicts:
        molecules += 1
        if verdict.a_smiles is not None:
            a.add(verdict.a_smiles)
        if verdict.b_smiles is not None:
            b.add(verdict.b_smiles)
    return Reference(name, molecules, _sorted(a), _sorted(b), rdkit.__version__)


def load_reference(reference: str | Path | Iterable[Item] | None) -> Reference | None:
    """A reference by name (``qm9``, ``sample``; the ligands are judged as they come, by
    :func:`~scidiff_molecules.metrics.references.prepare`), from an SDF file or from molecules; None for none.

    Raises:
        UserError: an unknown name, a missing file, an SDF file without a single valid molecule, or a damaged reference file.
    """
    if reference is None:
        return None
    if reference == "qm9":
        return read_reference(Path(str(files("scidiff_molecules").joinpath(_QM9_FILE))), "qm9")
    if reference == "sample":
        return _sample()
    if not isinstance(reference, str | Path):
        return make_reference("molecules given", judge(items_of(reference)))
    check_name(reference)
    made = make_reference(str(reference), judge(items_of(reference)))
    if not len(made.a_hashes) and not len(made.b_hashes):
        raise UserError(f"reference {str(reference)!r}: none of its {made.molecules:,} records is a valid molecule")
    return made


def check_name(reference: str | Path) -> None:
    """Raises UserError for what is neither a name nor a file that exists."""
    if reference not in NAMES and not Path(reference).exists():
        hint = did_you_mean(str(reference), NAMES)
        raise UserError(f"reference {str(reference)!r}: neither one of {', '.join(NAMES)} nor an existing SDF file{hint}")


def write_reference(path: Path, reference: Reference, **about: str) -> None:
    """Write a reference as safetensors, atomically; ``about`` goes into the header."""
    header = {"format": FORMAT, "rdkit": reference.rdkit_version, "molecules": str(reference.molecules), **about}
    atomic_write(path, save({"a": reference.a_hashes, "b": reference.b_hashes}, header))


def read_reference(path: Path, name: str) -> Reference:
    """Read what :func:`write_reference` wrote.

    Raises:
        UserError: the file is missing, truncated, too large, of another format, or its hashes are not sorted and distinct.
    """
    if not path.is_file() or path.stat().st_size > _MAX_BYTES:
        raise UserError(f"{path}: the reference {name!r} is missing or too large; reinstall the package")
    try:
        with safe_open(str(path), framework="np") as file:
            header = file.metadata() or {}
            if header.get("format") != FORMAT:
                raise UserError(f"{path}: format {header.get('format')!r}, expected {FORMAT!r}; reinstall the package")
            a, b = file.get_tensor("a"), file.get_tensor("b")
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a readable safetensors file ({error}); reinstall the package") from None
    for key, array in (("a", a), ("b", b)):
        if array.dtype != np.uint64 or array.ndim != 1 or not bool((array[1:] > array[:-1]).all()):
            raise UserError(f"{path}: tensor {key!r} is not a sorted list of distinct 64-bit hashes; reinstall the package")
    return Reference(name, int(header["molecules"]), a, b, header.get("rdkit", "unknown"))


def _sample() -> Reference:
    from scidiff_molecules.data import load_sample
    from scidiff_molecules.metrics.adapter import structures
    from scidiff_molecules.metrics.verdict import judge_structures

    return make_reference("sample", judge_structures(structures(load_sample())))


def _sorted(hashes: set[int]) -> NDArray[np.uint64]:
    return np.sort(np.fromiter(hashes, dtype=np.uint64, count=len(hashes)))
