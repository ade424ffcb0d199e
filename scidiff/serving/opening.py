"""From any name of a model to its file, and the domain that it belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from scidiff.domain import Service, find_weights, load_domain, missing_extra_named, models_at_hand, service_of
from scidiff.errors import UserError
from scidiff.train.weights import load_weights

__all__ = ["OpenModel", "load_service", "open_model"]


@dataclass(frozen=True)
class OpenModel:
    """A file of weights, what it holds, and the name of its domain."""

    path: Path
    domain: str
    tensors: dict[str, Tensor]
    metadata: dict[str, Any]


def open_model(model: str | Path, tracking_uri: str | None = None) -> OpenModel:
    """The model of a shipped name of any domain, a file, a training's folder or a URI of MLflow.

    Raises UserError for what is not there, a file that cannot be trusted, or one of a domain that is not installed.
    """
    path = find_weights(model, {one.name: one.path for _, one in models_at_hand()}, tracking_uri)
    tensors, metadata = load_weights(path)
    domain = metadata.get("domain")
    if not isinstance(domain, str):
        raise UserError(f"{model}: these weights do not say which domain they belong to: write them with scidiff train")
    load_domain(domain)
    return OpenModel(path, domain, tensors, metadata)


def load_service(model: str | Path, device: str = "cpu", tracking_uri: str | None = None) -> Service:
    """What answers requests to a model. Raises UserError as :func:`open_model` does, and for a domain whose models cannot be served."""
    found = open_model(model, tracking_uri)
    with missing_extra_named(found.domain):
        return service_of(found.domain).load(found.path, device)
