"""Denoisers that are told a molecule's properties, or asked for them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from scidiff import posterior as post
from scidiff.denoiser import Condition, Denoise
from scidiff.layout import Layout
from scidiff.process import Clocks, Joint, Layouts, State
from scidiff_molecules.tokens import POSITIONS, PROPERTIES


@dataclass(frozen=True)
class Described:
    """A denoiser over molecules alone, made of one over molecules and properties: those ``given`` are known (t = 0), the others missing
    (t = 1). Implements :class:`~scidiff.denoiser.Denoise`.

    Several rows of a batch may share a row of ``values``, as a sample's particles do: in consecutive rows, equally many each.
    """

    denoiser: Denoise
    values: Float[Tensor, "sample property"]
    given: Bool[Tensor, "sample property"]

    def __call__(
        self, x_t: State, t: Clocks, layouts: Layouts, condition: Condition | None = None, previous: post.Posteriors | None = None
    ) -> post.Posteriors:
        rows = next(iter(layouts.values())).batch // len(self.values)
        values, given = self.values.repeat_interleave(rows, 0), self.given.repeat_interleave(rows, 0)
        layout = Layout(torch.ones_like(given), known=given)
        clocks = dict.fromkeys(x_t, t) if isinstance(t, Tensor) else dict(t)
        clocks[PROPERTIES] = torch.ones(len(values), dtype=torch.float64, device=values.device)
        whole = self.denoiser({**x_t, PROPERTIES: values[..., None]}, clocks, {**layouts, PROPERTIES: layout}, condition, previous)
        return {f: p for f, p in whole.items() if f != PROPERTIES}


def read(denoiser: Denoise, molecules: State, t: float, layouts: Layouts, count: int) -> Float[Tensor, "batch property"]:
    """What a model of molecules and ``count`` properties states of the properties, all missing, of molecules at time ``t`` (known entries
    are clean): float64, standardised."""
    batch, device = layouts[POSITIONS].batch, molecules[POSITIONS].device
    clocks = dict.fromkeys(molecules, torch.full((batch,), t, dtype=torch.float64, device=device))
    clocks[PROPERTIES] = torch.ones(batch, dtype=torch.float64, device=device)
    missing = Layout(torch.ones(batch, count, dtype=torch.bool, device=device))
    unknown = torch.zeros(batch, count, 1, dtype=molecules[POSITIONS].dtype, device=device)
    stated = denoiser({**molecules, PROPERTIES: unknown}, clocks, {**layouts, PROPERTIES: missing})[PROPERTIES]
    assert isinstance(stated, post.Gaussian)
    return stated.mean[..., 0].double()


def molecules_alone(process: Joint) -> Joint:
    """The process without its properties."""
    return Joint({f: p for f, p in process.fields.items() if f != PROPERTIES})
