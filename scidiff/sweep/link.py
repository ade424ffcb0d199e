"""Parent and child in MLflow: a run that was made before its sweep was known to the store is told of it afterwards."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from scidiff.errors import UserError
from scidiff.sweep.trial import PARENT, trial_tags
from scidiff.tracking import OFF, sync
from scidiff.tracking.spool import Spool, folder_of, read_identity, read_lines, try_lock

__all__ = ["link_runs"]

LOG = logging.getLogger("scidiff.sweep")


def link_runs(out: Path, tracking_uri: str | None = None, run_id: str | None = None) -> None:
    """Give every run of the sweep in ``out`` that lacks them the tags that make it a child of the sweep's, and send what is unsent.

    ``run_id``: the sweep's own run in MLflow, where that is known already. Does nothing for a folder that holds no sweep, and never raises
    for a store that is away: the tags are in the spools then.
    """
    parent = read_identity(folder_of(out))
    if parent is None or not (out / "sweep.yaml").exists():
        return
    uri = tracking_uri or parent.tracking_uri
    failures: list[str] = []
    for folder in sorted(out.glob("run-[0-9]*")):
        if read_identity(folder_of(folder)) is None:
            continue
        tags = trial_tags(int(folder.name.removeprefix("run-")), out, uri) | ({} if run_id is None else {PARENT: run_id})
        if _add(folder_of(folder), tags) and uri != OFF:
            try:
                sync(folder, uri)
            except UserError as error:
                failures.append(str(error))
    if failures:
        LOG.warning("not everything has reached the tracking store; send it with: scidiff track sync %s (%s)", out, failures[0])


def _add(record: Path, tags: dict[str, str]) -> bool:
    """Write the tags that are not in the spool yet. False where the run is being written by its own process, which sends by itself."""
    lock = try_lock(record)
    if lock is None:
        return False
    try:
        known: dict[str, str] = {}
        for line in read_lines(record):
            if line.kind == "tags":
                known.update(line.content["values"])
        missing = {name: value for name, value in tags.items() if known.get(name) != value}
        if missing:
            spool = Spool(record)
            spool.write("tags", values=missing)
            spool.close()
        return True
    finally:
        os.close(lock)
