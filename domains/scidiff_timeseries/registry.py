"""Models by name: those that ship in the package's ``weights`` folder, or any safetensors file by its path."""

from __future__ import annotations

from contextlib import suppress
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
    with suppress(OSError):  # a name too long for the file system is no file
        for path in (Path(model), Path(model) / "weights.safetensors"):
            if path.is_file():
                return path
    names = ", ".join(known) or "none"
    hint = did_you_mean(str(model), known)
    raise UserError(f"no model {str(model)!r}{hint}: give a shipped name ({names}), a .safetensors file, or a training's folder")
