"""The scripts of benchmarks/ as modules."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


def benchmark(name: str) -> ModuleType:
    """``benchmarks/NAME.py``, imported as it is when it is run: with its own folder on the path."""
    file = FOLDER / f"{name}.py"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(file.parent)
        return importlib.import_module(file.stem)
