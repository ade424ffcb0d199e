r"""Several molecules made for each target, of which the one is kept that fits best, as the model itself reads its properties.

A model that knows properties states them of a molecule too, where they are missing (:mod:`~scidiff_molecules.model`): its reading
:math:`\hat c(x_0)`. Of K candidates one is drawn with probability

.. math::  w_k \propto \exp\Big(-\tfrac12 \sum_p \big(\tfrac{\hat c_p(x_k) - c_p}{h}\big)^2\Big)

over the properties p that are asked for, in standard deviations of the training molecules, h = 0.02: nearly always the nearest. One that
does not sanitise, or is in several pieces, is taken only if all are so. As K grows the law goes from the model's own conditional law to
that law tilted towards molecules that read as what was asked (particles without resampling, :mod:`scidiff.guidance.particles`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from scidiff.denoiser import Denoise
from scidiff.guidance import Particles
from scidiff.process import Layouts, State
from scidiff.random import Noise
from scidiff.sampling import Sample
from scidiff_molecules.decode import decode
from scidiff_molecules.described import read
from scidiff_molecules.statistics import Statistics
from scidiff_molecules.targets import IN_RANGE, Drawn

APART = 1e9
"""Nats that a molecule loses that is none: more than any misfit."""


@dataclass(frozen=True)
class Fit:
    """The log-weight of a molecule, a :data:`~scidiff.guidance.particles.Reward`. ``drawn``: what each sample was asked for; ``clean``: the
    time at which the model has seen molecules that are clean."""

    denoiser: Denoise
    drawn: Drawn
    statistics: Statistics
    clean: float

    def __call__(self, x_0: State, layouts: Layouts) -> Float[Tensor, " batch"]:
        said = read(self.denoiser, x_0, self.clean, layouts, self.drawn.values.shape[1])
        many = len(said) // len(self.drawn.values)
        values, given = self.drawn.values.repeat_interleave(many, 0), self.drawn.given.repeat_interleave(many, 0)
        misfit = torch.where(given, (said - values) / IN_RANGE, 0.0).square().sum(1)
        made = decode(x_0, layouts, self.statistics.vocabulary, self.statistics.scale, list(range(len(said))))
        whole = torch.tensor([one.whole for one in made], device=said.device)
        return -0.5 * misfit - torch.where(whole, 0.0, APART)

    def kept(self, candidates: Particles, noise: Noise) -> Sample:
        """One candidate of each sample, and the calls of all with their readings."""
        return Sample(candidates.draw(noise), candidates.calls + candidates.log_weights.shape[1])
