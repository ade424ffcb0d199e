"""configs/cluster: every recipe is valid, every script is bash, and every option that a script gives exists."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer

from scidiff.cli import app
from scidiff.cli.app import DomainGroup
from scidiff.config import read_config, validate
from scidiff.domain import load_domain
from scidiff.launch.resources import minutes
from scidiff.sweep import has_sweep, read_plan

FOLDER = Path(__file__).parents[2] / "configs" / "cluster"
RECIPES, SCRIPTS = sorted(FOLDER.glob("*.yaml")), sorted([*FOLDER.glob("*.sh"), *FOLDER.glob("*.sbatch")])


def check_command(words: list[str]) -> None:
    """That the command exists, with every option that is given."""
    command: Any = typer.main.get_command(app)
    while hasattr(command, "get_command"):
        name, *words = words
        found = command.get_command(None, name)
        assert found is not None, name
        command = typer.main.get_group(load_domain(name).commands()) if isinstance(found, DomainGroup) else found
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    given = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
    assert given <= known, given - known


def commands(text: str) -> list[list[str]]:
    """Every ``scidiff ...`` of a file, comments included; continued lines are joined."""
    joined = re.sub(r"\\\n\s*", " ", text)
    found = re.findall(r"(?:^|[#'\s])scidiff ((?:train|sweep|launch|merge|molecules|timeseries) [^'\n;]*)", joined, flags=re.MULTILINE)
    return [shlex.split(re.split(r"\s{3,}|  as ", one)[0]) for one in found]


def test_there_are_examples() -> None:
    assert {path.name for path in RECIPES} >= {"qm9_gpus.yaml", "sweep.yaml", "sweep_random.yaml"}
    assert {path.name for path in SCRIPTS} >= {"sample_array.sbatch", "sweep_array.sbatch", "torchrun_elastic.sh"}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_recipes_are_valid(path: Path) -> None:
    document = read_config(path)
    if has_sweep(document):
        assert read_plan(path).trials
    else:
        validate(load_domain(str(document.data["domain"])).recipe(), document)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_bash(path: Path) -> None:
    done = subprocess.run(["bash", "-n", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("path", [*RECIPES, *SCRIPTS], ids=lambda path: path.name)
def test_what_they_call_exists(path: Path) -> None:
    found = commands(path.read_text())
    assert found, path
    for words in found:
        check_command(words)


def test_arrays_have_a_task_for_each_part() -> None:
    sweep, sample = ((FOLDER / name).read_text() for name in ("sweep_array.sbatch", "sample_array.sbatch"))
    last = {name: int(re.findall(r"--array=0-(\d+)", text)[0]) for name, text in (("sweep", sweep), ("sample", sample))}
    assert last["sweep"] == len(read_plan(FOLDER / "sweep.yaml").trials) - 1
    assert last["sample"] == int(re.findall(r"--shards (\d+)", sample)[0]) - 1
    assert all(minutes(re.findall(r"--time=(\S+)", text)[0]) for text in (sweep, sample))


def test_torchrun_takes_the_options() -> None:
    from torch.distributed.run import get_args_parser

    text = re.sub(r"\\\n\s*", " ", (FOLDER / "torchrun_elastic.sh").read_text())
    words = next(line for line in text.splitlines() if "exec torchrun" in line)
    words = words.replace("${GPUS:-4}", "4").replace("$first", "first").replace('"$@"', "x.yaml")
    parsed = get_args_parser().parse_args(shlex.split(words)[2:])
    assert (parsed.nnodes, parsed.nproc_per_node, parsed.max_restarts) == ("1:4", "4", 20)
    assert (parsed.rdzv_backend, parsed.rdzv_endpoint, parsed.module, parsed.training_script) == ("c10d", "first:29400", True, "scidiff")
