"""How samples came about: the command that makes them, and what may change their last bits."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import cast

import torch

from scidiff import __version__

__all__ = ["command_of", "made_on"]


def command_of(words: tuple[str, ...], options: Mapping[str, object]) -> tuple[str, ...]:
    """The words, then each option that was given (is not None) with its value; of a flag (True) the name alone, and once with each value
    of a list."""
    listed = {name: value if isinstance(value, list) else [value] for name, value in options.items() if value is not None}
    given = [(name, value) for name, values in listed.items() for value in cast("list[object]", values)]
    return (*words, *(str(word) for name, value in given for word in ((name,) if value is True else (name, value))))


def made_on(device: torch.device, *packages: ModuleType) -> dict[str, str]:
    """The device, the threads if it is the CPU, and the versions of these packages, of torch, of Python and of ours."""
    cuda = device.type == "cuda"
    where = torch.cuda.get_device_name(device) if cuda else f"cpu ({platform.machine()}), {torch.get_num_threads()} threads"
    versions = {package.__name__: str(package.__version__) for package in (torch, *packages)}
    return {"device": where, **versions, "scidiff": __version__, "python": ".".join(map(str, sys.version_info[:2]))}
