"""What a run was made with: the commit, the versions, the machine."""

from __future__ import annotations

import contextlib
import getpass
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from scidiff.tracking.machine import machine

__all__ = ["environment", "run_tags"]

PACKAGES = (
    "scidiffusion", "torch", "numpy", "scipy", "pandas", "rdkit", "torch-geometric", "e3nn", "scoringrules", "statsmodels", "arch",
    "safetensors", "lightning-fabric", "pydantic", "mlflow",
)  # fmt: skip
"""Those whose versions are tags of the run; :func:`environment` has all."""
VARIABLES = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "CUBLAS_WORKSPACE_CONFIG", "PYTHONHASHSEED",
    "RANK", "WORLD_SIZE", "LOCAL_RANK", "SLURM_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_JOB_NODELIST",
)  # fmt: skip
"""Those of the process's environment that change what is computed, or say where; never all of them, which may hold secrets."""
GIT_SECONDS = 5


def environment() -> dict[str, Any]:
    """As JSON: Python, every installed distribution with its version, the machine, threads, telling variables. Nothing here raises."""
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": _packages(),
        "machine": dict(_machine()),
        "threads": _threads(),
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }


def run_tags() -> dict[str, str]:
    """Tags that say where a run comes from. What cannot be found out is left away; nothing here raises."""
    facts, versions = _machine(), _packages()
    gpus = [str(gpu["name"]) for gpu in facts["gpus"]]
    tags = {
        "mlflow.source.name": Path(sys.argv[0]).name or "python",
        "mlflow.source.type": "LOCAL",
        "scidiff.command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "version.python": platform.python_version(),
        "machine.host": str(facts["host"]),
        "machine.platform": str(facts["system"]),
        "machine.processor": str(facts["processor"]),
        "machine.cpus": str(facts["cores"]),
        "machine.threads": str(_threads()),
        "machine.gpus": ", ".join(gpus) or "none",
    }
    if "memory_gib" in facts:
        tags["machine.memory_gib"] = str(facts["memory_gib"])
    tags |= {f"version.{package}": versions[package] for package in PACKAGES if package in versions}
    with contextlib.suppress(OSError, KeyError, ImportError):  # a container may run under a number without a name
        tags["mlflow.user"] = getpass.getuser()
    return tags | _git_tags()


@cache
def _machine() -> Mapping[str, Any]:
    return machine()


@cache
def _packages() -> Mapping[str, str]:
    """Name to version of every distribution, sorted; of two of one name the one that is imported."""
    found: dict[str, str] = {}
    for one in metadata.distributions():
        with contextlib.suppress(KeyError, TypeError, AttributeError, ValueError):  # the remains of a broken installation
            found.setdefault(one.metadata["Name"].lower().replace("_", "-"), one.version)
    return dict(sorted(found.items()))


def _threads() -> int | None:
    """Threads of one operation: torch's, where torch is at work."""
    torch = sys.modules.get("torch")
    if torch is not None:
        return int(torch.get_num_threads())
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdigit() else os.cpu_count()


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
