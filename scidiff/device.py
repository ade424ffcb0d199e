"""Where to compute: ``cpu``, ``cuda`` or ``auto``, everywhere by these three names."""

from __future__ import annotations

import torch

from scidiff.errors import UserError

__all__ = ["choose_device"]


def choose_device(name: str) -> torch.device:
    """The device of a name; ``auto`` is a CUDA device where there is one. Raises UserError for an unknown name, or ``cuda`` without one."""
    if name not in ("cpu", "cuda", "auto"):
        raise UserError(f"device {name!r}: known are cpu, cuda and auto")
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("device 'cuda': PyTorch sees no CUDA device here; use cpu, or install a CUDA build of torch")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
