"""Where a training starts when not from fresh weights: the weights of a model that exists, for data of one's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from torch import Tensor

from scidiff.errors import UserError
from scidiff.train.weights import load_weights, weights_sha256

__all__ = ["Start", "fill_in", "read_start"]


@dataclass(frozen=True)
class Start:
    """A model to start from: what it was called, its tensors, and what its file says."""

    model: str
    tensors: dict[str, Tensor]
    metadata: dict[str, Any]

    def about(self) -> dict[str, str]:
        """What the new model's file says of it: its name, and the hash that its card shows as well."""
        return {"model": self.model, "sha256": weights_sha256(self.tensors)}


def read_start(model: str, find: Callable[[str], Path], domain: str) -> Start:
    """The model that ``find`` (a domain's) knows by that name. Raises UserError for an unknown one, or one of another domain."""
    tensors, metadata = load_weights(find(model))
    if metadata.get("domain") != domain:
        raise UserError(f"init = {model}: this is a model of the domain {metadata.get('domain')!r}, not of {domain!r}")
    return Start(model, tensors, metadata)


def fill_in(values: Mapping[str, Any], start: Start, sections: Mapping[str, tuple[type[BaseModel], Any]]) -> dict[str, Any]:
    """A recipe's values with those sections that describe the network as they are in ``start``.

    ``sections``: name to (type, what the start says). One that the recipe holds as well must say the same. Raises UserError naming the
    first key that differs.
    """
    filled = dict(values)
    for name, (kind, known) in sections.items():
        there = kind.model_validate(known)
        here = kind.model_validate(filled.get(name, known))
        for key in kind.model_fields:
            mine, its = getattr(here, key), getattr(there, key)
            if mine != its:
                remedy = f"leave the section {name!r} out of the recipe, or start from fresh weights"
                raise UserError(f"init = {start.model}: its {name}.{key} is {its!r}, the recipe's {mine!r}: {remedy}")
        filled[name] = there
    return filled
