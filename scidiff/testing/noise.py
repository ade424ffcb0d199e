r"""Noise that is not random: sources whose every draw is chosen, so that laws are computed and not estimated.

A process sees randomness only through :class:`~scidiff.random.FieldNoise`. Feeding it zeros and unit vectors reads off an affine
map; feeding it one uniform after another reads off the law that it draws labels from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from scidiff.layout import Layout

_BISECTIONS = 56
"""Uniforms have 53 bits; thresholds are found a little below that."""


@dataclass(frozen=True)
class GivenFieldNoise:
    """One draw, given. A draw that is asked for and was not given is zero (normals) or one half (uniforms).

    Implements :class:`~scidiff.random.FieldNoise`.
    """

    normals: Float[Tensor, "batch *entries channel"] | None = None
    uniforms: Float[Tensor, "batch *entries"] | None = None

    def normal(self, layout: Layout, channels: int) -> Float[Tensor, "batch *entries channels"]:
        if self.normals is not None:
            return self.normals
        return torch.zeros(*layout.mask.shape, channels, dtype=torch.float64, device=layout.mask.device)

    def uniform(self, layout: Layout) -> Float[Tensor, "batch *entries"]:
        if self.uniforms is not None:
            return self.uniforms
        return torch.full(tuple(layout.mask.shape), 0.5, dtype=torch.float64, device=layout.mask.device)


@dataclass(frozen=True)
class GivenNoise:
    """Given draws by (field, step); others are as :class:`GivenFieldNoise` says. Implements :class:`~scidiff.random.NoiseSource`."""

    draws: Mapping[tuple[str, int], GivenFieldNoise] = field(default_factory=dict[tuple[str, int], GivenFieldNoise])

    def at(self, field: str, step: int) -> GivenFieldNoise:
        return self.draws.get((field, step), GivenFieldNoise())


@dataclass(frozen=True)
class _Asking(GivenFieldNoise):
    """Notes when normals are asked for."""

    note: Callable[[], None] = lambda: None

    def normal(self, layout: Layout, channels: int) -> Float[Tensor, "batch *entries channels"]:
        self.note()
        return super().normal(layout, channels)


@dataclass(frozen=True)
class RecordingNoise:
    """Zero normals; ``steps`` lists the steps at which a field's normals were asked for, each once, in order."""

    steps: list[int] = field(default_factory=list[int])

    def at(self, field: str, step: int) -> GivenFieldNoise:
        return _Asking(note=lambda: None if step in self.steps else self.steps.append(step))


def drawn_law(
    draw: Callable[[Float[Tensor, "batch *entries"]], Int[Tensor, "batch *entries"]], labels: int, shape: tuple[int, ...]
) -> Float[Tensor, "batch *entries label"]:
    """The law by which ``draw`` turns uniforms [batch, *entries] into labels, to the last bits of float64: no sampling.

    A draw by inversion is a rising staircase in its uniform; its steps are found by bisection, for all entries at once.
    Raises AssertionError if labels fall as their uniform rises, for then the draw is no inversion and its law is not what bisection finds.
    """
    steps: list[Tensor] = []
    for label in range(labels - 1):
        low, high = torch.zeros(shape, dtype=torch.float64), torch.ones(shape, dtype=torch.float64)
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            above = draw(middle.clamp(max=1 - 2.0**-53)) > label
            low, high = torch.where(above, low, middle), torch.where(above, middle, high)
        # No uniform lies beyond the last thresholds that bisection can tell from 0 and from 1.
        high = torch.where(draw(torch.zeros(shape, dtype=torch.float64)) > label, 0.0, high)
        steps.append(torch.where(high > 1 - 2.0**-52, 1.0, high))
    edges = torch.stack([torch.zeros(shape, dtype=torch.float64), *steps, torch.ones(shape, dtype=torch.float64)], -1)
    assert bool((edges.diff(dim=-1) >= 0).all()), "labels must rise with their uniform (inversion of the cumulative law)"
    return edges.diff(dim=-1)
