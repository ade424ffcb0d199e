"""A product of fields under one clock: every verb, field by field. The KL rates of the fields add up, in nats."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from scidiff.layout import Layout
from scidiff.posterior import Posteriors
from scidiff.process.base import Process
from scidiff.random import NoiseSource

State = dict[str, Tensor]
Layouts = Mapping[str, Layout]
Clocks = Tensor | Mapping[str, Tensor]
"""One clock for all fields, or one per field; each [batch] or per entry."""


def field_clock(t: Clocks, field: str) -> Tensor:
    return t if isinstance(t, Tensor) else t[field]


@dataclass(frozen=True)
class Joint:
    """Fields noised independently of each other given clean data, under one clock. ``step`` numbers the draws of a :class:`NoiseSource`."""

    fields: Mapping[str, Process]

    def prior(self, layouts: Layouts, noise: NoiseSource, like: State, step: int = 0) -> State:
        return {f: p.prior(layouts[f], noise.at(f, step), like[f]) for f, p in self.fields.items()}

    def diffuse(self, x_s: State, s: Clocks, t: Clocks, layouts: Layouts, noise: NoiseSource, step: int = 0) -> State:
        return {
            f: p.diffuse(x_s[f], field_clock(s, f), field_clock(t, f), layouts[f], noise.at(f, step)) for f, p in self.fields.items()
        }

    def bridge(
        self,
        x_t: State,
        posteriors: Posteriors,
        t: Clocks,
        s: Clocks,
        layouts: Layouts,
        noise: NoiseSource,
        step: int | Mapping[str, int],
        churn: Mapping[str, float],
    ) -> State:
        """``step`` numbers the draws: one number for all fields, or one each."""
        draws = {f: noise.at(f, step if isinstance(step, int) else step[f]) for f in self.fields}
        return {
            f: p.bridge(x_t[f], posteriors[f], field_clock(t, f), field_clock(s, f), layouts[f], draws[f], churn[f])
            for f, p in self.fields.items()
        }

    def kl_rate(self, x_0: State, x_t: State, posteriors: Posteriors, t: Clocks, layouts: Layouts) -> dict[str, Float[Tensor, " batch"]]:
        """Per field; their sum is the joint's."""
        return {f: p.kl_rate(x_0[f], x_t[f], posteriors[f], field_clock(t, f), layouts[f]) for f, p in self.fields.items()}

    def kl_prior(self, x_0: State, layouts: Layouts) -> dict[str, Float[Tensor, " batch"]]:
        return {f: p.kl_prior(x_0[f], layouts[f]) for f, p in self.fields.items()}

    def reconstruction(
        self, x_0: State, x_t: State, posteriors: Posteriors, t: Clocks, layouts: Layouts
    ) -> dict[str, Float[Tensor, " batch"]]:
        return {f: p.reconstruction(x_0[f], x_t[f], posteriors[f], field_clock(t, f), layouts[f]) for f, p in self.fields.items()}
