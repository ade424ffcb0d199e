"""Sending what a run could not send when it was made."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from scidiff.errors import UserError
from scidiff.tracking.forward import forward, is_all_sent, read_sent
from scidiff.tracking.spool import ENDED, Spool, folder_of, read_identity, read_lines, try_lock, write_identity
from scidiff.tracking.store import MlflowStore

__all__ = ["SyncReport", "find_spools", "sync"]


@dataclass(frozen=True)
class SyncReport:
    """What was sent: ``lines`` lines of the run in ``folder``, to the run ``run_id`` of the store ``tracking_uri``."""

    folder: Path
    tracking_uri: str
    run_id: str
    lines: int


def find_spools(folder: str | Path) -> list[Path]:
    """The runs' folders at and below ``folder`` that hold a record."""
    return sorted(path.parent.parent for path in Path(folder).glob("**/tracking/run.json"))


def sync(folder: str | Path, tracking_uri: str | None = None) -> SyncReport:
    """Send what is unsent of the run in ``folder``, each line once, in order; to another store if one is named.

    A run whose process is gone without a last word is ended as KILLED. Raises :class:`~scidiff.errors.UserError` when there
    is no run, its process is still at work (it sends by itself), or the store cannot be reached: nothing is lost then.
    """
    record = folder_of(folder)
    identity = read_identity(record)
    if identity is None:
        raise UserError(f"{folder}: no run is recorded here: expected {record / 'run.json'}")
    lock = try_lock(record)
    if lock is None:
        raise UserError(f"{folder}: the run is still being written, and sends its record by itself: try again when it has ended")
    try:
        if tracking_uri is not None and tracking_uri != identity.tracking_uri:
            identity = replace(identity, tracking_uri=tracking_uri)
            write_identity(record, identity)
        _end_if_abandoned(record)
        sent = read_sent(record, identity.tracking_uri)
        if is_all_sent(record, sent):  # known without waking MLflow
            return SyncReport(Path(folder), identity.tracking_uri, str(sent.run_id), 0)
        run_id, lines = forward(record, identity, MlflowStore(identity.tracking_uri))
    except UserError:
        raise
    except Exception as error:
        remedy = "check that it runs, and sync again; nothing is lost"
        raise UserError(f"{identity.tracking_uri}: the tracking store does not take the run ({_first_line(error)}): {remedy}") from error
    finally:
        os.close(lock)
    return SyncReport(Path(folder), identity.tracking_uri, run_id, lines)


def _end_if_abandoned(record: Path) -> None:
    status = "RUNNING"
    for line in read_lines(record):
        if line.kind == "status":
            status = str(line.content["status"])
    if status not in ENDED:
        spool = Spool(record)
        spool.write("status", status="KILLED")
        spool.close()


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
