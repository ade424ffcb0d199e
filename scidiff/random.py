r"""Counter-based random streams: one sample's noise depends on (seed, sample id, field, step) alone.

Philox 4x32-10 (Salmon et al. 2011) is a bijection of a 128-bit counter under a 64-bit key. Key = hash(seed, field), counter =
(block, step, id low, id high); a block of four 32-bit words gives two 53-bit uniforms, or by Box-Muller two normals, computed in
float64 and rounded once. So a sample's noise does not depend on the batch it is drawn in, on its place there, on padding, on the number of
processes or on what was drawn before, and sample 731 can be made again alone. The integers are equal on every device; they are
checked against Random123's known answers.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from scidiff.layout import Layout

_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)


def philox4x32(counter: Int[Tensor, "*shape 4"], key: tuple[int, int], rounds: int = 10) -> Int[Tensor, "*shape 4"]:
    """Philox 4x32: 32-bit words held in int64. Source: Salmon et al., *Parallel random numbers: as easy as 1, 2, 3*, SC 2011."""
    c0, c1, c2, c3 = counter.unbind(-1)
    k0, k1 = key
    for _ in range(rounds):
        # int64 products wrap modulo 2^64, which keeps both 32-bit halves exact; the mask undoes the sign of the shift.
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = ((p1 >> 32) & _MASK) ^ c1 ^ k0, p1 & _MASK, ((p0 >> 32) & _MASK) ^ c3 ^ k1, p0 & _MASK
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    return torch.stack((c0, c1, c2, c3), -1)


def stream_key(seed: int, field: str) -> tuple[int, int]:
    """A 64-bit key for one field of one seed: BLAKE2b of both."""
    digest = hashlib.blake2b(f"{seed}/{field}".encode(), digest_size=8).digest()
    return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little")


@runtime_checkable
class FieldNoise(Protocol):
    """What a process draws from: standard normals and uniforms on [0, 1), laid out as the field is."""

    def normal(self, layout: Layout, channels: int) -> Float[Tensor, "batch *entries channels"]: ...

    def uniform(self, layout: Layout) -> Float[Tensor, "batch *entries"]: ...


@runtime_checkable
class NoiseSource(Protocol):
    """Where a joint process gets each field's draws; ``step`` numbers them."""

    def at(self, field: str, step: int) -> FieldNoise: ...


@dataclass(frozen=True)
class Noise:
    """The randomness of a batch of samples. ``ids`` [batch] are global sample numbers (>= 0), not places in the batch."""

    seed: int
    ids: Int[Tensor, " batch"]

    def at(self, field: str, step: int) -> StreamNoise:
        """The draws of one field at one step. Raises ValueError if step is not in [0, 2^32)."""
        if not 0 <= step <= _MASK:
            raise ValueError(f"step must lie in [0, 2^32), got {step}")
        return StreamNoise(stream_key(self.seed, field), self.ids, step)

    def branch(self, count: int) -> Noise:
        """The noise of ``count`` variants of each sample, those of one sample in consecutive rows. Variant 0 has the sample's own noise;
        that of variant p depends on (seed, id, p) alone, however many there are.

        Raises ValueError for a count outside [1, 2^15], or an id of 2^48 and more: the counter has room for no more."""
        if not 1 <= count <= 2**15 or bool((self.ids >= 2**48).any()):
            raise ValueError(f"branch takes 1 to 2^15 variants of ids below 2^48, got {count} of ids up to {int(self.ids.max())}")
        variant = torch.arange(count, device=self.ids.device) << 48
        return Noise(self.seed, (self.ids[:, None] + variant).flatten())

    def scalar(self, field: str, step: int) -> Float[Tensor, " batch"]:
        """One uniform on [0, 1) per sample, float64."""
        return self.at(field, step).flat_uniform(1)[:, 0]


@dataclass(frozen=True)
class StreamNoise:
    """One field at one step; implements :class:`FieldNoise`."""

    key: tuple[int, int]
    ids: Int[Tensor, " batch"]
    step: int

    def flat_uniform(self, count: int) -> Float[Tensor, "batch count"]:
        """The first ``count`` uniforms of each sample's stream, float64 with 53 random bits."""
        blocks = (count + 1) // 2
        batch, device = len(self.ids), self.ids.device
        counter = torch.empty(batch, blocks, 4, dtype=torch.int64, device=device)
        counter[..., 0] = torch.arange(blocks, device=device)
        counter[..., 1] = self.step
        counter[..., 2] = (self.ids & _MASK)[:, None]
        counter[..., 3] = ((self.ids >> 32) & _MASK)[:, None]
        words = philox4x32(counter, self.key).reshape(batch, 2 * blocks, 2)
        bits = ((words[..., 0] >> 5) << 26) | (words[..., 1] >> 6)
        return (bits.double() * 2.0**-53)[:, :count]

    def flat_normal(self, count: int) -> Float[Tensor, "batch count"]:
        """The first ``count`` normals of each sample's stream, float64, by Box-Muller."""
        u = self.flat_uniform(2 * ((count + 1) // 2)).reshape(len(self.ids), -1, 2)
        radius = torch.sqrt(-2 * torch.log1p(-u[..., 0]))
        angle = 2 * math.pi * u[..., 1]
        return torch.stack((radius * torch.cos(angle), radius * torch.sin(angle)), -1).reshape(len(self.ids), -1)[:, :count]

    def normal(self, layout: Layout, channels: int) -> Float[Tensor, "batch *entries channels"]:
        """Independent N(0, 1) for each entry and channel, float64; equal for both orders of a pair."""
        index, count = layout.entry_index()
        flat = self.flat_normal(count * channels).reshape(len(self.ids), count, channels)
        return flat[:, index.reshape(-1)].reshape(len(self.ids), *index.shape, channels)

    def uniform(self, layout: Layout) -> Float[Tensor, "batch *entries"]:
        """Independent U[0, 1) for each entry, float64; equal for both orders of a pair."""
        index, count = layout.entry_index()
        return self.flat_uniform(count)[:, index.reshape(-1)].reshape(len(self.ids), *index.shape)


def draw_categorical(probabilities: Float[Tensor, "*shape label"], uniform: Float[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
    """Labels by inversion of the cumulative sum in float64: unbiased down to 2^-53, and a label of probability 0 is never drawn.

    probabilities need not be normalised; uniform is on [0, 1).
    """
    p = probabilities.double()
    cdf = p.cumsum(-1)
    chosen = (uniform.double()[..., None] * cdf[..., -1:] >= cdf).sum(-1)
    # Rounding of u * total may reach total itself; the last label that has any probability takes it.
    last = p.shape[-1] - 1 - (p.flip(-1) > 0).to(torch.uint8).argmax(-1)
    return torch.minimum(chosen, last)


def permutation(seed: int, epoch: int, count: int) -> Int[Tensor, " count"]:
    """The order in which an epoch visits ``count`` examples: a pure function of (seed, epoch)."""
    noise = StreamNoise(stream_key(seed, "order"), torch.tensor([epoch]), 0)
    return torch.argsort(noise.flat_uniform(count)[0], stable=True)


def stratified(seed: int, step: int, positions: Int[Tensor, " batch"], batch_size: int) -> Float[Tensor, " batch"]:
    """Uniforms on [0, 1), evenly spread over a global batch: frac(u_step + position / batch_size). Lowers the variance of a loss
    over time."""
    start = StreamNoise(stream_key(seed, "stratum"), torch.tensor([step]), 0).flat_uniform(1)[0, 0]
    return torch.remainder(start + positions.double() / batch_size, 1.0)
