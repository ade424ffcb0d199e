"""Row 19: names of files that lead out of where they belong, by ``..``, as absolute paths, or through links."""

from __future__ import annotations

import bz2
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from support.hostile import Run

from scidiff.errors import UserError
from scidiff.files import confined, is_confined
from scidiff.tracking import OFF, Tracker
from scidiff.tracking.spool import folder_of, read_lines
from scidiff.train.checkpoint import CheckpointStore, CheckpointWarning
from scidiff.train.weights import encode
from scidiff_molecules.data import load_qm9, sources

OUT = ["../../etc/passwd", "/etc/passwd", "..", "a/../../b", "link", "linked/file"]


@pytest.mark.parametrize("name", OUT)
def test_row_19_a_name_that_leads_out_is_refused_after_resolution(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "folder"
    (folder / "a").mkdir(parents=True)
    (folder / "link").symlink_to("/etc/passwd")
    (folder / "linked").symlink_to("/etc")
    with pytest.raises(UserError, match="refused"):
        confined(folder, name)
    assert not is_confined(folder, folder / name)


def test_row_19_names_that_stay_are_taken(tmp_path: Path) -> None:
    """Also where the folder itself is a link, and where links lead to places inside."""
    (tmp_path / "real" / "a").mkdir(parents=True)
    (tmp_path / "real" / "a" / "file").touch()
    (tmp_path / "real" / "b").symlink_to("a")
    (tmp_path / "folder").symlink_to("real")
    for name in ("a/file", "b/file", "a/../a/file", "a", "."):
        assert confined(tmp_path / "folder", name) == tmp_path / "folder" / name
        assert is_confined(tmp_path / "folder", tmp_path / "folder" / name)
    assert not is_confined(tmp_path / "folder", tmp_path / "real" / "a")  # by its name it lies elsewhere


# ---- checkpoints ----


@pytest.mark.parametrize("name", ["../outside.safetensors", "{outside}", "..", "link.safetensors"])
def test_row_19_a_manifest_that_names_a_file_outside_is_refused(tmp_path: Path, name: str) -> None:
    """The file is whole and its hash is right; the checkpoint before it is used."""
    outside, store = tmp_path / "outside.safetensors", CheckpointStore(tmp_path / "checkpoints")
    store.save(1, {"w": torch.ones(2)}, {})
    content = encode({"w": torch.zeros(2)}, {})
    outside.write_bytes(content)
    (store.folder / "link.safetensors").symlink_to(outside)
    manifest = {"step": 2, "file": name.format(outside=outside), "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (store.folder / "step-000000002.json").write_text(json.dumps(manifest))
    with pytest.warns(CheckpointWarning, match=r"(the manifest is damaged|out of .*: refused).*Using the checkpoint of step 1 instead"):
        latest = store.latest()
    assert latest is not None
    assert latest.tensors["w"].tolist() == [1, 1]


# ---- the record of a run ----


class Recording:
    """A tracking store that keeps what it is sent; implements scidiff.tracking.store.Store."""

    sent: list[tuple[str, str]]

    def __init__(self, uri: str = "") -> None:
        Recording.sent = []

    def attach(self, identity: Any, run_id: str | None) -> str:
        return "run"

    def send_artifact(self, run_id: str, path: Path, to: str) -> None:
        contents = sorted(one.read_text() for one in (path.rglob("*") if path.is_dir() else [path]) if one.is_file())
        self.sent += [(content, to) for content in contents]

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments: None


def record(run: Path) -> Path:
    """A run with one artifact of its own; the file of its lines."""
    with Tracker.start("run", run, tracking_uri=OFF) as tracker:
        (run / "mine.txt").write_text("mine")
        tracker.log_artifact(run / "mine.txt")
    return folder_of(run) / "spool.jsonl"


@pytest.mark.parametrize("kind", ["artifact", "checkpoint"])
@pytest.mark.parametrize("name", ["../secret.txt", "{secret}", "link.txt", "linked"])
def test_row_19_a_record_that_names_a_file_outside_sends_nothing_of_it(
    scidiff: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, name: str
) -> None:
    """``scidiff track sync`` of a folder that came from elsewhere; the other lines are sent."""
    secret, run = tmp_path / "secret.txt", tmp_path / "run"
    secret.write_text("secret")
    spool = record(run)
    (run / "link.txt").symlink_to(secret)
    (run / "linked").mkdir()
    (run / "linked" / "inner.txt").symlink_to(secret)
    line = {"kind": kind, "time": 1, "file": name.format(secret=secret), "to": "../../up", "step": 1, "sha256": "0", "metrics": {}}
    spool.write_text(json.dumps(line) + "\n" + spool.read_text())
    sent: list[Path] = []
    monkeypatch.setattr(import_module("scidiff.tracking.sync"), "MlflowStore", Recording)
    monkeypatch.setattr(Recording, "send_checkpoint", lambda self, run_id, checkpoint: sent.append(checkpoint.path), raising=False)
    done = scidiff("track", "sync", run, "--tracking-uri", "sqlite:///nowhere.db")
    assert done.exit_code == 0, done.output
    assert "mine" in [content for content, _ in Recording.sent]
    assert "secret" not in [content for content, _ in Recording.sent]
    assert sent == []
    (rejected,) = (folder_of(run) / "rejected.jsonl").read_text().splitlines()
    assert "refused" in json.loads(rejected)["reason"]


def test_row_19_where_an_artifact_is_sent_to_stays_below_the_runs_own(
    scidiff: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    spool = record(run)
    spool.write_text(json.dumps({"kind": "artifact", "time": 1, "file": "mine.txt", "to": "../../up//x"}) + "\n" + spool.read_text())
    monkeypatch.setattr(import_module("scidiff.tracking.sync"), "MlflowStore", Recording)
    assert scidiff("track", "sync", run, "--tracking-uri", "sqlite:///nowhere.db").exit_code == 0
    assert ("mine", "up/x") in Recording.sent


@pytest.mark.parametrize("local_id", ["../../../moved", "/tmp/moved", "a'b", "", 7])
def test_row_19_an_identity_that_is_a_path_is_refused(scidiff: Run, tmp_path: Path, local_id: Any) -> None:
    """It would name a folder (``earlier/ID``) and stand in a search."""
    run = tmp_path / "run"
    record(run)
    path = folder_of(run) / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "local_id": local_id}))
    before = sorted(tmp_path.rglob("*"))
    done = scidiff("track", "sync", run)
    assert done.exit_code == 2
    assert "run.json: damaged (" in done.stderr
    with pytest.raises(UserError, match=r"run\.json: damaged"):
        Tracker.start("run", run, tracking_uri=OFF, resume=False)
    assert sorted(tmp_path.rglob("*")) == before


def test_row_19_a_users_own_link_is_logged_by_its_content(tmp_path: Path) -> None:
    """A link in the run's folder to data elsewhere: the training that made it may log it; a copy goes into the record."""
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere.txt"
    elsewhere.write_text("mine too")
    with Tracker.start("run", run, tracking_uri=OFF) as tracker:
        (run / "link.txt").symlink_to(elsewhere)
        tracker.log_artifact(run / "link.txt")
    (file,) = [line.content["file"] for line in read_lines(folder_of(run)) if line.kind == "artifact" and "link" in line.content["file"]]
    assert confined(run, file).read_text() == "mine too"


# ---- archives ----


def link(name: str, target: str, kind: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


MEMBERS = {
    "parent": tarfile.TarInfo("../../dsgdb9nsd_000001.xyz"),
    "absolute": tarfile.TarInfo("/etc/dsgdb9nsd_000001.xyz"),
    "symlink": link("dsgdb9nsd_000001.xyz", "/etc/passwd", tarfile.SYMTYPE),
    "hard link": link("dsgdb9nsd_000001.xyz", "../../etc/passwd", tarfile.LNKTYPE),
}


@pytest.mark.parametrize("kind", MEMBERS)
def test_row_19_an_archive_with_such_members_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)  # no workers
    folder = tmp_path / "inner" / "source"
    folder.mkdir(parents=True)
    (folder / "uncharacterized.txt").write_text("".join(f"{n} CCO 1.0\n" for n in range(200_000, 200_000 + sources.UNCHARACTERIZED)))
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(MEMBERS[kind])
    (folder / "dsgdb9nsd.xyz.tar.bz2").write_bytes(bz2.compress(stream.getvalue()))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=rf"dsgdb9nsd.xyz.tar.bz2: refused, as its member '{MEMBERS[kind].name}' is a"):
        load_qm9(source=folder, cache=tmp_path / "cache", progress=False)
    assert sorted(tmp_path.rglob("*")) == before
