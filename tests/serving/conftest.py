"""Stores of models for tests. What is registered in the shared one stays as it is; tests that alter a store make their own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.stores import client

from scidiff.serving.register import register_model


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database, made once: making its tables takes seconds."""
    path = tmp_path_factory.mktemp("mlflow") / "mlruns.db"
    client(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where weights are kept that were fetched: an empty folder."""
    monkeypatch.setenv("SCIDIFF_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


@pytest.fixture
def uri(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty store, the one that commands take."""
    shutil.copy(template, tmp_path / "mlruns.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlruns.db'}")
    return f"sqlite:///{tmp_path / 'mlruns.db'}"


@pytest.fixture(scope="session")
def shared(template: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store in which qm9 and treasury are registered, each as champion."""
    folder = tmp_path_factory.mktemp("store")
    shutil.copy(template, folder / "mlruns.db")
    store = f"sqlite:///{folder / 'mlruns.db'}"
    for name in ("qm9", "treasury"):
        register_model(name, alias="champion", tracking_uri=store)
    return store


@pytest.fixture
def registry(shared: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The shared store, as the one that commands take."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", shared)
    return shared
