"""Shared by the core's tests: a throw-away package with a domain, as a third party would write and install it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SOURCE = '''
from __future__ import annotations
from pathlib import Path
import typer
from scidiff.config import Config
from scidiff.domain import ModelInfo
from scidiff.tracking import DataInfo

class Train(Config):
    steps: int = 3

class Recipe(Config):
    domain: str = "toys"
    size: int = 1
    train: Train = Train()

class Task(str):
    def data(self):
        return DataInfo("toys", "0" * 64, "nowhere", 3)

class Toys:
    name = "toys"
    description = "Nothing of use."

    def commands(self):
        app = typer.Typer()

        @app.command()
        def greet(name: str) -> None:
            """Say hello."""
            print(f"hello {name}")

        @app.command()
        def stumble(kind: str) -> None:
            """Fail in some way."""
            import os, signal
            from scidiff.errors import UserError
            if kind == "user":
                raise UserError("line 3: the [bold]sky[/bold] is not blue: wait")
            if kind == "interrupt":
                os.kill(os.getpid(), signal.SIGINT)
            if kind == "terminate":
                os.kill(os.getpid(), signal.SIGTERM)
            if kind == "extra":
                import a_module_that_is_not_there.at_all
            raise RuntimeError("a fault of ours")

        return app

    def recipe(self):
        return Recipe

    def task(self, recipe):
        return Task(f"a task of size {recipe.size}")

    def demo(self, folder, tracker):
        from scidiff.report import Prose, Section
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "seen.txt").write_text("nothing to see")
        tracker.log_metrics({"toys": 1}, 0)
        return [Section("Toys", [Prose("nothing of use")])]

    def models(self):
        return [ModelInfo("tiny", "a toy", Path("tiny.safetensors"))]

DOMAIN = Toys()
'''
METADATA = "Metadata-Version: 2.4\nName: {package}\nVersion: 1.0\nProvides-Extra: {extra}\n"


def _install(folder: Path, name: str, source: str, package: str, extra: str) -> None:
    """Write the package and its metadata into ``folder``, as an installer leaves them."""
    module = f"{package.replace('-', '_')}_module"
    (folder / f"{module}.py").write_text(source)
    info = folder / f"{package.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(METADATA.format(package=package, extra=extra))
    (info / "entry_points.txt").write_text(f"[scidiff.domains]\n{name} = {module}:DOMAIN\n")


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Install a package with a domain (by default the domain ``toys``) into a folder that is on ``sys.path``; that folder."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)
    before = set(sys.modules)

    def put(*, name: str = "toys", source: str = SOURCE, package: str = "toy-domain", extra: str = "toys") -> Path:
        _install(site, name, source, package, extra)
        return site

    yield put
    for module in set(sys.modules) - before:
        if module.endswith("_domain_module"):
            del sys.modules[module]


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database of MLflow's, made once: making its tables takes seconds."""
    from support.stores import client

    path = tmp_path_factory.mktemp("mlflow") / "mlruns.db"
    client(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def uri(template: Path, tmp_path: Path) -> str:
    """A store of its own for each test: an empty database."""
    shutil.copy(template, tmp_path / "mlruns.db")
    return f"sqlite:///{tmp_path / 'mlruns.db'}"
