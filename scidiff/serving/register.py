"""Registering a model: a pyfunc from code, its weights as safetensors, its card and tags, a version and an alias."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from scidiff import __version__
from scidiff.card import card_path
from scidiff.domain import find_domains, load_domain, service_of
from scidiff.errors import UserError
from scidiff.files import file_sha256
from scidiff.registry import SHA256, is_model_uri, open_store
from scidiff.serving.opening import OpenModel, open_model
from scidiff.tracking.names import tag_values
from scidiff.train.card import make_card
from scidiff.train.weights import weights_sha256

__all__ = ["Registered", "register_model"]

EXPERIMENT = "scidiff"
MODEL_CODE = Path(__file__).with_name("model_code.py")
MAX_DESCRIPTION = 5000
WEIGHTS = "weights"  # the artifact's name, as scidiff.serving.pyfunc reads it
RUN_ID = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True)
class Registered:
    """A version of a registered model: ``uri`` names it from now on, and ``alias_uri`` as long as the alias stays there."""

    name: str
    version: str
    alias: str | None
    sha256: str
    tracking_uri: str
    model_id: str

    @property
    def uri(self) -> str:
        return f"models:/{self.name}/{self.version}"

    @property
    def alias_uri(self) -> str:
        return self.uri if self.alias is None else f"models:/{self.name}@{self.alias}"


def register_model(model: str | Path, name: str | None = None, alias: str | None = None, tracking_uri: str | None = None) -> Registered:
    """Register a model (a shipped name, a file, a training's folder, an MLflow run's id or a URI of MLflow) as a new version.

    The version holds the weights, ``config.json`` (what the weights say of themselves) and code that names the domain; MLflow loads it with
    pickle forbidden. Its tags are the weights' SHA-256, the domain, the step and the data; its description is the model's card.

    ``name``: by default the shipped name, that of the file, or of the folder. Raises UserError for a model that cannot be opened or served,
    a name that MLflow does not take, or a store that is away; nothing is registered then.
    """
    if isinstance(model, str) and RUN_ID.fullmatch(model):
        model = f"runs:/{model}"
    found = open_model(model, tracking_uri)
    service_of(found.domain)  # raises for a domain that serves nothing
    name = _checked("name", name or _default_name(model, found))
    alias = None if alias is None else _checked("alias", alias)
    tags = _tags(found)
    with open_store(tracking_uri, create=True) as (client, where), Console(stderr=True).status(f"registering {name}"):
        run_id = _run_of(client, model)
        with _logged(client, name, where, run_id, tags) as logged, tempfile.TemporaryDirectory() as folder:
            client.log_model_artifacts(logged.model_id, str(_save(found, tags, logged, Path(folder))))
        _make(client, name)
        source = f"models:/{logged.model_id}"
        with _default_store(where):
            version = client.create_model_version(name, source, run_id, tags=tags, description=_card(found), model_id=logged.model_id)
        if alias is not None:
            client.set_registered_model_alias(name, alias, version.version)
    return Registered(name, str(version.version), alias, tags[SHA256], where, str(logged.model_id))


def _default_name(model: str | Path, found: OpenModel) -> str:
    text = str(model)
    if is_model_uri(text):
        text = text.partition(":/")[2].strip("/") if text.startswith("models:/") else str(found.metadata.get("name", ""))
        return re.split("[@/]", text)[0] or found.domain
    if Path(text).stem == "weights" and Path(text).is_file():
        return Path(text).absolute().parent.name
    return Path(text).absolute().name if Path(text).is_dir() else Path(text).stem


def _checked(what: str, text: str) -> str:
    """MLflow refuses / and :, and names of other characters cannot be typed everywhere."""
    taken = what == "alias" and re.fullmatch(r"v\d+|latest", text, re.IGNORECASE)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_. -]{0,99}", text) or taken:
        rule = "begin with a letter or a digit, then letters, digits, _ . - and spaces, at most 100"
        raise UserError(f"--{what} {text!r}: {rule}; an alias is neither 'latest' nor v and a number")
    return text


def _tags(found: OpenModel) -> dict[str, str]:
    said = found.metadata
    tags: dict[str, Any] = {
        SHA256: file_sha256(found.path),
        "scidiff.weights.sha256": weights_sha256(found.tensors),
        "scidiff.domain": found.domain,
        "version.scidiffusion": __version__,
    }
    if "step" in said:
        tags["scidiff.step"] = said["step"]
    if "data" in said:
        tags["scidiff.data"] = json.dumps(said["data"])
    return tag_values(tags)


def _card(found: OpenModel) -> str:
    """The card beside the weights, or else one made of what they say of themselves; as long as MLflow takes."""
    beside = card_path(found.path)
    text = beside.read_text() if beside.is_file() else make_card(found.path, load_domain(found.domain))
    return text if len(text) <= MAX_DESCRIPTION else f"{text[: MAX_DESCRIPTION - 4]}\n..."


def _save(found: OpenModel, tags: dict[str, str], logged: Any, folder: Path) -> Path:
    """The model as MLflow keeps it, in a folder."""
    weights, config, local = folder / "weights.safetensors", folder / "config.json", folder / "model"
    shutil.copyfile(found.path, weights)
    config.write_text(json.dumps({"domain": found.domain, SHA256: tags[SHA256], "metadata": found.metadata}, indent=1))
    artifacts = {WEIGHTS: str(weights), "config": str(config)}
    card = card_path(found.path)
    if card.is_file():
        artifacts["card"] = str(card)
    with _quiet():
        import mlflow.pyfunc
        from mlflow.models import Model

        mlflow.pyfunc.save_model(
            str(local),
            mlflow_model=Model(str(logged.artifact_location), logged.source_run_id, model_uuid=logged.model_id, model_id=logged.model_id),
            python_model=str(MODEL_CODE),
            artifacts=artifacts,
            model_config={"domain": found.domain, "sha256": tags[SHA256], "device": "cpu"},
            pip_requirements=_requirements(found.domain),
        )
    return local


@contextmanager
def _quiet() -> Generator[None]:
    """MLflow warns of types in its own requests when it is imported, and of those in ours that its signatures cannot tell (any number or
    text); both are checked when they are read."""
    logger = logging.getLogger("mlflow")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            yield
    finally:
        logger.setLevel(level)


def _requirements(domain: str) -> list[str]:
    """The domain's package with the extra that brings its dependencies, and scidiff where that is another."""
    from importlib.metadata import version

    entry = find_domains()[domain]
    extra = f"[{domain}]" if domain in entry.extras else ""
    wanted = [f"{entry.package}{extra}=={version(entry.package)}"]
    return wanted if entry.package == "scidiffusion" else [f"scidiffusion=={__version__}", *wanted]


@contextmanager
def _logged(client: Any, name: str, where: str, run_id: str | None, tags: dict[str, str]) -> Generator[Any]:
    """A logged model to fill: ready when the block ends well, and deleted otherwise."""
    experiment = client.get_run(run_id).info.experiment_id if run_id is not None else _experiment(client, where)
    logged = client.create_logged_model(experiment, name, source_run_id=run_id, tags=tags, model_type="scidiff")
    try:
        yield logged
    except BaseException:
        client.delete_logged_model(logged.model_id)
        raise
    client.finalize_logged_model(logged.model_id, "READY")


@contextmanager
def _default_store(uri: str) -> Generator[None]:
    """Inside, the process's own store is ``uri``: a database that makes a version asks that one, and not the client, for the model."""
    import mlflow

    set_uri: Any = mlflow.set_tracking_uri
    before = os.environ.get("MLFLOW_TRACKING_URI")  # what was set in code is mirrored there
    set_uri(uri)
    try:
        yield
    finally:
        set_uri(before or None)


def _experiment(client: Any, where: str) -> str:
    from scidiff.tracking.store import EXPERIMENT_TAGS

    known = client.get_experiment_by_name(EXPERIMENT)
    if known is not None:
        return str(known.experiment_id)
    database = where.removeprefix("sqlite:///")  # its files lie beside it; a server knows its own place
    place = None if database == where else (Path(database).absolute().parent / "mlartifacts").as_uri()
    return str(client.create_experiment(EXPERIMENT, artifact_location=place, tags=EXPERIMENT_TAGS))


def _run_of(client: Any, model: str | Path) -> str | None:
    """The run in this store that made the model, where it is named by that."""
    from mlflow.exceptions import MlflowException

    text = str(model)
    run_id = text.removeprefix("runs:/").strip("/").partition("/")[0] if text.startswith("runs:/") else _tracked(Path(text), client)
    try:
        return None if run_id is None else str(client.get_run(run_id).info.run_id)
    except MlflowException:
        return None


def _tracked(path: Path, client: Any) -> str | None:
    """The run that the folder of the weights says it was recorded as."""
    from scidiff.tracking.forward import read_sent
    from scidiff.tracking.spool import folder_of

    folder = path if path.is_dir() else path.parent
    return read_sent(folder_of(folder), str(client.tracking_uri)).run_id


def _make(client: Any, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name, tags={"scidiff": __version__})
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
