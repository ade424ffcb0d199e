"""The command line: what it shows, how it ends, and that it wakes nothing it does not need."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from scidiff import __version__
from scidiff.cli import app
from scidiff.errors import UserError
from scidiff.tour import tour
from scidiff.train.weights import load_weights, save_weights


@pytest.fixture
def process(tmp_path: Path, install):
    """Run ``scidiff`` in a process of its own, with the throw-away domain installed."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(install()), *sys.path])}

    def run(*arguments: str, before: str = "") -> subprocess.CompletedProcess[str]:
        code = f"import sys\nsys.argv[0] = 'scidiff'\n{before}\nfrom scidiff.cli import main\nmain()"
        return subprocess.run([sys.executable, "-c", code, *arguments], env=environment, cwd=tmp_path, capture_output=True, text=True)

    return run


@pytest.fixture
def scidiff(tmp_path: Path, install, monkeypatch: pytest.MonkeyPatch):
    """Run ``scidiff`` in this process, in an empty folder, with the throw-away domain installed."""
    install()
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(app, list(arguments), prog_name="scidiff")


def test_version(scidiff) -> None:
    done = scidiff("--version")
    assert (done.exit_code, done.stdout, done.stderr) == (0, f"scidiff {__version__}\n", "")


def test_python_m_is_the_same_program() -> None:
    done = subprocess.run([sys.executable, "-m", "scidiff", "--version"], capture_output=True, text=True)
    assert done.stdout == f"scidiff {__version__}\n"


WAKES_NOTHING = """
import atexit
heavy = ("torch", "mlflow", "rdkit", "e3nn", "matplotlib", "pandas", "toy_domain_module", "scidiff_molecules", "scidiff_timeseries")
atexit.register(lambda: print("woken:", [name for name in heavy if name in sys.modules]))
"""


def test_help_lists_the_domains_and_wakes_nothing_heavy(process) -> None:
    done = process("--help", before=WAKES_NOTHING)
    assert done.returncode == 0
    for word in ("models", "demo", "train", "track", "molecules", "timeseries", "toys"):
        assert f" {word} " in done.stdout
    assert "woken: []" in done.stdout


def test_a_domains_commands_are_under_its_name(scidiff) -> None:
    done = scidiff("toys", "greet", "world")
    assert (done.exit_code, done.stdout) == (0, "hello world\n")
    helped = scidiff("toys", "--help")
    assert "greet" in helped.stdout
    assert "scidiff toys" in helped.stdout


def test_a_users_error_is_one_message_without_a_traceback(process) -> None:
    done = process("toys", "stumble", "user")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: line 3: the [bold]sky[/bold] is not blue: wait\n"


def test_a_missing_dependency_names_the_extra(scidiff) -> None:
    done = scidiff("toys", "stumble", "extra")
    assert done.exit_code == 2
    assert done.stderr == (
        "error: the domain 'toys' needs 'a_module_that_is_not_there', which is not installed: pip install 'toy-domain[toys]'\n"
    )


@pytest.mark.parametrize(("kind", "code"), [("interrupt", 130), ("terminate", 128 + signal.SIGTERM)])
def test_signals_end_with_their_own_status(process, kind: str, code: int) -> None:
    done = process("toys", "stumble", kind)
    assert done.returncode == code
    assert "Traceback" not in done.stderr


def test_a_fault_of_ours_shows_its_traceback(process) -> None:
    done = process("toys", "stumble", "other")
    assert done.returncode == 1
    assert "RuntimeError: a fault of ours" in done.stderr


def test_usage_errors_are_2(scidiff) -> None:
    assert scidiff("nonsense").exit_code == 2
    assert scidiff("train").exit_code == 2
    assert scidiff("train", "x.yaml", "--device", "tpu").exit_code == 2


def test_models_of_every_domain_are_listed_and_a_broken_one_is_skipped(scidiff, install) -> None:
    install(name="games", source="import a_module_that_is_not_there", package="game-domain", extra="games")
    done = scidiff("models")
    assert done.exit_code == 0
    assert any(line.split()[:2] == ["tiny", "toys"] for line in done.stdout.splitlines())
    assert "skipped: the domain 'games' needs 'a_module_that_is_not_there'" in done.stderr


def test_demo_of_one_domain(scidiff, tmp_path: Path) -> None:
    done = scidiff("demo", "--domain", "toys", "--out", "shown", "--tracking-uri", "off")
    assert done.exit_code == 0, done.stderr
    assert (tmp_path / "shown" / "toys" / "seen.txt").read_text() == "nothing to see"
    assert "<h1>Toys</h1>" in (tmp_path / "shown" / "index.html").read_text()
    assert "index.html" in done.stdout
    assert "MLflow" not in done.stdout
    assert '"toys": 1.0' in (tmp_path / "shown" / "tracking" / "spool.jsonl").read_text()
    assert scidiff("demo", "--domain", "toy").stderr.startswith("error: unknown domain 'toy'; did you mean 'toys'?")


def test_a_tour_is_one_page_and_one_run_and_skips_a_domain_that_lacks_something(install, tmp_path: Path, capsys) -> None:
    install()
    broken = "from scidiff.domain import *\nclass Games:\n    name = 'games'\n    description = commands = recipe = task = models = ''\n"
    broken += "    def demo(self, folder, tracker):\n        import a_module_that_is_not_there\nDOMAIN = Games()\n"
    install(name="games", source=broken, package="game-domain", extra="games")
    page = tour(["games", "toys"], tmp_path / "shown", "off")
    assert page == tmp_path / "shown" / "index.html"
    assert "<h1>Toys</h1>" in page.read_text()
    assert "skipped: the domain 'games' needs 'a_module_that_is_not_there'" in capsys.readouterr().out
    with pytest.raises(UserError, match="the domain 'games' needs 'a_module_that_is_not_there'"):
        tour(["games"], tmp_path / "alone", "off")
    assert not (tmp_path / "alone" / "index.html").exists()


def test_train_reads_the_recipe_of_its_domain_and_tracks_the_run(scidiff, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from scidiff.train import run as runs

    def fit(task, config, folder, log, *, device, resume, **_):
        log.log_metrics({"loss": config.steps}, 1)
        about = {"domain": "toys", "told": f"{task}, {config.steps} steps on {device}, resume {resume}"}
        save_weights(folder / "weights.safetensors", {"w": torch.ones(1)}, about)
        return folder / "weights.safetensors"

    monkeypatch.setattr(runs, "fit", fit)
    (tmp_path / "recipe.yaml").write_text("domain: toys\nsize: 5\n")
    done = scidiff("train", "recipe.yaml", "train.steps=7", "--device", "cpu", "--tracking-uri", "off", "--no-resume")
    assert done.exit_code == 0, done.stderr
    run = tmp_path / "runs" / "recipe"
    assert load_weights(run / "weights.safetensors")[1]["told"] == "a task of size 5, 7 steps on cpu, resume False"
    assert (run / "recipe.yaml").read_text() == "domain: toys\nsize: 5\ntrain:\n  steps: 7\n"
    spool = (run / "tracking" / "spool.jsonl").read_text()
    assert '"train.steps": "7"' in spool
    assert '"loss": 7.0' in spool
    assert '"status": "FINISHED"' in spool


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        ("size: 5\n", [], "recipe.yaml: the key 'domain' is required: one of molecules, timeseries, toys"),
        ("domain: toy\n", [], "unknown domain 'toy'; did you mean 'toys'?"),
        ("domain: toys\nsiez: 5\n", ["train.stpes=7"], "recipe.yaml: 2 errors\n  line 2: siez: unknown key"),
    ],
)
def test_a_wrong_recipe_is_told_and_nothing_is_left(scidiff, tmp_path: Path, text: str, overrides: list[str], message: str) -> None:
    (tmp_path / "recipe.yaml").write_text(text)
    done = scidiff("train", "recipe.yaml", *overrides, "--tracking-uri", "off")
    assert done.exit_code == 2
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert not (tmp_path / "runs").exists()


def test_sync_of_a_folder_without_runs_is_told(scidiff) -> None:
    done = scidiff("track", "sync", ".")
    assert (done.exit_code, done.stderr) == (2, "error: .: no run is recorded here or below (tracking/run.json)\n")
