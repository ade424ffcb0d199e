"""The order in which a training sees its examples: a pure function of (seed, epoch)."""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from scidiff.errors import UserError
from scidiff.random import permutation

_POOL = 32
"""Batches are cut from pools of this many: large enough to find examples of one size, small enough to stay random."""


def batches_per_epoch(examples: int, batch_size: int) -> int:
    """Full batches only; what is left over comes in another epoch's order. Raises UserError for a batch larger than the data."""
    if not 1 <= batch_size <= examples:
        raise UserError(f"batch_size must lie between 1 and the number of training examples ({examples}), got {batch_size}")
    return examples // batch_size


def epoch_batches(seed: int, epoch: int, sizes: Int[Tensor, " example"], batch_size: int) -> Int[Tensor, "batches batch"]:
    """Every batch of an epoch: a permutation cut into pools, each sorted by size and cut into batches, the batches shuffled.

    Padding is then small, every example is seen at most once, and both shuffles depend on (seed, epoch) alone.
    """
    count = batches_per_epoch(len(sizes), batch_size)
    order = permutation(seed, epoch, len(sizes))[: count * batch_size]
    pools = torch.split(order, _POOL * batch_size)
    batches = torch.cat([pool[torch.argsort(sizes[pool], stable=True)].reshape(-1, batch_size) for pool in pools])
    return batches[permutation(seed + 1, epoch, count)]
