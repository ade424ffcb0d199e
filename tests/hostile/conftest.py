"""Shared by the tests of hostile inputs, which are named by their rows: 1 a pickle, 2 weights that are not finite, 3 a damaged checkpoint,
4 metadata naming a Python path, 5 ``_target_``, 6 a typo in a key, 7 a YAML alias bomb, 8 an archive that expands, 16 absurd numbers,
19 paths that lead out, 20 storage and signals.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from support.hostile import Run
from typer.testing import CliRunner

from scidiff.cli import app


@pytest.fixture
def scidiff(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run ``scidiff`` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments], prog_name="scidiff")
