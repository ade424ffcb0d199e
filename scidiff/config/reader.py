"""Reading YAML: values only, bounded, with the line of every key.

Scalars follow the core schema of YAML 1.2 (https://yaml.org/spec/1.2.2/#103-core-schema), not PyYAML's 1.1: ``1e-4`` is
a number, ``no`` and ``on`` are words, ``010`` is the word it looks like and ``12:30`` is no number in base sixty.

Refused outright: anchors and aliases (a few lines of them expand to gigabytes), tags, a key given twice, and files over
:data:`MAX_BYTES`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, cast

import yaml
from yaml.constructor import SafeConstructor
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from scidiff.config.errors import ConfigError, Problem

__all__ = ["MAX_BYTES", "MAX_DEPTH", "CoreDumper", "Document", "KeyPath", "apply_overrides", "read_yaml"]

MAX_BYTES = 1_000_000
MAX_DEPTH = 32

KeyPath = tuple[str | int, ...]
Resolvers = dict[str, list[tuple[str, re.Pattern[str]]]]

NUMBER = r"[-+]?(?:[0-9][0-9_]*\.[0-9]*|\.[0-9]+|[0-9][0-9_]*(?=[eE]))(?:[eE][-+]?[0-9]+)?"
CORE_SCHEMA = {
    "tag:yaml.org,2002:null": (r"~|null|Null|NULL|", "~nN\0"),
    "tag:yaml.org,2002:bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "tag:yaml.org,2002:int": (r"[-+]?(?:0|[1-9][0-9_]*)|0x[0-9a-fA-F]+", "-+0123456789"),
    "tag:yaml.org,2002:float": (NUMBER + r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "-+.0123456789"),
}
PLAIN_TAGS = {
    "scalar": {*CORE_SCHEMA, "tag:yaml.org,2002:str"},
    "sequence": {"tag:yaml.org,2002:seq"},
    "mapping": {"tag:yaml.org,2002:map"},
}


@dataclass(frozen=True)
class Document:
    """A parsed file: its ``source``, its ``data`` and the place (``line 3``) where each key path was written."""

    source: str
    data: dict[str, Any]
    places: dict[KeyPath, str] = field(default_factory=dict[KeyPath, str])

    def place(self, path: KeyPath) -> str:
        """Where ``path`` was written, or else the nearest thing around it that was."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, "")


class _Refused(yaml.MarkedYAMLError):
    """A construct of YAML that a configuration may not use."""


class CoreLoader(yaml.SafeLoader):
    """PyYAML's safe loader with the scalars of YAML 1.2 and without anchors, aliases and deep nesting."""

    yaml_implicit_resolvers: ClassVar[Resolvers] = {}  # pyright: ignore[reportIncompatibleVariableOverride]
    depth = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        event = cast("Any", self).peek_event()
        if getattr(event, "anchor", None) is not None:
            remedy = "anchors and aliases are not allowed in a configuration: write the value out"
            raise _Refused(problem=remedy, problem_mark=event.start_mark)
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _Refused(problem=f"nested deeper than {MAX_DEPTH} levels", problem_mark=event.start_mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


class CoreDumper(yaml.SafeDumper):
    """The writer that matches :class:`CoreLoader`: what it writes plain is read back as the same value."""

    yaml_implicit_resolvers: ClassVar[Resolvers] = {}  # pyright: ignore[reportIncompatibleVariableOverride]

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _resolve_scalars(yaml_class: Any) -> None:
    for tag, (pattern, first) in CORE_SCHEMA.items():
        characters = ["" if character == "\0" else character for character in first]
        yaml_class.add_implicit_resolver(tag, re.compile(rf"^(?:{pattern})$"), characters)


_resolve_scalars(CoreLoader)
_resolve_scalars(CoreDumper)


def read_yaml(path: str | Path) -> Document:
    """Read a YAML file whose top level is a mapping.

    Raises :class:`~scidiff.config.errors.ConfigError` for a file that is absent, too large, not UTF-8, not YAML, not a
    mapping, or that uses what is refused (see the module); duplicate keys and tags are reported all at once.
    """
    source = str(path)
    try:
        with Path(path).open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise ConfigError(source, [Problem("", "", f"larger than {MAX_BYTES:,} bytes: this is not a configuration file")])
        text = raw.decode("utf-8")
    except OSError as error:
        raise ConfigError(source, [Problem("", "", f"cannot be read ({error.strerror}): check the path")]) from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(source, [Problem(f"line {line}", "", "not UTF-8 text")]) from error
    return _parse(source, text)


def apply_overrides(document: Document, overrides: Iterable[str]) -> Document:
    """The document with each ``a.b=value`` put in its place; values are read like YAML (``1e-3``, ``true``, ``[1, 2]``).

    A number in the dotted path is a position in a list. Raises :class:`~scidiff.config.errors.ConfigError` with every
    override that cannot be understood.
    """
    data, places = _copied(document.data), dict(document.places)
    problems: list[Problem] = []
    for override in overrides:
        where = f"override {override!r}"
        name, equals, text = override.partition("=")
        keys = name.strip().split(".")
        if not equals or not all(keys):
            problems.append(Problem(where, "", "expected KEY=VALUE, such as train.steps=1000"))
            continue
        try:
            value = _parse_value(text)
            path = _put(data, keys, value)
        except (yaml.YAMLError, ValueError) as error:
            problems.append(Problem(where, name, _reason(error)))
            continue
        for known in [known for known in places if known[: len(path)] == path]:
            del places[known]
        places[path] = where
    if problems:
        raise ConfigError(document.source, problems)
    return Document(document.source, data, places)


def _parse(source: str, text: str) -> Document:
    document = Document(source, {})
    problems: list[Problem] = []
    try:
        node = _compose(text)
        if node is None:
            return document
        data = _build(node, (), document.places, problems)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}" if mark is not None else ""
        raise ConfigError(source, [Problem(where, "", _reason(error))]) from error
    if not isinstance(data, dict):
        problems.append(Problem("line 1", "", "the file must be a mapping of KEY: VALUE"))
    if problems:
        raise ConfigError(source, problems)
    document.data.update(cast("dict[str, Any]", data))
    return document


def _compose(text: str) -> Node | None:
    loader = CoreLoader(text)
    try:
        return loader.get_single_node()
    finally:
        loader.dispose()


def _build(node: Node, path: KeyPath, places: dict[KeyPath, str], problems: list[Problem]) -> Any:
    """Plain values from nodes, noting where each was written; faults are collected so that all are told at once."""
    line = f"line {node.start_mark.line + 1}" if node.start_mark is not None else ""
    places.setdefault(path, line)
    if node.tag not in PLAIN_TAGS[cast("Any", node).id]:
        problems.append(Problem(line, ".".join(map(str, path)), f"the tag {node.tag!r} is not allowed: a file holds plain values"))
        return None
    if isinstance(node, MappingNode):
        return _build_mapping(node, path, places, problems)
    if isinstance(node, SequenceNode):
        return [_build(child, (*path, index), places, problems) for index, child in enumerate(node.value)]
    return cast("Any", SafeConstructor()).construct_object(node)


def _build_mapping(node: MappingNode, path: KeyPath, places: dict[KeyPath, str], problems: list[Problem]) -> dict[str, Any]:
    built: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = f"line {key_node.start_mark.line + 1}"
        if not isinstance(key_node, ScalarNode):
            problems.append(Problem(line, ".".join(map(str, path)), "a key must be a word"))
            continue
        key = str(key_node.value)
        here = (*path, key)
        if key in built:
            problems.append(Problem(line, ".".join(map(str, here)), f"given twice (first on {places[here]}): keep one of them"))
            continue
        places[here] = line
        built[key] = _build(value_node, here, places, problems)
    return built


def _parse_value(text: str) -> Any:
    node = _compose(text)
    problems: list[Problem] = []
    value = None if node is None else _build(node, (), {}, problems)
    if problems:
        raise ValueError("; ".join(problem.message for problem in problems))
    return value


def _put(data: dict[str, Any], keys: list[str], value: Any) -> KeyPath:
    """Set a nested value, making the mappings on the way; the path that was set."""
    holder: Any = data
    path: list[str | int] = []
    for position, key in enumerate(keys[:-1]):
        step = _step(holder, key, ".".join(keys[:position]))
        if isinstance(step, str) and cast("dict[str, Any]", holder).get(step) is None:
            holder[step] = {}
        holder = holder[step]
        path.append(step)
    last = _step(holder, keys[-1], ".".join(keys[:-1]))
    holder[last] = value
    return (*path, last)


def _step(holder: Any, key: str, name: str) -> str | int:
    if isinstance(holder, dict):
        return key
    if not isinstance(holder, list):
        raise ValueError(f"{name} is the value {holder!r}, so it has no key {key!r}")
    size = len(cast("list[Any]", holder))
    if not key.isdecimal() or int(key) >= size:
        raise ValueError(f"{name} is a list of {size}: expected a position from 0 to {size - 1}, got {key!r}")
    return int(key)


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copied(item) for key, item in cast("Mapping[str, Any]", value).items()}
    if isinstance(value, list):
        return [_copied(item) for item in cast("list[Any]", value)]
    return value


def _reason(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError):
        return " ".join(part for part in (error.context, error.problem) if part)
    return str(error)
