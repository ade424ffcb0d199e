"""Clipping of the gradient's norm: at a fixed value, or at what the norms seen so far make likely.

A fixed limit is either never met or throttles everything, and its right value moves as the training goes on. ``seen``: the limit is
1.5 mean + 2 deviations of the last 50 (clipped) norms, as in EDM's molecule training (Hoogeboom et al. 2022), and ``clip_norm`` at most.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from statistics import fmean, pstdev

import torch
from torch import Tensor

from scidiff.train.config import TrainConfig

SEEN = 50


class Clipper:
    """Keeps the norms that were seen; they are part of a checkpoint."""

    def __init__(self, config: TrainConfig, seen: Iterable[float] = ()) -> None:
        self._config = config
        self.seen = deque(seen, maxlen=SEEN)

    @property
    def limit(self) -> float:
        """The norm that the next gradient may have."""
        if self._config.clip == "fixed" or not self.seen:
            return self._config.clip_norm
        return min(self._config.clip_norm, 1.5 * fmean(self.seen) + 2 * pstdev(self.seen))

    def clip(self, parameters: Iterable[Tensor]) -> float:
        """Scale the gradients to the limit, in place; the norm that they had. A norm that is not finite is not remembered."""
        limit = self.limit
        norm = torch.nn.utils.clip_grad_norm_(parameters, limit).item()
        if self._config.clip == "seen" and math.isfinite(norm):
            self.seen.append(min(norm, limit))
        return norm
