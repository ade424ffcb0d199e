"""What the fit loop tells a tracker."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable


@runtime_checkable
class RunLog(Protocol):
    """What the loop tells a tracker."""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None: ...

    def log_artifact(self, path: Path, artifact_path: str = "") -> None: ...

    def log_checkpoint(self, path: Path, step: int, metrics: Mapping[str, float]) -> None:
        """Averaged weights worth keeping, in a file, with what was measured on them."""
        ...


class NoLog:
    """A training that nobody tracks, and a base for those who want to hear of some things only."""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        pass

    def log_artifact(self, path: Path, artifact_path: str = "") -> None:
        pass

    def log_checkpoint(self, path: Path, step: int, metrics: Mapping[str, float]) -> None:
        pass
