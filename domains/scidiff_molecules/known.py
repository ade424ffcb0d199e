"""What a training gives away: which entries of a molecule are known, so that the model learns to complete what it is given.

Of some molecules a connected part (sometimes two) is known: its elements and charges, its bonds within each piece, and in some its
positions; the hydrogens of its atoms are not, for they may give way to what grows there. In some the part grows where it says alone: of
its other atoms hydrogens and all bonds are known too. That is how scaffolds and the ends of linkers are given later. Of some, properties
are known. All choices are a function of (seed, epoch, example).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from scidiff.layout import Layout
from scidiff.process import Layouts, State
from scidiff.random import NoiseSource
from scidiff_molecules.tokens import BONDS, ELEMENTS, HYDROGENS, POSITIONS, PROPERTIES

Atoms = Bool[Tensor, "batch atom"]
Bonded = Bool[Tensor, "batch atom atom"]

_TWO_PIECES = 0.3
"""Share of the known parts that are begun at two places: ends that a linker joins."""
_CLOSED = 0.4
"""Share of the known parts that grow where they say alone."""
_ALONE = 0.5
"""Share of the molecules with known properties of which a single one is known, as is asked for most often."""


@dataclass(frozen=True)
class Known:
    """Implements :data:`scidiff.objective.Reveal`.

    Attributes:
        substructure: share of the molecules of which a part is known.
        geometry: share of those whose part's positions are known too.
        properties: share of the molecules of which properties are known.
        molecule: all of every molecule is known, and none of its properties: these are then what is learnt, a regression.
    """

    substructure: float = 0.0
    geometry: float = 0.5
    properties: float = 0.0
    molecule: bool = False

    def __call__(self, x_0: State, layouts: Layouts, noise: NoiseSource, step: int) -> tuple[State, Layouts]:
        made = dict(layouts)
        if self.molecule:
            return x_0, {f: one if f == PROPERTIES else one.with_known(one.mask) for f, one in made.items()}
        if PROPERTIES in made:
            made[PROPERTIES] = made[PROPERTIES].with_known(self._given(made[PROPERTIES], noise, step))
        if self.substructure == 0:
            return x_0, made
        return reveal_part(x_0, made, *self._part(x_0, made, noise, step))

    def _given(self, layout: Layout, noise: NoiseSource, step: int) -> Bool[Tensor, "batch property"]:
        """Of a molecule none, one or several, every subset of a size equally often."""
        u, order = _coins(noise, "known properties", step, layout.mask), noise.at("order of properties", step).uniform(layout)
        count = layout.mask.shape[1]
        several = 2 + (u[:, 2] * (count - 1)).long().clamp(max=max(count - 2, 0))
        size = torch.where(u[:, 0] >= self.properties, 0, torch.where((u[:, 1] < _ALONE) | (several > count), 1, several))
        return layout.mask & (order.argsort(1).argsort(1) < size[:, None])

    def _part(self, x_0: State, layouts: Layouts, noise: NoiseSource, step: int) -> tuple[Atoms, Atoms, Atoms]:
        """(atoms that are known, those of them whose positions are, those of them at which nothing grows)."""
        mask = layouts[ELEMENTS].mask
        u, priority = _coins(noise, "known part", step, mask), noise.at("growth of the part", step).uniform(layouts[ELEMENTS])
        size = 1 + (u[:, 1] * (mask.sum(1) - 1)).long()
        size = torch.where((u[:, 0] < self.substructure) & (mask.sum(1) > 1), size, 0)
        breaks = torch.where(u[:, 2] < _TWO_PIECES, (u[:, 3] * size).long(), 0)
        bonded = (x_0[BONDS] > 0) & layouts[BONDS].mask
        part = grow(bonded, mask, priority, size, breaks)
        outward = (bonded & ~part[:, None]).any(2)
        closed = part & ~outward & (u[:, 5] < _CLOSED)[:, None] & (HYDROGENS in layouts)
        return part, part & (u[:, 4] < self.geometry)[:, None], closed


def reveal_part(x_0: State, layouts: Layouts, part: Atoms, placed: Atoms, closed: Atoms) -> tuple[State, Layouts]:
    """The elements of ``part`` and its bonds within each connected piece are known; the positions of ``placed``, around whose centre
    such a molecule then lies: with known positions the frame is theirs; and the hydrogens and all bonds of ``closed``."""
    made = dict(layouts)
    bonded = (x_0[BONDS] > 0) & layouts[BONDS].mask
    made[ELEMENTS] = made[ELEMENTS].with_known(part)
    made[BONDS] = made[BONDS].with_known((pieces(bonded, part) | closed[:, :, None] | closed[:, None]) & made[BONDS].mask)
    made[POSITIONS] = made[POSITIONS].with_known(placed)
    if HYDROGENS in made:
        made[HYDROGENS] = made[HYDROGENS].with_known(closed)
    x = x_0[POSITIONS]
    centre = torch.where(placed[..., None], x, 0.0).sum(1, keepdim=True) / placed.sum(1).clamp(min=1)[:, None, None].to(x.dtype)
    return {**x_0, POSITIONS: torch.where(layouts[POSITIONS].mask[..., None], x - centre, 0.0)}, made


def grow(
    bonded: Bonded, mask: Atoms, priority: Float[Tensor, "batch atom"], size: Int[Tensor, " batch"], breaks: Int[Tensor, " batch"]
) -> Atoms:
    """``size`` atoms of each molecule: the first of all in ``priority``, then always the first among the neighbours of those taken. Where
    ``breaks`` > 0, the atom after so many is one that is not bonded to any of them, if there is one: a second piece."""
    taken = torch.zeros_like(mask)
    rows = torch.arange(len(mask), device=mask.device)
    for number in range(int(size.max())):
        near = (bonded & taken[:, None]).any(2)
        free = mask & ~taken
        apart = free & ~near
        wanted = torch.where((((breaks == number) | (number == 0)) & apart.any(1))[:, None], apart, free & near)
        found = wanted.any(1) & (number < size)
        first = torch.where(wanted, priority, torch.inf).argmin(1)
        taken[rows, first] = taken[rows, first] | found
    return taken


def pieces(bonded: Bonded, part: Atoms) -> Bonded:
    """Which pairs of atoms are joined within ``part``, by any path; an atom is joined with itself."""
    inside = part[:, :, None] & part[:, None]
    joined = (bonded & inside) | (torch.diag_embed(part))
    for _ in range(max(1, (part.shape[1] - 1).bit_length())):
        joined = (joined.float() @ joined.float()) > 0
    return joined


def _coins(noise: NoiseSource, name: str, step: int, mask: Tensor) -> Float[Tensor, "batch coin"]:
    """Six uniforms for every molecule."""
    return noise.at(name, step).uniform(Layout(torch.ones(len(mask), 6, dtype=torch.bool, device=mask.device)))
