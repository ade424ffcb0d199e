"""Everything real: models registered at an ``mlflow server`` over HTTP, and served by ``mlflow models serve`` on a port of its own.

Run by name: ``pytest -m long tests/serving``.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support.serving import Served, served
from support.stores import Server, client, free_port

from scidiff.domain import service_of
from scidiff.registry import fetch_weights
from scidiff.serving.opening import open_model
from scidiff.serving.register import register_model

SIMULATE = {"action": "simulate", "n_paths": 2, "horizon": 3}
MODELS: dict[str, tuple[str, dict[str, Any], list[tuple[dict[str, Any], str]]]] = {
    "qm9": (
        "molecules",
        {"n": 2, "seed": 4, "steps": 3},
        [
            ({"n": 10**9}, "less than or equal to 1000"),
            ({"n": -1}, "greater than or equal to 1"),
            ({"steps": 0}, "greater than or equal to 1"),
            ({"number": 3}, "Extra inputs are not permitted"),
            ({"n": 1000, "steps": 250}, "4.05 times what one answer may cost"),
        ],
    ),
    "stations": (
        "timeseries",
        {**SIMULATE, "id": "rennes", "seed": 1},
        [
            ({**SIMULATE, "n_paths": 10**9}, "less than or equal to 1000"),
            ({**SIMULATE, "horizon": -1}, "greater than or equal to 1"),
            ({**SIMULATE, "calls": 0}, "greater than or equal to 1"),
            ({**SIMULATE, "paths": 3}, "Extra inputs are not permitted"),
            ({**SIMULATE, "n_paths": 1000, "horizon": 5000}, "times what one answer may hold"),
        ],
    ),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, template: Path) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(template, folder / "server.db")
    server = Server(folder)
    server.start()
    yield server.uri
    server.kill()


@pytest.mark.long
@pytest.mark.parametrize("name", MODELS)
def test_a_registered_model_is_served_over_http(store: str, name: str, tmp_path: Path) -> None:
    domain, good, refused = MODELS[name]
    made = register_model(name, alias="champion", tracking_uri=store)
    assert client(store).get_model_version(name, made.version).tags["scidiff.domain"] == domain
    assert fetch_weights(made.alias_uri, store).read_bytes() == open_model(name).path.read_bytes()
    port = free_port()
    command = ["mlflow", "models", "serve", "--env-manager", "local", "--model-uri", made.alias_uri, "--port", str(port)]
    settings = {"MLFLOW_TRACKING_URI": store, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    with served(command, tmp_path, "Application startup complete", port=port, token=None, **settings) as server:
        _answers(server, domain, good, str(open_model(name).path))
        for asked, limit in refused:
            found = server.ask(asked)
            assert found.status == 400
            assert limit in found.message
        assert server.call("/ping").status == 200
        _answers(server, domain, good, str(open_model(name).path))


def _answers(server: Served, domain: str, good: dict[str, Any], path: str) -> None:
    """A good request, and four at once, give the rows of the service itself, to the bit."""
    service = service_of(domain)
    loaded = service.load(Path(path))
    asked = [{**good, "seed": seed} for seed in range(4)]
    expected = [json.loads(json.dumps(list(loaded.answer(service.request_type()(**one)).rows))) for one in asked]
    with ThreadPoolExecutor(4) as pool:
        assert [reply.predictions for reply in pool.map(server.ask, asked)] == [[rows] for rows in expected]
