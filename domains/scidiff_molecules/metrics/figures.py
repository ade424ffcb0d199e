"""From what was counted to figures: metrics A and B, and what a judge adds, each with its definition and its interval."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any, SupportsFloat, SupportsInt

import numpy as np
from numpy.typing import NDArray

from scidiff_molecules.metrics.calculations import METHODS, Calculated
from scidiff_molecules.metrics.cells import ANGLE, BOND, ELEMENT, LOGP, QED, RING, SA, TORSION, Kind, type_name
from scidiff_molecules.metrics.crew import Lost
from scidiff_molecules.metrics.definitions import DEFINITIONS, JUDGE
from scidiff_molecules.metrics.histograms import Histograms, dense, distances, total_variation, wasserstein
from scidiff_molecules.metrics.intervals import Interval, of_resamples, of_values, ratio_over_molecules, wilson
from scidiff_molecules.metrics.poses import CONFIG
from scidiff_molecules.metrics.reference import Reference, contained
from scidiff_molecules.metrics.report import Metric, TypeDistance
from scidiff_molecules.metrics.standard import Standard
from scidiff_molecules.metrics.tally import Tally

LEAST = 20
"""Observations of a type that both need for it to count in the mean over types."""
TYPED: Mapping[str, Kind] = {"W/bond_lengths": BOND, "W/angles": ANGLE, "W/torsions": TORSION}
SINGLE: Mapping[str, Kind] = {"W/qed": QED, "W/sa": SA, "W/logp": LOGP}
CATEGORIES: Mapping[str, Kind] = {"W/ring_sizes": RING, "W/elements": ELEMENT}


def basic_metrics(table: NDArray[Any], reference: Reference | None) -> Iterator[Metric]:
    """Metrics A and B of a table of verdicts."""
    n, atoms = len(table), table["atoms"]
    a_smiles, b_smiles = table["a_smiles"][table["a_valid"]], table["b_smiles"][table["b_counted"]]
    a_distinct, b_distinct = np.unique(a_smiles), np.unique(b_smiles)
    yield _atoms("A/atom_stability", table["a_atoms"], atoms)
    yield _share("A/molecule_stability", table["a_stable"].sum(), n)
    yield _share("A/validity", len(a_smiles), n)
    yield _share("A/uniqueness", len(a_distinct), len(a_smiles))
    yield _share("A/valid_unique", len(a_distinct), n)
    if reference is not None:
        yield _share("A/novelty", len(a_distinct) - contained(a_distinct, reference.a_hashes), len(a_distinct))
    yield _atoms("B/strict_atom_stability", table["strict_atoms"], atoms)
    yield _share("B/strict_molecule_stability", table["strict_stable"].sum(), n)
    yield _atoms("B/lenient_atom_stability", table["lenient_atoms"], atoms)
    yield _share("B/lenient_molecule_stability", table["lenient_stable"].sum(), n)
    yield _share("B/validity", table["valid"].sum(), n)
    yield _share("B/valid_and_connected", (table["valid"] & table["connected"]).sum(), n)
    yield _share("B/uniqueness", len(b_distinct), len(b_smiles))
    if reference is not None:
        yield _share("B/novelty", len(b_distinct) - contained(b_distinct, reference.b_hashes), len(b_distinct))
    yield _share("readable", table["usable"].sum(), n)


def judge_metrics(tally: Tally, standard: Standard | None, found: Calculated) -> Iterator[Metric]:
    """What a judge adds; of the expensive parts, those that were done."""
    if tally.histograms is not None:
        yield from _drug_like(tally, standard)
        if standard is not None:
            yield from distance_metrics(tally.histograms, standard)
    if found.read:
        yield _frechet(found)
    if found.similarities is not None and standard is not None:
        values, words = np.array(found.similarities), {"known": standard.known_name, "n": f"{len(found.similarities):,}"}
        yield _value("N/similarity", values.mean() if len(values) else None, len(values), of_values(values, np.mean), words)
        yield _share("N/twins", (values == 1.0).sum(), len(values), words)
    if found.poses:
        passed = sum(not isinstance(answer, Lost) and all(answer.values()) for _, answer in found.poses)
        words = {"n": f"{len(found.poses):,}", "version": version("posebusters"), "config": CONFIG}
        yield _share("P/all", passed, len(found.poses), words)
    if found.energies:
        yield from _energies(found)


def _drug_like(tally: Tally, standard: Standard | None) -> Iterator[Metric]:
    table, described = tally.table, int(tally.table["described"].sum())
    atoms, stable = table["atoms"], table["corrected_atoms"]
    yield _atoms("D/corrected_atom_stability", stable, atoms)
    yield _share("D/corrected_molecule_stability", ((stable == atoms) & table["usable"]).sum(), len(table))
    for name, sums in zip(("qed", "sa", "logp"), tally.sums, strict=False):
        means = np.divide(sums, tally.sums[3], out=np.full_like(sums, np.nan), where=tally.sums[3] > 0)
        yield _value(f"D/{name}", means[0] if described else None, described, of_resamples(means[1:]) if described > 1 else None)
    scaffolds = np.unique(table["scaffold"][table["described"]])
    yield _share("D/scaffold_diversity", len(scaffolds), described)
    if standard is not None:
        new = len(scaffolds) - contained(scaffolds, standard.scaffolds)
        yield _share("D/scaffold_novelty", new, len(scaffolds), {"known": standard.known_name})


def distance_metrics(histograms: Histograms, standard: Standard, column: int = 0) -> Iterator[Metric]:
    """Distances of histograms from a standard's; ``column``: of the standard's histograms."""
    molecules = sum(c.total for c in histograms.of(QED).values())
    for key, kind in TYPED.items():
        values = _weighted(histograms, standard.histograms, kind, column)
        yield _distance(key, values, molecules, {"least": str(LEAST)})
    for key, kind in {**CATEGORIES, **SINGLE}.items():
        p = dense(histograms.of(kind).get(0), kind, width=histograms.columns)
        q = dense(standard.histograms.of(kind).get(0), kind, [column])
        yield _distance(key, total_variation(p, q) if key in CATEGORIES else wasserstein(p, q, kind), molecules)


def _weighted(some: Histograms, other: Histograms, kind: Kind, column: int) -> NDArray[np.float64]:
    """Mean over types of Wasserstein-1, in each column (columns,); a resample that lacks a type does without it."""
    sums, weights = np.zeros(some.columns), np.zeros(some.columns)
    for counts, known, values in distances(some, other, kind, column):
        weight = int(known.counts[:, column].sum())
        if counts.total >= LEAST and weight >= LEAST:
            present = np.isfinite(values)
            sums[present] += weight * values[present]
            weights[present] += weight
    return np.divide(sums, weights, out=np.full_like(sums, np.nan), where=weights > 0)


def type_distances(histograms: Histograms, standard: Standard) -> Iterator[TypeDistance]:
    """Every type that both have, commonest in the reference first."""
    for kind in TYPED.values():
        found = sorted(distances(histograms, standard.histograms, kind), key=lambda one: (-one[1].total, one[1].code))
        for counts, known, values in found:
            interval = of_resamples(values[1:], float(values[0])) or Interval(float(values[0]), float(values[0]), "")
            yield TypeDistance(
                kind=kind.name,
                type=type_name(kind, counts.code),
                value=float(values[0]),
                low=interval.low,
                high=interval.high,
                generated=counts.total,
                reference=known.total,
                counted=counts.total >= LEAST and known.total >= LEAST,
            )


def _frechet(found: Calculated) -> Metric:
    words = {"n": f"{found.read:,}"}
    if found.frechet is None:
        return _value("W/fcd", None, found.read, None, words)
    value, drawn = float(found.frechet[0]), found.frechet[1:]
    return _value("W/fcd", value, found.read, of_resamples(drawn, value), words)


def _energies(found: Calculated) -> Iterator[Metric]:
    words = {"n": f"{len(found.energies):,}", "method": METHODS[found.method], "atoms": "all atoms"}
    converged = [answer for _, answer in found.energies if not isinstance(answer, Lost) and answer["converged"]]
    for quantity in ("energy", "rmsd"):
        values = np.array([answer[quantity] for answer in converged], dtype=np.float64)
        for name, statistic in (("median", np.median), ("mean", np.mean)):
            value = statistic(values) if len(values) else None
            yield _value(f"E/{quantity}_{name}", value, len(values), of_values(values, statistic), words)
    yield _share("E/converged", len(converged), len(found.energies), words)


def with_own(metrics: Sequence[Metric], standard: Standard) -> Iterator[Metric]:
    """Each figure with what the reference itself scores on it, at about as many molecules."""
    for metric in metrics:
        own = standard.own_score(metric.key, metric.denominator)
        yield metric if own is None else metric.model_copy(update={"own": own.value, "own_molecules": own.molecules})


def _share(key: str, numerator: SupportsInt, denominator: SupportsInt, words: Mapping[str, str] | None = None) -> Metric:
    numerator, denominator = int(numerator), int(denominator)
    value = numerator / denominator if denominator else None
    return _metric(key, value, numerator, denominator, wilson(numerator, denominator), words)


def _atoms(key: str, numerators: NDArray[Any], denominators: NDArray[Any]) -> Metric:
    numerator, denominator = int(numerators.sum()), int(denominators.sum())
    value = numerator / denominator if denominator else None
    return _metric(key, value, numerator, denominator, ratio_over_molecules(numerators, denominators))


def _value(
    key: str, value: SupportsFloat | None, molecules: int, interval: Interval | None, words: Mapping[str, str] | None = None
) -> Metric:
    return _metric(key, None if value is None else float(value), None, molecules, interval, words)


def _distance(key: str, values: NDArray[np.float64], molecules: int, words: Mapping[str, str] | None = None) -> Metric:
    """From the distance of all molecules and of the resamples; there may be no resample."""
    if not np.isfinite(values[0]):
        return _value(key, None, molecules, None, words)
    return _value(key, values[0], molecules, of_resamples(values[1:], float(values[0])), words)


def _metric(
    key: str,
    value: float | None,
    numerator: int | None,
    denominator: int,
    interval: Interval | None,
    words: Mapping[str, str] | None = None,
) -> Metric:
    name, unit, definition = JUDGE[key] if key in JUDGE else (DEFINITIONS[key][0], "%", DEFINITIONS[key][1])
    return Metric(
        key=key,
        name=name,
        definition=definition.format(**words) if words else definition,
        value=value,
        numerator=numerator,
        denominator=denominator,
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        interval=interval.method if interval else "none: the denominator is 0" if not denominator else "none: too few to resample",
        unit=unit,
    )
