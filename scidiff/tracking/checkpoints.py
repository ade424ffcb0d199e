"""Checkpoints as MLflow's LoggedModels, each at its step of the run that made it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from scidiff.files import file_sha256
from scidiff.tracking.content import Checkpoint, Rejected

__all__ = ["CHECKPOINT", "LoggedCheckpoint", "tagged"]

CHECKPOINT = "scidiff.checkpoint"
"""The tag by which a LoggedModel that is there already is found again: run, step and hash."""
NAME = "checkpoint"


def tagged(tag: str, value: str) -> str:
    """MLflow's filter for what has this tag."""
    return f"tags.`{tag}` = '{value}'"


class LoggedCheckpoint:
    """One checkpoint of the run ``run_id``, sent through an MLflow client.

    Sending has five parts (the model, its file, its metrics, its place among the run's outputs, its status); each may be done
    again, or be the first after a crash. READY, set last, says that all are done.
    """

    def __init__(self, client: Any, run_id: str, checkpoint: Checkpoint) -> None:
        self._client, self._run_id, self._checkpoint = client, run_id, checkpoint
        self._key = f"{run_id}/{checkpoint.step}/{checkpoint.sha256[:16]}"

    def send(self) -> None:
        """Send what is missing. Raises :class:`~scidiff.tracking.content.Rejected` when the file is gone or altered."""
        from mlflow.entities import LoggedModelStatus

        run = self._client.get_run(self._run_id)
        outputs = self._outputs(run)
        found = self._found(run.info.experiment_id)
        known = [model for model in found if model.model_id in outputs]
        model = (known or found or [None])[0] or self._create(run.info.experiment_id)
        if model.status != LoggedModelStatus.READY or not known:
            self._complete(model.model_id, is_output=bool(known))
        for twin in found:  # an answer to a request that was given up
            if twin.model_id != model.model_id:
                self._client.delete_logged_model(twin.model_id)

    def _found(self, experiment: str) -> list[Any]:
        order = [{"field_name": "creation_timestamp", "ascending": True}]
        return list(self._client.search_logged_models([experiment], tagged(CHECKPOINT, self._key), order_by=order))

    def _create(self, experiment: str) -> Any:
        checkpoint = self._checkpoint
        self._check_file()
        return self._client.create_logged_model(
            experiment,
            name=NAME,
            source_run_id=self._run_id,
            tags={CHECKPOINT: self._key, "scidiff.step": str(checkpoint.step), "scidiff.sha256": checkpoint.sha256},
            params={"step": str(checkpoint.step), "weights": checkpoint.path.name},
            model_type="weights",
        )

    def _complete(self, model_id: str, is_output: bool) -> None:
        from mlflow.entities import LoggedModelOutput, Metric

        checkpoint = self._checkpoint
        self._check_file()
        self._client.log_model_artifact(model_id, str(checkpoint.path))
        metrics = [Metric(point.name, point.value, point.time, point.step, model_id=model_id) for point in checkpoint.metrics]
        if metrics:
            self._client.log_batch(self._run_id, metrics=metrics)
        if not is_output:
            with self._unless_output(model_id):
                self._client.log_outputs(self._run_id, [LoggedModelOutput(model_id, checkpoint.step)])
        self._client.finalize_logged_model(model_id, "READY")

    def _check_file(self) -> None:
        path = self._checkpoint.path
        if not path.exists():
            raise Rejected(f"{path} is gone")
        if file_sha256(path) != self._checkpoint.sha256:
            raise Rejected(f"{path} is not what was logged: its SHA-256 is another")

    @contextmanager
    def _unless_output(self, model_id: str) -> Generator[None]:
        """A store takes an output once only, and refuses it when an answer that came too late had done it."""
        try:
            yield
        except Exception:
            if model_id not in self._outputs(self._client.get_run(self._run_id)):
                raise

    def _outputs(self, run: Any) -> set[str]:
        return set() if run.outputs is None else {output.model_id for output in run.outputs.model_outputs}
