"""What the tests of hostile inputs share: a live pickle, weights of each domain to be spoilt, and measurements of memory."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

from torch import Tensor

from scidiff.train.weights import encode, load_weights

ROOT = Path(__file__).parents[2]
Done = subprocess.CompletedProcess[str]
Result = Any  # typer has a copy of click of its own
Run = Callable[..., Result]

ASK: dict[str, list[str]] = {
    "molecules": ["molecules", "generate", "-n", "1", "--steps", "1", "--out", "out.sdf", "--model"],
    "timeseries": ["timeseries", "simulate", "-n", "1", "--length", "2", "--out", "out.csv", "--model"],
}
"""Of each domain a command that takes a model, which comes last, and what it writes."""


def live_pickle(executed: Path) -> bytes:
    """A pickle that makes the file ``executed`` when it is loaded (protocol 0: os.system is called as by ``__reduce__``)."""
    return f"cos\nsystem\n(S'touch {executed}'\ntR.".encode()


def as_torch_save(content: bytes) -> bytes:
    """A pickle in the zip archive that torch.save writes."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/version", "3\n")
    return stream.getvalue()


@cache
def weights(domain: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and metadata of a small model."""
    if domain == "timeseries":
        from scidiff_timeseries.registry import shipped_models

        return load_weights(shipped_models()["treasury"])
    from support.training import tiny_task

    task = tiny_task()
    return dict(task.denoiser.state_dict()), json.loads(json.dumps(task.metadata()))


def altered(model: str, tensors: Mapping[str, Tensor] | None = None, **changes: Any) -> bytes:
    """A file of a domain's weights with right hashes, some of its tensors replaced, and values of its metadata: ``a__0__b`` is that of
    ``a[0]["b"]``."""
    whole, metadata = weights(model)
    metadata = deepcopy(metadata)
    for path, value in changes.items():
        *holders, last = path.split("__")
        place: Any = metadata
        for holder in holders:
            place = place[int(holder)] if isinstance(place, list) else place[holder]
        place[last] = value
    return encode({**whole, **(tensors or {})}, metadata)


def alias_bomb() -> str:
    """The billion laughs, in YAML: ten lines that stand for 9^10 words."""
    lines = ['a0: &a0 ["lol","lol","lol","lol","lol","lol","lol","lol","lol"]']
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    return "\n".join(lines) + "\n"


def process(code: str, arguments: Sequence[str], folder: Path, given: Any = None, within: Sequence[str] = ()) -> Done:
    """Run Python code in a process of its own, in a folder, with one thread, ``within`` another command; ``given`` comes as JSON on its
    standard input.

    A shell stands between: what a process once took is remembered of the processes that it becomes.
    """
    path = os.pathsep.join(str(ROOT / part) for part in ("", "domains", "tests"))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    command = ["sh", "-c", '"$@"; exit $?', "sh", *within, sys.executable, "-c", code, *arguments]
    return subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, env=environment, cwd=folder, check=False)


MEASURE = """
import json, os, resource, sys
import torch
from typer.testing import CliRunner
torch.set_num_threads(1)
os.cpu_count = lambda: 1  # no workers: what is read, this process reads
from scidiff.cli import app

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

def forecaster():
    from scidiff_timeseries.forecaster import Forecaster
    return Forecaster.load("treasury")

def generator():
    from scidiff_molecules import MoleculeGenerator
    return MoleculeGenerator.load("qm9")

def panel():
    from scidiff_timeseries.panel import read_frame
    from scidiff_timeseries.samples import SAMPLES, load_sample
    return read_frame(load_sample("treasury"), **SAMPLES["treasury"].frame)

out, answers = os.fdopen(os.dup(1), "w"), {}
os.dup2(2, 1)
for name, request in json.load(sys.stdin):
    before, files = peak(), set(os.listdir())
    if isinstance(request, str):
        try:
            said, code = repr(eval(request)), 0
        except ValueError as error:
            said, code = f"{type(error).__name__}: {error}", 2
    else:
        done = CliRunner().invoke(app, request, prog_name="scidiff")
        said, code = done.output, done.exit_code
    answers[name] = {"code": code, "said": said, "grown": peak() - before, "left": sorted(set(os.listdir()) - files)}
out.write(json.dumps(answers))
"""


def measure(requests: Sequence[tuple[str, list[str] | str]], folder: Path) -> dict[str, dict[str, Any]]:
    """What a process answers to requests (arguments of ``scidiff``, or a Python expression), one after the other, by name: the exit
    ``code``, what it ``said``, by how many KiB its peak of memory has ``grown``, and the files ``left`` behind."""
    done = process(MEASURE, [], folder, list(requests))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
