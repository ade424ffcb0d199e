"""Frechet ChemNet distance: how far the molecules of one set are, as a population, from those of another.

ChemNet (Preuer et al., J. Chem. Inf. Model. 58, 1736, 2018, arXiv:1803.09518) reads a canonical SMILES, one-hot and padded to 350
characters, and predicts bioactivities; the 512 numbers before its last layer describe a molecule. Over each set they have a mean m and
a covariance C::

    FCD = |m - m'|^2 + tr(C + C' - 2 (C C')^(1/2))

Network, weights, encoding and distance are those of the package fcd_torch, made for the benchmark MOSES. As there, a SMILES of several
fragments is read up to its first dot, and a symbol that ChemNet does not know becomes "unknown". Figures of different set sizes are not
comparable: fewer than some thousand molecules overestimate.

The weights lie in fcd_torch's wheel as a torch file. fcd_torch reads it with ``torch.load`` and its defaults, that is
``weights_only=True`` since torch 2.6: an unpickler that makes tensors and plain containers and calls nothing. The environment can turn
that off, so before anything is read the variable that does is refused and the file's SHA-256 is compared with the known one.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.resources import files

import numpy as np
import torch
from numpy.typing import NDArray
from rdkit import rdBase
from torch.utils.data import Dataset

from scidiff.errors import UserError

FEATURES = 512
WEIGHTS_SHA256 = "a36658cc7c94d3c728eacd7ed2d2f104753bb2fde742c2817daefe9533a28080"
_BATCH = 64  # rows of every forward pass, full or padded: a molecule's numbers do not depend on its neighbours


def activations(smiles: Sequence[str]) -> NDArray[np.float32]:
    """ChemNet's description of each molecule, float32 of shape (n, 512), the same whatever stands beside it.

    Raises:
        ValueError: a SMILES cannot be read or is empty; it is named, with its place.
        UserError: fcd_torch's weights are not those of version 1.0.7, or torch is told to load files unsafely.
    """
    from fcd_torch.utils import SmilesDataset

    network, dataset = _network(), SmilesDataset(list(smiles))
    out = np.empty((len(smiles), FEATURES), dtype=np.float32)
    for start in range(0, len(smiles), _BATCH):
        rows = range(start, min(start + _BATCH, len(smiles)))
        batch = torch.zeros(_BATCH, 35, 350)
        for place, row in enumerate(rows):
            batch[place] = torch.from_numpy(_encode(dataset, row)).T
        with torch.inference_mode():
            out[rows.start : rows.stop] = network(batch)[: len(rows)].numpy()
    return out


def _encode(dataset: Dataset[NDArray[np.float64]], row: int) -> NDArray[np.float64]:
    with rdBase.BlockLogs():
        try:
            return dataset[row]
        except (ValueError, IndexError) as error:  # IndexError: an empty SMILES ends before fcd_torch's first look ahead
            reason = "an empty SMILES" if isinstance(error, IndexError) else str(error)
            raise ValueError(f"molecule {row}: ChemNet cannot read it: {reason}") from error


@cache
def _network() -> torch.nn.Module:
    import fcd_torch

    path = files("fcd_torch").joinpath("ChemNet_v0.13_pretrained.pt")
    if os.environ.get("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "").lower() in ("1", "y", "yes", "true"):
        raise UserError("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD is set: torch would run what a weights file says; unset it to compute the FCD")
    if hashlib.sha256(path.read_bytes()).hexdigest() != WEIGHTS_SHA256:
        raise UserError(f"{path}: not the weights of fcd_torch 1.0.7 (installed: {version('fcd-torch')}); pip install fcd_torch==1.0.7")
    return fcd_torch.FCD().model


@dataclass(frozen=True)
class Moments:
    """A set of molecules as the distance sees it.

    Attributes:
        mean: float64 of shape (512,).
        covariance: unbiased, float64 of shape (512, 512).
        count: how many molecules.
    """

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]
    count: int

    @classmethod
    def of(cls, features: NDArray[np.floating]) -> Moments:
        """Moments of activations (n, 512), in float64.

        Raises:
            ValueError: fewer than two rows, which have no covariance.
        """
        if len(features) < 2:
            raise ValueError(f"a covariance needs at least 2 molecules, got {len(features)}")
        x = features.astype(np.float64)
        return cls(x.mean(axis=0), np.cov(x, rowvar=False), len(x))


def frechet(
    mean: NDArray[np.float64], covariance: NDArray[np.float64], other_mean: NDArray[np.float64], other_covariance: NDArray[np.float64]
) -> float:
    """Squared Frechet distance of two Gaussians, means (d,) and covariances (d, d): at least 0, symmetric, 0 for equal ones.

    With C = A A^T, the eigenvalues of C C' are those of A^T C' A, which is symmetric and has none below 0: their roots sum to the trace
    wanted. (A general matrix root, as elsewhere, fails on the singular covariances of small sets.)
    """
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(values.clip(min=0.0))
    inner = np.linalg.eigvalsh(root.T @ other_covariance @ root).clip(min=0.0)
    gap = mean - other_mean
    squared = gap @ gap + np.trace(covariance) + np.trace(other_covariance) - 2.0 * np.sqrt(inner).sum()
    return max(float(squared), 0.0)


def chemnet_distance(one: Moments, other: Moments) -> float:
    """The Frechet ChemNet distance of two sets."""
    return frechet(one.mean, one.covariance, other.mean, other.covariance)
