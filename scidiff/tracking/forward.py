"""From the spool to the store: every line once, in order, whatever fails in between.

A batch is sent, then the byte that it ends at is recorded. A crash between the two sends the batch again, with the same
keys, steps, values and timestamps, which an SQL store recognises as the rows it has.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from scidiff.errors import UserError
from scidiff.files import atomic_write, confined
from scidiff.tracking.dataset import DataInfo
from scidiff.tracking.names import relative_path
from scidiff.tracking.spool import Identity, Line, Spool, read_lines
from scidiff.tracking.store import Batch, Checkpoint, MetricPoint, Rejected, Store

__all__ = ["Forwarder", "Sent", "forward", "is_all_sent", "read_sent"]

MAX_METRICS, MAX_OTHERS = 800, 100  # of one call of log_batch, which takes 1000 things in all, 100 of them parameters, 100 tags
INTERVAL = 2.0
MAX_PAUSE = 60.0
LOG = logging.getLogger("scidiff.tracking")


@dataclass(frozen=True)
class Sent:
    """How far a spool has been sent to one store, and the run's id there."""

    run_id: str | None = None
    offset: int = 0


def read_sent(folder: Path, tracking_uri: str) -> Sent:
    """What is recorded of one store; nothing, when the record is absent or damaged (sending again does no harm)."""
    try:
        return Sent(**json.loads((folder / "sent.json").read_bytes())[tracking_uri])
    except (OSError, ValueError, KeyError, TypeError):
        return Sent()


def write_sent(folder: Path, tracking_uri: str, sent: Sent) -> None:
    """Record how far one store has got."""
    path = folder / "sent.json"
    try:
        known = json.loads(path.read_bytes())
    except (OSError, ValueError):
        known = {}
    atomic_write(path, json.dumps({**known, tracking_uri: asdict(sent)}, indent=1).encode())


def is_all_sent(folder: Path, sent: Sent) -> bool:
    """Whether the store has every line there is now."""
    return sent.run_id is not None and sent.offset == (folder / "spool.jsonl").stat().st_size


def forward(folder: Path, identity: Identity, store: Store) -> tuple[str, int]:
    """Send what is unsent; the run's id in the store and the number of lines sent. Raises whatever the store raises."""
    uri = identity.tracking_uri
    sent = read_sent(folder, uri)
    if is_all_sent(folder, sent):
        return str(sent.run_id), 0
    run_id = store.attach(identity, sent.run_id)
    if run_id != sent.run_id:  # another run than before (its store was deleted, perhaps): all of it again
        sent = Sent(run_id)
        write_sent(folder, uri, sent)
    count = 0
    for lines in _batches(read_lines(folder, sent.offset)):
        _send(folder, run_id, lines, store)
        write_sent(folder, uri, Sent(run_id, lines[-1].end))
        count += len(lines)
    return run_id, count


def _batches(lines: Iterator[Line]) -> Iterator[list[Line]]:
    """Consecutive lines that one call can carry; all but metrics, parameters and tags go alone, in their place."""
    batch: list[Line] = []
    sizes = {"metrics": 0, "params": 0, "tags": 0}
    for line in lines:
        values = line.content.get("values")
        size = len(values) if isinstance(values, dict) else 0
        alone = line.kind not in sizes
        limit = MAX_METRICS if line.kind == "metrics" else MAX_OTHERS
        if batch and (alone or sizes[line.kind] + size > limit):
            yield batch
            batch, sizes = [], dict.fromkeys(sizes, 0)
        if alone:
            yield [line]
            continue
        batch.append(line)
        sizes[line.kind] += size
    if batch:
        yield batch


def _send(folder: Path, run_id: str, lines: list[Line], store: Store) -> None:
    try:
        _send_together(folder, run_id, lines, store)
    except Rejected as error:
        if len(lines) == 1:
            _set_aside(folder, lines[0], str(error))
            return
        for line in lines:  # find the one that is refused; the others are recognised if they are there already
            _send(folder, run_id, [line], store)


def _send_together(folder: Path, run_id: str, lines: list[Line], store: Store) -> None:
    try:
        send = _call_of(folder, run_id, lines, store)
    except (KeyError, TypeError, ValueError, AttributeError) as error:  # what it holds, and nothing that the store has said
        raise Rejected(f"a damaged line ({type(error).__name__}: {error})") from error
    send()


def _call_of(folder: Path, run_id: str, lines: list[Line], store: Store) -> Callable[[], object]:
    kind, content = lines[0].kind, lines[0].content
    if kind == "artifact":
        return partial(store.send_artifact, run_id, _file(folder, content["file"]), relative_path(content["to"]) if content["to"] else "")
    if kind == "status":
        return partial(store.send_status, run_id, content["status"], lines[0].time)
    if kind == "dataset":
        return partial(store.send_dataset, run_id, DataInfo(**content["data"]), content["context"])
    if kind == "checkpoint":
        file, metrics = _file(folder, content["file"]), _points_of(folder, lines[0])
        return partial(store.send_checkpoint, run_id, Checkpoint(file, int(content["step"]), content["sha256"], metrics))
    return partial(store.send, run_id, _as_batch(lines))


def _file(folder: Path, name: str) -> Path:
    """A file of the run. A record may come from anywhere: what leads out of the run's folder is not sent."""
    try:
        return confined(folder.parent, name)
    except UserError as error:
        raise Rejected(str(error)) from error


def _points_of(folder: Path, checkpoint: Line) -> list[MetricPoint]:
    """A checkpoint's metrics, each with the time at which the run had logged the same value at that step: then it is the same point."""
    step, times = checkpoint.content["step"], dict[tuple[str, str], int]()
    for line in read_lines(folder, containing=b'"step": %d,' % step):
        if line.kind == "metrics" and line.content.get("step") == step and line.end <= checkpoint.end:
            for name, value in line.content["values"].items():
                times.setdefault((name, repr(value)), line.time)  # repr: NaN is no other than itself
    return [
        MetricPoint(name, float(value), times.get((name, repr(value)), checkpoint.time), step)
        for name, value in checkpoint.content["metrics"].items()
    ]


def _as_batch(lines: list[Line]) -> Batch:
    metrics: list[MetricPoint] = []
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    for line in lines:
        values = line.content.get("values", {})
        if line.kind == "metrics":
            metrics += [MetricPoint(name, float(value), line.time, int(line.content["step"])) for name, value in values.items()]
        elif line.kind == "params":
            params.update(values)
        elif line.kind == "tags":
            tags.update(values)
    return Batch(metrics, params, tags)


def _set_aside(folder: Path, line: Line, reason: str) -> None:
    LOG.warning("the tracking store refuses a line, which is now in %s: %s", folder / "rejected.jsonl", reason)
    with (folder / "rejected.jsonl").open("a") as stream:
        stream.write(json.dumps({"kind": line.kind, "time": line.time, **line.content, "reason": reason}) + "\n")


class Forwarder(threading.Thread):
    """The thread that forwards while the training goes on. It never raises; ``failure`` says why it is behind, if it is.

    The store is made in this thread (``connect``), as that may take seconds or hang. Between failures it waits longer and
    longer, up to a minute. :meth:`stop` lets it send the rest, for so many seconds at most.
    """

    def __init__(self, folder: Path, identity: Identity, spool: Spool, connect: Callable[[], Store] | None) -> None:
        super().__init__(name="scidiff-tracking", daemon=True)
        self._folder, self._identity, self._spool, self._connect = folder, identity, spool, connect
        self._stopping = threading.Event()
        self._store: Store | None = None
        self.run_id: str | None = None
        self.failure: str | None = None

    @property
    def behind(self) -> bool:
        """Whether the store lacks a line that there is now."""
        if self._connect is None:
            return False
        with contextlib.suppress(OSError):
            return not is_all_sent(self._folder, read_sent(self._folder, self._identity.tracking_uri))
        return True

    def run(self) -> None:
        pause = INTERVAL
        try:
            while not self._stopping.is_set():
                pause = INTERVAL if self._attempt() else min(2 * pause, MAX_PAUSE)
                self._wait(pause)
            self._attempt()
        except BaseException as error:  # whatever it is, it is the tracker's and not the training's
            self._fail(error)

    def stop(self, seconds: float) -> None:
        """Send the rest and end; what is not sent within ``seconds`` stays in the spool."""
        self._stopping.set()
        self.join(seconds)

    def _attempt(self) -> bool:
        if self._connect is None:
            return True
        try:
            if self._store is None:
                self._store = self._connect()
            self.run_id, _ = forward(self._folder, self._identity, self._store)
        except BaseException as error:  # a library that calls sys.exit() must not end the forwarding
            self._fail(error)
            return False
        self.failure = None
        return True

    def _fail(self, error: BaseException) -> None:
        if self.failure is None:
            uri = self._identity.tracking_uri
            LOG.warning("the tracking store %s does not take the run now; it goes on, and is kept in %s", uri, self._folder)
        self.failure = f"{type(error).__name__}: {error}"

    def _wait(self, seconds: float) -> None:
        """Wait, with the spool made durable every so often."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not self._stopping.wait(min(left, INTERVAL)):
            self._spool.sync()
