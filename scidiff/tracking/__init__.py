"""Tracking of runs: MLflow, behind a local spool, so that the tracker never stops the science.

Whatever is logged goes first, and at once, to ``FOLDER/tracking/spool.jsonl``, one JSON object a line. A thread forwards it
to MLflow in batches with the original timestamps. A store that is absent, hangs or refuses costs the training nothing: the
lines stay, and :func:`sync` (``scidiff track sync FOLDER``) or the next start in that folder sends them, each once, in order.

    >>> with Tracker.start("first", "runs/first", params={"rate": 1e-3}) as tracker:  # doctest: +SKIP
    ...     tracker.log_metrics({"loss": 0.5}, step=1)
"""

from __future__ import annotations

from scidiff.tracking.dataset import DataInfo
from scidiff.tracking.names import metric_name
from scidiff.tracking.sync import SyncReport, find_spools, sync
from scidiff.tracking.tracker import OFF, Tracker, default_tracking_uri

__all__ = ["OFF", "DataInfo", "SyncReport", "Tracker", "default_tracking_uri", "find_spools", "metric_name", "sync"]
