"""System metrics of a run: a thread that measures the machine every so often, so that the training's own thread never does."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from scidiff.tracking.machine import SystemSampler

__all__ = ["PREFIX", "Monitor"]

PREFIX = "system/"
"""What MLflow's tab of system metrics shows."""
INTERVAL = 10.0
LOG = logging.getLogger("scidiff.tracking")


class Monitor(threading.Thread):
    """Calls ``write(step, values)`` every ``MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL`` seconds (default 10), steps counted from ``first``.

    Names begin with ``system/``. ``MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING=false`` turns it off. It never raises.
    """

    def __init__(self, write: Callable[[int, Mapping[str, float]], object], folder: Path, first: int = 0) -> None:
        super().__init__(name="scidiff-system-metrics", daemon=True)
        self._write, self._folder, self._step = write, folder, first
        self._stopping, self._writing = threading.Event(), threading.Lock()
        self._seconds = _interval()

    def run(self) -> None:
        if os.environ.get("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "true").lower() in {"false", "0"}:
            return
        try:
            sampler = SystemSampler(self._folder)
            while not self._stopping.wait(self._seconds):
                values = {PREFIX + name: float(value) for name, value in sampler.measure().items()}
                with self._writing:
                    if not self._stopping.is_set():
                        self._write(self._step, values)
                        self._step += 1
        except Exception as error:
            LOG.warning("system metrics are not measured any more (%s: %s)", type(error).__name__, error)

    def stop(self) -> None:
        """End it. Nothing is written once this returns; a measurement that is being taken is not waited for."""
        with self._writing:
            self._stopping.set()


def _interval() -> float:
    try:
        return max(float(os.environ.get("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", INTERVAL)), 0.1)
    except ValueError:
        return INTERVAL
