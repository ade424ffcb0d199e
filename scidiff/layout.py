r"""Layout: which entries of a padded tensor belong to which sample, how they are counted, and in which subspace they live.

A field is a tensor ``[batch, *entries]`` of labels or ``[batch, *entries, channel]`` of reals. Its layout says which entries are real
(the rest is padding), whether entries are *symmetric pairs* (``[n, n]``, an unordered pair counts once, the diagonal is not
there), whether the field lives in the zero-mean subspace (positions modulo translation: N atoms then have 3(N - 1) degrees of
freedom), and which entries are *known*: given, never noised, at t = 0 for ever. With known positions the frame of reference is theirs,
so such a sample is not centred and only its unknown entries are degrees of freedom.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """See the module. mask and known are [batch, *entries]; with ``pairs`` the mask is symmetric with an empty diagonal.

    Raises ValueError if a mask of pairs (or what is known of them) is not symmetric with an empty diagonal, or if an entry is known that is
    padding.
    """

    mask: Bool[Tensor, "batch *entries"]
    pairs: bool = False
    centred: bool = False
    known: Bool[Tensor, "batch *entries"] | None = None

    def __post_init__(self) -> None:
        if self.pairs and (self.mask.ndim != 3 or self.mask.shape[1] != self.mask.shape[2]):
            raise ValueError(f"a layout of pairs needs a mask [batch, n, n], got {tuple(self.mask.shape)}")
        if self.known is not None and bool((self.known & ~self.mask).any()):
            raise ValueError("known marks entries that are padding; mark real entries only")
        if self.pairs and bool(self.mask.diagonal(dim1=1, dim2=2).any()):
            raise ValueError("a mask of pairs has an empty diagonal: an entry is no pair with itself")
        for name, marked in (("mask", self.mask), ("known", self.known)):
            if self.pairs and marked is not None and not torch.equal(marked, marked.transpose(1, 2)):
                raise ValueError(f"{name} of a layout of pairs must be symmetric: {{i, j}} and {{j, i}} are one pair")

    @classmethod
    def nodes(cls, sizes: Int[Tensor, " batch"], n_max: int, *, centred: bool = False) -> Layout:
        """The first sizes[b] of n_max entries are real."""
        return cls(torch.arange(n_max, device=sizes.device) < sizes[:, None], centred=centred)

    @classmethod
    def symmetric_pairs(cls, sizes: Int[Tensor, " batch"], n_max: int) -> Layout:
        """Unordered pairs of distinct real nodes."""
        node = torch.arange(n_max, device=sizes.device) < sizes[:, None]
        off_diagonal = ~torch.eye(n_max, dtype=torch.bool, device=sizes.device)
        return cls(node[:, :, None] & node[:, None, :] & off_diagonal, pairs=True)

    def with_known(self, known: Bool[Tensor, "batch *entries"]) -> Layout:
        """The same layout with these entries given. Raises ValueError if padding is marked."""
        return replace(self, known=known)

    def take(self, rows: Int[Tensor, " rows"]) -> Layout:
        """The layout of these samples of the batch, in this order; one that is named twice is there twice."""
        return replace(self, mask=self.mask[rows], known=None if self.known is None else self.known[rows])

    def to(self, device: torch.device) -> Layout:
        return replace(self, mask=self.mask.to(device), known=None if self.known is None else self.known.to(device))

    @property
    def batch(self) -> int:
        return self.mask.shape[0]

    @property
    def free(self) -> Bool[Tensor, "batch *entries"]:
        """Entries that are to be noised and denoised: real and not known."""
        return self.mask if self.known is None else self.mask & ~self.known

    @property
    def anchored(self) -> Bool[Tensor, " batch"]:
        """Samples whose frame is fixed by known entries."""
        if self.known is None:
            return torch.zeros(self.batch, dtype=torch.bool, device=self.mask.device)
        return self.known.flatten(1).any(1)

    def entry_index(self) -> tuple[Int[Tensor, "*entries"], int]:
        """(the position of each entry in its sample's noise stream, how many positions there are). Independent of the padding:
        node i is i; the pair {i, j} with i > j is i (i - 1) / 2 + j."""
        shape = self.mask.shape[1:]
        if not self.pairs:
            count = int(torch.tensor(shape).prod())
            return torch.arange(count, device=self.mask.device).reshape(shape), count
        node = torch.arange(shape[0], device=self.mask.device)
        high, low = torch.maximum(node[:, None], node), torch.minimum(node[:, None], node)
        index = high * (high - 1) // 2 + low
        return index.fill_diagonal_(0), max(shape[0] * (shape[0] - 1) // 2, 1)

    def clock(self, t: Float[Tensor, "..."]) -> Float[Tensor, "batch *entries"]:
        """Times [batch] or [batch, *entries] as float64 per-entry times; 0 at known entries and padding."""
        t = t.double().reshape(t.shape + (1,) * (self.mask.ndim - t.ndim))
        return torch.where(self.free, t, 0.0)

    def sum(self, values: Float[Tensor, "batch *entries"]) -> Float[Tensor, " batch"]:
        """Sum over a sample's free entries; an unordered pair counts once."""
        total = torch.where(self.free, values, 0.0).flatten(1).sum(1)
        return total / 2 if self.pairs else total

    def project(self, x: Float[Tensor, "batch *entries channel"]) -> Float[Tensor, "batch *entries channel"]:
        """The nearest point of the field's subspace: padding 0 and, where centred and not anchored, mean 0 over the real entries."""
        x = torch.where(self.mask[..., None], x, 0.0)
        if not self.centred:
            return x
        mean = x.sum(1, keepdim=True) / self.mask.sum(1).clamp(min=1)[:, None, None]
        mean = torch.where(self.anchored[:, None, None], 0.0, mean)
        return torch.where(self.mask[..., None], x - mean, 0.0)

    def degrees_of_freedom(self, channels: int) -> Int[Tensor, " batch"]:
        """Dimension of the free subspace: channels x free entries, less one entry where centred."""
        count = self.free.flatten(1).sum(1)
        count = count // 2 if self.pairs else count
        if self.centred:
            count = count - ((~self.anchored) & (count > 0)).long()
        return count * channels
