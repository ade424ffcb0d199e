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

_PARTS, _SEARCHES = 16, 14
"""Each search divides by 16: 56 bits, a little more than the 53 that uniforms have."""


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
    draw: Callable[[Float[Tensor, "copy *shape"]], Int[Tensor, "copy *shape"]], labels: int, shape: tuple[int, ...]
) -> Float[Tensor, "*shape label"]:
    """The law by which ``draw`` turns uniforms into labels, to the last bits of float64: no sampling. ``draw`` gets many copies of all
    entries at once, uniforms [copy, *shape].

    A draw by inversion is a rising staircase in its uniform; where its steps are is found by search, for all entries at once.
    Raises AssertionError if labels fall as their uniform rises, for then the draw is no inversion and its law is not what the search finds.
    """
    label = torch.arange(labels - 1).reshape(-1, *[1] * len(shape))
    part = torch.arange(1, _PARTS, dtype=torch.float64).reshape(-1, 1, *[1] * len(shape)) / _PARTS
    low = torch.zeros(labels - 1, *shape, dtype=torch.float64)
    width = torch.ones_like(low)
    for _ in range(_SEARCHES):
        points = (low + width * part).clamp(max=1 - 2.0**-53)
        below = draw(points.flatten(0, 1)).reshape(points.shape) <= label
        assert bool((below.int().diff(dim=0) <= 0).all()), "labels must rise with their uniform (inversion of the cumulative law)"
        low, width = low + width * below.sum(0) / _PARTS, width / _PARTS
    # No uniform lies beyond the last thresholds that the search can tell from 0 and from 1.
    steps = torch.where(draw(torch.zeros_like(low)) > label, 0.0, low + width)
    steps = torch.where(steps > 1 - 2.0**-52, 1.0, steps)
    edges = torch.cat([torch.zeros(1, *shape, dtype=torch.float64), steps, torch.ones(1, *shape, dtype=torch.float64)])
    assert bool((edges.diff(dim=0) >= 0).all()), "labels must rise with their uniform (inversion of the cumulative law)"
    return edges.diff(dim=0).movedim(0, -1)
