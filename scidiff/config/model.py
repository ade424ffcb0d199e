"""From values to a typed object: one pydantic model says what a file may hold."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, cast, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from scidiff.config.errors import ConfigError, Problem
from scidiff.config.reader import CoreDumper, Document, KeyPath, apply_overrides, read_yaml
from scidiff.errors import did_you_mean

__all__ = ["Config", "Scalar", "flatten", "load_config", "read_config", "to_yaml", "validate"]

Scalar = str | int | float | bool | None
Models = list[type[BaseModel]]
MAX_SHOWN = 80


class Config(BaseModel):
    """Base of every configuration: unknown keys are errors, values are frozen, numbers are finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)


C = TypeVar("C", bound=Config)


def load_config(model: type[C], path: str | Path, overrides: Iterable[str] = ()) -> C:
    """Read ``path``, put the ``KEY=VALUE`` overrides on top, and check everything against ``model``.

    Raises :class:`~scidiff.config.errors.ConfigError` with every fault at once.
    """
    return validate(model, read_config(path, overrides))


def read_config(path: str | Path, overrides: Iterable[str] = ()) -> Document:
    """The values of a file with the overrides on top, not yet checked against a model."""
    return apply_overrides(read_yaml(path), overrides)


def validate(model: type[C], document: Document) -> C:
    """Check a document against ``model``. Raises :class:`~scidiff.config.errors.ConfigError` with every fault at once."""
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        problems = [_problem(cast("dict[str, Any]", fault), model, document) for fault in error.errors(include_url=False)]
        raise ConfigError(document.source, sorted(problems, key=_order)) from None


def to_yaml(config: Config) -> str:
    """The configuration as YAML that :func:`load_config` reads back to an equal object."""
    return yaml.dump(config.model_dump(mode="json"), Dumper=CoreDumper, sort_keys=False, allow_unicode=True)


def flatten(config: BaseModel | Mapping[str, Any]) -> dict[str, Scalar]:
    """Dotted names to scalars, as a tracker wants its parameters; a list becomes its JSON text."""
    values = config.model_dump(mode="json") if isinstance(config, BaseModel) else config
    flat: dict[str, Scalar] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat.update({f"{key}.{inner}": scalar for inner, scalar in flatten(cast("Mapping[str, Any]", value)).items()})
        elif isinstance(value, str | int | float | bool | None):
            flat[key] = value
        else:
            flat[key] = json.dumps(value)
    return flat


def _problem(fault: Mapping[str, Any], model: type[BaseModel], document: Document) -> Problem:
    kind, loc, context = str(fault["type"]), cast("KeyPath", fault["loc"]), cast("dict[str, Any]", fault.get("ctx", {}))
    path, tags = _as_written(loc, document.data, missing=kind == "missing")
    shown = ".".join(map(str, path))
    value = _short(fault["input"])
    if kind == "extra_forbidden":
        known = _known_keys(model, path[:-1], tags)
        hint = did_you_mean(str(path[-1]), known) or f" (known: {', '.join(known)})"
        message = f"unknown key, with the value {value}{hint}"
    elif kind == "missing":
        message = "required, and missing"
    elif kind == "union_tag_invalid":
        known = [name.strip().strip("'") for name in str(context["expected_tags"]).split(",")]
        tag, discriminator = str(context["tag"]), str(context["discriminator"]).strip("'")
        path, shown = (*path, discriminator), f"{shown}.{discriminator}"
        message = f"unknown component {tag!r}{did_you_mean(tag, known)} (known: {', '.join(known)})"
    else:
        reason = str(context["error"]) if kind == "value_error" else str(fault["msg"])
        message = f"{reason[:1].lower()}{reason[1:]}, got {value}"
    return Problem(document.place(path), shown, message)


def _as_written(loc: KeyPath, data: Any, *, missing: bool) -> tuple[KeyPath, list[str]]:
    """pydantic's location without the tags that it puts in for members of a union; and those tags."""
    path: list[str | int] = []
    tags: list[str] = []
    value = data
    for position, part in enumerate(loc):
        absent = missing and position == len(loc) - 1
        if isinstance(value, Mapping) and part in value:
            value = cast("Mapping[Any, Any]", value)[part]
        elif isinstance(value, list) and isinstance(part, int):
            value = cast("list[Any]", value)[part]
        elif not absent:
            tags.append(str(part))
            continue
        path.append(part)
    return tuple(path), tags


def _known_keys(model: type[BaseModel], path: KeyPath, tags: list[str]) -> list[str]:
    """The keys that a model (or the members of a union that the tags chose) accepts at ``path``."""
    models: Models = [model]
    for key in path:
        below = [found for one in models if key in one.model_fields for found in _models_in(one.model_fields[str(key)].annotation)]
        models = below or models
    chosen = [one for one in models if any(_answers_to(one, tag) for tag in tags)]
    return sorted({key for one in chosen or models for key in one.model_fields})


def _models_in(annotation: Any) -> Models:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in get_args(annotation) for found in _models_in(part)]


def _answers_to(model: type[BaseModel], tag: str) -> bool:
    names = [field.annotation for field in model.model_fields.values() if get_origin(field.annotation) is Literal]
    return model.__name__ == tag or any(tag in get_args(name) for name in names)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


def _order(problem: Problem) -> tuple[bool, int, str]:
    """By line in the file, then what the overrides brought."""
    line = problem.where.removeprefix("line ")
    return (not line.isdecimal(), int(line) if line.isdecimal() else 0, problem.key)
