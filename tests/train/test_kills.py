"""Law 6: killed at random points, also in the middle of a save, a continued training equals the uninterrupted one to the bit. Real
processes, really killed, by the public harness; and the harness itself sees trainings that cannot be continued.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support import toy
from support.training import RECIPE, SERIES, TRAIN
from typer.testing import CliRunner

from scidiff.errors import UserError
from scidiff.testing.kills import KINDS, THINGS, KillReport, app, check_resume

MOLECULES = {**RECIPE, "train": TRAIN}
ROOT = Path(__file__).parents[2]


def process(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(str(ROOT / part) for part in ("", "domains", "tests"))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, env=environment, cwd=folder, check=False)


def test_molecules_survive_kills(tmp_path: Path) -> None:
    report = check_resume("molecules", MOLECULES, tmp_path / "kills", kills=5)
    assert report.total == 5
    assert {kind: report.kills.get(kind, 0) for kind in KINDS}.items() >= dict.fromkeys(KINDS[1:], 1).items()
    assert report.terminated >= 1  # once a training: a busy machine may let one end before it is killed, and takes another
    assert report.continued == 5
    assert report.equal == dict.fromkeys(THINGS, 5)


@pytest.mark.long
def test_time_series_survive_kills_by_the_command(tmp_path: Path) -> None:
    config = tmp_path / "tiny.yaml"
    config.write_text(json.dumps(SERIES))
    done = CliRunner().invoke(app, [str(config), "train.steps=9", "--kills", "5", "--seed", "1"])
    assert done.exit_code == 0, done.output
    words = {" ".join(line.split()) for line in done.stdout.splitlines()}
    assert {f"equal to the bit: {thing} 5 of 5" for thing in THINGS} <= words
    assert any(line.startswith("SIGTERM: saved, exit 143 ") for line in words)
    assert any(re.match(r"timeseries: 5 kills in \d trainings? of 9 steps", line) for line in words)


FAULTS = """
import json, os, sys
from dataclasses import asdict
import torch
from support import toy
from scidiff.testing.kill_nursery import work
torch.set_num_threads(1)
out = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
for name in sys.argv[1:]:
    if (process := os.fork()) == 0:
        job = {"name": name, "task": f"support.toy:{name}", "recipe": toy.RECIPE, "folder": os.path.abspath(name), "kills": 5, "seed": 0}
        job["kills"] = 15 if name == "in_place" else 5  # only a kill within a write harms a file that is written in place
        os.mkdir(name)
        out.write(json.dumps(asdict(work(job))) + "\\n")
        out.flush()
        os._exit(0)
    assert os.waitpid(process, 0)[1] == 0
"""
SEEN = {
    "toy": {},
    "without_optimizer": {"optimiser": "state.0.exp_avg", "losses": "train/loss", "weights": "weights/backbone.layer"},
    "reshuffled": {"data order": "example"},
    "in_place": {"files": "a checkpoint is damaged"},
}


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What the harness says of trainings with planted faults, by name."""
    done = process(tmp_path_factory.mktemp("faults"), "-c", FAULTS, *SEEN)
    assert done.returncode == 0, done.stderr
    return {report["name"]: report for report in map(json.loads, done.stdout.splitlines()) if "name" in report}


@pytest.mark.parametrize("name", SEEN)
def test_a_training_that_cannot_be_continued_is_seen(name: str, faults: dict[str, dict[str, Any]]) -> None:
    report = faults[name]
    assert {thing for thing in THINGS if report["equal"][thing] < sum(report["kills"].values())} >= set(SEEN[name])
    for thing, place in SEEN[name].items():
        assert any(f"{thing}: " in difference and place in difference for difference in report["differences"])
    assert bool(report["differences"]) == bool(SEEN[name])


def test_what_differs_is_an_error_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(
        AssertionError, match=r"(?s)equal to the bit: data order +5 of 5.*differs: 000, process \d+: losses: step \d+: train/"
    ):
        check_resume(toy.noisy, toy.RECIPE, tmp_path / "kills", kills=5)
    assert (tmp_path / "kills" / "000" / "run" / "checkpoints").is_dir()


def test_what_cannot_be_asked_is_told(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(UserError, match="an empty folder is needed"):
        check_resume("molecules", MOLECULES, tmp_path / "full")
    with pytest.raises(UserError, match="define it at the top of a module"):
        check_resume(lambda recipe: None, {}, tmp_path / "new")
    with pytest.raises(UserError, match="kills = 0"):
        check_resume("molecules", MOLECULES, tmp_path / "new", kills=0)
    done = CliRunner().invoke(app, [str(tmp_path / "absent.yaml")])
    assert done.exit_code == 2
    assert "absent.yaml" in done.stderr


def test_a_report_counts_by_kind() -> None:
    report = KillReport(
        name="molecules", steps=12, trainings=1, kills={KINDS[0]: 1, KINDS[1]: 2}, fsyncs={1: 1, 4: 1}, continued=3, from_checkpoint=2,
        terminated=1, equal=dict.fromkeys(THINGS, 3) | {"losses": 2}, seconds=4.2, differences=("000, process 1: losses: step 3",),
    )  # fmt: skip
    assert report.total == 3
    lines = [" ".join(line.split()) for line in str(report).splitlines()]
    assert lines[0] == "molecules: 3 kills in 1 training of 12 steps, 4 s"
    assert "SIGKILL in a save, at an fsync 2 (1st 1, 4th 1)" in lines
    assert "continued 3 of 3 (2 from a checkpoint)" in lines
    assert "equal to the bit: losses 2 of 3" in lines
    assert lines[-1] == "differs: 000, process 1: losses: step 3"


@pytest.mark.long
@pytest.mark.parametrize("recipe", [MOLECULES, SERIES], ids=["molecules", "timeseries"])
def test_a_hundred_of_a_hundred(recipe: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "tiny.yaml"
    config.write_text(json.dumps(recipe))
    done = process(tmp_path, "-m", "scidiff.testing.kills", str(config), "--kills", "100", "--seed", "0")
    with capsys.disabled():
        print("\n" + done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    words = {" ".join(line.split()) for line in done.stdout.splitlines()}
    assert {f"equal to the bit: {thing} 100 of 100" for thing in THINGS} <= words
    assert any(line.startswith("continued 100 of 100") for line in words)
