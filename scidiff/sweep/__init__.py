"""Sweeps: one recipe, trained again and again with some of its values changed, and a comparison of what came out.

A ``sweep:`` block beside ``domain:`` says which values, on a grid or drawn at random (:class:`~scidiff.sweep.config.SweepConfig`).
``scidiff sweep CONFIG`` trains all of them in processes side by side; ``scidiff launch slurm CONFIG`` makes them the tasks of a job array.
Every run has a folder ``run-K`` of its own, so whatever is interrupted is continued by the same command, and what is finished stays.
"""

from __future__ import annotations

from scidiff.sweep.config import SweepConfig, has_sweep
from scidiff.sweep.plan import Plan, Trial, read_plan

__all__ = ["Plan", "SweepConfig", "Trial", "has_sweep", "read_plan"]
