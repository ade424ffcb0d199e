"""A domain's service as a pyfunc model of MLflow, with typed requests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.pyfunc.model import PythonModel

from scidiff.domain import Service, service_of
from scidiff.errors import UserError
from scidiff.files import file_sha256
from scidiff.serving.answers import answer_all

__all__ = ["WEIGHTS", "pyfunc_model"]

WEIGHTS = "weights"
"""The name of the artifact."""


class ServedModel(PythonModel):
    """``predict`` takes a list of requests, and returns for each a list of rows (JSON objects).

    What cannot be answered is MLflow's INVALID_PARAMETER_VALUE, which its server answers with 400.
    """

    service: type[Service]
    model_config: Mapping[str, Any]

    def load_context(self, context: Any) -> None:
        weights, stated = Path(context.artifacts[WEIGHTS]), self.model_config.get("sha256")
        if stated is not None and file_sha256(weights) != stated:
            raise UserError(f"{weights}: its SHA-256 is not the one that was registered: register the model again")
        self.loaded = self.service.load(weights, str(self.model_config.get("device", "cpu")))

    def answer(self, requests: list[Any]) -> list[list[dict[str, Any]]]:
        try:
            return [list(answer.rows) for answer in answer_all(self.loaded, requests)]
        except UserError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error


def pyfunc_model(model_config: Mapping[str, Any]) -> PythonModel:
    """The model of the domain ``model_config["domain"]``; its ``device`` and ``sha256`` (of the weights' file) are looked at on loading."""
    service = service_of(str(model_config["domain"]))

    def predict(self: ServedModel, context: Any, model_input: Any) -> Any:
        return self.answer(model_input)

    # MLflow reads these: requests that do not fit the type are refused before predict, with the bound that they break.
    predict.__annotations__ = {"model_input": list[service.request_type()]}
    kind = type("ServedModel", (ServedModel,), {"predict": predict, "service": service, "model_config": dict(model_config)})
    return kind()
