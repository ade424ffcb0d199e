r"""The gradient of a global batch, whatever computes it: one process or several, at once or in parts.

A batch of B examples is cut into P parts, P the least multiple of the number of ranks that is at least ``accumulate``; each rank computes
consecutive ones, and the gradient is :math:`\frac1B\sum_p \nabla\sum_{i\in p} L_i`. Sums are taken pairwise, as a balanced tree: if P and
the number of ranks are powers of two, a rank's sum is a subtree, so that one process and two give the same gradient to the bit. A part
that does not fit in memory is halved, and so are later ones, until it does.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from scidiff.errors import UserError
from scidiff.memory import Room, split_when_full
from scidiff.train.ranks import Ranks

Gradients = list[Tensor | None]
Values = dict[str, float]
Compute = Callable[[int, int], Mapping[str, Tensor]]
"""From a range of the batch's places to values of each example, [example]; ``loss`` is what is minimised."""


def parts_of(batch_size: int, accumulate: int, world: int) -> list[tuple[int, int]]:
    """The ranges of places in which a batch is computed, as equal as can be. Raises UserError where there are more ranks than examples."""
    parts = min(-(-accumulate // world) * world, batch_size // world * world)
    if parts < world:
        raise UserError(f"train.batch_size = {batch_size}: {world} processes need at least one example each")
    cuts = [batch_size * part // parts for part in range(parts + 1)]
    return list(pairwise(cuts))


class Accumulator:
    """Computes gradients of global batches, and remembers how many examples fit in memory at once."""

    def __init__(self, ranks: Ranks, parameters: Sequence[nn.Parameter], room: Room) -> None:
        self._ranks, self._parameters, self.room = ranks, list(parameters), room

    def __call__(self, batch_size: int, accumulate: int, compute: Compute, stop: Callable[[], bool]) -> tuple[Values, bool]:
        """Set the parameters' gradients to that of the batch's mean loss; the means of all values, and whether any rank wants to stop."""
        parts = parts_of(batch_size, accumulate, self._ranks.world)
        each = len(parts) // self._ranks.world
        values: list[dict[str, Tensor]] = []
        gradients = self._sum(parts[self._ranks.rank * each :][:each], batch_size, compute, values)
        gradients = self._add_ranks(gradients)
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = gradient
        return self._means(values, batch_size, stop())

    def _sum(self, parts: Sequence[tuple[int, int]], batch_size: int, compute: Compute, values: list[dict[str, Tensor]]) -> Gradients:
        if len(parts) == 1:
            return self._part(*parts[0], batch_size, compute, values)
        half = len(parts) // 2
        left = self._sum(parts[:half], batch_size, compute, values)
        return _added(left, self._sum(parts[half:], batch_size, compute, values))

    def _part(self, begin: int, end: int, batch_size: int, compute: Compute, values: list[dict[str, Tensor]]) -> Gradients:
        def one(places: Sequence[int]) -> Gradients:
            try:
                found = compute(places[0], places[-1] + 1)
                self._ranks.fabric.backward((found["loss"].sum() / batch_size).float())
            finally:
                gradients = self._taken()  # also what an attempt that did not fit has left
            values.append({name: value.detach().double().sum() for name, value in found.items()})
            return gradients

        return functools.reduce(_added, split_when_full(one, range(begin, end), self.room, what="examples of a batch"))

    def _taken(self) -> Gradients:
        gradients = [parameter.grad for parameter in self._parameters]
        for parameter in self._parameters:
            parameter.grad = None
        return gradients

    def _add_ranks(self, gradients: Gradients) -> Gradients:
        if self._ranks.world == 1:
            return gradients
        dense = [torch.zeros_like(p) if g is None else g for p, g in zip(self._parameters, gradients, strict=True)]
        used = dense[0].new_tensor([gradient is not None for gradient in gradients])
        flat = self._ranks.add(torch.cat([used, *(gradient.flatten() for gradient in dense)]))
        summed = flat[len(used) :].split([gradient.numel() for gradient in dense])
        pairs = zip(flat[: len(used)].tolist(), summed, dense, strict=True)
        return [part.view_as(gradient) if count else None for count, part, gradient in pairs]

    def _means(self, values: list[dict[str, Tensor]], batch_size: int, stop: bool) -> tuple[Values, bool]:
        """Means over the batch; ranks agree on them, on stopping, and on how many rows fit."""
        names, world, rank = sorted(values[0]), self._ranks.world, self._ranks.rank
        local = torch.stack([torch.stack([one[name] for one in values]).sum() for name in names]).cpu()
        table = torch.zeros(world, len(names) + 2, dtype=torch.float64)
        table[rank] = torch.cat([local, torch.tensor([float(stop), float(self.room.size or 0)], dtype=torch.float64)])
        table = self._ranks.add(table.to(self._ranks.device)).cpu()
        limits = [int(rows) for rows in table[:, -1] if rows > 0]
        self.room.size = min(limits, default=None)
        sums = dict(zip(names, table[:, :-2].sum(0).tolist(), strict=True))
        return {name: value / batch_size for name, value in sums.items()}, bool(table[:, -2].any())


def _added(left: Gradients, right: Gradients) -> Gradients:
    return [a if b is None else b if a is None else a.add_(b) for a, b in zip(left, right, strict=True)]
