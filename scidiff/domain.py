"""Domains: plug-ins that bring data, networks and reports of a field of science to the core.

A domain is an object that satisfies :class:`Domain`, named by an entry point of its package::

    [project.entry-points."scidiff.domains"]
    molecules = "scidiff_molecules.domain:DOMAIN"

It is found without being imported, and imported when it is used. So the module that holds the object imports its heavy
dependencies inside its methods; one that is missing is told with the extra that brings it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import typer
from pydantic import BaseModel

from scidiff.config import Config, Document, validate
from scidiff.errors import UserError, did_you_mean
from scidiff.registry import fetch_weights, is_model_uri

if TYPE_CHECKING:  # both wake what a list of domains does not need
    from scidiff.report import Section
    from scidiff.tracking import Tracker

__all__ = [
    "GROUP",
    "Answer",
    "Domain",
    "DomainEntry",
    "ModelInfo",
    "Serves",
    "Service",
    "domain_of",
    "find_domains",
    "find_weights",
    "load_domain",
    "missing_extra_named",
    "models_at_hand",
    "read_recipe",
    "service_of",
]

GROUP = "scidiff.domains"


@dataclass(frozen=True)
class ModelInfo:
    """A model that can be generated with: its name, one line about it, and the file of its weights."""

    name: str
    description: str
    path: Path


@runtime_checkable
class Domain(Protocol):
    """What a domain must provide. Nothing heavy happens before one of the methods is called."""

    @property
    def name(self) -> str:
        """The name of its entry point and of its group of commands."""
        ...

    @property
    def description(self) -> str:
        """One line."""
        ...

    def commands(self) -> typer.Typer:
        """The commands under ``scidiff NAME``."""
        ...

    def recipe(self) -> type[Config]:
        """The type of a training's configuration, with a field ``domain`` (its name) and a field ``train``."""
        ...

    def task(self, recipe: Any) -> Any:
        """The training problem (``scidiff.train.task.Task``) that a recipe describes."""
        ...

    def demo(self, folder: Path, tracker: Tracker) -> Sequence[Section]:
        """A minute's tour: what the page shows of it. Files go into ``folder`` (made by the domain), metrics and artifacts to the run."""
        ...

    def models(self) -> list[ModelInfo]:
        """The models at hand."""
        ...


@dataclass(frozen=True)
class Answer:
    """What a request asks for, checked and not yet computed.

    ``cost``: the share of the most that one call may ask for, in (0, 1]. ``rows``: JSON objects, computed as they are taken, so that who
    takes them can stop the work.
    """

    cost: float
    rows: Iterator[dict[str, Any]]


@runtime_checkable
class Service(Protocol):
    """A model that answers requests, such as a server's. Several threads may ask at once; the answer to a request is always the same."""

    @classmethod
    def request_type(cls) -> type[BaseModel]:
        """What can be asked: a bound on every number and on the length of every list, and unknown keys forbidden."""
        ...

    @classmethod
    def load(cls, weights: Path, device: str = "cpu") -> Service:
        """The service of a file of weights, on ``cpu``, ``cuda`` or ``auto``. Raises UserError for a file of something else."""
        ...

    def answer(self, request: Any) -> Answer:
        """Check a request of that type. Raises UserError, naming the limit, for what is too much or cannot be answered, before anything
        large is allocated."""
        ...


@runtime_checkable
class Serves(Protocol):
    """A domain whose models can be served. A domain without this has all else."""

    def service(self) -> type[Service]:
        """What answers requests to its models."""
        ...


@dataclass(frozen=True)
class DomainEntry:
    """An installed domain, not yet imported: ``value`` is ``module:object``, ``extras`` are those of its ``package``."""

    name: str
    value: str
    package: str
    extras: tuple[str, ...]

    @property
    def origin(self) -> str:
        """For messages: what is named, and by whom."""
        return f"{self.value} of the package {self.package}"

    def load(self) -> Any:
        """Import the object."""
        module, _, path = self.value.partition(":")
        found: Any = import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
        return found


def find_domains() -> dict[str, DomainEntry]:
    """Name to entry of every installed domain, sorted by name; nothing is imported.

    Raises :class:`~scidiff.errors.UserError` when two packages claim one name.
    """
    found: dict[str, DomainEntry] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda point: str(point.name)):
        package = point.dist.name if point.dist is not None else "unknown"
        extras = tuple(point.dist.metadata.get_all("Provides-Extra") or ()) if point.dist is not None else ()
        entry = DomainEntry(point.name, point.value, package, extras)
        other = found.setdefault(entry.name, entry)
        if other.value != entry.value:
            raise UserError(f"the domain {entry.name!r} is claimed by {other.origin} and by {entry.origin}: uninstall one of them")
    return found


def load_domain(name: str) -> Domain:
    """Import the domain of that name.

    Raises :class:`~scidiff.errors.UserError` for an unknown name, a missing dependency (with the extra to install), or an
    object that is no :class:`Domain`.
    """
    domains = find_domains()
    if name not in domains:
        known = ", ".join(domains) or "none: is a package with a domain installed?"
        raise UserError(f"unknown domain {name!r}{did_you_mean(name, domains)} (installed: {known})")
    entry = domains[name]
    try:
        with missing_extra_named(name):
            domain = entry.load()
    except AttributeError as error:
        raise UserError(f"the domain {name!r}: {entry.origin} does not exist ({error}): reinstall it") from error
    lacking = ", ".join(member for member in vars(Domain) if not member.startswith("_") and not hasattr(domain, member))
    if lacking:
        raise UserError(f"the domain {name!r}: {entry.origin} lacks {lacking}")
    if domain.name != name:
        raise UserError(f"the domain {name!r}: {entry.origin} calls itself {domain.name!r}: the names must agree")
    return domain


def domain_of(document: Document) -> Domain:
    """The domain that a recipe names. Raises UserError, as :func:`load_domain` does and for a recipe that names none."""
    name = document.data.get("domain")
    if not isinstance(name, str):
        raise UserError(f"{document.source}: the key 'domain' is required: one of {', '.join(find_domains()) or 'none is installed'}")
    return load_domain(name)


def read_recipe(document: Document) -> tuple[Domain, Any]:
    """The domain that a recipe names, and the recipe, validated. Raises UserError as :func:`domain_of` does, and ConfigError."""
    domain = domain_of(document)
    with missing_extra_named(domain.name):
        return domain, validate(domain.recipe(), document)


def models_at_hand(skipped: Callable[[UserError], object] = lambda error: None) -> Generator[tuple[str, ModelInfo]]:
    """The models of every domain, with its name. A domain whose dependencies are missing is ``skipped``, and why."""
    for name in find_domains():
        try:
            with missing_extra_named(name):
                yield from ((name, model) for model in load_domain(name).models())
        except UserError as error:
            skipped(error)


def service_of(name: str) -> type[Service]:
    """What answers requests to the models of the domain of that name. Raises UserError for a domain whose models cannot be served."""
    domain = load_domain(name)
    with missing_extra_named(name):
        if isinstance(domain, Serves):
            return domain.service()
    raise UserError(f"the domain {name!r} has no service, so its models cannot be served: {find_domains()[name].origin} lacks service")


@contextmanager
def missing_extra_named(name: str) -> Generator[None]:
    """Inside, a module that is not installed becomes a :class:`~scidiff.errors.UserError` that names the extra to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        entry = find_domains().get(name)
        module = (error.name or "").partition(".")[0]
        if entry is None or not module:
            raise
        if module == entry.value.partition(":")[0].partition(".")[0]:
            raise UserError(f"the domain {name!r}: {error.name!r} cannot be imported: reinstall {entry.package}") from error
        remedy = f"pip install '{entry.package}[{name}]'" if name in entry.extras else f"pip install {module}"
        raise UserError(f"the domain {name!r} needs {module!r}, which is not installed: {remedy}") from error


def find_weights(model: str | Path, known: Mapping[str, Path], tracking_uri: str | None = None) -> Path:
    """The file of a shipped model's name, of a path, of a training's folder, or of a URI of MLflow (:mod:`scidiff.registry`), such as
    ``models:/qm9@champion``. Raises UserError that lists the ``known`` names."""
    if isinstance(model, str) and model in known:
        return known[model]
    if isinstance(model, str) and is_model_uri(model):
        return fetch_weights(model, tracking_uri)
    with suppress(OSError):  # a name too long for the file system is no file
        for path in (Path(model), Path(model) / "weights.safetensors"):
            if path.is_file():
                return path
    names = ", ".join(known) or "none"
    hint = did_you_mean(str(model), known)
    places = "a .safetensors file, a training's folder, or a registered model (models:/NAME@ALIAS)"
    raise UserError(f"no model {str(model)!r}{hint}: give a shipped name ({names}), {places}")
