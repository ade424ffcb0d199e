r"""An E(3)-equivariant attention backbone: scalars and steerable features (e3nn irreps), at a transformer's cost.

Every atom carries scalars s [D] and steerable features v (irreps such as ``32x1o`` or ``32x1o+16x2e``), every pair carries scalars e [P].
A block attends with scalars; the same heads' weights, signed by a gate of the pair, also aggregate spherical harmonics
:math:`Y_l(\hat r_{ij})`, and their mean over the heads the neighbours' steerable features, bounded by :func:`calmed`:

.. math::
   m_i^{h,l} = \sum_j a_{ij}^h g_{ij}^h\, Y_l(\hat r_{ij}), \qquad
   v_i \leftarrow v_i + W_l\,[m_i^l, \textstyle\sum_j \bar a_{ij} v_j / \sqrt{1 + \overline{v_j^2}}]

No tensor product per edge is taken: steerable features meet only in inner products (per atom and per pair), which are invariant, and
in channel mixing, which is equivariant. After every block the coordinates move along their vectors and distances and directions are taken
afresh, from the clean geometry as estimated so far, so the network refines a molecule as it goes. Its cost is that of the pair
features, O(N^2 P) a block; they are symmetric, so those of a pair are computed once (:mod:`~scidiff_molecules.pairs`).

Reflections included: all irreps have the parity of the spherical harmonics, so nothing can tell a molecule from its mirror image.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import e3nn
import torch
from e3nn import o3
from jaxtyping import Bool, Float
from torch import Tensor, nn

from scidiff.errors import UserError
from scidiff_molecules.pairs import Coordinates, PairIndex, RadialBasis, directions, harmonics

e3nn.set_optimization_defaults(jit_mode="eager")  # script mode is deprecated in e3nn and opaque to torch.compile

Scalars = Float[Tensor, "batch atom width"]
Times = Float[Tensor, "batch atom time"]
Steerable = Float[Tensor, "batch atom irreps"]
Pairs = Float[Tensor, "batch pair width_of_pairs"]
Distances = Float[Tensor, "batch pair radial"]


class Modulated(nn.Module):
    """LayerNorm whose scale and shift follow the time embedding (Peebles & Xie 2023)."""

    def __init__(self, width: int, time_width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.affine = nn.Linear(time_width, 2 * width)
        nn.init.zeros_(self.affine.weight)
        nn.init.zeros_(self.affine.bias)

    def forward(self, s: Scalars, time: Times) -> Scalars:
        scale, shift = self.affine(time).chunk(2, -1)
        return self.norm(s) * (1 + scale) + shift


def by_degree(v: Steerable, dims: list[int], multiplicity: int) -> list[Float[Tensor, "batch atom channel m"]]:
    """The parts of each degree, [B, N, multiplicity, 2 l + 1]."""
    return [part.unflatten(-1, (multiplicity, dim)) for part, dim in zip(v.split([multiplicity * d for d in dims], -1), dims, strict=True)]


def calmed(v: Steerable) -> Steerable:
    """Bounded by its own size over an atom's channels: what layer norm is to scalars, and smooth at zero. Without it a gate that depends on
    squares makes v^3 of v in every block, and one unusual molecule in 200,000 ended a training."""
    return v * (1 + v.square().mean(-1, keepdim=True)).rsqrt()


class Block(nn.Module):
    """Attention over scalars, steerable features and pairs; a feed-forward step; a pair update; a move of the coordinates."""

    channels_of: Tensor

    def __init__(self, width: int, heads: int, pair_width: int, irreps: o3.Irreps, time_width: int, radial: int) -> None:
        super().__init__()
        self.heads, self.multiplicity = heads, next(mul for mul, _ in irreps)
        self.dims = [ir.dim for _, ir in irreps]
        self.channels = channels = irreps.num_irreps
        self.norm_attention, self.norm_forward = Modulated(width, time_width), Modulated(width, time_width)
        self.norm_pair = nn.LayerNorm(pair_width)
        self.qkv = nn.Linear(width, 3 * width)
        self.from_pair = nn.Linear(pair_width, heads + self.multiplicity)
        self.out = nn.Linear(width + pair_width, width)
        # Steerable features come from the harmonics that each channel aggregated, and from the neighbours' own.
        self.mix_harmonics, self.mix_neighbours = o3.Linear(irreps, irreps), o3.Linear(irreps, irreps)
        self.forward_in = nn.Linear(width + channels, 3 * width)
        self.forward_out = nn.Linear(3 * width, width + channels)
        self.mix_steerable = o3.Linear(irreps, irreps)
        self.pair_from_atom = nn.Linear(width, 2 * pair_width)
        self.pair_vectors = o3.Linear(irreps, o3.Irreps([(8, ir) for _, ir in irreps]))
        self.pair_in = nn.Linear(pair_width + 8 * len(irreps) + radial, pair_width)
        self.pair_out = nn.Linear(pair_width, pair_width)
        self.move = o3.Linear(irreps, o3.Irreps("1x1o"))
        # Repeats every head over its channels of pairs and of harmonics: as a product, for copies of few numbers each are slow.
        which = torch.cat([torch.arange(count) // (count // heads) for count in (pair_width, self.multiplicity)])
        self.register_buffer("channels_of", nn.functional.one_hot(which, heads).T.float(), persistent=False)
        for last in (self.out, self.forward_out, self.pair_out):
            nn.init.zeros_(last.bias)
            with torch.no_grad():
                last.weight.mul_(0.3)
        with torch.no_grad():
            cast("Tensor", self.move.weight).mul_(0.1)

    def forward(
        self,
        s: Scalars,
        v: Steerable,
        e: Pairs,
        time: Times,
        radial: Distances,
        y_l: list[Tensor],
        mask: Bool[Tensor, "batch atom atom"],
        index: PairIndex,
    ) -> tuple[Scalars, Steerable, Pairs]:
        batch, n, width = s.shape
        normed = self.norm_attention(s, time)
        rows = self.norm_pair(e)
        q, k, values = self.qkv(normed).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        bias, gate = index.matrix(self.from_pair(rows)).split((self.heads, self.multiplicity), -1)
        logits = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5 + bias.permute(0, 3, 1, 2)
        attention = logits.to(v.dtype).masked_fill(~mask[:, None], -1e9).softmax(-1).to(values.dtype)
        attention = attention * mask[:, None]  # an atom that is alone attends to nothing, not to the padding
        attended = (attention @ values).transpose(1, 2).reshape(batch, n, width)
        per_head = attention.permute(0, 2, 3, 1)  # [B, i, j, head]
        spread, signed = (per_head @ self.channels_of.to(per_head.dtype)).split((e.shape[-1], self.multiplicity), -1)
        s = s + self.out(torch.cat((attended, (spread * index.matrix(rows).to(spread.dtype)).sum(2)), -1))
        v = v + self._aggregate(per_head.to(v.dtype), signed.to(v.dtype) * gate.to(v.dtype), v, y_l)
        calm = calmed(v)
        norms = torch.cat([part.square().mean(-1) for part in by_degree(calm, self.dims, self.multiplicity)], -1)
        hidden = torch.cat((self.norm_forward(s, time), norms.to(s.dtype)), -1)
        delta, gate = self.forward_out(nn.functional.silu(self.forward_in(hidden))).split((width, self.channels), -1)
        s = s + delta
        v = v + self._gated(mixed(self.mix_steerable, calm), gate.to(v.dtype))
        return s, v, e + self._pair_update(s, calmed(v), rows, radial, index)

    def _aggregate(self, attention: Tensor, signed: Tensor, v: Steerable, y_l: list[Tensor]) -> Steerable:
        with torch.autocast(v.device.type, enabled=False):  # components that are rounded apart no longer turn together
            parts = [torch.einsum("bijh,bijm->bihm", signed, y).flatten(2) for y in y_l]
            neighbours = attention.mean(-1) @ calmed(v)
        return mixed(self.mix_harmonics, torch.cat(parts, -1)) + mixed(self.mix_neighbours, neighbours)

    def _gated(self, v: Steerable, gate: Float[Tensor, "batch atom channel"]) -> Steerable:
        """Multiply every channel of every degree by its own scalar."""
        gates = gate.split(self.multiplicity, -1)
        parts = by_degree(v, self.dims, self.multiplicity)
        return torch.cat([(part * g[..., None]).flatten(-2) for part, g in zip(parts, gates, strict=True)], -1)

    def _pair_update(self, s: Scalars, v: Steerable, rows: Pairs, radial: Distances, index: PairIndex) -> Pairs:
        parts = by_degree(mixed(self.pair_vectors, v), self.dims, 8)
        with torch.autocast(v.device.type, enabled=False):
            products = torch.cat([torch.einsum("bihm,bjhm->bijh", p, p) / p.shape[-1] for p in parts], -1)
        hidden = self.pair_in(torch.cat((rows, index.of(products).to(rows.dtype), radial.to(rows.dtype)), -1))
        return self.pair_out(nn.functional.silu(hidden + met(self.pair_from_atom(s), index)))


def met(x: Scalars, index: PairIndex) -> Pairs:
    """Of every pair: the sum of half of its atoms' features, plus the product of the other half."""
    (summed, multiplied), (with_sum, with_product) = (end.chunk(2, -1) for end in index.ends(x))
    return summed + with_sum + multiplied * with_product


def mixed(linear: o3.Linear, v: Steerable) -> Float[Tensor, "batch atom mixed"]:
    """Channels mixed within every irrep. Geometry stays in full precision under autocast; it is a small share of the cost."""
    with torch.autocast(v.device.type, enabled=False):
        return linear(v.to(cast("Tensor", linear.weight).dtype))


class Network(nn.Module):
    """Scalar and pair inputs, and coordinates, to scalar and pair outputs and one vector per atom, by blocks of one kind.

    Args of :meth:`forward`: atoms [B, N, atom_features] and bonds [B, P, pair_features] (of unordered pairs) invariant inputs;
    time [B, N, time_features]; ``noisy`` the coordinates the first block looks at, and ``estimate`` maps the vectors predicted so far
    [B, N, 3] to those that the next one looks at, both in Angstrom; mask [B, N] real atoms.
    Returns (atom outputs, outputs of unordered pairs, vectors).

    ``features`` and ``outputs`` count (atom, pair, time) inputs and (atom, pair) outputs; ``block`` makes one for a width of the time
    embedding and a number of distances' features: a module that updates (scalars, steerable features, pairs) from them, the time, the
    distances' features, the harmonics of ``degrees`` and the mask of pairs, and that holds ``move``.
    """

    def __init__(
        self,
        features: tuple[int, int, int],
        outputs: tuple[int, int],
        *,
        width: int,
        pair_width: int,
        blocks: int,
        block: Callable[[int, int], nn.Module],
        steerable: o3.Irreps,
        degrees: list[int],
        radial: int,
        reach: float,
    ) -> None:
        super().__init__()
        (atom_features, pair_features, time_features), (atom_outputs, pair_outputs) = features, outputs
        time_width = 64
        self.degrees, self.steerable = degrees, steerable.dim
        self.basis = RadialBasis(radial, reach)
        self.embed_time = nn.Sequential(
            nn.Linear(time_features, 2 * time_width), nn.SiLU(), nn.Linear(2 * time_width, time_width), nn.SiLU()
        )
        self.embed_atom = nn.Linear(atom_features + time_width, width)
        self.embed_pair = nn.Linear(pair_features + self.basis.features, pair_width)
        self.blocks = nn.ModuleList(block(time_width, self.basis.features) for _ in range(blocks))
        self.norm_atom, self.norm_pair = Modulated(width, time_width), nn.LayerNorm(pair_width)
        self.head_atom = nn.Linear(width, atom_outputs)
        self.head_pair = nn.Sequential(nn.Linear(pair_width, pair_width), nn.SiLU(), nn.Linear(pair_width, pair_outputs))

    def forward(
        self,
        atoms: Float[Tensor, "batch atom feature"],
        bonds: Float[Tensor, "batch pair pair_feature"],
        time: Times,
        noisy: Coordinates,
        estimate: Callable[[Coordinates], Coordinates],
        mask: Bool[Tensor, "batch atom"],
    ) -> tuple[Float[Tensor, "batch atom output"], Float[Tensor, "batch pair pair_output"], Coordinates]:
        index = PairIndex(mask.shape[1], mask.device)
        pair_mask = mask[:, :, None] & mask[:, None] & ~torch.eye(mask.shape[1], dtype=torch.bool, device=mask.device)
        vectors = torch.zeros(*mask.shape, 3, dtype=torch.promote_types(atoms.dtype, torch.float32), device=mask.device)
        time = self.embed_time(time)
        s = self.embed_atom(torch.cat((atoms, time.to(atoms.dtype)), -1))
        v = vectors.new_zeros(*mask.shape, self.steerable)
        radial, y_l = self.look(noisy, index)
        e = self.embed_pair(torch.cat((bonds, radial.to(bonds.dtype)), -1))
        for block in self.blocks:
            s, v, e = block(s, v, e, time, radial, y_l, pair_mask, index)
            vectors = vectors + torch.where(mask[..., None], mixed(cast("Block", block).move, v), 0.0)
            if block is not self.blocks[-1]:
                radial, y_l = self.look(estimate(vectors), index)
        return self.head_atom(self.norm_atom(s, time)), self.head_pair(self.norm_pair(e)), vectors

    def look(self, x: Coordinates, index: PairIndex) -> tuple[Distances, list[Tensor]]:
        """(features of the distances of all pairs, the harmonics of all directions, as matrices)."""
        distance, unit = directions(x)
        return self.basis(index.of(distance)), harmonics(self.degrees, unit)


class EquivariantTransformer(Network):
    """A :class:`Network` of attention :class:`Block` s.

    Raises UserError for irreps that are not spherical harmonics' (l > 0, parity (-1)^l, equal multiplicities, 1o among them, as positions
    move along it) or widths that heads do not divide.
    """

    def __init__(
        self,
        atom_features: int,
        pair_features: int,
        time_features: int,
        atom_outputs: int,
        pair_outputs: int,
        *,
        width: int = 192,
        pair_width: int = 64,
        blocks: int = 6,
        heads: int = 8,
        irreps: str = "32x1o",
        radial: int = 32,
        reach: float = 8.0,
    ) -> None:
        features = cast("o3.Irreps", o3.Irreps(irreps))
        if any(ir.l == 0 or ir.p != (-1) ** ir.l for _, ir in features) or len({mul for mul, _ in features}) != 1 or "1o" not in features:
            raise UserError(f"irreps {irreps!r}: give steerable harmonics of one multiplicity, 1o among them, as '32x1o' or '32x1o+32x2e'")
        if width % heads or pair_width % heads or next(mul for mul, _ in features) % heads:
            raise UserError(f"heads ({heads}) must divide width ({width}), pair_width ({pair_width}) and the multiplicity in {irreps!r}")
        super().__init__(
            (atom_features, pair_features, time_features),
            (atom_outputs, pair_outputs),
            width=width,
            pair_width=pair_width,
            blocks=blocks,
            block=lambda time, distance: Block(width, heads, pair_width, features, time, distance),
            steerable=features,
            degrees=[ir.l for _, ir in features],
            radial=radial,
            reach=reach,
        )


def fourier(x: Float[Tensor, "*shape"], count: int, longest: float) -> Float[Tensor, "*shape feature"]:
    """sin and cos of x at ``count`` geometrically spaced wavelengths from ``longest`` down."""
    frequencies = 2 * math.pi / longest * 2.0 ** torch.arange(count, dtype=x.dtype, device=x.device)
    angle = x[..., None] * frequencies
    return torch.cat((angle.sin(), angle.cos()), -1)
