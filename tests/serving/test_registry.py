"""Models in a registry: what is kept of them, that their URI names them anywhere, and what is told when it does not."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
from support.stores import client, free_port, way_to
from typer.testing import CliRunner

from scidiff.card import card_path
from scidiff.cli import app
from scidiff.domain import find_weights, service_of
from scidiff.errors import UserError
from scidiff.registry import fetch_weights
from scidiff.serving.register import register_model
from scidiff.tracking import Tracker
from scidiff.train.weights import load_weights, save_weights
from scidiff_molecules.registry import shipped_models

QM9 = shipped_models()["qm9"]


def logged(uri: str, name: str, version: str) -> Any:
    """The logged model of a version."""
    found = client(uri).get_model_version(name, version)
    return client(uri).get_logged_model(str(found.source).removeprefix("models:/"))


def logged_folder(uri: str, name: str, version: str) -> Path:
    """Where the files of a version lie."""
    return Path(str(logged(uri, name, version).artifact_location).removeprefix("file://"))


def altered_copy(path: Path, note: str) -> Path:
    """The shipped weights with another note in their metadata: another file, the same model."""
    tensors, metadata = load_weights(QM9)
    save_weights(path, tensors, metadata | {"note": note})
    return path


def test_a_version_holds_weights_code_that_names_a_domain_tags_and_a_card(shared: str) -> None:
    version = client(shared).get_model_version_by_alias("qm9", "champion")
    digest = hashlib.sha256(QM9.read_bytes()).hexdigest()
    assert (int(version.version), version.tags["scidiff.sha256"], version.tags["scidiff.domain"]) == (1, digest, "molecules")
    assert (version.tags["scidiff.step"], json.loads(version.tags["scidiff.data"])["source"]) == ("8000", "qm9")
    assert version.description.startswith("# Model card: qm9")
    folder = logged_folder(shared, "qm9", "1")
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {"artifacts/weights.safetensors", "artifacts/config.json", "model_code.py", "MLmodel", "requirements.txt"} <= files
    assert not [name for name in files if name.endswith((".pkl", ".pickle", ".pt", ".bin", ".joblib"))]
    assert (folder / "artifacts" / "weights.safetensors").read_bytes() == QM9.read_bytes()
    assert "scidiffusion[molecules]==" in (folder / "requirements.txt").read_text()
    assert logged(shared, "qm9", "1").status == "READY"


def test_mlflow_loads_it_with_pickle_forbidden_and_answers_typed_requests(registry: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of MLflow's own types
        import mlflow.pyfunc
        from mlflow.exceptions import MlflowException

        model = mlflow.pyfunc.load_model("models:/qm9@champion")
    [rows] = model.predict([{"n": 3, "seed": 5, "steps": 4}])
    service = service_of("molecules")
    ours = service.load(QM9)
    assert rows == list(ours.answer(service.request_type()(n=3, seed=5, steps=4)).rows)
    refused = (({"n": 10**9}, "less than or equal to 1000"), ({"m": 1}, "not permitted"), ({"n": 1000, "steps": 250}, "4.05 times"))
    for wrong, limit in refused:
        with pytest.raises(MlflowException, match=limit) as error:
            model.predict([wrong])
        assert error.value.get_http_status_code() == 400


def test_the_uri_names_the_model_wherever_one_is_named(registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from scidiff_molecules.generator import MoleculeGenerator
    from scidiff_timeseries.forecaster import Forecaster

    monkeypatch.chdir(tmp_path)
    commands = {
        "molecules": ["molecules", "generate", "-n", "2", "--steps", "2", "--out"],
        "timeseries": ["timeseries", "simulate", "-n", "2", "--length", "3", "--out"],
    }
    for domain, ending, name in (("molecules", ".smi", "qm9"), ("timeseries", ".csv", "treasury")):
        files: list[bytes] = []
        for number, model in enumerate((name, f"models:/{name}@champion", f"models:/{name}/1")):
            out = tmp_path / f"{domain}{number}{ending}"
            done = CliRunner().invoke(app, [*commands[domain], str(out), "--model", model])
            assert done.exit_code == 0, done.output
            files.append(out.read_bytes())
        assert files[0] == files[1] == files[2]
    assert MoleculeGenerator.load("models:/qm9/latest").statistics == MoleculeGenerator.load("qm9").statistics
    assert Forecaster.load("models:/treasury@champion").metadata == Forecaster.load("treasury").metadata


def test_an_alias_moves_versions_stay_and_the_cache_serves_when_files_are_gone(uri: str, tmp_path: Path, cache: Path) -> None:
    first = register_model("qm9", "molecules one", "champion")
    second = register_model(altered_copy(tmp_path / "mine.safetensors", "second"), "molecules one")
    assert (first.version, second.version, second.alias_uri) == ("1", "2", "models:/molecules one/2")
    assert fetch_weights("models:/molecules one@champion").read_bytes() == QM9.read_bytes()
    mine = str(tmp_path / "mine.safetensors")
    done = CliRunner().invoke(app, ["models", "register", mine, "--name", "molecules one", "--alias", "champion"])
    assert done.exit_code == 0, done.output
    assert "registered molecules one version 3 in sqlite:///" in done.stdout
    assert "--model models:/molecules one@champion" in done.stdout
    assert fetch_weights("models:/molecules one@champion").read_bytes() == (tmp_path / "mine.safetensors").read_bytes()
    assert fetch_weights("models:/molecules one/1").read_bytes() == QM9.read_bytes()
    assert fetch_weights(f"models:/{second.model_id}").read_bytes() == (tmp_path / "mine.safetensors").read_bytes()
    for path in logged_folder(uri, "molecules one", "1").rglob("*.safetensors"):
        path.unlink()
    assert fetch_weights("models:/molecules one/1").read_bytes() == QM9.read_bytes()
    assert {path.stem for path in cache.iterdir()} == {first.sha256, second.sha256}


def test_weights_altered_in_the_store_or_the_cache_are_not_used(uri: str, cache: Path) -> None:
    made = register_model("qm9", alias="champion")
    [stored] = logged_folder(uri, "qm9", "1").rglob("*.safetensors")
    good = fetch_weights(made.uri)
    good.write_bytes(b"something else")
    assert fetch_weights(made.uri).read_bytes() == QM9.read_bytes()
    content = bytearray(stored.read_bytes())
    content[-1] ^= 1
    stored.write_bytes(content)
    good.unlink()
    with pytest.raises(UserError, match=r"the SHA-256 of artifacts/weights.safetensors is .* was registered: .* altered after"):
        fetch_weights(made.uri)
    assert list(cache.iterdir()) == []


def test_a_run_is_registered_by_its_id_its_artifact_or_its_folder_and_linked(uri: str, tmp_path: Path) -> None:
    folder = tmp_path / "first"
    with Tracker.start("first", folder, tracking_uri=uri) as run:
        tensors, metadata = load_weights(QM9)
        save_weights(folder / "weights.safetensors", tensors, metadata)
        card_path(folder / "weights.safetensors").write_text("# Model card: by hand\n" + "x" * 9000)
        run.log_artifact(folder / "weights.safetensors")
    store = client(uri)
    for number, model in enumerate((run.run_id, f"runs:/{run.run_id}/weights.safetensors", str(folder)), start=1):
        made = register_model(str(model), None if number == 3 else "first", f"try{number}")
        version = store.get_model_version("first", made.version)
        assert (made.version, version.run_id) == (str(number), run.run_id)
        assert logged(uri, "first", made.version).source_run_id == run.run_id
    assert version.description.startswith("# Model card: by hand")
    assert len(version.description) <= 5000
    assert (logged_folder(uri, "first", "3") / "artifacts" / "weights.card.md").stat().st_size > 9000
    assert find_weights(f"runs:/{run.run_id}", {}).read_bytes() == (folder / "weights.safetensors").read_bytes()
    with pytest.raises(UserError, match=r"there is no 'weight.safetensors'; did you mean 'weights.safetensors'"):
        fetch_weights(f"runs:/{run.run_id}/weight.safetensors")
    with pytest.raises(UserError, match=r"may not hold '\.\.'"):
        fetch_weights(f"runs:/{run.run_id}/../../weights.safetensors")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("models:/qm8@champion", r"no model 'qm8' is registered in .*; did you mean 'qm9'\? \(known: qm9, treasury\): register one with"),
        ("models:/qm9@chmpion", r"no alias 'chmpion'; did you mean 'champion'\? \(known: qm9@champion \(version 1\)\): scidiff models"),
        ("models:/qm9/7", r"has no version '7' \(known: 1\): give models:/qm9/VERSION or models:/qm9@ALIAS"),
        ("models:/qm9", r"has the versions 1: give models:/qm9/VERSION"),
        ("models:/q'9/1", "no model \"q'9\" is registered"),
        ("models:/", "no model '' is registered"),
        ("models:/m-" + "0" * 32, "has no logged model"),
        ("runs:/" + "0" * 32, "has no run"),
        ("runs:/x' OR 1=1", "has no run"),
        ("models:/qm9/1/artifacts/config.json", r"0 files end in .safetensors"),
    ],
)
def test_what_is_not_there_is_told_with_what_is(registry: str, model: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        find_weights(model, {})


def test_a_store_that_is_not_there_or_away_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"mlruns.db: there is no such store: name yours with MLFLOW_TRACKING_URI, or register"):
        find_weights("models:/qm9@champion", {})
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match="the tracking URI is 'off'"):
        fetch_weights("models:/qm9@champion", "off")
    with way_to(mode="500") as way:
        for away in (f"http://127.0.0.1:{free_port()}", way.uri):
            for asked in (lambda: fetch_weights("models:/qm9@champion", away), lambda: register_model("qm9", tracking_uri=away)):  # noqa: B023
                began = time.monotonic()
                with pytest.raises(UserError, match=rf"{away}: the store does not do what was asked .*check that it runs"):
                    asked()
                assert time.monotonic() - began < 60  # MLflow's own client waits four minutes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "a/b"}, "--name 'a/b': begin with a letter or a digit"),
        ({"name": "../x"}, "--name"),
        ({"alias": "latest"}, "--alias 'latest': .*neither 'latest' nor v and a number"),
        ({"alias": "v7"}, "--alias 'v7'"),
        ({"model": "qm8"}, "no model 'qm8'; did you mean 'qm9'"),
    ],
)
def test_what_cannot_be_registered_is_told_and_nothing_is(uri: str, options: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        register_model(**{"model": "qm9", **options})  # type: ignore[arg-type]
    assert client(uri).search_registered_models() == []
    assert client(uri).get_experiment_by_name("scidiff") is None


def test_mlflow_is_woken_for_its_uris_alone() -> None:
    code = "import sys; from scidiff.domain import find_weights; find_weights('a', {'a': __import__('pathlib').Path('b')})\n"
    code += "import scidiff.serving.opening, scidiff.serving.server\nprint([name for name in ('mlflow', 'pandas') if name in sys.modules])"
    done: Any = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
