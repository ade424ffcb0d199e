"""How generated molecules are judged: metric A (EDM's distance lookup) and metric B (bonds as generated).

``evaluate`` does both on an SDF file or on molecules in memory; the modules hold the parts: ``lookup`` (A), ``valence`` (B),
``intervals``, ``reference`` (novelty), ``report`` (what comes back).
"""

from __future__ import annotations

from scidiff_molecules.metrics.evaluation import evaluate, summarise
from scidiff_molecules.metrics.reference import Reference, load_reference
from scidiff_molecules.metrics.report import Evaluation, Failure, Metric
from scidiff_molecules.metrics.verdict import Verdict, judge, judge_structures

__all__ = [
    "Evaluation",
    "Failure",
    "Metric",
    "Reference",
    "Verdict",
    "evaluate",
    "judge",
    "judge_structures",
    "load_reference",
    "summarise",
]
