"""Sampling: one loop (:func:`sample`), rules that turn posteriors into steps, time grids."""

from scidiff.sampling.grid import time_grid
from scidiff.sampling.loop import Rule, Sample, Walk, begin_walk, sample
from scidiff.sampling.rules import RULES, FirstOrder, Heun, Multistep, PredictorCorrector

__all__ = ["RULES", "FirstOrder", "Heun", "Multistep", "PredictorCorrector", "Rule", "Sample", "Walk", "begin_walk", "sample", "time_grid"]
