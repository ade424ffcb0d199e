"""From a recipe with a ``sweep:`` block to its trials: each has its own values, and its whole recipe is checked before any starts."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from scidiff.config import Config, ConfigError, Document, Problem, apply_overrides, read_config, validate
from scidiff.domain import Domain, domain_of, missing_extra_named
from scidiff.errors import UserError
from scidiff.sweep.config import KEY, Range, SweepConfig

__all__ = ["Plan", "Trial", "draw", "read_plan"]


@dataclass(frozen=True)
class Trial:
    """One training of a sweep: its number K, the values that are its own, and its whole recipe."""

    number: int
    values: dict[str, Any]
    recipe: Config

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f"run-{self.number:03d}"

    @cached_property
    def text(self) -> str:
        """Its own values, such as ``train.learning_rate=0.001 noise.positions=vp``."""
        return " ".join(f"{key}={shown(value)}" for key, value in self.values.items())


@dataclass(frozen=True)
class Plan:
    """A whole sweep: where it was written, how it compares, its domain, its trials, and all that was written, overrides included."""

    source: Path
    config: SweepConfig
    domain: Domain
    trials: tuple[Trial, ...]
    written: dict[str, Any]

    def trial(self, number: int) -> Trial:
        """The trial of a number from 0. Raises :class:`~scidiff.errors.UserError` for one that is not there."""
        if not 0 <= number < len(self.trials):
            raise UserError(f"{self.source}: the sweep has the runs 0 to {len(self.trials) - 1}, not {number}")
        return self.trials[number]


def shown(value: Any) -> str:
    """A value as a reader wants it: words as they are, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def read_plan(path: str | Path, overrides: Sequence[str] = ()) -> Plan:
    """Read a recipe with a ``sweep:`` block, and check the block and the recipe of every trial.

    Raises :class:`~scidiff.config.ConfigError` with every fault of all trials at once, each named once with the line it comes from;
    :class:`~scidiff.errors.UserError` where there is no such block, or no such domain.
    """
    document = read_config(path, overrides)
    if KEY not in document.data:
        raise UserError(f"{path}: no 'sweep' block, which says what to vary: add one, or run it with: scidiff train {path}")
    domain = domain_of(document)
    config = _sweep_of(document)
    base = Document(
        document.source,
        {key: value for key, value in document.data.items() if key != KEY},
        {place: where for place, where in document.places.items() if place[:1] != (KEY,)},
    )
    with missing_extra_named(domain.name):
        model = domain.recipe()
    places = {key: document.place((KEY, "over", key)) for key in config.over}
    return Plan(Path(path), config, domain, _trials(config, base, model, places), document.data)


def draw(config: SweepConfig) -> list[dict[str, Any]]:
    """The values of each trial: on a grid the last key changes fastest; at random, draw K depends on (seed, key, K) alone."""
    if config.kind == "grid":
        lists = [values for values in config.over.values() if isinstance(values, list)]
        return [dict(zip(config.over, chosen, strict=True)) for chosen in itertools.product(*lists)]
    import torch

    from scidiff.random import StreamNoise, stream_key

    columns: dict[str, list[Any]] = {}
    for key, values in config.over.items():
        uniforms = StreamNoise(stream_key(config.seed, f"sweep/{key}"), torch.arange(config.count), 0).flat_uniform(1)[:, 0].tolist()
        columns[key] = [values.at(u) if isinstance(values, Range) else values[int(u * len(values))] for u in uniforms]
    return [{key: column[number] for key, column in columns.items()} for number in range(config.count)]


def _sweep_of(document: Document) -> SweepConfig:
    class Block(Config):
        sweep: SweepConfig

    return validate(Block, Document(document.source, {KEY: document.data[KEY]}, document.places)).sweep


def _trials(config: SweepConfig, base: Document, model: type[Config], places: dict[str, str]) -> tuple[Trial, ...]:
    trials: list[Trial] = []
    problems: dict[Problem, None] = {}  # a set that keeps the order: a fault of the recipe itself is that of every trial
    for number, values in enumerate(draw(config)):
        document, faults = _document(base, values, places)
        problems.update(dict.fromkeys(faults))
        try:
            trials.append(Trial(number, values, validate(model, document)))
        except ConfigError as error:
            problems.update(dict.fromkeys(error.problems))
    if problems:
        raise ConfigError(base.source, sorted(problems, key=_line))
    return tuple(trials)


def _document(base: Document, values: dict[str, Any], places: dict[str, str]) -> tuple[Document, list[Problem]]:
    """The base with a trial's values, and what could not be put there; faults in them are told with the line of the sweep."""
    document, faults = base, list[Problem]()
    for key, value in values.items():
        override = f"{key}={json.dumps(value)}"
        try:
            document = apply_overrides(document, [override])
        except ConfigError as error:
            faults += [replace(fault, where=places[key]) for fault in error.problems]
        else:
            written = {f"override {override!r}": places[key]}
            document = replace(document, places={path: written.get(where, where) for path, where in document.places.items()})
    return document, faults


def _line(problem: Problem) -> int:
    number = problem.where.removeprefix("line ")
    return int(number) if number.isdecimal() else sys.maxsize
