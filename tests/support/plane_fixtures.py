"""Fixtures of jobs and sweeps: a folder to be in, where the domain of :mod:`support.plane` is installed, also for processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support import plane


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What a process needs to find the domain; this one finds it as well."""
    found = plane.install(tmp_path / "site")
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.chdir(tmp_path)
    return found


@pytest.fixture
def recipe(tmp_path: Path, environment: dict[str, str]) -> Callable[[str], Path]:
    """Write the plane's recipe with more behind it; the file."""

    def write(more: str, name: str = "tiny.yaml") -> Path:
        path = tmp_path / name
        path.write_text(plane.RECIPE + more)
        return path

    return write
