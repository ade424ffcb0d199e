"""Forecasters by name: those that ship in the package's ``models`` folder, any safetensors file by its path, and those of an
MLflow registry."""

from __future__ import annotations

from pathlib import Path

from scidiff.domain import find_weights

MODELS = Path(__file__).parent / "models"


def shipped_models() -> dict[str, Path]:
    """Name to file of the forecasters in the package."""
    return {path.stem: path for path in sorted(MODELS.glob("*.safetensors"))}


def find_model(model: str | Path) -> Path:
    """The file of a shipped model's name, of a path, of a training's folder, or of models:/NAME@ALIAS. Raises UserError that lists the
    known names."""
    return find_weights(model, shipped_models())
