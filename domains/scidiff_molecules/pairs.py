"""Pairs of atoms: their distances and directions, and how what is symmetric in both atoms is computed once.

Of N atoms a network keeps features of the P = N (N - 1) / 2 unordered pairs as rows [B, P, F], which is less than half of the matrix
[B, N, N, F]; what attends needs the matrix, whose diagonal is zero. The gathers' gradients are gathers and products with incidence
matrices: on a GPU these are the same to the bit every time, as torch's own, atomic additions, are not.
"""

from __future__ import annotations

from typing import Any

import torch
from e3nn import o3
from jaxtyping import Float, Shaped
from torch import Tensor, nn

Coordinates = Float[Tensor, "batch atom 3"]
Rows = Float[Tensor, "batch pair feature"]

_SOFT = 0.1
"""Angstrom: under this distance a direction fades to zero instead of jumping, which keeps rounding from being amplified."""


class RadialBasis(nn.Module):
    """Gaussians of the distance on [0, reach], the distance itself, and a soft inverse: smooth invariants of a pair."""

    centres: Tensor

    def __init__(self, count: int, reach: float) -> None:
        super().__init__()
        self.register_buffer("centres", torch.linspace(0, reach, count), persistent=False)
        self.width = reach / count
        self.features = count + 2

    def forward(self, distance: Float[Tensor, "*pairs"]) -> Float[Tensor, "*pairs feature"]:
        d = distance[..., None]
        # Far bumps stop at e^-20: denormal numbers would slow every product they enter tenfold on a CPU.
        bumps = torch.exp(-0.5 * ((d - self.centres) / self.width).square().clamp(max=40))
        return torch.cat((bumps, d, 1 / (1 + d)), -1)


def directions(x: Coordinates) -> tuple[Float[Tensor, "batch atom atom"], Float[Tensor, "batch atom atom 3"]]:
    """(distances, unit vectors r_j - r_i), smooth at zero distance."""
    r = x[:, None] - x[:, :, None]
    distance = torch.sqrt(r.square().sum(-1) + _SOFT**2)
    return distance, r / distance[..., None]


def harmonics(degrees: list[int], unit: Float[Tensor, "batch atom atom 3"]) -> list[Tensor]:
    """Y_l of unit vectors for every degree l, with component normalisation."""
    return [o3.spherical_harmonics(degree, unit, normalize=False, normalization="component") for degree in degrees]


class PairIndex:
    """Where the unordered pairs (i, j), i < j, of ``n`` atoms lie in a matrix of pairs."""

    def __init__(self, n: int, device: torch.device) -> None:
        first, second = torch.triu_indices(n, n, 1, device=device)
        self.n, self.first, self.second = n, first, second
        self.upper, self.lower = first * n + second, second * n + first
        self.row = torch.zeros(n * n, dtype=torch.long, device=device)
        self.row[self.upper] = self.row[self.lower] = torch.arange(len(first), device=device)
        self.diagonal = torch.arange(n, device=device) * (n + 1)

    def of(self, matrix: Shaped[Tensor, "batch atom atom *rest"]) -> Shaped[Tensor, "batch pair *rest"]:
        """The rows of a symmetric matrix."""
        return matrix.flatten(1, 2).index_select(1, self.upper)

    def ends(self, x: Float[Tensor, "batch atom feature"]) -> tuple[Rows, Rows]:
        """Features of the first and of the second atom of every pair."""
        return _Ends.apply(x, self)

    def matrix(self, rows: Rows) -> Float[Tensor, "batch atom atom feature"]:
        """The symmetric matrix of the rows, zero on its diagonal."""
        return _Matrix.apply(rows, self)


class _Ends(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, index: PairIndex) -> tuple[Tensor, Tensor]:
        ctx.index = index
        return x.index_select(1, index.first), x.index_select(1, index.second)

    @staticmethod
    def backward(ctx: Any, first: Tensor, second: Tensor) -> tuple[Tensor, None]:
        from_first, from_second = (nn.functional.one_hot(end, ctx.index.n).to(first.dtype).T for end in (ctx.index.first, ctx.index.second))
        return from_first @ first + from_second @ second, None


class _Matrix(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, index: PairIndex) -> Tensor:
        ctx.index = index
        if not rows.shape[1]:
            return rows.new_zeros(len(rows), index.n, index.n, rows.shape[-1])
        return rows.index_select(1, index.row).index_fill_(1, index.diagonal, 0).unflatten(1, (index.n, index.n))

    @staticmethod
    def backward(ctx: Any, matrix: Tensor) -> tuple[Tensor, None]:
        index: PairIndex = ctx.index
        flat = matrix.flatten(1, 2)
        return flat.index_select(1, index.upper) + flat.index_select(1, index.lower), None
