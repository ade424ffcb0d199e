"""How generated molecules are judged: metric A (EDM's lookup), metric B (bonds as generated), and what a judge adds.

``evaluate`` does it on an SDF file or on molecules in memory; the modules hold the parts. Of single molecules: ``lookup`` (A),
``valence`` (B), ``verdict`` (both), ``druglike``, ``cells`` (geometry), ``poses``, ``energy``, ``chemnet``, ``neighbours``. Of many:
``plan`` (what is asked for), ``payload``, ``worker`` and ``crew`` (processes), ``collect``, ``tally`` and ``histograms`` (what is kept),
``calculations`` (the expensive parts), ``reference``, ``standard`` and ``references`` (what is compared with), ``intervals``,
``figures``, ``exhibits``, ``report`` and ``screen``.
"""

from __future__ import annotations

from scidiff_molecules.metrics.evaluation import evaluate, summarise
from scidiff_molecules.metrics.plan import QUICK, Plan
from scidiff_molecules.metrics.reference import Reference, load_reference
from scidiff_molecules.metrics.report import Evaluation, Failure, Metric
from scidiff_molecules.metrics.verdict import Verdict, judge, judge_structures

__all__ = [
    "QUICK",
    "Evaluation",
    "Failure",
    "Metric",
    "Plan",
    "Reference",
    "Verdict",
    "evaluate",
    "judge",
    "judge_structures",
    "load_reference",
    "summarise",
]
