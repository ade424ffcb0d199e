"""The tracker: what a training talks to. It writes the spool and lets a thread forward it."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, SupportsFloat, TypeVar, runtime_checkable

from rich.console import Console

from scidiff.files import file_sha256, is_confined
from scidiff.signals import sigterm_exits
from scidiff.tracking.dataset import DataInfo
from scidiff.tracking.environment import environment, run_tags
from scidiff.tracking.files import copied, environment_file, kept
from scidiff.tracking.forward import MAX_METRICS, MAX_OTHERS, Forwarder
from scidiff.tracking.monitor import PREFIX, Monitor
from scidiff.tracking.names import metric_name, param_values, relative_path, tag_values
from scidiff.tracking.spool import Spool, claim, folder_of, open_identity, read_lines
from scidiff.tracking.store import MlflowStore

__all__ = ["OFF", "Tracker", "default_tracking_uri"]

OFF = "off"
SECONDS_TO_FINISH = 60.0
SECONDS_WHEN_KILLED = 10.0
LOG = logging.getLogger("scidiff.tracking")
V = TypeVar("V")


@runtime_checkable
class Figure(Protocol):
    """A picture that can write itself to a file (matplotlib's figures)."""

    def savefig(self, fname: Any, /) -> Any: ...


def default_tracking_uri() -> str:
    """``MLFLOW_TRACKING_URI``, or else a database ``mlruns.db`` in the folder one is in."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path.cwd() / 'mlruns.db'}"


class Tracker:
    """One run. Use it as a context manager: the run then ends as FINISHED, FAILED (an exception) or KILLED (SIGTERM, Ctrl-C).

    Starting in a folder that holds a run continues that run: the same run in MLflow, what was not sent is sent, and
    values that a resumed training logs again (same metric, step and value) are not logged twice.
    """

    def __init__(self, folder: Path, lock: int, spool: Spool, forwarder: Forwarder, continued: bool) -> None:
        self.folder = folder.parent
        self._folder, self._lock, self._spool, self._forwarder = folder, lock, spool, forwarder
        self._params: dict[str, str] = {}
        self._logged: dict[tuple[str, int], float] = {}
        self._datasets: dict[str, str] = {}
        self._measured = 0
        self._open = True
        if continued:
            self._recall()
        self._last_step = max((step for _, step in self._logged), default=-1)
        self._signals = contextlib.ExitStack()
        self._monitor = Monitor(lambda step, values: spool.write("metrics", step=step, values=values), self.folder, self._measured)

    @classmethod
    def start(
        cls,
        run_name: str,
        folder: str | Path,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, Any] | None = None,
        tracking_uri: str | None = None,
        experiment: str = "scidiff",
        resume: bool = True,
    ) -> Tracker:
        """Begin, or continue, the run recorded in ``folder``.

        ``tracking_uri``: a server, a database (``sqlite:///path``), :data:`OFF` to keep the run in its folder alone, or
        ``None`` for :func:`default_tracking_uri`. ``resume=False`` begins a new run and moves the record that is there to
        ``earlier/``. Never waits for the store. Raises :class:`~scidiff.errors.UserError` when another process is writing
        to the same folder.
        """
        record = folder_of(Path(folder).absolute())
        uri = tracking_uri or default_tracking_uri()
        with contextlib.ExitStack() as undo:
            lock = claim(record, resume)
            undo.callback(os.close, lock)
            identity, continued = open_identity(record, run_name, experiment, uri, tag_values(run_tags()))
            spool = Spool(record)
            undo.callback(spool.close)
            forwarder = Forwarder(record, identity, spool, None if uri == OFF else lambda: MlflowStore(uri))
            tracker = cls(record, lock, spool, forwarder, continued)
            if continued:
                spool.write("status", status="RUNNING")
                tracker.set_tags(run_tags())
            tracker.log_params(params or {})
            tracker.set_tags(tags or {})
            tracker._log_environment()
            forwarder.start()
            tracker._monitor.start()
            undo.pop_all()
        return tracker

    @property
    def run_id(self) -> str | None:
        """The run's id in MLflow, once it is known there."""
        return self._forwarder.run_id

    @property
    def failure(self) -> str | None:
        """Why the store does not take the run at the moment; ``None`` when all is well."""
        return self._forwarder.failure

    def log_metrics(self, metrics: Mapping[str, SupportsFloat], step: int) -> None:
        """Log numbers at ``step``. Names are made such as MLflow allows (:func:`~scidiff.tracking.names.metric_name`)."""
        values = {metric_name(name): float(value) for name, value in metrics.items()}
        if step <= self._last_step:
            values = {name: value for name, value in values.items() if self._logged.get((name, step)) != value}
        for part in _parts(values, MAX_METRICS):
            self._write("metrics", step=step, values=part)

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log parameters. MLflow never changes one: a new value for a known one becomes a tag ``changed.NAME``."""
        values = param_values(params)
        changed = {name: value for name, value in values.items() if self._params.get(name, value) != value}
        fresh = {name: value for name, value in values.items() if name not in self._params}
        self._params.update(fresh)
        for part in _parts(fresh, MAX_OTHERS):
            self._write("params", values=part)
        self.set_tags({f"changed.{name}": f"{self._params[name]} -> {value}" for name, value in changed.items()})

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Set tags, over what they were."""
        for part in _parts(tag_values(tags), MAX_OTHERS):
            self._write("tags", values=part)

    def log_dataset(self, info: DataInfo, context: str = "training") -> None:
        """Log what the run is trained on (``context``: or ``validation``, ``test``), as a dataset of MLflow's and as tags.

        A continued run whose data are others than before has both, and a tag ``changed.data.sha256``.
        """
        if self._datasets.get(context) == info.digest:
            return
        if context in self._datasets:
            self.set_tags({"changed.data.sha256": f"{self._datasets[context]} -> {info.digest}"})
            LOG.warning("%s: the data are not those that this run began with", self.folder)
        self._datasets[context] = info.digest
        self._write("dataset", data={**vars(info), "profile": dict(info.profile)}, context=context)
        if context == "training":
            self.set_tags({"data.name": info.name, "data.sha256": info.digest})

    def log_checkpoint(self, path: Path, step: int, metrics: Mapping[str, SupportsFloat]) -> None:
        """Log weights worth keeping (a file), as a LoggedModel of MLflow's at this step, with what was measured on them.

        The record keeps the file as it is now. A metric that the run has at this step already is linked, and not logged twice.
        """
        path = Path(path).absolute()
        try:
            digest = file_sha256(path)
            place = kept(path, self._folder, digest)
        except OSError as error:
            LOG.warning("the checkpoint %s cannot be kept in %s (%s), so it is not logged", path, self._folder, error)
            return
        values = {metric_name(name): float(value) for name, value in metrics.items()}
        self._write("checkpoint", file=str(place.relative_to(self.folder)), step=step, sha256=digest, metrics=values)

    def log_artifact(self, path: str | Path, artifact_path: str = "") -> None:
        """Log a file or a folder, under ``artifact_path``. What lies outside the run's folder is copied into it first."""
        path = Path(path).absolute()
        if not path.exists():
            LOG.warning("%s is not there, so it is not logged", path)
            return
        try:
            inside = path if is_confined(self.folder, path) else copied(path, self._folder)
        except OSError as error:
            LOG.warning("%s cannot be copied to %s (%s), so it is not logged", path, self._folder, error)
            return
        self._write("artifact", file=str(inside.relative_to(self.folder)), to=relative_path(artifact_path) if artifact_path else "")

    def log_figure(self, figure: Figure, artifact_file: str) -> None:
        """Write a figure to ``artifact_file`` (such as ``samples/step-100.png``) in the run's record, and log it."""
        name = relative_path(artifact_file)
        path = self._folder / "figures" / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(path)
        except OSError as error:
            LOG.warning("the figure %s cannot be written (%s), so it is not logged", path, error)
            return
        self.log_artifact(path, name.rpartition("/")[0])

    def finish(self, status: str = "FINISHED") -> None:
        """End the run (``FINISHED``, ``FAILED`` or ``KILLED``). Sends the rest, and waits for that a limited time."""
        if not self._open:
            return
        self._monitor.stop()
        self._write("status", status=status)
        self._open = False
        self._spool.sync()
        self._send_the_rest(SECONDS_WHEN_KILLED if status == "KILLED" else SECONDS_TO_FINISH)
        self._spool.close()
        os.close(self._lock)
        if self._forwarder.behind:
            LOG.warning("not everything has reached the tracking store; send it with: scidiff track sync %s", self.folder)
        if self._spool.lost:
            LOG.warning("%d lines could not be written to %s: is the disk full?", self._spool.lost, self._folder)

    def __enter__(self) -> Tracker:
        self._signals.enter_context(sigterm_exits())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self.finish(_status(error))
        finally:
            self._signals.close()

    def _write(self, kind: str, **content: Any) -> None:
        if not self._open:
            raise RuntimeError("this run has ended: start the tracker again to continue it")
        self._spool.write(kind, **content)

    def _log_environment(self) -> None:
        with contextlib.suppress(OSError):  # a full disk: the tags say the most important
            path = environment_file(self._folder, environment())
            if path is not None:
                self.log_artifact(path)

    def _send_the_rest(self, seconds: float) -> None:
        at_once = min(seconds, 1.0)
        self._forwarder.stop(at_once)
        if self._forwarder.is_alive() and seconds > at_once:
            with Console(stderr=True).status("sending the rest of the run to MLflow"):
                self._forwarder.stop(seconds - at_once)

    def _recall(self) -> None:
        """What the run has logged before it was interrupted."""
        for line in read_lines(self._folder):
            values, step = line.content.get("values", {}), line.content.get("step", 0)
            if line.kind == "metrics" and any(name.startswith(PREFIX) for name in values):
                self._measured = max(self._measured, step + 1)
            elif line.kind == "metrics":
                self._logged.update({(name, step): value for name, value in values.items()})
            elif line.kind == "params":
                self._params.update(values)
            elif line.kind == "dataset":
                self._datasets[line.content["context"]] = line.content["data"]["digest"]


def _status(error: BaseException | None) -> str:
    if error is None or (isinstance(error, SystemExit) and error.code in {None, 0}):
        return "FINISHED"
    return "FAILED" if isinstance(error, Exception) else "KILLED"


def _parts(values: Mapping[str, V], size: int) -> list[dict[str, V]]:
    items = list(values.items())
    return [dict(items[start : start + size]) for start in range(0, len(items), size)]
