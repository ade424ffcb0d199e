"""What a run was made with: the commit, the versions, the machine."""

from __future__ import annotations

import contextlib
import getpass
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

__all__ = ["run_tags"]

PACKAGES = ("scidiffusion", "torch", "numpy", "mlflow")
GIT_SECONDS = 5


def run_tags() -> dict[str, str]:
    """Tags that say where a run comes from. What cannot be found out is left away; nothing here raises."""
    tags = {
        "mlflow.source.name": Path(sys.argv[0]).name or "python",
        "mlflow.source.type": "LOCAL",
        "scidiff.command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "version.python": platform.python_version(),
        "machine.host": platform.node(),
        "machine.platform": platform.platform(),
        "machine.cpus": str(os.cpu_count()),
    }
    for package in PACKAGES:
        try:
            tags[f"version.{package}"] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    with contextlib.suppress(OSError, KeyError, ImportError):  # a container may run under a number without a name
        tags["mlflow.user"] = getpass.getuser()
    return tags | _git_tags()


def _git_tags() -> dict[str, str]:
    """The commit that the code came from, and whether files that git knows differ from it."""
    package = Path(__file__).resolve().parent
    folder = Path.cwd() if "site-packages" in package.parts else package
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return {}
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {"mlflow.source.git.commit": commit, "scidiff.git.dirty": str(bool(changed)).lower()}


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_SECONDS, check=True, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
