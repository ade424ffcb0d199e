"""What all guidance shares: a denoiser that changes another's posteriors, and tables that the rows of a batch share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

from scidiff.denoiser import Condition, Denoise, network_calls
from scidiff.errors import UserError
from scidiff.posterior import Posterior, Posteriors
from scidiff.process import Clocks, Layouts, State


@dataclass(frozen=True)
class Wrapper(ABC):
    """A denoiser that changes what another one states, at the same cost. Implements :class:`~scidiff.denoiser.Denoise`."""

    denoiser: Denoise

    def __call__(
        self, x_t: State, t: Clocks, layouts: Layouts, condition: Condition | None = None, previous: Posteriors | None = None
    ) -> Posteriors:
        return self.change(self.denoiser(x_t, t, layouts, condition, previous), t, layouts)

    @abstractmethod
    def change(self, posteriors: Posteriors, t: Clocks, layouts: Layouts) -> Posteriors:
        """The guided posteriors."""

    def network_calls(self, t: Clocks) -> int:
        return network_calls(self.denoiser, t)


@dataclass(frozen=True)
class Given:
    """The same denoiser under one condition, whatever condition it is asked with: None drops it, a null token replaces it.

    Implements :class:`~scidiff.denoiser.Denoise`.
    """

    denoiser: Denoise
    condition: Condition | None = None

    def __call__(
        self, x_t: State, t: Clocks, layouts: Layouts, condition: Condition | None = None, previous: Posteriors | None = None
    ) -> Posteriors:
        return self.denoiser(x_t, t, layouts, self.condition, previous)

    def network_calls(self, t: Clocks) -> int:
        return network_calls(self.denoiser, t)


def stated(posteriors: Posteriors, field: str) -> Posterior:
    """The posterior of a field that guidance names. Raises UserError if there is none."""
    if field not in posteriors:
        raise UserError(f"guidance of field {field!r}: the denoiser has no such field; it has {', '.join(posteriors)}")
    return posteriors[field]


def shared(table: Tensor, batch: int, name: str) -> Tensor:
    """A table [group, ...] as [batch, ...]: the batch's rows come in groups of equal length, as one sample's particles do, and each group
    has its row. Raises UserError if the batch is no multiple of the groups."""
    if batch % len(table):
        raise UserError(f"{name} has {len(table)} rows for a batch of {batch}: give one for all samples, or one for each")
    return table.repeat_interleave(batch // len(table), 0)
