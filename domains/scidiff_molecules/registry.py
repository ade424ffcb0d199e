"""Models by name: those that ship in the package's ``weights`` folder, any safetensors file by its path, and those of an
MLflow registry."""

from __future__ import annotations

from pathlib import Path

from scidiff.domain import find_weights

WEIGHTS = Path(__file__).parent / "weights"


def shipped_models() -> dict[str, Path]:
    """Name to file of the models in the package."""
    return {path.stem: path for path in sorted(WEIGHTS.glob("*.safetensors"))}


def find_model(model: str | Path) -> Path:
    """The file of a shipped model's name, of a path, of a training's folder, or of models:/NAME@ALIAS. Raises UserError that lists the
    known names."""
    return find_weights(model, shipped_models())
