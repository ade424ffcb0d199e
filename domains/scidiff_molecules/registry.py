"""Models by name: those that ship in the package's ``weights`` folder, or any safetensors file by its path."""

from __future__ import annotations

from pathlib import Path

from scidiff.errors import UserError, did_you_mean

WEIGHTS = Path(__file__).parent / "weights"


def shipped_models() -> dict[str, Path]:
    """Name to file of the models in the package."""
    return {path.stem: path for path in sorted(WEIGHTS.glob("*.safetensors"))}


def find_model(model: str | Path) -> Path:
    """The file of a shipped model's name or of a path. Raises UserError that lists the known names."""
    known = shipped_models()
    if isinstance(model, str) and model in known:
        return known[model]
    path = Path(model)
    if path.is_file():
        return path
    if path.is_dir() and (path / "weights.safetensors").is_file():
        return path / "weights.safetensors"
    raise UserError(
        f"no model {str(model)!r}{did_you_mean(str(model), known)}: give a shipped name ({', '.join(known) or 'none'}), a .safetensors file, or a training's folder"
    )
