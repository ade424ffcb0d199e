"""MLflow, and nothing else of it than what is needed here; imported when it is first talked to (it takes seconds)."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

from scidiff.tracking.checkpoints import LoggedCheckpoint, tagged
from scidiff.tracking.content import Batch, Checkpoint, MetricPoint, Rejected
from scidiff.tracking.dataset import DataInfo
from scidiff.tracking.spool import ENDED, Identity

__all__ = ["Batch", "Checkpoint", "MetricPoint", "MlflowStore", "Rejected", "Store", "prepare_environment"]

LOCAL_ID = "scidiff.local_id"
CONTEXT = "mlflow.data.context"
DIGEST_LENGTH = 36  # MLflow's limit; the whole SHA-256 is in the profile
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
REFUSED_FOR_GOOD = {"INVALID_PARAMETER_VALUE", "BAD_REQUEST", "MALFORMED_REQUEST", "RESOURCE_ALREADY_EXISTS"}
ABSENT = "RESOURCE_DOES_NOT_EXIST"


@runtime_checkable
class Store(Protocol):
    """Where a run is forwarded to. Every method may raise: :class:`Rejected` for good, anything else for now."""

    def attach(self, identity: Identity, run_id: str | None) -> str:
        """The id of the run there: ``run_id`` if it still exists, else found by its local id, else made."""
        ...

    def send(self, run_id: str, batch: Batch) -> None: ...

    def send_artifact(self, run_id: str, path: Path, to: str) -> None: ...

    def send_dataset(self, run_id: str, info: DataInfo, context: str) -> None: ...

    def send_checkpoint(self, run_id: str, checkpoint: Checkpoint) -> None: ...

    def send_status(self, run_id: str, status: str, time: int) -> None: ...


def prepare_environment() -> None:
    """MLflow's settings for a client that must never hang: short time limits, no retries of its own, no telemetry, no pickle."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"


class MlflowStore:
    """A run in an MLflow store (a server's URL, or ``sqlite:///path``)."""

    def __init__(self, tracking_uri: str) -> None:
        prepare_environment()
        import mlflow.tracking

        for noisy in ("mlflow", "alembic"):  # the making of a new database is told line by line
            logging.getLogger(noisy).setLevel(logging.WARNING)
        self.tracking_uri = tracking_uri
        self._client = mlflow.tracking.MlflowClient(tracking_uri=tracking_uri)

    def attach(self, identity: Identity, run_id: str | None) -> str:
        if run_id is not None and self._is_active(run_id):
            return run_id
        experiment = self._experiment(identity.experiment)
        found = self._client.search_runs([experiment], tagged(LOCAL_ID, identity.local_id), max_results=1)
        if found:
            return str(found[0].info.run_id)
        tags = {**identity.tags, LOCAL_ID: identity.local_id}
        run = self._client.create_run(experiment, start_time=identity.started, tags=tags, run_name=identity.run_name)
        return str(run.info.run_id)

    def send(self, run_id: str, batch: Batch) -> None:
        from mlflow.entities import Metric, Param, RunTag

        metrics = [Metric(point.name, point.value, point.time, point.step) for point in batch.metrics]
        params = [Param(name, value) for name, value in batch.params.items()]
        tags = [RunTag(name, value) for name, value in batch.tags.items()]
        with _refusals():
            self._client.log_batch(run_id, metrics=metrics, params=params, tags=tags)

    def send_artifact(self, run_id: str, path: Path, to: str) -> None:
        if not path.exists():
            raise Rejected(f"{path} is gone")
        client = cast("Any", self._client)
        send = client.log_artifacts if path.is_dir() else client.log_artifact
        with _refusals():
            send(run_id, str(path), to or None)

    def send_dataset(self, run_id: str, info: DataInfo, context: str) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        web = info.source.startswith(("http://", "https://"))
        profile = {"num_rows": info.examples, "sha256": info.digest, "licence": info.licence, **info.profile}
        source = json.dumps({"url" if web else "uri": info.source})
        dataset = Dataset(info.name[:500], info.digest[:DIGEST_LENGTH], "http" if web else "local", source, profile=json.dumps(profile))
        with _refusals():
            self._client.log_inputs(run_id, datasets=[DatasetInput(dataset, [InputTag(CONTEXT, context)])])

    def send_checkpoint(self, run_id: str, checkpoint: Checkpoint) -> None:
        with _refusals():
            LoggedCheckpoint(self._client, run_id, checkpoint).send()

    def send_status(self, run_id: str, status: str, time: int) -> None:
        with _refusals():
            if status in ENDED:
                self._delete_twins(run_id)
                self._client.set_terminated(run_id, status=status, end_time=time)
            else:
                self._client.update_run(run_id, status=status)

    def _delete_twins(self, run_id: str) -> None:
        """A request to make the run that a hanging server answered only after it was given up, and made again, leaves a second one."""
        run = self._client.get_run(run_id)
        local_id = run.data.tags.get(LOCAL_ID)
        for twin in self._client.search_runs([run.info.experiment_id], tagged(LOCAL_ID, local_id)) if local_id else ():
            if twin.info.run_id != run_id:
                self._client.delete_run(str(twin.info.run_id))

    def _is_active(self, run_id: str) -> bool:
        from mlflow.exceptions import MlflowException

        try:
            return self._client.get_run(run_id).info.lifecycle_stage == "active"
        except MlflowException as error:
            if error.error_code == ABSENT:
                return False
            raise

    def _experiment(self, name: str) -> str:
        known = self._client.get_experiment_by_name(name)
        if known is None:
            return str(self._client.create_experiment(name, artifact_location=self._artifact_location(), tags=EXPERIMENT_TAGS))
        if known.lifecycle_stage != "active":
            raise RuntimeError(f"the experiment {name!r} was deleted in {self.tracking_uri}: restore it, or choose another name")
        return str(known.experiment_id)

    def _artifact_location(self) -> str | None:
        """Beside a local database, not wherever the process happens to run; a server knows its own place."""
        path = self.tracking_uri.removeprefix("sqlite:///")
        return None if path == self.tracking_uri else (Path(path).absolute().parent / "mlartifacts").as_uri()


@contextmanager
def _refusals() -> Generator[None]:
    """MLflow's errors that no repetition mends, told apart from those of a store that is away."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code in REFUSED_FOR_GOOD:
            raise Rejected(str(error)) from error
        raise
