r"""The network: gated dilated convolutions along time, attention across channels, everything modulated by the noise level.

A block is :math:`h \leftarrow h + W\,(\tanh(a) \odot \mathrm{sigmoid}(b))`, (a, b) a dilated convolution of the normalised, modulated h;
dilations double, so a stack of n blocks of width 3 sees 2^(n+1) - 1 steps in both directions. With several channels every second
block also attends across the channels of a time. The last layer starts at zero. Source of the gate: van den Oord et al. 2016 (WaveNet).
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from scidiff.config import Config

INPUTS = 5
"""Columns that the denoiser adds to the features: value, base mean and deviation, known, free."""
OUTPUTS = 2


class BackboneConfig(Config):
    """``width`` features an entry; ``blocks`` of dilation 1, 2, 4, ... up to ``reach``, over and over; ``heads`` of the attention across
    channels."""

    width: int = Field(default=32, ge=8, le=512)
    blocks: int = Field(default=6, ge=1, le=32)
    reach: int = Field(default=32, ge=1, le=4096)
    heads: int = Field(default=4, ge=1)


class Block(nn.Module):
    """One gated dilated convolution, and attention across channels if ``heads`` is not 0."""

    def __init__(self, width: int, dilation: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.modulation = nn.Linear(width, 2 * width)
        self.dilation = dilation
        self.convolution = nn.Linear(3 * width, 2 * width)
        self.out = nn.Linear(width, width)
        self.across = nn.MultiheadAttention(width, heads, batch_first=True) if heads else None
        self.across_norm = nn.LayerNorm(width) if heads else None
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, h: Float[Tensor, "batch time channel width"], level: Float[Tensor, "batch width"]) -> Tensor:
        batch, length, channels, width = h.shape
        scale, shift = self.modulation(level)[:, None, None].chunk(2, -1)
        x = self.norm(h) * (1 + scale) + shift
        # Three shifted copies and one matrix product: on a CPU several times faster than a dilated Conv1d of few channels.
        padded = nn.functional.pad(x, (0, 0, 0, 0, self.dilation, self.dilation))
        taps = [padded[:, shift : shift + length] for shift in (0, self.dilation, 2 * self.dilation)]
        a, b = self.convolution(torch.cat(taps, -1)).chunk(2, -1)
        h = h + self.out(torch.tanh(a) * torch.sigmoid(b))
        if self.across is None or self.across_norm is None:
            return h
        rows = self.across_norm(h).reshape(batch * length, channels, width)
        return h + self.across(rows, rows, rows, need_weights=False)[0].reshape(h.shape)


class ConvNet(nn.Module):
    """(columns, features, sigma, mask) -> [batch, time, channel, 2]; see the module."""

    def __init__(self, config: BackboneConfig, features: int, channels: int) -> None:
        super().__init__()
        width = config.width
        self.embed = nn.Linear(INPUTS + features, width)
        self.channel = nn.Parameter(torch.zeros(channels, width))
        self.level = nn.Sequential(nn.Linear(8, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        cycle = config.reach.bit_length()
        heads = config.heads if channels > 1 else 0
        self.blocks = nn.ModuleList(Block(width, 2 ** (i % cycle), heads if i % 2 else 0) for i in range(config.blocks))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, OUTPUTS)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(
        self,
        columns: Float[Tensor, "batch time channel column"],
        features: Float[Tensor, "batch time channel feature"],
        sigma: Float[Tensor, " batch"],
        mask: Bool[Tensor, "batch time channel"],
    ) -> Float[Tensor, "batch time channel 2"]:
        h = self.embed(torch.cat((columns.clamp(-20, 20), features.to(columns)), -1)) + self.channel
        h = torch.where(mask[..., None], h, 0.0)
        level = self.level(torch.cat([f(torch.pi * k * sigma)[:, None] for k in (0.5, 1, 2, 4) for f in (torch.sin, torch.cos)], 1))
        for block in self.blocks:
            h = block(h, level)
        return self.head(self.norm(h))
