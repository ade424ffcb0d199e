"""Runs that were made: read back from MLflow or from their folder, laid side by side, and made again.

    >>> first, second = read_run("runs/first"), read_run("runs:/0123456789abcdef0123456789abcdef")  # doctest: +SKIP
    >>> compare([first, second]).metrics                                                           # doctest: +SKIP
"""

from __future__ import annotations

from scidiff.runs.compare import Comparison, compare
from scidiff.runs.record import RunRecord
from scidiff.runs.source import read_run

__all__ = ["Comparison", "RunRecord", "compare", "read_run"]
