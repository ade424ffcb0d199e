"""What is kept of the molecules of a source once they are judged: compact, whatever their number, and in their order."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scidiff_molecules.metrics.crew import Lost
from scidiff_molecules.metrics.histograms import Histograms
from scidiff_molecules.metrics.payload import Payload, merge
from scidiff_molecules.metrics.verdict import Verdict

ROW = np.dtype(
    [
        ("atoms", "i4"), ("usable", "?"), ("a_atoms", "i4"), ("a_stable", "?"), ("a_valid", "?"), ("a_smiles", "u8"),
        ("strict_atoms", "i4"), ("strict_stable", "?"), ("lenient_atoms", "i4"), ("lenient_stable", "?"), ("valid", "?"),
        ("connected", "?"), ("b_counted", "?"), ("b_smiles", "u8"), ("hydrogens", "?"), ("foreign", "?"), ("flat", "?"),
        ("corrected_atoms", "i4"), ("described", "?"), ("scaffold", "u8"),
    ]
)  # fmt: skip
"""Sixty bytes a molecule: the verdict (``a_valid``, ``b_counted``: there is such a SMILES), and what the details add."""
DESCRIPTORS = ("qed", "sa", "logp")
MAX_SHOWN_FAILURES = 12


@dataclass(frozen=True)
class Drawn:
    """A molecule of a random subset: its place in the source, what it is, and its SMILES where it is valid and connected."""

    index: int
    payload: Payload
    smiles: str


class Subset:
    """The ``size`` items with the smallest priorities, whatever the order they come in."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._heap: list[tuple[float, int, Drawn]] = []

    def offer(self, priority: float, item: Drawn) -> None:
        entry = (-priority, -item.index, item)
        if len(self._heap) < self._size:
            heapq.heappush(self._heap, entry)
        elif self._size and entry[:2] > self._heap[0][:2]:
            heapq.heapreplace(self._heap, entry)

    def items(self) -> list[Drawn]:
        """By rising priority: the first k of them are the subset of size k."""
        return [item for _, _, item in sorted(self._heap, key=lambda entry: entry[:2], reverse=True)]


def rows_of(verdicts: Iterable[Verdict]) -> NDArray[Any]:
    """Verdicts as a table of :data:`ROW`; nothing described."""
    return np.array(
        [
            (
                v.atoms, v.usable, v.a_atoms, v.a_stable, v.a_smiles is not None, v.a_smiles or 0, v.strict_atoms, v.strict_stable,
                v.lenient_atoms, v.lenient_stable, v.valid, v.connected, v.b_smiles is not None, v.b_smiles or 0, v.hydrogens, v.foreign,
                v.flat, 0, False, 0,
            )
            for v in verdicts
        ],
        dtype=ROW,
    )  # fmt: skip


@dataclass
class Tally:
    """Judged molecules.

    Attributes:
        calculated, compared, failed: random subsets of the valid and connected molecules, for calculations, of those of which the SMILES
            is wanted alone, and of the molecules that are not valid and connected.
        histograms: what was observed of the valid and connected molecules, or None.
        faults: why a molecule is not valid as generated, by its place.
        properties: how the molecules were made.
        sums: sums of QED, SA and logP, and the number of molecules, in each column of the histograms (4, columns).
    """

    calculated: Subset
    compared: Subset
    failed: Subset
    histograms: Histograms | None = None
    faults: dict[int, str] = field(default_factory=dict[int, str])
    properties: dict[str, str] = field(default_factory=dict[str, str])
    sums: NDArray[np.float64] = field(default_factory=lambda: np.zeros((4, 0)))
    _parts: list[NDArray[Any]] = field(default_factory=list[NDArray[Any]])
    _table: NDArray[Any] | None = None

    @classmethod
    def empty(cls, calculated: int = 0, compared: int = 0, columns: int = 0) -> Tally:
        """Nothing yet; sizes of the subsets, and columns of the histograms (0: none)."""
        histograms = Histograms(columns) if columns else None
        shown = Subset(MAX_SHOWN_FAILURES if columns else 0)
        return cls(Subset(calculated), Subset(compared), shown, histograms, sums=np.zeros((4, columns)))

    @property
    def table(self) -> NDArray[Any]:
        """One :data:`ROW` a molecule."""
        if self._table is None or len(self._parts) > 1:
            self._table = np.concatenate(self._parts) if self._parts else np.zeros(0, dtype=ROW)
            self._parts = [self._table]
        return self._table

    def put(self, rows: NDArray[Any]) -> None:
        """Append rows of the table."""
        self._parts.append(rows)

    def add(
        self, first: int, payloads: list[Payload], answers: list[Any], priorities: NDArray[np.float64], weights: NDArray[np.int64] | None
    ) -> None:
        """Take up a chunk whose first molecule has the place ``first``; ``weights`` (M, columns) say how each counts in each column."""
        lost = [Verdict(first + k, 0, answer.reason, usable=False) for k, answer in enumerate(answers) if isinstance(answer, Lost)]
        gone = iter(lost)
        verdicts = [next(gone) if isinstance(answer, Lost) else Verdict(*answer["v"]) for answer in answers]
        rows = rows_of(verdicts)
        seen: list[tuple[int, dict[str, Any]]] = []
        for k, (verdict, answer) in enumerate(zip(verdicts, answers, strict=True)):
            if verdict.fault is not None:
                self.faults[verdict.index] = verdict.fault
            given: dict[str, Any] = {} if isinstance(answer, Lost) else answer
            merge(self.properties, given.get("p", {}))
            rows["corrected_atoms"][k] = given.get("stable", 0)
            if "smiles" in given:
                rows["described"][k], rows["scaffold"][k] = True, given["scaffold"]
                seen.append((k, given))
                self.calculated.offer(priorities[k], Drawn(verdict.index, payloads[k], given["smiles"]))
                self.compared.offer(priorities[k], Drawn(verdict.index, {}, given["smiles"]))
            elif not (verdict.valid and verdict.connected):
                self.failed.offer(priorities[k], Drawn(verdict.index, payloads[k], ""))
        self.put(rows)
        if weights is not None and seen:
            self._observe(seen, weights[: len(payloads)])

    def _observe(self, seen: list[tuple[int, dict[str, Any]]], weights: NDArray[np.int64]) -> None:
        assert self.histograms is not None
        places = np.array([k for k, _ in seen])
        values = np.array([[*(answer[name] for name in DESCRIPTORS), 1.0] for _, answer in seen])
        self.sums += np.einsum("mv,mc->vc", values, weights[places].astype(np.float64), optimize=False)
        molecules = np.repeat(places, [len(answer["cells"]) for _, answer in seen])
        self.histograms.add(molecules, np.array([key for _, answer in seen for key in answer["cells"]], dtype=np.int64), weights)
