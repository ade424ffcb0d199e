"""The one sampling loop: walk a time grid, let a rule turn posteriors into steps, bridge every field; count network calls."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from scidiff.denoiser import Condition, Denoise, network_calls
from scidiff.posterior import Gaussian, Posteriors
from scidiff.process import Joint, Layouts, State
from scidiff.random import NoiseSource


@dataclass
class Walk:
    """What a rule may do on its way: ask the network, bridge down, diffuse up. Every draw of noise has its own number, so that the
    randomness of a step does not depend on what was drawn before it in another batch."""

    denoiser: Denoise
    process: Joint
    layouts: Layouts
    noise: NoiseSource
    churn: Mapping[str, float]
    condition: Condition | None = None
    self_conditioning: bool = False
    calls: int = 0
    draws: int = 0
    latest: Posteriors | None = None
    remembered: tuple[float, Posteriors] | None = None
    batch: int = field(init=False)

    def __post_init__(self) -> None:
        self.batch = next(iter(self.layouts.values())).batch

    def ask(self, x: State, t: float) -> Posteriors:
        """The posterior given x at time t: one network call, or as many as a guided denoiser says."""
        times = self.times(t, x)
        self.calls += network_calls(self.denoiser, times)
        previous = self.latest if self.self_conditioning else None
        self.latest = self.denoiser(x, times, self.layouts, self.condition, previous)
        return self.latest

    def bridge(self, x: State, posteriors: Posteriors, t: float, s: float, *, again: bool = False) -> State:
        """x_s given x_t and posteriors. ``again``: reals get the noise of the bridge before (Heun averages along one path). Labels
        never do: a
        posterior that was asked for after a jump depends on the uniform that made it jump, and drawing with that one again does
        not converge."""
        before, self.draws = self.draws, self.draws + 1
        steps = {f: before if again and isinstance(p, Gaussian) else self.draws for f, p in posteriors.items()}
        return self.process.bridge(x, posteriors, self.times(t, x), self.times(s, x), self.layouts, self.noise, steps, self.churn)

    def diffuse(self, x: State, s: float, t: float) -> State:
        """x_t given x_s, s < t."""
        self.draws += 1
        return self.process.diffuse(x, self.times(s, x), self.times(t, x), self.layouts, self.noise, self.draws)

    def times(self, t: float, x: State) -> Float[Tensor, " batch"]:
        device = next(iter(x.values())).device
        return torch.full((self.batch,), t, dtype=torch.float64, device=device)


@runtime_checkable
class Rule(Protocol):
    """One step from t to s. Rules hold no state of their own; what they remember they keep in the walk."""

    def __call__(self, walk: Walk, x: State, t: float, s: float) -> State: ...


@dataclass(frozen=True)
class Sample:
    """The clean state, and how many network calls it took."""

    state: State
    calls: int


def begin_walk(
    denoiser: Denoise,
    process: Joint,
    layouts: Layouts,
    noise: NoiseSource,
    grid: Float[Tensor, " points"],
    churn: float | Mapping[str, float],
    condition: Condition | None,
    self_conditioning: bool,
) -> Walk:
    """A walk that has not moved yet. Raises ValueError for a grid that does not descend, or a churn outside [0, 1]."""
    if bool((grid.diff() >= 0).any()):
        raise ValueError(f"a sampling grid must descend, got {grid.tolist()}")
    churns = {f: churn if isinstance(churn, float | int) else churn[f] for f in process.fields}
    if any(not 0 <= c <= 1 for c in churns.values()):
        raise ValueError(f"churn must lie in [0, 1], got {churns}")
    return Walk(denoiser, process, layouts, noise, churns, condition, self_conditioning)


@torch.no_grad()
def sample(
    denoiser: Denoise,
    process: Joint,
    layouts: Layouts,
    noise: NoiseSource,
    grid: Float[Tensor, " points"],
    rule: Rule,
    like: State,
    *,
    churn: float | Mapping[str, float] = 1.0,
    condition: Condition | None = None,
    self_conditioning: bool = False,
    start: State | None = None,
    on_step: Callable[[int], None] | None = None,
) -> Sample:
    """Walk ``grid`` (descending) from the prior, or from ``start`` at grid[0], to its last point.

    ``like``: a state that gives shapes, types and device, and holds the known entries where a layout has some; these come back
    exactly as given.
    ``churn``: 1 ancestral, 0 as deterministic as the field allows, one for all fields or one each. ``on_step`` is called with the
    step's number.
    Raises ValueError for a grid that does not descend, or a churn outside [0, 1].
    """
    walk = begin_walk(denoiser, process, layouts, noise, grid, churn, condition, self_conditioning)
    x = process.prior(layouts, noise, like) if start is None else start
    times: list[float] = grid.tolist()
    for number, (t, s) in enumerate(itertools.pairwise(times)):
        x = rule(walk, x, t, s)
        if on_step is not None:
            on_step(number)
    return Sample(x, walk.calls)
