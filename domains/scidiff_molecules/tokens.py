"""Atom tokens: what one label of the elements field stands for, and the dense state that the core sees."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from scidiff.layout import Layout
from scidiff.process import State

POSITIONS, ELEMENTS, BONDS = "positions", "elements", "bonds"
HYDROGENS, PROPERTIES = "hydrogens", "properties"
"""Fields that some models have besides: implicit hydrogens as labels of their own (0 to 4 at each atom), and numbers that describe the
whole molecule (see :mod:`.properties`)."""
BOND_LABELS = 4
"""none, single, double, triple (Kekule orders)."""
HYDROGEN_LABELS = 5


@dataclass(frozen=True)
class Token:
    """An atom's element (atomic number), formal charge and implicit hydrogens (0 where hydrogens are atoms of their own)."""

    number: int
    charge: int
    hydrogens: int


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a data set, most frequent first. Position in ``tokens`` is the label."""

    tokens: tuple[Token, ...]

    @classmethod
    def of(cls, number: Int[Tensor, " atom"], charge: Int[Tensor, " atom"], hydrogens: Int[Tensor, " atom"]) -> Vocabulary:
        counts = Counter(zip(number.tolist(), charge.tolist(), hydrogens.tolist(), strict=True))
        return cls(tuple(Token(*key) for key, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))))

    def __len__(self) -> int:
        return len(self.tokens)

    def encode(self, number: Tensor, charge: Tensor, hydrogens: Tensor) -> Int[Tensor, "*shape"]:
        """Labels of atoms. Raises ValueError naming the first token that is not in the vocabulary."""
        labels, known = self._find(number, charge, hydrogens)
        if not bool(known.all()):
            where = tuple(int(i) for i in (~known).nonzero()[0])
            atom = (int(number[where]), int(charge[where]), int(hydrogens[where]))
            raise ValueError(f"atom {where} (atomic number, charge, hydrogens) = {atom} is not in the vocabulary of {len(self)} tokens")
        return labels

    def covers(self, number: Tensor, charge: Tensor, hydrogens: Tensor) -> Bool[Tensor, "*shape"]:
        """Which atoms have a token."""
        return self._find(number, charge, hydrogens)[1]

    def _find(self, number: Tensor, charge: Tensor, hydrogens: Tensor) -> tuple[Tensor, Tensor]:
        """The label of each atom, and whether it has one."""
        key = (number.long() * 32 + charge.long() + 16) * 32 + hydrogens.long()
        known = torch.tensor([(t.number * 32 + t.charge + 16) * 32 + t.hydrogens for t in self.tokens])
        order = known.argsort()
        labels = order[torch.searchsorted(known[order], key).clamp(max=len(known) - 1)]
        return labels, known[labels] == key

    def to_list(self) -> list[list[int]]:
        return [[t.number, t.charge, t.hydrogens] for t in self.tokens]

    @classmethod
    def from_list(cls, rows: list[list[int]]) -> Vocabulary:
        return cls(tuple(Token(*row) for row in rows))


def layouts(sizes: Int[Tensor, " batch"], n_max: int, *, hydrogens: bool = False) -> dict[str, Layout]:
    """Positions in the zero-centre-of-mass subspace, elements (hydrogens too, if they are a field) per atom, bonds per unordered pair."""
    atoms = Layout.nodes(sizes, n_max)
    made = {POSITIONS: replace(atoms, centred=True), ELEMENTS: atoms, BONDS: Layout.symmetric_pairs(sizes, n_max)}
    return made | ({HYDROGENS: atoms} if hydrogens else {})


def state(
    dense: Mapping[str, Tensor], vocabulary: Vocabulary, scale: float, *, hydrogens: bool = False
) -> tuple[State, dict[str, Layout]]:
    """A padded batch (pos [B, N, 3] in Angstrom, z, charge, num_h, mask [B, N], bonds [B, N, N]) as a state in units of ``scale``, with
    its layouts. ``hydrogens``: they are a field of their own, and no part of a token. Raises ValueError for an atom that is not in the
    vocabulary."""
    mask: Bool[Tensor, "batch atom"] = dense["mask"]
    layout = layouts(mask.sum(1), mask.shape[1], hydrogens=hydrogens)
    first = vocabulary.tokens[0]  # what padding is taken for; any label would do
    counted = torch.zeros_like(dense["num_h"]) if hydrogens else dense["num_h"]
    padding = ((dense["z"], first.number), (dense["charge"], first.charge), (counted, first.hydrogens))
    labels = vocabulary.encode(*(torch.where(mask, value, filler) for value, filler in padding))
    positions: Float[Tensor, "batch atom 3"] = layout[POSITIONS].project(dense["pos"].float() / scale)
    made = {POSITIONS: positions, ELEMENTS: labels, BONDS: dense["bonds"].long()}
    return made | ({HYDROGENS: dense["num_h"].long()} if hydrogens else {}), layout
