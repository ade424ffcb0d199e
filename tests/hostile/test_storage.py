"""Row 20: a full disk, a folder that turns read-only, SIGTERM. (kill -9 in a save: tests/train/test_kills.py and
tests/core/test_checkpoint.py; the tracker down: tests/core/test_tracking_faults.py.)

The disk is a real one of 256 kB, mounted where no other process sees it.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.hostile import Run, process
from support.training import SERIES, bits

from scidiff.train.checkpoint import CheckpointStore
from scidiff.train.weights import load_weights

TRAINING = """
import json, os, resource, subprocess, sys
from pathlib import Path
import torch
from support.toy import TRAIN, ToyTask
from support.training import bits
from scidiff.errors import UserError
from scidiff.train.checkpoint import CheckpointStore
from scidiff.train.loop import NoLog, TrainConfig, fit
from scidiff.train.weights import load_weights

torch.set_num_threads(1)
config = TrainConfig.model_validate(TRAIN)
disk = Path("disk").absolute()

def mount(*options):
    subprocess.run(["mount", *options], check=True)

def fill():
    with (disk / "ballast").open("wb", buffering=0) as file:
        try:
            while file.write(bytes(512)):
                pass
        except OSError:
            return

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

FAULTS = {
    "full": (fill, lambda: (disk / "ballast").unlink()),
    "limit": (lambda: limit(100), lambda: limit(resource.RLIM_INFINITY)),
    "read-only": (lambda: mount("-o", "remount,ro", str(disk)), lambda: mount("-o", "remount,rw", str(disk))),
}

def trained(run):
    return bits(load_weights(run / "weights.safetensors")[0])

fit(ToyTask(), config, Path("uninterrupted"), NoLog(), device="cpu")
disk.mkdir()
if sys.argv[1] == "mounted":
    mount("-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk))
answers = {}
for name in sys.argv[2:]:
    spoil, mend = FAULTS[name]
    task, run, count = ToyTask(), disk / name, 0
    real = task.batch

    def batch(examples):
        global count
        count += 1
        if count == 8:  # saves are due after 2, 4, 6, 8, ... steps
            spoil()
        return real(examples)

    task.batch, said = batch, None
    try:
        fit(task, config, run, NoLog(), device="cpu")
    except UserError as error:
        said = str(error)
    newest = CheckpointStore(run / "checkpoints").latest()
    mend()
    files = sorted(path.name for path in (run / "checkpoints").iterdir())
    fit(ToyTask(), config, run, NoLog(), device="cpu")
    answers[name] = {"said": said, "step": newest.step, "files": len(files), "equal": trained(run) == trained(Path("uninterrupted"))}
print(json.dumps(answers))
"""

COMMANDS = """
import json, os, subprocess, sys
import torch
from typer.testing import CliRunner
from scidiff.cli import app

torch.set_num_threads(1)
requests, answers = json.load(sys.stdin), {}
out = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
os.mkdir("disk")
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", "disk"], check=True)
for name in ("out.sdf", "out.csv"):
    open(f"disk/{name}", "w").write("what was there before")
with open("disk/ballast", "wb", buffering=0) as file:
    try:
        while file.write(bytes(512)):
            pass
    except OSError:
        pass
for fault in ("full", "read-only"):
    if fault == "read-only":
        subprocess.run(["mount", "-o", "remount,ro", "disk"], check=True)
    for name, request in requests.items():
        done = CliRunner().invoke(app, request, prog_name="scidiff")
        path = request[request.index("--out") + 1]
        kept = open(path).read() if os.path.isfile(path) else None
        left = sorted(file for file in os.listdir("disk") if file.endswith(".tmp") or file.startswith(".out"))
        answers[f"{fault}: {name}"] = {"code": done.exit_code, "said": done.stderr, "kept": kept, "left": left}
out.write(json.dumps(answers))
"""
WRITING = {
    "molecules generate": ["molecules", "generate", "-n", "1", "--steps", "1", "--out", "disk/out.sdf"],
    "timeseries simulate": ["timeseries", "simulate", "--model", "treasury", "-n", "1", "--length", "2", "--out", "disk/out.csv"],
    "train": ["train", "tiny.yaml", "--out", "disk/run", "--tracking-uri", "off"],
}
MESSAGES = {
    "full": ("No space left on device", "the checkpoint of step 6 is untouched", "free some space, or choose another folder"),
    "limit": ("File too large", "the checkpoint of step 6 is untouched", "free some space, or choose another folder"),
    "read-only": ("Read-only file system", "the checkpoint of step 6 is untouched", "allow writing there, or choose another folder"),
}
UNSHARE = ("unshare", "-rm")


def may_mount() -> bool:
    """Does this machine let a process mount a disk for itself?"""
    if shutil.which("unshare") is None:
        return False
    done = subprocess.run([*UNSHARE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, check=False)
    return done.returncode == 0


needs_mount = pytest.mark.skipif(not may_mount(), reason="this machine does not let a process mount a disk (unshare -rm)")


@pytest.fixture(scope="module")
def trainings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What became of a training whose disk failed in its eighth step, and was mended after it had ended."""
    folder, mounted = tmp_path_factory.mktemp("trainings"), may_mount()
    faults = ["limit", "full", "read-only"] if mounted else ["limit"]
    done = process(TRAINING, ["mounted" if mounted else "plain", *faults], folder, within=UNSHARE if mounted else ())
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("fault", ["limit", pytest.param("full", marks=needs_mount), pytest.param("read-only", marks=needs_mount)])
def test_row_20_a_disk_that_fails_leaves_the_last_checkpoint_and_the_training_continues_from_it(
    fault: str, trainings: dict[str, Any]
) -> None:
    """To the bit. The error names the file, what is left, and what to do."""
    answer = trainings[fault]
    assert f"{fault}/checkpoints/step-000000008-" in answer["said"]
    assert all(part in answer["said"] for part in MESSAGES[fault])
    assert (answer["step"], answer["files"]) == (6, 4)  # two checkpoints of two files each, and nothing else
    assert answer["equal"]


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What commands say that write onto a disk that is full, and then read-only."""
    folder = tmp_path_factory.mktemp("commands")
    (folder / "tiny.yaml").write_text(json.dumps(SERIES))
    done = process(COMMANDS, [], folder, WRITING, within=UNSHARE)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@needs_mount
@pytest.mark.parametrize("command", WRITING)
@pytest.mark.parametrize("fault", ["full", "read-only"])
def test_row_20_a_command_names_the_place_and_the_remedy_and_keeps_what_was_there(
    fault: str, command: str, commands: dict[str, Any]
) -> None:
    answer = commands[f"{fault}: {command}"]
    assert answer["code"] == 2, answer
    assert answer["said"].splitlines()[-1].startswith("error: "), answer
    if "the folder disk may not be written to; choose another" in answer["said"]:
        return  # told before the work
    assert "disk/" in answer["said"]
    assert MESSAGES[fault][0] in answer["said"]
    assert MESSAGES[fault][2] in answer["said"]
    assert answer["kept"] in (None, "what was there before")
    assert answer["left"] == []


TERMINATED = """
import os, signal, sys
from scidiff.train.checkpoint import CheckpointStore
real = CheckpointStore.save

def save(*arguments, **options):
    path = real(*arguments, **options)
    os.kill(os.getpid(), signal.SIGTERM)
    return path

CheckpointStore.save = save
from scidiff.cli import main
main()
"""


@pytest.mark.long
def test_row_20_sigterm_saves_and_exits_143_and_the_same_command_continues(
    scidiff: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``scidiff train``, ended by a real signal right after its first checkpoint."""
    monkeypatch.setattr("scidiff_timeseries.calibration.calibrate", lambda *arguments: {})  # in this process, which ends it
    Path("tiny.yaml").write_text(json.dumps(SERIES))
    train = ["train", "tiny.yaml", "train.steps=6", "train.save_every=2", "--tracking-uri", "off", "--device", "cpu", "--out"]
    done = process(TERMINATED, [*train, "run"], tmp_path)
    assert done.returncode == 128 + signal.SIGTERM, done.stderr
    store = CheckpointStore(tmp_path / "run" / "checkpoints")
    assert 2 <= store.steps()[-1] < 6
    assert not (tmp_path / "run" / "weights.safetensors").exists()
    for folder in ("run", "uninterrupted"):
        done = scidiff(*train, folder)
        assert done.exit_code == 0, done.output
    weights = [bits(load_weights(tmp_path / folder / "weights.safetensors")[0]) for folder in ("run", "uninterrupted")]
    assert weights[0] == weights[1]
