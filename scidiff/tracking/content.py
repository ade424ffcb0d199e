"""What is sent to a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

__all__ = ["Batch", "Checkpoint", "MetricPoint", "Rejected"]


class Rejected(Exception):
    """The store understood, and refuses this content for good: sending it again would not help."""


class MetricPoint(NamedTuple):
    """One value of one metric."""

    name: str
    value: float
    time: int
    step: int


class Batch(NamedTuple):
    """What one call of ``log_batch`` carries."""

    metrics: Sequence[MetricPoint]
    params: Mapping[str, str]
    tags: Mapping[str, str]


class Checkpoint(NamedTuple):
    """Averaged weights worth keeping: a file, its SHA-256, and what was measured on them."""

    path: Path
    step: int
    sha256: str
    metrics: Sequence[MetricPoint]
