"""Rows 1 to 4: files of weights, and checkpoints of trainings, through what a user calls, in both domains."""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import math
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.hostile import ASK, Run, altered, as_torch_save, live_pickle, weights
from support.training import RECIPE, SERIES, TRAIN, bits

from scidiff.errors import UserError
from scidiff.train.checkpoint import CheckpointStore, CheckpointWarning
from scidiff.train.weights import encode, load_weights
from scidiff_molecules import MoleculeGenerator
from scidiff_timeseries.forecaster import Forecaster

DOMAINS = list(ASK)
LOAD: dict[str, Any] = {"molecules": MoleculeGenerator.load, "timeseries": Forecaster.load}
RECIPES = {"molecules": {**RECIPE, "train": TRAIN}, "timeseries": SERIES}


def refused(scidiff: Run, domain: str, model: Path | str) -> str:
    """What the command line and the library say of a model that they refuse; the same, without a traceback, and nothing is written."""
    before = sorted(Path.cwd().rglob("*"))
    done = scidiff(*ASK[domain], model)
    assert done.exit_code == 2, done.output
    assert "Traceback" not in done.output
    assert sorted(Path.cwd().rglob("*")) == before
    with pytest.raises(UserError) as raised:
        LOAD[domain](model)
    assert done.stderr == f"error: {raised.value}\n"
    return str(raised.value)


# ---- 1: a pickle ----


def test_row_01_the_pickle_is_live(tmp_path: Path) -> None:
    """What the other tests of this row refuse does run code when it is unpickled."""
    (tmp_path / "evil").write_bytes(live_pickle(tmp_path / "executed"))
    subprocess.run([sys.executable, "-c", "import pickle; pickle.load(open('evil', 'rb'))"], cwd=tmp_path, check=True)
    assert (tmp_path / "executed").exists()


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("name", ["evil.pt", "evil.pkl", "evil.safetensors", "run/weights.safetensors"])
def test_row_01_a_pickle_is_refused_and_not_executed(scidiff: Run, tmp_path: Path, domain: str, name: str) -> None:
    path = Path(name)
    path.parent.mkdir(exist_ok=True)
    for content in (live_pickle(tmp_path / "executed"), as_torch_save(live_pickle(tmp_path / "executed"))):
        path.write_bytes(content)
        said = refused(scidiff, domain, path.parent if name.startswith("run") else path)
        assert name in said
        assert "pickle" in said or "run code" in said or "no safetensors file" in said
    assert not (tmp_path / "executed").exists()


def test_row_01_a_pickle_among_arrays_is_refused_and_not_executed(scidiff: Run, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "executed",)

    stream = io.BytesIO()
    np.savez(stream, ids=np.array([Evil()], dtype=object))
    Path("m4").mkdir()
    Path("m4/m4_hourly.npz.xz").write_bytes(lzma.compress(stream.getvalue()))
    Path("tiny.yaml").write_text(json.dumps({**SERIES, "data": {"source": "benchmark", "name": "m4_hourly", "root": "."}}))
    done = scidiff("train", "tiny.yaml", "--tracking-uri", "off")
    assert done.exit_code == 2, done.output
    assert "m4_hourly.npz.xz cannot be read" in done.stderr
    assert not (tmp_path / "executed").exists()


def test_row_01_a_pickle_in_place_of_a_checkpoint_is_refused_and_not_executed(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "checkpoints")
    store.save(1, {"w": torch.ones(2)}, {})
    replace_newest(store, 2, live_pickle(tmp_path / "executed"))
    with pytest.warns(CheckpointWarning, match=r"no safetensors file.*Using the checkpoint of step 1 instead"):
        assert store.latest() is not None
    assert not (tmp_path / "executed").exists()


def replace_newest(store: CheckpointStore, step: int, content: bytes) -> None:
    """Add a checkpoint with this content and a manifest that is right about it."""
    path, digest = store.folder / f"step-{step:09d}-00000000.safetensors", hashlib.sha256(content).hexdigest()
    path.write_bytes(content)
    manifest = {"step": step, "file": path.name, "bytes": len(content), "sha256": digest}
    (store.folder / f"step-{step:09d}.json").write_text(json.dumps(manifest))


# ---- 2: weights that are not finite ----


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_row_02_weights_that_are_not_finite_are_refused_and_the_tensor_named(scidiff: Run, domain: str, value: float) -> None:
    name, tensor = next((name, tensor) for name, tensor in weights(domain)[0].items() if tensor.numel() > 1)
    spoilt = tensor.clone()
    spoilt.view(-1)[1] = value
    Path("nan.safetensors").write_bytes(altered(domain, {name: spoilt}))
    assert f"nan.safetensors: the tensor {name!r} holds 1 values that are NaN or infinite" in refused(scidiff, domain, "nan.safetensors")


# ---- 3: damaged checkpoints and weights ----


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def not_finite(content: bytes) -> bytes:
    """A checkpoint as a diverged training would have written it: all hashes are right."""
    from scidiff.train.weights import decode

    tensors, state = decode("memory", content)
    name = next(name for name, tensor in tensors.items() if name.startswith("weights/") and tensor.numel() > 1)
    tensors[name].view(-1)[0] = math.nan
    return encode(tensors, state)


@pytest.mark.parametrize("domain", DOMAINS)
def test_row_03_a_damaged_checkpoint_is_named_and_the_one_before_it_used(
    scidiff: Run, domain: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The training goes on from there, and ends with the same weights to the bit."""
    monkeypatch.setattr("scidiff_timeseries.calibration.calibrate", lambda *arguments: {})
    Path("tiny.yaml").write_text(json.dumps(RECIPES[domain]))
    train = ["train", "tiny.yaml", "train.steps=4", "train.save_every=2", "--out", "run", "--tracking-uri", "off", "--device", "cpu"]
    done = scidiff(*train)
    assert done.exit_code == 0, done.output
    whole, store = bits(load_weights("run/weights.safetensors")[0]), CheckpointStore("run/checkpoints")
    assert store.steps() == [2, 4]
    (newest,) = store.folder.glob("step-000000004-*.safetensors")
    content = newest.read_bytes()
    damages = {"truncated": content[:-1], "altered": flipped(content)}
    for what, damaged in damages.items():
        newest.write_bytes(damaged)
        with pytest.warns(CheckpointWarning, match=rf"{newest.name}: {what}.* Using the checkpoint of step 2 instead"):
            store.latest()
    newest.unlink()
    replace_newest(store, 4, not_finite(content))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        done = scidiff(*train)
    assert done.exit_code == 0, done.output
    (message,) = [str(one.message) for one in told if one.category is CheckpointWarning]
    assert "the tensor 'weights/" in message
    assert "NaN or infinite: it cannot be used. Using the checkpoint of step 2 instead" in message
    assert bits(load_weights("run/weights.safetensors")[0]) == whole


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("damage", ["truncated", "flipped"])
def test_row_03_damaged_weights_are_refused(scidiff: Run, domain: str, damage: str) -> None:
    content = altered(domain)
    Path("damaged.safetensors").write_bytes(content[:-1] if damage == "truncated" else flipped(content))
    said = refused(scidiff, domain, "damaged.safetensors")
    assert ("truncated" if damage == "truncated" else "does not match its SHA-256") in said
    assert "fetch it again" in said


# ---- 4: metadata that name code ----

PATHS = {
    "molecules": {
        "noise__positions": "trap.Trap",
        "noise__elements": "trap.Trap",
        "backbone__irreps": "trap.Trap",
        "backbone___target_": "trap.Trap",
        "sampler": {"rule": "trap.Trap"},
        "statistics__tokens": "trap.Trap",
        "domain": "trap",
    },
    "timeseries": {
        "frequency": "trap.Trap",
        "recipe__backbone___target_": "trap.Trap",
        "recipe__sampler": {"calls": "trap.Trap"},
        "fit__series__0__channels__0__law": "trap.Trap",
        "fit__series__0__channels__0__transform__name": "trap.Trap",
        "fit__series__0__channels__0__law__parts__0__kind": "trap.Trap",
        "frame": {"_target_": "trap.Trap"},
        "columns": "trap.Trap",
        "features": "trap.Trap",
        "domain": "trap",
    },
}


@pytest.mark.parametrize(("domain", "path"), [(domain, path) for domain in DOMAINS for path in PATHS[domain]])
def test_row_04_metadata_that_name_code_are_unknown_and_nothing_is_imported(
    scidiff: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, domain: str, path: str
) -> None:
    Path("trap.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    Path("evil.safetensors").write_bytes(altered(domain, **{path: PATHS[domain][path]}))
    said = refused(scidiff, domain, "evil.safetensors")
    assert "describes no model that is known here" in said or "these weights are not a" in said
    assert "trap" not in sys.modules
