"""Weights that a URI of MLflow names, fetched once into a local cache, and nothing of them executed.

    models:/qm9@champion                  the version that an alias of a registered model points at
    models:/qm9/3    models:/qm9/latest   a version by its number, or the newest
    models:/m-0123...                     a logged model, such as a checkpoint
    runs:/RUN_ID/weights.safetensors      a file among a run's artifacts; without a path, the only one that ends so

Only the safetensors file is fetched; MLflow's own loader would run code that the registry holds. Where the entry carries the tag
``scidiff.sha256`` (every one that scidiff makes does), the file must have that hash.
"""

from __future__ import annotations

import logging
import os
import re
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from rich.console import Console

from scidiff.errors import UserError, did_you_mean
from scidiff.files import file_sha256, sync_folder

__all__ = ["SHA256", "cache_folder", "fetch_weights", "is_model_uri", "open_store"]

SHA256 = "scidiff.sha256"
"""The tag with the SHA-256 of the weights' file."""
MAX_BYTES = 64 * 2**30
MAX_DEPTH = 3
ENDING = ".safetensors"
REGISTER = "register one with: scidiff models register MODEL --name NAME --alias ALIAS"
SCHEMES = ("models:/", "runs:/")


@dataclass(frozen=True)
class Place:
    """Where an entry's files lie, the path asked for in it (empty: the only file of weights), and the hash its tag states."""

    root: str
    path: str = ""
    tags: dict[str, str] = field(default_factory=dict[str, str])


def is_model_uri(model: str | Path) -> bool:
    """Whether MLflow is asked, and not the disk."""
    return isinstance(model, str) and model.startswith(SCHEMES)


def cache_folder() -> Path:
    """``$SCIDIFF_CACHE/models``, else ``~/.cache/scidiff/models``: files by the SHA-256 of their content."""
    given = os.environ.get("SCIDIFF_CACHE")
    return (Path(given).expanduser() if given else Path.home() / ".cache" / "scidiff") / "models"


def fetch_weights(uri: str, tracking_uri: str | None = None) -> Path:
    """The local file of the weights that ``uri`` names in a store (``None``: ``MLFLOW_TRACKING_URI``, else ``./mlruns.db``).

    A file that is in the cache is not fetched again. Raises :class:`~scidiff.errors.UserError` when the store is away, for an unknown name,
    version, alias or run (with those that are known), an entry that does not hold one file of weights, or one whose hash is not the
    registered one.
    """
    with open_store(tracking_uri) as (client, where):
        place = _find(client, uri, where)
        digest = place.tags.get(SHA256)
        cached = None if digest is None or place.path else _cached(digest)
        return cached or _download(uri, place, where)


@contextmanager
def open_store(tracking_uri: str | None = None, create: bool = False) -> Generator[tuple[Any, str]]:
    """(a client of the store, its URI). Inside, whatever MLflow raises becomes a :class:`~scidiff.errors.UserError`.

    A database that does not exist is an error, unless it is to be created.
    """
    from scidiff.tracking import OFF, default_tracking_uri

    uri = tracking_uri or default_tracking_uri()
    database = uri.removeprefix("sqlite:///")
    if uri == OFF:
        raise UserError("models are registered in an MLflow store, and the tracking URI is 'off': name a store with MLFLOW_TRACKING_URI")
    if not create and database != uri and not Path(database).exists():
        raise UserError(f"{uri}: there is no such store: name yours with MLFLOW_TRACKING_URI, or {REGISTER}")
    from scidiff.tracking.store import prepare_environment

    prepare_environment()
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # one for each file, however small
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    for noisy in ("mlflow", "alembic"):  # the making of a new database is told line by line
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        yield MlflowClient(tracking_uri=uri, registry_uri=uri), uri
    except (MlflowException, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:300]
        raise UserError(f"{uri}: the store does not do what was asked ({reason}): check that it runs and is the right one") from error


def _find(client: Any, uri: str, where: str) -> Place:
    """What the store says of a URI."""
    scheme, _, rest = uri.partition(":/")
    rest = rest.strip("/")
    if scheme == "runs":
        return _of_run(client, rest, uri, where)
    name, _, path = rest.partition("/")
    if re.fullmatch("m-[0-9a-f]{32}", name):
        return _of_logged_model(client, name, path, uri, where)
    if "@" in name:
        name, _, alias = name.partition("@")
        version: Any = _by_alias(client, name, alias, where)
    else:
        number, _, path = path.partition("/")
        version = _by_number(client, name, number, uri, where)
    root = client.get_model_version_download_uri(name, version.version)
    if root.startswith("models:/"):
        root = str(client.get_logged_model(root.removeprefix("models:/")).artifact_location)
    return Place(root, path, dict(version.tags))


def _of_run(client: Any, rest: str, uri: str, where: str) -> Place:
    run_id, _, path = rest.partition("/")
    with _absent(f"{uri}: {where} has no run {run_id!r}: look for its id in MLflow's page of the run"):
        run = client.get_run(run_id)
    return Place(str(run.info.artifact_uri), path)


def _of_logged_model(client: Any, model_id: str, path: str, uri: str, where: str) -> Place:
    with _absent(f"{uri}: {where} has no logged model {model_id!r}: look for its id in MLflow's page of the run"):
        model = client.get_logged_model(model_id)
    return Place(str(model.artifact_location), path, dict(model.tags))


def _by_alias(client: Any, name: str, alias: str, where: str) -> Any:
    from mlflow.exceptions import MlflowException

    aliases = _aliases(client, name, where)
    if alias not in aliases:
        known = ", ".join(f"{name}@{one} (version {number})" for one, number in sorted(aliases.items())) or "none"
        remedy = f"scidiff models register MODEL --name {name} --alias {alias} sets it"
        raise UserError(f"the model {name!r} in {where} has no alias {alias!r}{did_you_mean(alias, aliases)} (known: {known}): {remedy}")
    try:
        return client.get_model_version_by_alias(name, alias)
    except MlflowException as error:
        raise UserError(f"models:/{name}@{alias}: the version {aliases[alias]} that it names is gone from {where}") from error


def _by_number(client: Any, name: str, number: str, uri: str, where: str) -> Any:
    versions = {str(one.version): one for one in client.search_model_versions(f"name = '{name}'")} if "'" not in name else {}
    if not versions:
        _aliases(client, name, where)  # raises for an unknown name
        raise UserError(f"the model {name!r} in {where} has no version: {REGISTER}")
    if number == "latest":
        return versions[max(versions, key=int)]
    if number not in versions:
        known = ", ".join(sorted(versions, key=int))
        what = f"has no version {number!r} (known: {known})" if number else f"has the versions {known}"
        raise UserError(f"{uri}: the model {name!r} in {where} {what}: give models:/{name}/VERSION or models:/{name}@ALIAS")
    return versions[number]


def _aliases(client: Any, name: str, where: str) -> dict[str, str]:
    """Of a registered model, alias to version. Raises UserError with the known names for an unknown one."""
    models = {str(one.name): one for one in client.search_registered_models(max_results=1000)}
    if name not in models:
        known = ", ".join(sorted(models)) or "none"
        raise UserError(f"no model {name!r} is registered in {where}{did_you_mean(name, models)} (known: {known}): {REGISTER}")
    return {str(alias): str(version) for alias, version in models[name].aliases.items()}


@contextmanager
def _absent(message: str) -> Generator[None]:
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise UserError(message) from error
        raise


def _download(uri: str, place: Place, where: str) -> Path:
    """Fetch an entry's file of weights into the cache; its name there is the hash of its content."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    repository = get_artifact_repository(place.root, tracking_uri=where)
    path = _only_weights(uri, repository, place.path)
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".part-") as part:
        with Console(stderr=True).status(f"fetching {uri}"):
            fetched = Path(repository.download_artifacts(path, dst_path=part))
        if fetched.is_symlink() or not fetched.is_file() or not fetched.resolve().is_relative_to(Path(part).resolve()):
            raise UserError(f"{uri}: {path} is no plain file")
        digest, stated = file_sha256(fetched), place.tags.get(SHA256)
        if stated is not None and digest != stated:
            altered = "the file was altered after it was registered; register the model again"
            raise UserError(f"{uri}: the SHA-256 of {path} is {digest[:16]}..., and {stated[:16]}... was registered: {altered}")
        target = folder / f"{digest}{ENDING}"
        fetched.replace(target)
    sync_folder(folder)
    return target


def _cached(digest: str) -> Path | None:
    if not re.fullmatch("[0-9a-f]{64}", digest):
        return None
    path = cache_folder() / f"{digest}{ENDING}"
    return path if path.is_file() and file_sha256(path) == digest else None


def _only_weights(uri: str, repository: Any, path: str) -> str:
    """The path of the one safetensors file at or below ``path``."""
    if ".." in PurePosixPath(path).parts:
        raise UserError(f"{uri}: a path may not hold '..'")
    if path.endswith(ENDING):
        parent = str(PurePosixPath(path).parent)
        beside = _files(repository, "" if parent == "." else parent, 1)
        if path in beside:
            return path
        known = ", ".join(sorted(beside)[:20]) or "none"
        raise UserError(f"{uri}: there is no {path!r}{did_you_mean(path, beside)} (files there: {known})")
    found = sorted(name for name in _files(repository, path, MAX_DEPTH) if name.endswith(ENDING))
    if len(found) == 1:
        return found[0]
    remedy = f"name one: {', '.join(found[:20])}" if found else "its weights were not logged"
    raise UserError(f"{uri}: {len(found)} files end in {ENDING}, and one is needed: {remedy}")


def _files(repository: Any, path: str, depth: int) -> set[str]:
    """Files at most ``depth`` folders deep, none larger than the limit."""
    found: set[str] = set()
    for entry in repository.list_artifacts(path or None):
        name = str(entry.path)
        if ".." in PurePosixPath(name).parts or PurePosixPath(name).is_absolute():
            continue
        if entry.is_dir:
            found |= _files(repository, name, depth - 1) if depth > 1 else set()
        elif (entry.file_size or 0) <= MAX_BYTES:
            found.add(name)
    return found
