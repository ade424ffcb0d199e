"""The command line: ``scidiff``. One module a command; each adds itself to :data:`app` when it is imported here, and imports what is
heavy when it is called.
"""

from __future__ import annotations

from scidiff.cli import demo, launch, merge, models, runs, sweep, track, train
from scidiff.cli.app import app, main

__all__ = ["app", "demo", "launch", "main", "merge", "models", "runs", "sweep", "track", "train"]
