"""What distributions are compared with: the histograms of a reference's molecules, and what the reference scores itself.

``qm9`` is QM9's test split; its training split is what scaffolds and nearest neighbours are looked up in, as novelty is. It ships with
the package, made by ``scripts/make_qm9_distributions.py``. Any other reference is judged when it is asked for.

*Its own score* is what the reference itself scores on a figure. On a distance it is that of some of its molecules from others: of n random
molecules of one half of QM9's test split from its other half, at the n next to the number of molecules judged; of one half from the other
for any other reference. A generator that draws from the same law scores about that, and not 0.
"""

from __future__ import annotations

import json
import lzma
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from scidiff.errors import UserError
from scidiff.files import atomic_write
from scidiff_molecules.metrics.histograms import Histograms

FORMAT = "scidiff-molecule-distributions/1"
STANDARD_FILE = "data_reference/qm9_distributions.safetensors"
SMILES_FILE = "data_reference/qm9_train_smiles.txt.xz"
_MAX_BYTES, _MAX_SMILES = 2**26, 2**24
_DIMENSION = 512  # ChemNet's activations


@dataclass(frozen=True)
class Own:
    """What the reference scores on a figure, and on how many molecules."""

    value: float
    molecules: int


@dataclass(frozen=True)
class Standard:
    """A reference's distributions.

    Attributes:
        name: what the distributions are of; known_name: what scaffolds and neighbours are looked up in.
        molecules: how many were described: the valid and connected ones.
        histograms: their cells; column 0 counts them all.
        scaffolds: sorted hashes of the scaffolds that are known.
        smiles: molecules among which neighbours are looked for.
        mean, covariance: of ChemNet's activations (512,), (512, 512), over ``activations`` molecules; None where there are none.
        own: its own scores by the figure's key, at rising numbers of molecules.
        energies: relaxation energies of some of its molecules, in kcal/mol, for the picture.
    """

    name: str
    known_name: str
    molecules: int
    histograms: Histograms
    scaffolds: NDArray[np.uint64]
    smiles: Sequence[str] = ()
    mean: NDArray[np.float64] | None = None
    covariance: NDArray[np.float64] | None = None
    activations: int = 0
    own: Mapping[str, Sequence[Own]] = field(default_factory=dict[str, Sequence[Own]])
    energies: Sequence[float] = ()

    def own_score(self, key: str, molecules: int) -> Own | None:
        """Its own score on a figure, at the number of molecules that is nearest (by ratio) to ``molecules``."""
        scores = self.own.get(key, ())
        return min(scores, key=lambda own: abs(math.log(own.molecules / max(molecules, 1))), default=None)


def write_standard(path: Path, standard: Standard, about: Mapping[str, str]) -> None:
    """Write everything but the SMILES as safetensors; the same standard gives the same arrays."""
    keys, counts = standard.histograms.items()
    arrays: dict[str, NDArray[Any]] = {"cells": keys, "counts": counts[:, 0], "scaffolds": standard.scaffolds}
    arrays["energies"] = np.asarray(standard.energies, dtype=np.float32)
    if standard.mean is not None and standard.covariance is not None:
        arrays |= {"mean": standard.mean, "covariance": standard.covariance[np.triu_indices(_DIMENSION)]}
    own = {key: [[one.molecules, one.value] for one in scores] for key, scores in standard.own.items()}
    header = {"name": standard.name, "known_name": standard.known_name, "own": own}
    header |= {"molecules": standard.molecules, "activations": standard.activations}
    arrays = {key: np.ascontiguousarray(array) for key, array in arrays.items()}  # safetensors writes a view's memory as it lies
    atomic_write(path, save(arrays, {"format": FORMAT, "standard": json.dumps(header, sort_keys=True), **about}))


def write_smiles(path: Path, smiles: Sequence[str]) -> None:
    """Write SMILES, sorted, one a line, packed by xz."""
    atomic_write(path, lzma.compress("\n".join(sorted(smiles)).encode("ascii"), preset=9 | lzma.PRESET_EXTREME))


def read_smiles(path: Path) -> list[str]:
    """Read what :func:`write_smiles` wrote, 16 MB at most. Raises UserError for a damaged file."""
    try:
        with lzma.open(path) as file:
            content = file.read(_MAX_SMILES + 1)
        if len(content) > _MAX_SMILES:
            raise UserError(f"{path}: unpacks to more than {_MAX_SMILES >> 20} MB; reinstall the package")
        return content.decode("ascii").split("\n")
    except (OSError, lzma.LZMAError, EOFError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a readable list of SMILES ({error}); reinstall the package") from None


def shipped_standard() -> Standard:
    """QM9's test split, and its training split's scaffolds and SMILES."""
    package = files("scidiff_molecules")
    return read_standard(Path(str(package.joinpath(STANDARD_FILE))), Path(str(package.joinpath(SMILES_FILE))))


def read_standard(path: Path, smiles: Path | None = None) -> Standard:
    """Read what :func:`write_standard` and :func:`write_smiles` wrote.

    Raises:
        UserError: a file is missing, too large, damaged, or of another format.
    """
    if not path.is_file() or path.stat().st_size > _MAX_BYTES:
        raise UserError(f"{path}: the reference's distributions are missing or too large; reinstall the package")
    try:
        with safe_open(str(path), framework="np") as file:
            about = file.metadata() or {}
            if about.get("format") != FORMAT:
                raise UserError(f"{path}: format {about.get('format')!r}, expected {FORMAT!r}; reinstall the package")
            arrays: dict[str, NDArray[Any]] = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  (not a dict)
        header = json.loads(about["standard"])
        histograms = Histograms(1)
        histograms.put(arrays["cells"], arrays["counts"][:, None])
        own = {key: tuple(Own(float(value), int(n)) for n, value in scores) for key, scores in header["own"].items()}
        return Standard(
            name=str(header["name"]),
            known_name=str(header["known_name"]),
            molecules=int(header["molecules"]),
            histograms=histograms,
            scaffolds=arrays["scaffolds"],
            smiles=read_smiles(smiles) if smiles is not None else (),
            mean=arrays.get("mean"),
            covariance=_square(arrays["covariance"]) if "covariance" in arrays else None,
            activations=int(header["activations"]),
            own=own,
            energies=tuple(arrays["energies"].tolist()),
        )
    except (SafetensorError, OSError, KeyError, ValueError, TypeError, IndexError) as error:
        raise UserError(f"{path}: not a readable file of distributions ({error}); reinstall the package") from None


def _square(upper: NDArray[np.float64]) -> NDArray[np.float64]:
    whole = np.zeros((_DIMENSION, _DIMENSION))
    whole[np.triu_indices(_DIMENSION)] = upper
    return whole + np.triu(whole, 1).T
