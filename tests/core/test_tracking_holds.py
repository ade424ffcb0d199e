"""What a run holds of itself: data, checkpoints, environment, system metrics; all of it once, however often it is sent."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy
import psutil
import pytest
from support.stores import client, history, spooled, until

from scidiff.tracking import OFF, DataInfo, Tracker, sync
from scidiff.tracking.checkpoints import CHECKPOINT
from scidiff.tracking.content import Checkpoint, MetricPoint, Rejected
from scidiff.tracking.environment import run_tags
from scidiff.tracking.spool import folder_of, read_lines
from scidiff.tracking.store import MlflowStore

DATA = DataInfo("sales", hashlib.sha256(b"sales").hexdigest(), "sales.csv", 30, "CC0 1.0", {"series": 2})


def again(folder: Path, uri: str) -> None:
    """Send the whole record once more, as after a crash between sending and noting it."""
    (folder_of(folder) / "sent.json").unlink()
    assert sync(folder, uri).lines > 0


def models(uri: str, run_id: str | None) -> list[Any]:
    store = client(uri)
    experiment = store.get_run(run_id).info.experiment_id
    return sorted(store.search_logged_models([experiment]), key=lambda model: int(model.tags["scidiff.step"]))


# -- data -----------------------------------------------------------------------------------------------------------------


def test_the_data_are_a_dataset_of_the_run_and_are_there_once(tmp_path: Path, uri: str) -> None:
    folder = tmp_path / "run"
    with Tracker.start("first", folder, tracking_uri=uri) as run:
        run.log_dataset(DATA)
        run.log_dataset(DATA)
    again(folder, uri)
    found = client(uri).get_run(run.run_id)
    (held,) = found.inputs.dataset_inputs
    assert (held.dataset.name, held.dataset.digest, held.dataset.source_type) == ("sales", DATA.digest[:36], "local")
    assert json.loads(held.dataset.source) == {"uri": "sales.csv"}
    assert json.loads(held.dataset.profile) == {"num_rows": 30, "sha256": DATA.digest, "licence": "CC0 1.0", "series": 2}
    assert {tag.key: tag.value for tag in held.tags} == {"mlflow.data.context": "training"}
    assert (found.data.tags["data.name"], found.data.tags["data.sha256"]) == ("sales", DATA.digest)
    assert len([line for line in read_lines(folder_of(folder)) if line.kind == "dataset"]) == 1


def test_a_run_continued_on_other_data_says_so(tmp_path: Path, uri: str, caplog: pytest.LogCaptureFixture) -> None:
    other = DataInfo("sales", hashlib.sha256(b"others").hexdigest(), "https://example.org/sales.csv", 31)
    for info in (DATA, DATA, other):
        with Tracker.start("first", tmp_path / "run", tracking_uri=uri) as run:
            run.log_dataset(info)
    found = client(uri).get_run(run.run_id)
    assert {held.dataset.digest for held in found.inputs.dataset_inputs} == {DATA.digest[:36], other.digest[:36]}
    assert found.data.tags["changed.data.sha256"] == f"{DATA.digest} -> {other.digest}"
    assert found.data.tags["data.sha256"] == other.digest
    assert "the data are not those that this run began with" in caplog.text


# -- checkpoints ----------------------------------------------------------------------------------------------------------


def test_checkpoints_are_models_at_their_step_as_they_were_then(tmp_path: Path, uri: str) -> None:
    """Two, of one file name; the second replaces the first, as a better one does, before anything could be sent."""
    folder = tmp_path / "run"
    best = folder / "best.safetensors"
    with Tracker.start("first", folder, tracking_uri=OFF) as run:
        for step, content in ((10, b"ten"), (20, b"twenty")):
            run.log_metrics({"valid/loss": 1 / step}, step)
            best.with_suffix(".new").write_bytes(content)
            best.with_suffix(".new").replace(best)
            run.log_checkpoint(best, step, {"valid/loss": 1 / step, "(late)": 2.0})
        best.unlink()
    run_id = sync(folder, uri).run_id
    again(folder, uri)
    found = client(uri).get_run(run_id)
    for model, step, content in zip(models(uri, run_id), (10, 20), (b"ten", b"twenty"), strict=True):
        assert (model.name, str(model.status), model.source_run_id) == ("checkpoint", "READY", run_id)
        assert model.tags["scidiff.sha256"] == hashlib.sha256(content).hexdigest()
        assert model.params == {"step": str(step), "weights": "best.safetensors"}
        assert Path(model.artifact_location.removeprefix("file://"), "best.safetensors").read_bytes() == content
        linked = {(metric.key, metric.value, metric.step) for metric in model.metrics}
        assert linked == {("valid/loss", 1 / step, step), ("_late_", 2.0, step)}
        assert (model.model_id, step) in {(output.model_id, output.step) for output in found.outputs.model_outputs}
    assert len(found.outputs.model_outputs) == 2
    assert history(uri, run_id, "valid/loss") == spooled(folder, "valid/loss")  # a metric that is linked is not logged twice
    assert [point[:2] for point in history(uri, run_id, "_late_")] == [(2.0, 10), (2.0, 20)]


def test_a_continued_run_that_logs_a_checkpoint_again_has_it_once(tmp_path: Path, uri: str) -> None:
    folder = tmp_path / "run"
    for _ in range(2):
        with Tracker.start("first", folder, tracking_uri=uri) as run:
            (folder / "weights.safetensors").write_bytes(b"weights")
            run.log_metrics({"loss": 0.5}, 7)
            run.log_metrics({"loss": 0.25}, 8)
            run.log_checkpoint(folder / "weights.safetensors", 7, {"loss": 0.5})
    (model,) = models(uri, run.run_id)
    assert [(metric.key, metric.value, metric.step) for metric in model.metrics] == [("loss", 0.5, 7)]
    assert [point[:2] for point in history(uri, run.run_id, "loss")] == [(0.5, 7), (0.25, 8)]


PARTS = ("create_logged_model", "log_model_artifact", "log_batch", "log_outputs", "finalize_logged_model")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("part", PARTS)
def test_a_checkpoint_whose_sending_is_cut_off_anywhere_is_completed_and_never_doubled(
    tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch, part: str, when: str
) -> None:
    """``after``: the store acted, and its answer was lost."""
    folder, store = tmp_path / "run", MlflowStore(uri)
    folder.mkdir()
    (folder / "w.safetensors").write_bytes(b"weights")
    run = store._client.create_run(store._experiment("cut"), tags={})
    checkpoint = Checkpoint(
        folder / "w.safetensors", 5, hashlib.sha256(b"weights").hexdigest(), [MetricPoint("loss", 0.5, 1_700_000_000_000, 5)]
    )
    real = getattr(store._client, part)

    def cut(*arguments: Any, **named: Any) -> None:
        if when == "after":
            real(*arguments, **named)
        raise ConnectionError("cut off")

    with monkeypatch.context() as patch:
        patch.setattr(store._client, part, cut)
        if (part, when) == ("log_outputs", "after"):  # known to be done, so it goes on
            store.send_checkpoint(run.info.run_id, checkpoint)
        else:
            with pytest.raises(ConnectionError):
                store.send_checkpoint(run.info.run_id, checkpoint)
    for _ in range(2):
        store.send_checkpoint(run.info.run_id, checkpoint)
    (model,) = models(uri, run.info.run_id)
    assert str(model.status) == "READY"
    assert [(metric.key, metric.value) for metric in model.metrics] == [("loss", 0.5)]
    assert [output.step for output in store._client.get_run(run.info.run_id).outputs.model_outputs] == [5]
    assert len(history(uri, run.info.run_id, "loss")) == 1


def test_twins_that_late_answers_made_are_removed(tmp_path: Path, uri: str) -> None:
    """A hanging server may act on a request after it was given up and made again."""
    folder, store = tmp_path / "run", client(uri)
    with Tracker.start("first", folder, tracking_uri=uri) as run:
        (folder / "w.safetensors").write_bytes(b"weights")
        run.log_checkpoint(folder / "w.safetensors", 1, {})
        until(lambda: run.run_id is not None and models(uri, run.run_id), 60)
        found = store.get_run(run.run_id)
        tags = {"scidiff.local_id": found.data.tags["scidiff.local_id"]}
        twin = store.create_run(found.info.experiment_id, tags=tags, start_time=found.info.start_time).info.run_id
        other = store.create_run(found.info.experiment_id, tags={"scidiff.local_id": "another"}).info.run_id
        (model,) = models(uri, run.run_id)
        double = store.create_logged_model(found.info.experiment_id, tags=dict(model.tags)).model_id
        run.log_checkpoint(folder / "w.safetensors", 1, {})
    runs = {one.info.run_id for one in store.search_runs([found.info.experiment_id])}
    assert (run.run_id in runs, other in runs, twin in runs) == (True, True, False)
    assert [one.model_id for one in models(uri, run.run_id)] == [model.model_id] != [double]
    assert model.tags[CHECKPOINT].startswith(f"{run.run_id}/1/")


def test_a_checkpoint_that_was_altered_in_place_is_refused(tmp_path: Path, uri: str) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"altered")
    store = MlflowStore(uri)
    run_id = store._client.create_run(store._experiment("cut")).info.run_id
    with pytest.raises(Rejected, match=r"w.safetensors is not what was logged"):
        store.send_checkpoint(run_id, Checkpoint(path, 1, hashlib.sha256(b"weights").hexdigest(), []))
    path.unlink()
    with pytest.raises(Rejected, match=r"w.safetensors is gone"):
        store.send_checkpoint(run_id, Checkpoint(path, 1, hashlib.sha256(b"weights").hexdigest(), []))
    assert models(uri, run_id) == []


def test_a_checkpoint_that_cannot_be_read_costs_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Tracker.start("first", tmp_path / "run", tracking_uri=OFF) as run:
        run.log_checkpoint(tmp_path / "absent.safetensors", 1, {})
    assert "absent.safetensors cannot be kept" in caplog.text
    assert not [line for line in read_lines(folder_of(tmp_path / "run")) if line.kind == "checkpoint"]


# -- environment ----------------------------------------------------------------------------------------------------------


def test_the_environment_is_an_artifact_and_its_most_important_parts_are_tags(
    tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("A_SECRET_TOKEN", "xyzzy")
    with Tracker.start("first", tmp_path / "run", tracking_uri=uri) as run:
        pass
    held = tmp_path / "mlartifacts" / str(run.run_id) / "artifacts" / "environment.json"
    facts = json.loads(held.read_text())
    for name in ("torch", "numpy", "mlflow", "pytest", "scidiffusion"):
        assert facts["packages"][name] == metadata.version(name)
    assert facts["packages"]["numpy"] == numpy.__version__
    assert facts["variables"]["OMP_NUM_THREADS"] == "1"
    assert "xyzzy" not in held.read_text()
    assert facts["machine"]["memory_gib"] == pytest.approx(psutil.virtual_memory().total / 2**30, abs=0.1)
    assert facts["machine"]["cores"] == os.cpu_count()
    tags = client(uri).get_run(run.run_id).data.tags
    assert tags["version.rdkit"] == metadata.version("rdkit")
    assert tags["machine.processor"] == facts["machine"]["processor"]
    assert tags["machine.threads"] == str(facts["threads"])


def test_a_run_continued_in_another_environment_has_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for job in ("1", "1", "2"):
        monkeypatch.setenv("SLURM_JOB_ID", job)
        Tracker.start("name", tmp_path, tracking_uri=OFF).finish()
    files = [line.content["file"] for line in read_lines(folder_of(tmp_path)) if line.kind == "artifact"]
    assert files == ["tracking/environment.json", "tracking/environment-2.json"]
    assert [json.loads((tmp_path / file).read_text())["variables"]["SLURM_JOB_ID"] for file in files] == ["1", "2"]


def test_a_run_says_which_commit_it_was_made_with() -> None:
    git = ["git", "-C", str(Path(__file__).parent)]
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True)
    changed = subprocess.run([*git, "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True)
    tags = run_tags()
    assert tags.get("mlflow.source.git.commit", "") == (head.stdout.strip() if head.returncode == 0 else "")
    assert tags.get("scidiff.git.dirty", "") == ("" if head.returncode else str(bool(changed.stdout.strip())).lower())
    assert tags["version.torch"].startswith("2.")
