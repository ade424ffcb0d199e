"""Reading a run back: from its folder, or from an MLflow store."""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from scidiff.errors import UserError
from scidiff.runs.record import Logged, RunRecord, in_order
from scidiff.tracking import OFF, default_tracking_uri
from scidiff.tracking.dataset import DataInfo
from scidiff.tracking.forward import read_sent
from scidiff.tracking.spool import ENDED, Line, folder_of, read_identity, read_lines
from scidiff.tracking.store import prepare_environment

__all__ = ["read_run"]

SCHEME = "runs:/"
_RECENT = 5
_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")


def read_run(run: str | Path, tracking_uri: str | None = None) -> RunRecord:
    """The run of that id in the store (``ID`` or ``runs:/ID``), or the one recorded in that folder.

    ``tracking_uri``: as :class:`scidiff.tracking.Tracker` takes it. Raises :class:`~scidiff.errors.UserError` where there is no such run,
    naming the last ones that there are, and where the store cannot be reached.
    """
    name = str(run)
    if not name.startswith(SCHEME) and Path(name).is_dir():
        return _from_folder(Path(name))
    run_id = name.removeprefix(SCHEME).strip("/")
    if not _ID.fullmatch(run_id):
        raise UserError(f"{name}: no folder, and no id of a run: give a run's folder, its id, or runs:/ID")
    return _from_store(run_id, tracking_uri or default_tracking_uri())


# -- from a folder --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Files:
    """Artifacts of a run's folder: name to file."""

    files: Mapping[str, Path]

    def names(self) -> list[str]:
        return sorted({name.partition("/")[0] for name in self.files})

    def fetch(self, name: str, folder: Path) -> Path | None:
        path = self.files.get(name)
        return path if path is not None and path.is_file() else None


def _from_folder(folder: Path) -> RunRecord:
    record = folder_of(folder)
    identity = read_identity(record)
    if identity is None:
        raise UserError(f"{folder}: no run is recorded here: expected {record / 'run.json'}")
    tags, params, metrics = dict(identity.tags), dict[str, str](), defaultdict[str, list[Logged]](list)
    files, datasets, status, ended = dict[str, Path](), list[DataInfo](), "RUNNING", None
    for line in read_lines(record):
        values = line.content.get("values", {})
        if line.kind == "metrics":
            for name, value in values.items():
                metrics[name].append(Logged(int(line.content["step"]), float(value), line.time))
        elif line.kind in ("params", "tags"):
            (params if line.kind == "params" else tags).update(values)
        elif line.kind == "artifact":
            name = Path(line.content["file"]).name
            files[f"{line.content['to']}/{name}" if line.content["to"] else name] = folder / line.content["file"]
        elif line.kind == "dataset":
            datasets.append(_data_info(line))
        elif line.kind == "status":
            status = str(line.content["status"])
            ended = line.time if status in ENDED else None
    return RunRecord(
        source=f"the folder {folder}",
        run_id=read_sent(record, identity.tracking_uri).run_id or identity.local_id,
        name=identity.run_name,
        status=status,
        started=identity.started,
        ended=ended,
        params=params,
        tags=tags,
        metrics={name: in_order(values) for name, values in metrics.items()},
        datasets=_distinct(datasets),
        artifacts=_Files(files),
    )


def _data_info(line: Line) -> DataInfo:
    known = {one.name for one in fields(DataInfo)}
    return DataInfo(**{name: value for name, value in line.content["data"].items() if name in known})


# -- from a store ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Stored:
    """Artifacts of a run in a store."""

    client: Any
    run_id: str

    def names(self) -> list[str]:
        return sorted(str(one.path) for one in self.client.list_artifacts(self.run_id))

    def fetch(self, name: str, folder: Path) -> Path | None:
        above = name.rpartition("/")[0]
        if name not in {str(one.path) for one in self.client.list_artifacts(self.run_id, above or None)}:
            return None
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        return Path(self.client.download_artifacts(self.run_id, name, str(folder)))


def _from_store(run_id: str, uri: str) -> RunRecord:
    if uri == OFF:
        raise UserError(f"{run_id}: no folder of that name, and no store to look in (--tracking-uri off)")
    database = uri.removeprefix("sqlite:///")
    if database != uri and not Path(database).is_file():  # asked for it, MLflow would make one
        raise UserError(f"{run_id}: no folder of that name, and no database {database}: give --tracking-uri")
    prepare_environment()
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    client: Any = MlflowClient(tracking_uri=uri)
    try:
        found = client.get_run(run_id)
        metrics = {name: _history(client, run_id, name) for name in found.data.metrics}
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            raise UserError(f"{run_id}: neither a folder nor a run in {uri}{_recent(client)}") from error
        raise UserError(f"{uri}: the tracking store does not answer ({str(error).splitlines()[0][:300]}): check that it runs") from error
    info, tags = found.info, dict(found.data.tags)
    return RunRecord(
        source=uri,
        run_id=str(info.run_id),
        name=str(info.run_name or "run"),
        status=str(info.status),
        started=info.start_time,
        ended=info.end_time,
        params=dict(found.data.params),
        tags=tags,
        metrics=metrics,
        datasets=_distinct([_stored_data(one.dataset) for one in (found.inputs.dataset_inputs if found.inputs else ())]),
        artifacts=_Stored(client, run_id),
    )


def _history(client: Any, run_id: str, name: str) -> list[Logged]:
    found = client.get_metric_history(run_id, name)
    return in_order([Logged(int(one.step), _infinite(float(one.value)), int(one.timestamp)) for one in found])


def _infinite(value: float) -> float:
    """SQL stores keep infinity as the largest number."""
    return math.copysign(math.inf, value) if abs(value) == sys.float_info.max else value


def _stored_data(dataset: Any) -> DataInfo:
    """What MlflowStore.send_dataset wrote; of other writers what can be understood."""
    try:
        profile = dict(json.loads(dataset.profile or "{}"))
        source = json.loads(dataset.source or "{}")
    except (ValueError, TypeError):
        profile, source = {}, {}
    digest, examples = str(profile.pop("sha256", dataset.digest)), profile.pop("num_rows", 0)
    place = next((str(value) for value in source.values()), "") if isinstance(source, dict) else str(source)
    return DataInfo(str(dataset.name), digest, place, int(examples or 0), str(profile.pop("licence", "")), profile)


def _distinct(datasets: list[DataInfo]) -> list[DataInfo]:
    """A continued run says again what it is trained on."""
    return list({(one.name, one.digest): one for one in datasets}.values())


def _recent(client: Any) -> str:
    experiments = [one.experiment_id for one in client.search_experiments()]
    runs = client.search_runs(experiments, max_results=_RECENT, order_by=["attributes.start_time DESC"])
    return "; the last there: " + ", ".join(f"{run.info.run_id} ({run.info.run_name})" for run in runs) if runs else ", which holds none"
