"""Gaps made on purpose, to see how well they are filled: an exact share of the observed entries of a window."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from scidiff.errors import UserError

Mask = NDArray[np.bool_]
GapKind = Literal["random", "blocks"]


def hidden(observed: Mask, share: float, *, kind: GapKind = "random", seed: int = 0, number: int = 0, longest: int = 24) -> Mask:
    """Which entries to hide, [time, channel]: of n observed ones round(``share`` n), half to even; a function of the arguments alone.

    ``random``: any of them, all choices equally likely. ``blocks``: runs of 1 to ``longest`` steps of one channel, their length, place and
    channel uniform, until there are enough; the last is cut short. ``number``: of the window, for its random numbers.

    Raises:
        UserError: a share outside [0, 1].
    """
    if not 0 <= share <= 1:
        raise UserError(f"share = {share}: a share of the observed entries from 0 to 1 is needed")
    count = round(share * int(observed.sum()))
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, number])))
    found = np.zeros_like(observed)
    if kind == "random":
        found.flat[rng.choice(np.flatnonzero(observed), count, replace=False)] = True
        return found
    length, channels = observed.shape
    left = count
    while left:
        size, channel = int(rng.integers(1, longest + 1)), int(rng.integers(channels))
        begin = int(rng.integers(1 - size, length))  # blocks may reach over the ends, or the middle would be hidden more often
        run = slice(max(begin, 0), begin + size)
        fresh = np.flatnonzero(observed[run, channel] & ~found[run, channel])[:left] + run.start
        found[fresh, channel] = True
        left -= len(fresh)
    return found
