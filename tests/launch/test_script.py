"""The script of a job: what it asks for, and what it does when its processes end, run by bash with stand-ins for SLURM's commands."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from scidiff.cli import app
from scidiff.config import load_config
from scidiff.errors import UserError
from scidiff.launch.executors import script_of
from scidiff.launch.job import Job
from scidiff.launch.resources import Resources, minutes
from scidiff.sweep import read_plan
from scidiff.tracking.spool import folder_of, read_identity, read_lines

SRUN = """#!/bin/bash
echo "$@" >> "$SLURM_SEEN/srun"
while [[ $1 == --* ]]; do
    case $1 in --output | --error) shift 2 ;; *) shift ;; esac
done
worst=0
for rank in $(seq 0 $((SLURM_NTASKS - 1))); do
    SLURM_PROCID=$rank "$@"
    status=$?
    if ((status > worst)); then worst=$status; fi
done
exit $worst
"""
SCONTROL = """#!/bin/bash
echo "$@" >> "$SLURM_SEEN/scontrol"
if [[ $1 == show ]]; then printf 'node7\\nnode8\\n'; fi
"""
SBATCH = """#!/bin/bash
echo "$@" >> "$SLURM_SEEN/sbatch"
if [[ -e $SLURM_SEEN/refuse ]]; then echo "Invalid partition name specified" >&2; exit 1; fi
cp "$1" "$SLURM_SEEN/script-$(wc -l < "$SLURM_SEEN/sbatch")"
echo "Submitted batch job $((41 + $(wc -l < "$SLURM_SEEN/sbatch")))"
"""


def launch(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["launch", "slurm", *arguments])


def asked(text: str) -> dict[str, str]:
    """What the #SBATCH lines say, which sbatch reads up to the first command."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            break
        if line.startswith("#SBATCH "):
            (option,) = shlex.split(line.removeprefix("#SBATCH "))
            name, _, value = option.removeprefix("--").partition("=")
            found[name] = value
    return found


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand-ins for SLURM's commands on the PATH, which note how they were called; the folder of their notes."""
    places, seen = tmp_path / "bin", tmp_path / "seen"
    places.mkdir()
    seen.mkdir()
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL), ("sbatch", SBATCH)):
        (places / name).write_text(text)
        (places / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{places}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_SEEN", str(seen))
    return seen


def test_the_issues_own_command_asks_for_what_it_says(recipe: Callable[..., Path], tmp_path: Path) -> None:
    options = "--nodes 2 --gpus 4 --time 12:00:00 --partition big --account lab --cpus-per-task 8 --mem 64G --sbatch constraint=a100"
    done = launch(str(recipe("")), "train.steps=7", *options.split(), "--out", "runs/a run", "--dry-run")
    assert done.exit_code == 0, done.stderr
    text = (tmp_path / "runs/a run/slurm/job.sh").read_text()
    assert text in done.stdout
    out = tmp_path / "runs/a run"
    assert asked(text) == {
        "nodes": "2", "ntasks-per-node": "4", "gpus-per-node": "4", "time": "12:00:00", "partition": "big", "account": "lab",
        "cpus-per-task": "8", "mem": "64G", "constraint": "a100", "job-name": "scidiff-a run", "requeue": "", "signal": "TERM@120",
        "open-mode": "append", "output": f"{out}/slurm/%j_0_log.out", "error": f"{out}/slurm/%j_0_log.err",
    }  # fmt: skip
    (line,) = [shlex.split(line) for line in text.splitlines() if line.startswith("srun ")]
    assert {"--kill-on-bad-exit=1", "--cpus-per-task=8", "--open-mode=append"} <= set(line)
    written = out / "slurm/recipe.yaml"
    assert line[line.index(sys.executable) :] == [
        sys.executable, "-m", "scidiff", "train", str(written), "--out", str(out), "--device", "cuda",
    ]  # fmt: skip
    assert load_config(read_plan(recipe("sweep: {over: {pause: [0]}}", "other.yaml")).domain.recipe(), written).train.steps == 7
    assert subprocess.run(["bash", "-n", out / "slurm/job.sh"], check=False).returncode == 0
    assert not (out / "checkpoints").exists()


def job(tmp_path: Path, command: Sequence[str], resources: Resources | None = None) -> Job:
    return Job("scidiff-x", tmp_path, shlex.join(command), resources or Resources(time="10"))


def run(script: str, tmp_path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """As slurmd runs it."""
    path = tmp_path / "job.sh"
    path.write_text(script)
    environment = {**os.environ, "SLURM_JOB_ID": "50007", "SLURM_NTASKS": "2", "SLURM_JOB_NODELIST": "node[7-8]", **variables}
    return subprocess.run(["bash", path], env=environment, capture_output=True, text=True, check=False)


def requeued(seen: Path) -> list[str]:
    lines = (seen / "scontrol").read_text().splitlines()
    return [line.removeprefix("requeue ") for line in lines if line.startswith("requeue")]


@pytest.mark.parametrize(
    ("ends", "variables", "expected"),
    [
        ("exit 0", {}, []),
        ("exit 143", {}, ["50007"]),
        ("exit $((143 * SLURM_PROCID))", {}, ["50007"]),  # one of them saved, the other had nothing to
        ("kill -TERM $$", {}, ["50007"]),  # told to stop before it could listen
        ("exit 1", {}, []),
        ("kill -KILL $$", {}, []),  # for lack of memory: again would be no better
        ("exit 143", {"SLURM_ARRAY_JOB_ID": "50007", "SLURM_ARRAY_TASK_ID": "3"}, ["50007_3"]),
        ("exit 143", {"SLURM_RESTART_COUNT": "99"}, ["50007"]),
        ("exit 143", {"SLURM_RESTART_COUNT": "100"}, []),
    ],
)
def test_a_job_that_was_told_to_stop_goes_back_into_the_queue_and_no_other(
    cluster: Path, tmp_path: Path, ends: str, variables: dict[str, str], expected: list[str]
) -> None:
    done = run(script_of(job(tmp_path, ["bash", "-c", ends])), tmp_path, **variables)
    assert requeued(cluster) == expected
    status = {"exit 0": 0, "exit 1": 1, "kill -KILL $$": 137}.get(ends, 143)
    assert done.returncode == status, done.stderr


def test_every_process_knows_where_the_first_one_is(cluster: Path, tmp_path: Path) -> None:
    show = 'echo "$SLURM_PROCID $MASTER_ADDR $MASTER_PORT $OMP_NUM_THREADS $COLOUR"'
    resources = Resources(time="10", setup=("export COLOUR=blue",))
    done = run(script_of(job(tmp_path, ["bash", "-c", show], resources)), tmp_path, OMP_NUM_THREADS="", SLURM_CPUS_PER_TASK="6")
    assert done.stdout.splitlines() == ["0 node7 30007 6 blue", "1 node7 30007 6 blue"]


def test_no_name_becomes_a_command(cluster: Path, tmp_path: Path) -> None:
    name = "a $(touch broken) `touch broken`;'touch broken' \"é"
    folder = tmp_path / name
    folder.mkdir()
    text = script_of(Job(f"scidiff-{name}", folder, shlex.join(["echo", name]), Resources(time="10", account="$(touch broken)")))
    done = run(text, tmp_path)
    assert done.stdout == 2 * f"{name}\n"
    assert not list(tmp_path.rglob("broken"))
    assert asked(text)["job-name"] == f"scidiff-{name}"
    assert asked(text)["account"] == "$(touch broken)"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--partition", "a\nrm -rf /"], "--partition 'a\\nrm -rf /': expected text of one line"),
        (["--setup", "a\nb"], "--setup 'a\\nb': expected text of one line"),
        (["--sbatch", "qos=a\nb"], "--sbatch 'a\\nb': expected text of one line"),
        (["--sbatch", "a b=c"], "--sbatch a b: expected an option of sbatch"),
        (["--sbatch", "exclusive"], "expected OPTION=VALUE"),
        (["--time", "1.5"], "--time '1.5': expected HOURS:MINUTES:SECONDS"),
        (["--time", "2"], "--time 2 leaves nothing to train in"),
        (["--mem", "lots"], "--mem 'lots': expected a size such as 64G"),
        (["--gpus", "-1"], "--gpus -1: must be 0 or more"),
        (["--array", "0-3"], "--array is for a recipe with a sweep block"),
        (["--nodes", "2", "--cluster", "local"], "--nodes 2: this machine is one node"),
        (["train.stps=1"], "did you mean 'steps'?"),
    ],
)
def test_what_is_wrong_is_told_before_anything_waits_in_a_queue(cluster: Path, recipe: Any, options: list[str], message: str) -> None:
    done = launch(str(recipe("")), *options)
    assert done.exit_code == 2
    assert message in done.stderr
    assert not (cluster / "sbatch").exists()


def test_time_limits_are_read_as_sbatch_reads_them() -> None:
    known = {"30": 30, "90:00": 90, "0:30": 1, "12:00:00": 720, "2-12": 3600, "2-12:30": 3630, "2-12:30:01": 3631, "1:1:1": 62}
    assert {text: minutes(text) for text in known} == known
    for text in ("", "1h", "-5", "1:2:3:4", "1-", "12:00:00 "):
        with pytest.raises(UserError, match="expected HOURS:MINUTES:SECONDS"):
            minutes(text)


def test_a_training_is_submitted(cluster: Path, recipe: Any, tmp_path: Path) -> None:
    done = launch(str(recipe("")), "--out", "runs/one")
    assert done.exit_code == 0, done.stderr
    assert "submitted scidiff-one as job 42" in done.stdout
    assert (tmp_path / "runs/one/slurm/42_submission.sh").read_text() == (cluster / "script-1").read_text()


def test_a_sweep_is_an_array_and_a_comparison_that_waits_for_it(cluster: Path, recipe: Any, tmp_path: Path) -> None:
    path = recipe("sweep: {parallel: 2, over: {train.seed: [1, 2, 3]}}")
    done = launch(str(path), "--gpus", "1", "--out", "runs/many", "--tracking-uri", "off")
    assert done.exit_code == 0, done.stderr
    runs, comparison = ((cluster / f"script-{k}").read_text() for k in (1, 2))
    out = tmp_path / "runs/many"
    assert asked(runs)["array"] == "0-2%2"
    assert asked(runs)["output"] == f"{out}/slurm/%A_%a_0_log.out"
    assert f'-m scidiff sweep {out}/sweep.yaml --out {out} --device cuda --tracking-uri off --run "$SLURM_ARRAY_TASK_ID"' in runs
    assert asked(comparison)["dependency"] == "afterany:42"
    assert not {"gpus-per-node", "array"} & asked(comparison).keys()
    assert f"-m scidiff sweep {out}/sweep.yaml --out {out} --report --tracking-uri off" in comparison
    assert "scontrol requeue" not in comparison
    assert read_identity(folder_of(out)) is not None
    assert [line.content["status"] for line in read_lines(folder_of(out)) if line.kind == "status"] == ["RUNNING"]


def test_part_of_a_sweep(cluster: Path, recipe: Any) -> None:
    path = recipe("sweep: {over: {train.seed: [1, 2, 3]}}")
    assert launch(str(path), "--array", "1,2%1", "--no-report", "--tracking-uri", "off").exit_code == 0
    assert asked((cluster / "script-1").read_text())["array"] == "1,2%1"
    assert not (cluster / "script-2").exists()
    refused = launch(str(path), "--cluster", "local")
    assert f"run the sweep in processes on this machine with: scidiff sweep {path}" in refused.stderr


def test_without_sbatch_or_submitit_the_remedy_is_told(recipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(recipe(""))
    monkeypatch.setenv("PATH", "/nowhere")
    done = launch(path)
    assert (done.exit_code, "write the script with --dry-run" in done.stderr) == (2, True)
    monkeypatch.setitem(sys.modules, "submitit", None)
    done = launch(path, "--dry-run")
    assert (done.exit_code, "pip install 'scidiffusion[cluster]'" in done.stderr) == (2, True)


def test_what_sbatch_refuses_is_told_in_its_own_words(cluster: Path, recipe: Any) -> None:
    (cluster / "refuse").touch()
    done = launch(str(recipe("")), "--partition", "nowhere")
    assert done.exit_code == 2
    assert done.stderr == "error: sbatch does not take the job: Invalid partition name specified\n"
