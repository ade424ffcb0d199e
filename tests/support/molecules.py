"""Small molecule models with random weights, noisy molecules, and motions of E(3) x S(N) acting on everything they touch."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor, nn

from scidiff import posterior as post
from scidiff.denoiser import Denoiser
from scidiff.layout import Layout
from scidiff.process import Layouts, State
from scidiff.random import FieldNoise, Noise, NoiseSource
from scidiff_molecules.data import MoleculeDataset
from scidiff_molecules.model import BackboneConfig, BackboneKind, NoiseConfig, Statistics, build_denoiser
from scidiff_molecules.tokens import POSITIONS, state

SMALL: dict[str, Any] = {"width": 32, "pair_width": 16, "blocks": 2, "heads": 8, "radial": 8}


def shake(module: nn.Module, seed: int = 0, size: float = 0.2) -> None:
    """Add noise to every parameter, so that no layer is at its initial zero and nothing holds trivially."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(size * torch.randn(parameter.shape, generator=generator).to(parameter))
    assert all(bool((parameter != 0).any()) for parameter in module.parameters())


@cache
def _random_denoiser(statistics: Statistics, irreps: str, kind: BackboneKind) -> Denoiser:
    config = BackboneConfig.model_validate({**SMALL, "irreps": irreps, "kind": kind})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        denoiser = build_denoiser(NoiseConfig(elements="marginal", bonds="absorbing"), config, statistics)
    shake(denoiser)
    return denoiser.eval()


def random_denoiser(
    statistics: Statistics, irreps: str = "8x1o", dtype: torch.dtype = torch.float32, kind: BackboneKind = "attention"
) -> Denoiser:
    """A small model whose every weight is random; marginal noise on elements, absorbing noise on bonds."""
    return deepcopy(_random_denoiser(statistics, irreps, kind)).to(dtype)


def clean(
    dataset: MoleculeDataset, statistics: Statistics, count: int, dtype: torch.dtype, width: int | None = None
) -> tuple[State, Layouts]:
    """``count`` molecules of different sizes as a state."""
    order = torch.argsort(dataset.sizes, stable=True)[torch.linspace(0, len(dataset) - 1, count).long()]
    x, layouts = state(dataset.dense(order, width), statistics.vocabulary, statistics.scale, hydrogens=bool(statistics.hydrogen_law))
    return {**x, POSITIONS: layouts[POSITIONS].project(x[POSITIONS].to(dtype))}, layouts


def diffused(denoiser: Denoiser, x: State, layouts: Layouts, t: Tensor, seed: int = 0) -> State:
    """The state at times t [batch]."""
    noise = Noise(seed, torch.arange(len(t)))
    return denoiser.process.diffuse(x, torch.zeros_like(t), t, layouts, noise)


def as_tensors(posteriors: post.Posteriors) -> dict[str, Tensor]:
    """Means, and logits with excluded labels at 0."""
    return {
        name: one.mean if isinstance(one, post.Gaussian) else one.logits.masked_fill(one.logits.isneginf(), 0.0)
        for name, one in posteriors.items()
    }


def error(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> float:
    """The largest deviation in any sample and field, relative to that sample's largest value in that field."""
    assert found.keys() == wanted.keys()
    deviations = {k: (found[k] - wanted[k]).flatten(1).abs().amax(1) for k in wanted}
    return max(float((deviations[k] / wanted[k].flatten(1).abs().amax(1).clamp(min=1e-9)).max()) for k in wanted)


@dataclass(frozen=True)
class Motion:
    """For each sample an orthogonal matrix [B, 3, 3] (every other one a reflection) and an order of its real atoms [B, N]."""

    turn: Tensor
    order: Tensor

    @classmethod
    def random(cls, mask: Tensor, seed: int) -> Motion:
        rng = np.random.default_rng(seed)
        turn = torch.from_numpy(Rotation.random(len(mask), rng).as_matrix())
        turn[1::2] *= -1
        order = torch.arange(mask.shape[1]).repeat(len(mask), 1)
        for row, n in zip(order, mask.sum(1).tolist(), strict=True):
            row[:n] = torch.from_numpy(rng.permutation(n))
        return cls(turn, order)

    def permute(self, x: Tensor, *, pairs: bool) -> Tensor:
        rows = torch.arange(len(x))[:, None]
        if not pairs:
            return x[rows, self.order]
        return x[rows[..., None], self.order[:, :, None], self.order[:, None, :]]

    def rotate(self, x: Tensor) -> Tensor:
        return x @ self.turn.to(x).transpose(1, 2)

    def layouts(self, layouts: Layouts) -> Layouts:
        """Masks stay (padding is last), known entries move."""
        known = {name: None if one.known is None else self.permute(one.known, pairs=one.pairs) for name, one in layouts.items()}
        return {name: replace(one, known=known[name]) for name, one in layouts.items()}

    def fields(self, x: Mapping[str, Tensor], layouts: Layouts) -> dict[str, Tensor]:
        """A state, or the tensors of its posterior."""
        moved = {name: self.permute(value, pairs=layouts[name].pairs) for name, value in x.items()}
        return {name: self.rotate(value) if name == POSITIONS else value for name, value in moved.items()}


    def posteriors(self, given: post.Posteriors, layouts: Layouts) -> post.Posteriors:
        means = self.fields({name: one.mean for name, one in given.items() if isinstance(one, post.Gaussian)}, layouts)
        logits = self.fields({name: one.logits for name, one in given.items() if isinstance(one, post.Categorical)}, layouts)
        return {**{k: post.Gaussian(v) for k, v in means.items()}, **{k: post.Categorical(v) for k, v in logits.items()}}


@dataclass(frozen=True)
class MovedField:
    """One field's draws, moved; implements FieldNoise."""

    base: FieldNoise
    motion: Motion
    name: str

    def normal(self, layout: Layout, channels: int) -> Tensor:
        z = self.motion.permute(self.base.normal(layout, channels), pairs=layout.pairs)
        return self.motion.rotate(z) if self.name == POSITIONS else z

    def uniform(self, layout: Layout) -> Tensor:
        return self.motion.permute(self.base.uniform(layout), pairs=layout.pairs)


@dataclass(frozen=True)
class MovedNoise:
    """The noise that a moved molecule must be given to come out moved; implements NoiseSource."""

    base: NoiseSource
    motion: Motion

    def at(self, field: str, step: int) -> MovedField:
        return MovedField(self.base.at(field, step), self.motion, field)
