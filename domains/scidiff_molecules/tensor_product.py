r"""An E(3)-equivariant message-passing backbone whose messages are tensor products: the field's reference beside the attention backbone.

Every atom carries scalars s [D] and steerable features v (irreps of l > 0 such as ``8x1o+8x2e``), every pair scalars e [P]. All pairs
of a molecule exchange messages. With h = (W s, W v), channels u, and the Clebsch-Gordan coefficients C of every path (l1, l2) -> l3,

.. math::
   m_i^{u, l_3} = \frac{1}{\sqrt{n - 1}} \sum_{j \ne i} R_u(e_{ij}, |r_{ij}|)\, \sum_{l_1, l_2} C^{l_3}_{l_1 l_2}\,
   h_j^{u, l_1}\, Y_{l_2}(\hat r_{ij}),

where the radial network R states a weight for every channel of every path. So unlike attention with harmonics, steerable features of
neighbours couple to the directions of edges, at a cost of O(N^2) tensor products a block. Invariant messages go through a
feed-forward step with the scalars, the others are mixed and gated; then pairs are updated from their atoms and the coordinates move.

Sources: Thomas et al. 2018 (Tensor Field Networks), Batzner et al. 2022 (NequIP); the products are e3nn's (Geiger & Smidt 2022).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from e3nn import o3
from jaxtyping import Bool
from torch import Tensor, nn

from scidiff.errors import UserError
from scidiff_molecules.backbone import Distances, Modulated, Network, Pairs, Scalars, Steerable, Times, calmed, met, mixed
from scidiff_molecules.pairs import PairIndex


class Messages(o3.TensorProduct):
    """Every path from ``irreps`` times harmonics (up to the highest degree in ``irreps``) to the kinds that are in ``irreps``.

    Channel by channel (e3nn's connection ``uvu``), with weights given at every call. Invariants come first in the output.
    """

    def __init__(self, irreps: o3.Irreps) -> None:
        harmonics = o3.Irreps.spherical_harmonics(irreps.lmax)
        kinds = {ir for _, ir in irreps}
        paths = [
            (sender, edge, mul, kind)
            for sender, (mul, ir) in enumerate(irreps)
            for edge, (_, harmonic) in enumerate(harmonics)
            for kind in ir * harmonic
            if kind in kinds
        ]
        paths.sort(key=lambda path: (path[-1] != o3.Irrep("0e"), path[-1]))
        instructions = [(sender, edge, out, "uvu", True) for out, (sender, edge, _, _) in enumerate(paths)]
        out = o3.Irreps([(mul, kind) for *_, mul, kind in paths])
        super().__init__(irreps, harmonics, out, instructions, shared_weights=False, internal_weights=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        """e3nn rounds the coefficients to float32 when it builds a product; after a cast they are taken afresh in the new precision."""
        super()._apply(fn, recurse)
        for name, coefficients in self.named_buffers():
            if "_w3j_" in name:
                l_1, l_2, l_3 = (int(degree) for degree in name.split("_w3j_")[1].split("_"))
                coefficients.copy_(o3.wigner_3j(l_1, l_2, l_3, dtype=torch.float64))
        return self


class MessageBlock(nn.Module):
    """Messages of all pairs; a feed-forward step; a pair update; a move of the coordinates."""

    def __init__(self, width: int, pair_width: int, irreps: o3.Irreps, time_width: int, radial: int) -> None:
        super().__init__()
        scalars, steerable = irreps.count("0e"), steerable_part(irreps)
        self.messages = Messages(irreps)
        carried = cast("o3.Irreps", self.messages.irreps_out)
        self.invariants, channels = carried.count("0e"), steerable.num_irreps
        self.norm_send, self.norm_pair = Modulated(width, time_width), nn.LayerNorm(pair_width)
        self.norm_forward = Modulated(width, time_width)
        self.send_scalars, self.send_steerable = nn.Linear(width, scalars), o3.Linear(steerable, steerable)
        weights = cast("int", self.messages.weight_numel)
        self.radial = nn.Sequential(nn.Linear(pair_width + radial, 2 * pair_width), nn.SiLU(), nn.Linear(2 * pair_width, weights))
        self.receive = o3.Linear(steerable_part(carried).simplify(), steerable)
        self.squares = o3.ElementwiseTensorProduct(steerable, steerable, ["0e"])
        self.gated = o3.ElementwiseTensorProduct(steerable, f"{channels}x0e")
        self.forward_in = nn.Linear(width + self.invariants + channels, 3 * width)
        self.forward_out = nn.Linear(3 * width, width + channels)
        self.mix_steerable = o3.Linear(steerable, steerable)
        self.pair_from_atom = nn.Linear(width, 2 * pair_width)
        self.pair_in = nn.Linear(pair_width + radial, pair_width)
        self.pair_out = nn.Linear(pair_width, pair_width)
        self.move = o3.Linear(steerable, o3.Irreps("1x1o"))
        for last in (self.forward_out, self.pair_out):
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
        rows = torch.cat((self.norm_pair(e), radial.to(e.dtype)), -1)
        weights = index.matrix(self.radial(rows)).to(v.dtype)
        sent = torch.cat((self.send_scalars(self.norm_send(s, time)).to(v.dtype), mixed(self.send_steerable, calmed(v))), -1)
        v, calm, invariant = self._receive(v, sent, torch.cat(y_l, -1), weights, mask)
        hidden = torch.cat((self.norm_forward(s, time), invariant.to(s.dtype)), -1)
        delta, gate = self.forward_out(nn.functional.silu(self.forward_in(hidden))).tensor_split((s.shape[-1],), -1)
        s = s + delta
        v = v + self.gated(mixed(self.mix_steerable, calm), gate.to(v.dtype))
        return s, v, e + self.pair_out(nn.functional.silu(self.pair_in(rows) + met(self.pair_from_atom(s), index)))

    def _receive(self, v: Tensor, sent: Tensor, y_l: Tensor, weights: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """v with the neighbours' messages added, the same calmed, and invariants of both; in full precision also under autocast."""
        batch, n = sent.shape[:2]
        neighbours = mask.sum(-1, keepdim=True).clamp(min=1).to(weights.dtype)
        weights = weights * (mask * neighbours.rsqrt())[..., None]
        with torch.autocast(sent.device.type, enabled=False):
            received = self.messages(sent[:, None].expand(batch, n, n, -1), y_l, weights).sum(2)
            invariant, carried = received.tensor_split((self.invariants,), -1)
            v = v + self.receive(carried)
            calm = calmed(v)
            return v, calm, torch.cat((invariant, self.squares(calm, calm)), -1)


def invariants_first(irreps: o3.Irreps) -> o3.Irreps:
    """Equal kinds together, 0e before all others."""
    kinds = sorted({ir for mul, ir in irreps if mul}, key=lambda ir: (ir != o3.Irrep("0e"), ir))
    return cast("o3.Irreps", o3.Irreps([(irreps.count(ir), ir) for ir in kinds]))


def steerable_part(irreps: o3.Irreps) -> o3.Irreps:
    """All but the invariants."""
    return cast("o3.Irreps", o3.Irreps([(mul, ir) for mul, ir in irreps if ir != o3.Irrep("0e")]))


class TensorProductNetwork(Network):
    """A :class:`Network` of :class:`MessageBlock` s. ``irreps`` are those of messages: their 0e part is what the ``width`` scalars of an
    atom send, the rest is kept by every atom as well.

    Raises UserError for irreps without scalars 0e to send or vectors 1o to move coordinates along.
    """

    def __init__(
        self,
        atom_features: int,
        pair_features: int,
        time_features: int,
        atom_outputs: int,
        pair_outputs: int,
        *,
        width: int = 96,
        pair_width: int = 32,
        blocks: int = 4,
        irreps: str = "32x0e+8x1o+8x2e",
        radial: int = 32,
        reach: float = 8.0,
    ) -> None:
        features = invariants_first(cast("o3.Irreps", o3.Irreps(irreps)))
        if not features.count("0e") or not features.count("1o"):
            raise UserError(f"irreps {irreps!r}: messages need scalars 0e and vectors 1o, such as '32x0e+8x1o+8x2e'")
        super().__init__(
            (atom_features, pair_features, time_features),
            (atom_outputs, pair_outputs),
            width=width,
            pair_width=pair_width,
            blocks=blocks,
            block=lambda time, distance: MessageBlock(width, pair_width, features, time, distance),
            steerable=steerable_part(features),
            degrees=list(range(features.lmax + 1)),
            radial=radial,
            reach=reach,
        )
