"""Metric A on QM9 itself: the published figures, which is how we know that ours is the literature's."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import rdkit

from scidiff_molecules import data
from scidiff_molecules.data import load_qm9
from scidiff_molecules.data.sample import load_sample
from scidiff_molecules.metrics import Evaluation, Verdict, judge_structures, load_reference, summarise
from scidiff_molecules.metrics.adapter import structures

PUBLISHED = {"A/atom_stability": 0.994, "A/molecule_stability": 0.953, "A/validity": 0.975}
"""EDM (arXiv:2203.17003), table 1, row "Data"."""


def figures(result: Evaluation) -> dict[str, tuple[int, int]]:
    return {m.key: (m.numerator, m.denominator) for m in result.metrics}


@pytest.fixture(scope="module")
def sample() -> list[Verdict]:
    return list(judge_structures(structures(load_sample())))


def test_the_shipped_sample_has_exactly_these_figures(sample: list[Verdict]) -> None:
    assert figures(summarise(sample, None, source="sample")) == {
        "A/atom_stability": (71_938, 72_400),
        "A/molecule_stability": (3807, 4000),
        "A/validity": (3913, 4000),
        "A/uniqueness": (3913, 3913),
        "A/valid_unique": (3913, 4000),
        "B/strict_atom_stability": (72_400, 72_400),
        "B/strict_molecule_stability": (4000, 4000),
        "B/lenient_atom_stability": (72_400, 72_400),
        "B/lenient_molecule_stability": (4000, 4000),
        "B/validity": (4000, 4000),
        "B/valid_and_connected": (4000, 4000),
        "B/uniqueness": (4000, 4000),
        "readable": (4000, 4000),
    }


def test_the_sample_is_in_line_with_the_published_figures(sample: list[Verdict]) -> None:
    result = summarise(sample, None, source="sample")
    for key, published in PUBLISHED.items():
        metric = result[key]
        assert metric.low is not None
        assert metric.high is not None
        assert metric.low - 0.0005 <= published <= metric.high + 0.0005  # the paper rounds to a tenth of a per cent


def test_training_molecules_are_not_novel_and_the_others_are(sample: list[Verdict]) -> None:
    reference = load_reference("qm9")
    assert reference is not None
    if reference.rdkit_version != rdkit.__version__:
        pytest.skip("SMILES of another RDKit version need not be equal")
    train, rest = figures(summarise(sample[:3000], reference, source="train")), figures(summarise(sample[3000:], reference, source="rest"))
    assert (train["A/novelty"], train["B/novelty"]) == ((0, 2929), (0, 3000))
    assert (rest["A/novelty"], rest["B/novelty"]) == ((982, 984), (999, 1000))


def test_the_sample_is_a_reference_by_name(sample: list[Verdict], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "load_sample", lambda: load_sample()[:200])  # the whole would be judged a second time
    reference = load_reference("sample")
    assert reference is not None
    assert (reference.name, reference.molecules, len(reference.b_hashes)) == ("sample", 200, 200)
    result = figures(summarise(sample[:300], reference, source="sample"))
    assert result["B/novelty"] == (100, 300)


@pytest.mark.long
@pytest.mark.qm9
@pytest.mark.slow
@pytest.mark.skipif(find_spec("qm9pack") is None, reason="needs the package qm9pack")
def test_all_of_qm9s_test_split_gives_the_published_figures() -> None:
    verdicts = list(judge_structures(structures(load_qm9("test", progress=False))))
    result = summarise(verdicts, None, source="QM9 test")
    for key, published in PUBLISHED.items():
        assert result[key].value == pytest.approx(published, abs=0.005)
    found = figures(result)
    assert found["A/atom_stability"] == (234_336, 235_883)
    assert found["A/molecule_stability"] == (12_457, 13_083)
    assert found["A/validity"] == (12_787, 13_083)
    assert found["A/uniqueness"] == (12_787, 12_787)
    for key in ("B/strict_molecule_stability", "B/lenient_molecule_stability", "B/valid_and_connected", "B/uniqueness"):
        assert found[key] == (13_083, 13_083)
