"""The Frechet ChemNet distance: fcd_torch's own answers, independence of batches, and Gaussians whose distance is known."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.linalg import sqrtm

from scidiff.errors import UserError
from scidiff_molecules.metrics import chemnet
from scidiff_molecules.metrics.chemnet import Moments, activations, chemnet_distance, frechet

pytest.importorskip("fcd_torch")

RINGS = ["c1ccccc1", "C1CCNCC1", "c1ccncc1", "C1CCOC1", "c1ccsc1", "C1CC1"]
CHAINS = ["C", "O", "CC(=O)O", "N", "CCl", "C#N", "C(F)(F)F", "S(=O)(=O)C", "CCBr", "[N+](=O)[O-]"]
SMILES = [ring[:-1] + f"({chain}){ring[-1]}" if ring[-2] in "cC" else f"{ring}{chain}" for ring in RINGS for chain in CHAINS]
ODD = ["C", "[NH3+]CC(=O)[O-]", "C.O", "[CH3]", "[Se]1C=CC=C1", "C" * 400]


@pytest.fixture(scope="module")
def theirs() -> Any:
    from fcd_torch import FCD

    return FCD(batch_size=512)


@pytest.fixture(scope="module")
def found() -> NDArray[np.float32]:
    return activations(SMILES)


def test_the_activations_are_fcd_torchs(found: NDArray[np.float32], theirs: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # numpy.row_stack
        np.testing.assert_allclose(found, theirs.get_predictions(SMILES), rtol=0, atol=2e-6)
        np.testing.assert_allclose(activations(ODD), theirs.get_predictions(ODD), rtol=0, atol=2e-6)


def test_a_molecules_numbers_do_not_depend_on_its_neighbours(found: NDArray[np.float32]) -> None:
    order = np.random.default_rng(0).permutation(len(SMILES))
    np.testing.assert_array_equal(activations([SMILES[i] for i in order]), found[order])
    np.testing.assert_array_equal(activations(SMILES[17:18]), found[17:18])
    np.testing.assert_array_equal(activations(SMILES + SMILES[:10])[60:], found[:10])


def test_any_smiles_of_a_molecule_is_that_molecule(found: NDArray[np.float32]) -> None:
    one, other = activations(["OC(=O)c1ccccc1", "c1ccc(C(O)=O)cc1"])
    np.testing.assert_array_equal(one, other)


def test_of_several_fragments_the_first_is_read() -> None:
    one, other = activations(["C.O", "C"])
    np.testing.assert_array_equal(one, other)


def test_the_distance_is_fcd_torchs(found: NDArray[np.float32], theirs: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        known = theirs(SMILES[:30], SMILES[30:])
    distance = chemnet_distance(Moments.of(found[:30]), Moments.of(found[30:]))
    assert distance > 1
    assert distance == pytest.approx(known, rel=1e-5)  # theirs takes the means in float32


def test_a_set_has_no_distance_from_itself(found: NDArray[np.float32]) -> None:
    whole, mixed = Moments.of(found), Moments.of(found[::-1])
    assert whole.count == 60
    assert chemnet_distance(whole, mixed) == pytest.approx(0, abs=1e-5)


seeds = st.integers(0, 2**32 - 1)


def gaussian(rng: np.random.Generator, d: int, rank: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    factor = rng.normal(size=(d, rank))
    return rng.normal(size=d), factor @ factor.T


@given(seeds)
def test_axes_aligned_gaussians_have_a_closed_form(seed: int) -> None:
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    (m, n), (a, b) = rng.normal(size=(2, 5)), rng.uniform(0, 3, size=(2, 5)).round()  # some variances are zero
    known = ((m - n) ** 2).sum() + ((np.sqrt(a) - np.sqrt(b)) ** 2).sum()
    assert frechet(m, basis * a @ basis.T, n, basis * b @ basis.T) == pytest.approx(known, abs=1e-6)


@given(seeds)
def test_it_is_symmetric_and_agrees_with_the_matrix_root(seed: int) -> None:
    rng = np.random.default_rng(seed)
    (m, a), (n, b) = gaussian(rng, 6, 9), gaussian(rng, 6, 9)
    known = ((m - n) ** 2).sum() + np.trace(a + b - 2 * np.real(sqrtm(a @ b)))
    assert frechet(m, a, n, b) == pytest.approx(known, rel=1e-8)
    assert frechet(n, b, m, a) == pytest.approx(known, rel=1e-8)


@given(seeds, st.integers(1, 4))
def test_its_root_obeys_the_triangle_also_for_singular_covariances(seed: int, rank: int) -> None:
    rng = np.random.default_rng(seed)
    x, y, z = (gaussian(rng, 6, rank) for _ in range(3))
    assert np.sqrt(frechet(*x, *z)) <= np.sqrt(frechet(*x, *y)) + np.sqrt(frechet(*y, *z)) + 1e-6


def test_moments_are_numpys(found: NDArray[np.float32]) -> None:
    moments = Moments.of(found)
    x = found.astype(np.float64)
    np.testing.assert_allclose(moments.mean, x.sum(axis=0) / 60, atol=1e-12)
    np.testing.assert_allclose(moments.covariance, (x - x.mean(0)).T @ (x - x.mean(0)) / 59, atol=1e-12)
    with pytest.raises(ValueError, match="at least 2 molecules, got 1"):
        Moments.of(found[:1])


def test_no_molecules_no_rows() -> None:
    assert len(activations([])) == 0


UNREADABLE = {"C(C)(C)(C)(C)C": "invalid SMILES", "nonsense": "invalid SMILES", "": "an empty SMILES"}


@pytest.mark.parametrize(("smiles", "reason"), UNREADABLE.items())
def test_what_cannot_be_read_is_named(smiles: str, reason: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match=f"molecule 1: .*{reason}"):
        activations(["C", smiles])
    assert capfd.readouterr() == ("", "")


def test_weights_that_are_not_the_known_ones_are_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    import fcd_torch

    chemnet._network.cache_clear()
    monkeypatch.setattr(fcd_torch, "FCD", lambda: pytest.fail("read"))
    monkeypatch.setattr(chemnet, "WEIGHTS_SHA256", "0" * 64)
    with pytest.raises(UserError, match=r"not the weights of fcd_torch 1\.0\.7"):
        activations(["C"])
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    with pytest.raises(UserError, match="TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD is set"):
        activations(["C"])


def test_the_weights_are_read_by_the_loader_that_runs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch import _weights_only_unpickler

    read: list[str] = []
    real = _weights_only_unpickler.load

    def spy(*args: Any, **keywords: Any) -> Any:
        read.append("safely")
        return real(*args, **keywords)

    monkeypatch.setattr(_weights_only_unpickler, "load", spy)
    chemnet._network.cache_clear()
    activations(["C"])
    assert "safely" in read
