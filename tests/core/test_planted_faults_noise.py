"""The negative control, noise: faults of the kind that are really made, planted one by one; the law that should catch each must catch it.

Every fault is the real code with one thing wrong. Where a formula is changed, the body is the original's with that change.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from support.faults import caught
from torch import Tensor

from scidiff.layout import Layout
from scidiff.process import Gaussian, Joint
from scidiff.random import Noise, StreamNoise, stream_key
from scidiff.sampling import FirstOrder, time_grid
from scidiff.schedule import Straight, VPLinear
from scidiff.testing import (
    check_sampler_locality,
    check_streams,
)

VP = VPLinear()

@dataclass(frozen=True)
class FaultyNoise(Noise):
    fault: str = ""

    def at(self, field: str, step: int) -> StreamNoise:
        ids = self.ids
        if self.fault == "by place in the batch":
            ids = torch.arange(len(ids))
        if self.fault == "ids cut to 32 bits":
            ids = ids & 0xFFFFFFFF
        key = stream_key(self.seed, "x" if self.fault == "one key for all fields" else field)
        made = PaddedStream if self.fault == "pairs numbered by the padded width" else StreamNoise
        made = LopsidedPairs if self.fault == "a pair's two orders differ" else made
        return made(key, ids, 0 if self.fault == "step forgotten" else step)


class PaddedStream(StreamNoise):
    def uniform(self, layout: Layout) -> Tensor:
        shape = layout.mask.shape[1:]
        u = self.flat_uniform(shape.numel()).reshape(len(self.ids), *shape)
        return torch.minimum(u, u.transpose(1, 2)) if layout.pairs else u

    def normal(self, layout: Layout, channels: int) -> Tensor:
        shape = layout.mask.shape[1:]
        z = self.flat_normal(shape.numel() * channels).reshape(len(self.ids), *shape, channels)
        return (z + z.transpose(1, 2)) / 2**0.5 if layout.pairs else z


class LopsidedPairs(StreamNoise):
    def normal(self, layout: Layout, channels: int) -> Tensor:
        z = super().normal(layout, channels)
        return z * torch.ones(z.shape[1:3]).tril()[..., None] - z * torch.ones(z.shape[1:3]).triu()[..., None] if layout.pairs else z


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("by place in the batch", "law 5"),
        ("ids cut to 32 bits", "same noise"),
        ("one key for all fields", "another field"),
        ("step forgotten", "another step"),
        ("pairs numbered by the padded width", "of pairs"),
        ("a pair's two orders differ", "both orders"),
    ],
)
def test_law_5_catches_noise_that_is_not_local(fault: str, message: str) -> None:
    caught(lambda: check_streams(lambda ids: FaultyNoise(0, ids, fault)), message)


class Stateful:
    """A generator that runs on: what a sample gets depends on what was drawn before."""

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(0)

    def at(self, field: str, step: int) -> Stateful:
        return self

    def normal(self, layout: Layout, channels: int) -> Tensor:
        return torch.randn(*layout.mask.shape, channels, generator=self.generator, dtype=torch.float64)

    def uniform(self, layout: Layout) -> Tensor:
        return torch.rand(layout.mask.shape, generator=self.generator, dtype=torch.float64)


class MovesKnown(Gaussian):
    """Noises known entries too."""

    def bridge(self, x_t, posterior, t, s, layout, noise, churn=1.0):
        return super().bridge(x_t, posterior, t, s, replace(layout, known=None), noise, churn)


class BatchNormalised(Gaussian):
    """Scales by what else is in the batch."""

    def bridge(self, x_t, posterior, t, s, layout, noise, churn=1.0):
        x_s = super().bridge(x_t, posterior, t, s, layout, noise, churn)
        return torch.where(layout.free[..., None], x_s / (1 + layout.free.sum()), x_s)


@pytest.mark.parametrize(
    ("process", "message"),
    [(Gaussian(VP), "batch"), (MovesKnown(VP), "known entries"), (BatchNormalised(VP), "batch")],
    ids=lambda v: str(v),
)
def test_law_5_catches_samplers_that_are_not_local(process: Gaussian, message: str) -> None:
    good = type(process) is not Gaussian
    grid = time_grid(Straight(), 3)
    made: Callable[[Tensor], object] = (lambda ids: Noise(0, ids)) if good else (lambda ids: Stateful())
    caught(lambda: check_sampler_locality(FirstOrder(), Joint({"x": process}), grid, made, 1.0), f"law 5.*{message}")  # type: ignore[arg-type]


