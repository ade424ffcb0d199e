"""What a reader looks at beside the figures: histograms against the reference, the worst molecules and why, and the reasons counted."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem

from scidiff_molecules.metrics.calculations import METHODS, Calculated
from scidiff_molecules.metrics.cells import ELEMENT, LOGP, QED, RING, SA, Kind, type_name
from scidiff_molecules.metrics.crew import Lost
from scidiff_molecules.metrics.figures import TYPED
from scidiff_molecules.metrics.histograms import Counts, Histograms, dense
from scidiff_molecules.metrics.payload import pack_structure, structure_in
from scidiff_molecules.metrics.report import Check, Histogram, Shown
from scidiff_molecules.metrics.standard import Standard
from scidiff_molecules.metrics.tally import Drawn, Tally

_TYPES_SHOWN = 6
_BARS = 60
_TAIL = 0.002  # of the observations, at either end, may lie outside of a picture
_WORST = 8


def reasons(tally: Tally) -> dict[str, int]:
    """Failures by kind, commonest first: their reasons with atoms' numbers left out; ``not connected`` for valid ones in pieces."""
    kinds = Counter(_kind_of(reason) for reason in tally.faults.values())
    pieces = int((tally.table["valid"] & ~tally.table["connected"]).sum())
    if pieces:
        kinds["not connected: several fragments"] += pieces
    return dict(sorted(kinds.items(), key=lambda item: (-item[1], item[0])))


def _kind_of(reason: str) -> str:
    plain = re.sub(r"atom # \d+ ", "atom ", reason)
    plain = re.sub(r"(?<=atom )\d+", "N", re.sub(r"Unkekulized atoms:.*", "Unkekulized atoms", plain))
    return plain if len(plain) <= 120 else plain[:117] + "..."


def checks(found: Calculated) -> Iterator[Check]:
    """PoseBusters' checks one by one, over all molecules of the subset."""
    answered = [answer for _, answer in found.poses if not isinstance(answer, Lost)]
    for name in answered[0] if answered else ():
        yield Check(name=name, passed=sum(answer[name] for answer in answered), of=len(found.poses))


def worst(tally: Tally, found: Calculated) -> list[Shown]:
    """The largest relaxation energies, the most failed checks, and molecules that are not valid and connected, drawn at random."""
    shown: list[Shown] = []
    relaxed = [(one, answer) for one, answer in found.energies if not isinstance(answer, Lost) and answer["converged"]]
    for one, answer in sorted(relaxed, key=lambda pair: (-pair[1]["energy"], pair[0].index))[:_WORST]:
        energy, rmsd = answer["energy"], answer["rmsd"]
        shown.append(_shown(one, f"{energy:,.1f} kcal/mol by relaxation, RMSD {rmsd:.2f} Å ({METHODS[found.method]})"))
    stuck = [(one, answer) for one, answer in found.energies if isinstance(answer, Lost) or not answer["converged"]]
    for one, answer in stuck[: _WORST // 2]:
        shown.append(_shown(one, f"no relaxation energy: {answer.reason if isinstance(answer, Lost) else answer['reason']}"))
    posed = [(one, _failed(answer)) for one, answer in found.poses]
    for one, failed in sorted((pair for pair in posed if pair[1]), key=lambda pair: (-len(pair[1]), pair[0].index))[:_WORST]:
        shown.append(_shown(one, f"{', '.join(failed)} (PoseBusters)"))
    for one in tally.failed.items():
        shown.append(_shown(one, tally.faults.get(one.index, "not connected: several fragments")))
    return shown


def _failed(answer: dict[str, bool] | Lost) -> list[str]:
    return [answer.reason] if isinstance(answer, Lost) else [name for name, passed in answer.items() if not passed]


def _shown(one: Drawn, why: str) -> Shown:
    try:
        structure = structure_in(one.payload)
    except Exception:  # whatever was wrong with it may be wrong with it again
        structure = None
    finite = structure is not None and structure.coordinate_fault() is None  # NaN is no JSON for others
    return Shown(index=one.index, why=why, smiles=one.smiles, structure=pack_structure(structure) if finite and structure else None)


def pictures(tally: Tally, standard: Standard | None, found: Calculated) -> Iterator[Histogram]:
    """The commonest types of lengths, angles and torsions; rings, elements, QED, SA, logP; relaxation energies."""
    assert tally.histograms is not None
    known = None if standard is None else standard.histograms
    for kind in TYPED.values():
        mine, theirs = tally.histograms.of(kind), {} if known is None else known.of(kind)
        ranked = sorted(theirs or mine, key=lambda code: (-(theirs or mine)[code].total, code))
        for code in ranked[:_TYPES_SHOWN]:
            yield _continuous(kind, type_name(kind, code), mine.get(code), theirs.get(code))
    for kind in (RING, ELEMENT):
        if (picture := _categories(kind, tally.histograms, known)) is not None:
            yield picture
    for kind in (QED, SA, LOGP):
        mine, theirs = tally.histograms.of(kind), {} if known is None else known.of(kind)
        if mine or theirs:
            yield _continuous(kind, "", mine.get(0), theirs.get(0))
    energies = [answer["energy"] for _, answer in found.energies if not isinstance(answer, Lost) and answer["converged"]]
    if energies:
        yield _energy_picture(energies, list(standard.energies) if standard is not None and found.method == "gfn2" else [])


def _continuous(kind: Kind, name: str, mine: Counts | None, theirs: Counts | None) -> Histogram:
    """Densities in at most sixty bars over where all but the tails of either lie."""
    p, q = (dense(counts, kind, [0])[:, 0] for counts in (mine, theirs))
    first, last = _range([shares for shares in (p, q) if np.isfinite(shares).all()], kind.bins)
    merged = -(-(last - first) // _BARS)
    last = first + merged * -(-(last - first) // merged)
    width = kind.width * merged

    def bars(shares: NDArray[np.float64]) -> tuple[float, ...]:
        padded = np.concatenate([shares, np.zeros(merged)])[first:last]
        padded = np.concatenate([padded, np.zeros(last - first - len(padded))])
        return tuple(round(float(value), 6) for value in padded.reshape(-1, merged).sum(axis=1) / width)

    return Histogram(
        kind=kind.name, type=name, unit=kind.unit, low=round(kind.low + kind.width * first, 6), width=round(width, 6), labels=None,
        generated=bars(p) if np.isfinite(p).all() else (), reference=bars(q) if np.isfinite(q).all() else None,
    )  # fmt: skip


def _range(shares: list[NDArray[np.float64]], bins: int) -> tuple[int, int]:
    if not shares:
        return 0, bins
    ends = [(int(np.searchsorted(sums, _TAIL)), int(np.searchsorted(sums, 1 - _TAIL)) + 1) for sums in map(np.cumsum, shares)]
    return max(0, min(a for a, _ in ends) - 1), min(bins, max(b for _, b in ends) + 1)


def _categories(kind: Kind, mine: Histograms, theirs: Histograms | None) -> Histogram | None:
    p = np.nan_to_num(dense(mine.of(kind).get(0), kind, [0])[:, 0])
    q = None if theirs is None else np.nan_to_num(dense(theirs.of(kind).get(0), kind, [0])[:, 0])
    present = np.flatnonzero((p > 0) | (False if q is None else q > 0)).tolist()
    if not present:
        return None
    symbol = Chem.GetPeriodicTable().GetElementSymbol
    labels = tuple((symbol(b) if b else "*") if kind is ELEMENT else str(b) for b in present)
    return Histogram(
        kind=kind.name, type="", unit="", low=0.0, width=1.0, labels=labels,
        generated=tuple(p[present].tolist()), reference=None if q is None else tuple(q[present].tolist()),
    )  # fmt: skip


def _energy_picture(mine: list[float], theirs: list[float]) -> Histogram:
    """Up to the 98th percentile of what was generated; what lies beyond is in the last bar."""
    top = max(float(np.percentile(mine, 98)), *([float(np.percentile(theirs, 98))] if theirs else []), 1.0)
    width = top / 30

    def bars(values: Iterable[Any]) -> tuple[float, ...]:
        held = np.clip(np.asarray(list(values), dtype=np.float64), 0.0, top * (1 - 1e-9))
        counts, _ = np.histogram(held, bins=30, range=(0.0, top))
        return tuple((counts / max(len(held), 1) / width).tolist())

    return Histogram(
        kind="relaxation energies", type="", unit="kcal/mol", low=0.0, width=width, labels=None, generated=bars(mine),
        reference=bars(theirs) if theirs else None,
    )  # fmt: skip
