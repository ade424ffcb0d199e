"""What every network in the comparison offers, and how a peer's published code is taken in from a folder of the user's."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from interleaved import Work
from torch import nn

from scidiff.errors import UserError


@dataclass(frozen=True)
class Piece:
    """A part of making a batch of molecules; ``times`` of it is the whole. ``atoms`` says how many each has."""

    work: Work
    times: float
    atoms: str


@dataclass(frozen=True)
class Contestant:
    """One network and its sampler.

    Attributes:
        name: its row in the tables.
        network: what holds the parameters.
        weights: ``trained``, or ``random`` where the published ones are not read.
        source: the commit of its code, or which model.
        calls: network calls that a molecule takes by its authors' default.
        quality: published or measured at that setting, with the metric's name.
        call: (batch, atoms) -> one network call as its sampler makes it; None where another row has it.
        piece: batch -> as much of making that many molecules as is timed.
    """

    name: str
    network: nn.Module
    weights: str
    source: str
    calls: int
    quality: str
    call: Callable[[int, int], Work] | None
    piece: Callable[[int], Piece]

    @property
    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.network.parameters())


def load(folder: Path, option: str, names: Sequence[str], stand_ins: Mapping[str, ModuleType] | None = None) -> list[ModuleType]:
    """Modules of a peer's code, imported from ``folder`` as they are. ``stand_ins``: what is imported for packages that their code names
    and that are not installed. Raises UserError if the folder does not hold the modules, or what they need is missing."""
    first = Path(names[0].replace(".", "/") + ".py")
    if not (folder / first).is_file():
        raise UserError(f"{option} {folder}: there is no {first} in it; give the folder of a clone (--help says of what)")
    lacking = {name: module for name, module in (stand_ins or {}).items() if importlib.util.find_spec(name) is None}
    sys.modules.update(lacking)
    sys.path.insert(0, str(folder))
    try:
        return [importlib.import_module(name) for name in names]
    except ImportError as error:
        raise UserError(f"{option} {folder}: its code cannot be imported: {error}; install what it names") from error
    finally:
        sys.path.remove(str(folder))
        for name in lacking:  # so that nobody else takes them for the packages
            del sys.modules[name]


def commit(folder: Path) -> str:
    """The commit that a clone stands at, and whether its Python files were changed since; ``unknown`` for a folder without git."""

    def git(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)

    head = git("rev-parse", "HEAD")
    if head.returncode:
        return "unknown"
    return head.stdout.strip()[:12] + (", changed" if git("diff", "--quiet", "HEAD", "--", "*.py").returncode else "")
