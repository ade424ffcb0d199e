"""A walk that takes many different steps at once: row b of the batch goes from its own t to its own s."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from scidiff.process import State
from scidiff.sampling import Walk


@dataclass
class GridWalk(Walk):
    """``places`` [batch, 3]: the times each row comes from, is at, and goes to. A rule is run with the nominal times 3 -> 2 (the step
    before) and 2 -> 1 (the step itself); what it reckons between them is interpolated."""

    places: Float[Tensor, "batch 3"] = field(default_factory=lambda: torch.zeros(0, 3, dtype=torch.float64))

    def times(self, t: float, x: State) -> Float[Tensor, " batch"]:
        before, now, after = self.places.unbind(1)
        return now + (t - 2) * (before - now) if t >= 2 else after + (t - 1) * (now - after)


def places(grid: Float[Tensor, " points"], *, after_another: bool) -> Float[Tensor, "step 3"]:
    """(before, t, s) of every step of a grid; with ``after_another`` of all but the first, which has none before it."""
    if after_another:
        return torch.stack((grid[:-2], grid[1:-1], grid[2:]), 1)
    return torch.stack((grid[:-1], grid[:-1], grid[1:]), 1)
