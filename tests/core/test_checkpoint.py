"""Weights and checkpoints: equal to the bit, nothing trusted that was altered, and whole after a kill in the middle of a save."""

from __future__ import annotations

import hashlib
import json
import math
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from scidiff.train.checkpoint import (
    CheckpointError,
    CheckpointStore,
    CheckpointWarning,
    flatten_optimizer,
    load_weights,
    restore_optimizer,
    save_weights,
)
from scidiff.train.weights import decode, encode

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.int32, torch.uint8, torch.bool, torch.complex64]


def bits(tensor: Tensor) -> tuple[torch.dtype, tuple[int, ...], bytes]:
    return tensor.dtype, tuple(tensor.shape), tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return {name: bits(tensor) for name, tensor in left.items()} == {name: bits(tensor) for name, tensor in right.items()}


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    """Any bits at all, NaN and infinity among them, in any dtype and up to three axes, 0-dim and empty included."""
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(st.lists(st.integers(0, 3), max_size=3))
    size = math.prod(shape) * torch.empty((), dtype=dtype).element_size()
    raw = draw(st.binary(min_size=size, max_size=size))
    if dtype is torch.bool:
        raw = bytes(byte & 1 for byte in raw)
    flat = torch.frombuffer(bytearray(raw), dtype=dtype) if size else torch.empty(0, dtype=dtype)
    return flat.reshape(shape)


def test_a_header_whose_length_begins_like_a_pickle_is_none() -> None:
    lengths = [int.from_bytes(encode({}, {"pad": "x" * size})[:8], "little") for size in range(400)]
    size = next(size for size, length in enumerate(lengths) if length % 256 == 0x80)
    content = encode({}, {"pad": "x" * size})
    assert decode("memory", content)[1] == {"pad": "x" * size}
    with pytest.raises(CheckpointError, match="truncated"):
        decode("memory", content[:-1])


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


names = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.dictionaries(names, tensors(), max_size=4), st.dictionaries(st.text(), plain, max_size=4))
def test_round_trip_is_exact_to_the_bit(named: dict[str, Tensor], metadata: dict[str, object]) -> None:
    named.pop("__metadata__", None)
    content = encode(named, metadata)
    read, stored = decode("memory", content)
    assert same(read, named)
    assert stored == metadata
    assert encode(read, stored) == content


def test_strides_and_shared_storage_do_not_matter(tmp_path: Path) -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    named = {"whole": whole, "part": whole[1], "turned": whole.T, "same": whole, "wide": torch.ones(1).expand(5)}
    save_weights(tmp_path / "w.safetensors", named, {"pair": (1, 2)})
    read, metadata = load_weights(tmp_path / "w.safetensors")
    assert same(read, named)
    assert metadata == {"pair": [1, 2]}


@given(position=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_one_flipped_bit_anywhere_is_seen(position: int, bit: int) -> None:
    content = bytearray(encode({"a": torch.arange(4), "b": torch.ones(3)}, {"model": "x", "step": 3}))
    content[position % len(content)] ^= 1 << bit
    try:
        read, metadata = decode("memory", bytes(content))
    except CheckpointError:
        return
    # Only the padding of the header may differ without being a difference: what is read is then the same.
    assert same(read, {"a": torch.arange(4), "b": torch.ones(3)})
    assert metadata == {"model": "x", "step": 3}


@given(kept=st.integers(0, 10**6))
def test_every_truncation_is_seen(kept: int) -> None:
    content = encode({"a": torch.arange(4)}, {})
    with pytest.raises(CheckpointError, match=r"memory: truncated"):
        decode("memory", content[: kept % len(content)])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_named(tmp_path: Path, value: float) -> None:
    bad = {"good": torch.ones(2), "layer.weight": torch.tensor([1.0, value, 2.0])}
    path = tmp_path / "w.safetensors"
    with pytest.raises(CheckpointError, match=r"'layer.weight' holds 1 values that are NaN or infinite"):
        save_weights(path, bad)
    assert not list(tmp_path.iterdir())
    path.write_bytes(encode(bad, {}))
    with pytest.raises(CheckpointError, match=r"w\.safetensors: the tensor 'layer.weight'"):
        load_weights(path)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".pkl", ".bin", ".ckpt", ".npy"])
def test_pickles_are_refused_by_their_name(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(CheckpointError, match=r"may hold a pickle.*safetensors"):
        load_weights(tmp_path / f"model{suffix}")


@pytest.mark.parametrize(("start", "kind"), [(b"\x80\x04\x95", "a pickle"), (b"PK\x03\x04", "torch.save"), (b"\x93NUMPY", "numpy")])
def test_pickles_are_refused_by_their_content(tmp_path: Path, start: bytes, kind: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(start + bytes(100))
    with pytest.raises(CheckpointError, match=kind):
        load_weights(path)


def test_a_pickle_is_not_executed(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(f"cos\nsystem\n(S'touch {tmp_path}/executed'\ntR.".encode())
    with pytest.raises(CheckpointError):
        load_weights(path)
    assert not (tmp_path / "executed").exists()


def test_foreign_safetensors_and_absent_files_are_named(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.ones(2)}, tmp_path / "foreign.safetensors")
    with pytest.raises(CheckpointError, match="without the SHA-256"):
        load_weights(tmp_path / "foreign.safetensors")
    with pytest.raises(CheckpointError, match=r"absent.safetensors: cannot be read \(No such file"):
        load_weights(tmp_path / "absent.safetensors")


@pytest.mark.parametrize(
    ("metadata", "place"), [({"a": {1: 2}}, r"metadata.a: the key 1"), ({"a": [torch.ones(1)]}, r"metadata.a\[0\]: Tensor")]
)
def test_metadata_that_json_would_change_is_named(tmp_path: Path, metadata: dict[str, object], place: str) -> None:
    with pytest.raises(CheckpointError, match=place):
        save_weights(tmp_path / "w.safetensors", {}, metadata)


def filled(folder: Path, steps: int, keep: int = 3) -> CheckpointStore:
    store = CheckpointStore(folder, keep=keep)
    for step in range(1, steps + 1):
        store.save(step, {"w": torch.full((50,), float(step))}, {"step": step})
    return store


def test_the_last_few_are_kept(tmp_path: Path) -> None:
    store = filled(tmp_path / "run", 5)
    assert store.steps() == [3, 4, 5]
    assert len(list(store.folder.iterdir())) == 6
    latest = store.latest()
    assert latest is not None
    assert (latest.step, latest.state) == (5, {"step": 5})
    assert same(latest.tensors, {"w": torch.full((50,), 5.0)})


def test_what_a_killed_save_did_not_clear_away_is_cleared_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But never on the word of a damaged one."""
    store = filled(tmp_path, 3, keep=1)
    with monkeypatch.context() as killed:
        killed.setattr(CheckpointStore, "_tidy", lambda self, step: None)
        store.save(4, {"w": torch.full((50,), 4.0)}, {"step": 4})
    (tmp_path / ".step-000000005-0.safetensors.0.tmp").touch()
    newest = next(tmp_path.glob("step-000000004-*.safetensors"))
    flip(newest)
    with pytest.warns(CheckpointWarning, match="Using the checkpoint of step 3"):
        found = store.latest()
    assert found is not None
    store.tidy(found)
    assert store.steps() == [3, 4]
    flip(newest)
    found = store.latest()
    assert found is not None
    store.tidy(found)
    assert store.steps() == [4]
    assert len(list(tmp_path.iterdir())) == 2


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert CheckpointStore(tmp_path / "absent").latest() is None
    with pytest.raises(CheckpointError, match="keep=0"):
        CheckpointStore(tmp_path, keep=0)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


FAULTS = {
    "altered": flip,
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "cannot be read": Path.unlink,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(tmp_path: Path, fault: str) -> None:
    store = filled(tmp_path, 3)
    FAULTS[fault](next(tmp_path.glob("step-000000003-*.safetensors")))
    with pytest.warns(CheckpointWarning, match=rf"step-000000003-.*: {fault}.*Using the checkpoint of step 2"):
        latest = store.latest()
    assert latest is not None
    assert same(latest.tensors, {"w": torch.full((50,), 2.0)})


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"step": 3}', b'{"step": 3, "file": "../x", "bytes": 1, "sha256": ""}'])
def test_a_damaged_manifest_is_named(tmp_path: Path, content: bytes) -> None:
    store = filled(tmp_path, 3)
    (tmp_path / "step-000000003.json").write_bytes(content)
    with pytest.warns(CheckpointWarning, match="manifest is damaged"):
        latest = store.latest()
    assert latest is not None
    assert latest.step == 2


def add(store: CheckpointStore, step: int, content: bytes) -> None:
    """A checkpoint with this content, whose manifest is right about it."""
    path = store.folder / f"step-{step:09d}-00000000.safetensors"
    path.write_bytes(content)
    manifest = {"step": step, "file": path.name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (store.folder / f"step-{step:09d}.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_checkpoint_with_values_that_are_not_finite_is_refused_though_its_hashes_are_right(tmp_path: Path, value: float) -> None:
    store = filled(tmp_path, 2)
    add(store, 3, encode({"good": torch.ones(2), "average/w": torch.tensor([value, 1.0])}, {}))
    message = r"step-000000003-.*: the tensor 'average/w' holds 1 values that are NaN or infinite.*Using the checkpoint of step 2"
    with pytest.warns(CheckpointWarning, match=message):
        latest = store.latest()
    assert latest is not None
    assert same(latest.tensors, {"w": torch.full((50,), 2.0)})


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_is_not_saved_and_displaces_nothing(tmp_path: Path, value: float) -> None:
    """Else a few such saves would push the last good checkpoint out."""
    store = filled(tmp_path, 3)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(CheckpointError, match="the tensor 'w' holds 1 values that are NaN or infinite"):
        store.save(4, {"w": torch.tensor([value])}, {})
    assert sorted(tmp_path.iterdir()) == before


def test_all_damaged_is_an_error_and_not_a_new_start(tmp_path: Path) -> None:
    store = filled(tmp_path, 2)
    for path in tmp_path.glob("*.safetensors"):
        flip(path)
    with pytest.raises(CheckpointError, match="no checkpoint can be used; move the folder away"):
        store.latest()


def test_later_steps_of_a_course_that_was_left_are_removed(tmp_path: Path) -> None:
    store = filled(tmp_path, 5)
    store.save(4, {"w": torch.zeros(1)}, {"again": True})
    assert store.steps() == [3, 4]
    latest = store.latest()
    assert latest is not None
    assert latest.state == {"again": True}
    assert len(list(tmp_path.iterdir())) == 4


SAVER = """
import sys, torch
from scidiff.train.checkpoint import CheckpointStore
torch.set_num_threads(1)
store = CheckpointStore(sys.argv[1], keep=2)
start = int(sys.argv[2])
for step in range(start, start + 10_000):
    store.save(step, {"w": torch.full((300_000,), float(step), dtype=torch.float64)}, {"step": step})
    print(step, flush=True)
"""


def test_sigkill_in_the_middle_of_saves_loses_nothing_that_was_saved(tmp_path: Path) -> None:
    last = 0
    for attempt in range(4):
        child = subprocess.Popen([sys.executable, "-c", SAVER, str(tmp_path), str(last + 1)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        first = child.stdout.readline()
        time.sleep(0.013 * attempt)
        child.send_signal(signal.SIGKILL)
        printed = [int(line) for line in [first, *child.stdout.read().splitlines()]]
        child.wait()
        child.stdout.close()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            latest = CheckpointStore(tmp_path).latest()
        assert latest is not None
        assert printed[-1] <= latest.step <= printed[-1] + 1
        assert latest.state == {"step": latest.step}
        assert same(latest.tensors, {"w": torch.full((300_000,), float(latest.step), dtype=torch.float64)})
        last = latest.step
    CheckpointStore(tmp_path, keep=1).save(last + 1, {}, {})
    assert len(list(tmp_path.iterdir())) == 2, "what the killed saves left is cleared away"


def test_weights_clear_away_what_killed_writes_of_them_have_left(tmp_path: Path) -> None:
    for name in (".w.safetensors.0123abcd.tmp", ".w.safetensors.4567cdef.tmp", ".other.safetensors.0123abcd.tmp", "w.safetensors.tmp"):
        (tmp_path / name).touch()
    save_weights(tmp_path / "w.safetensors", {"w": torch.ones(1)})
    assert {path.name for path in tmp_path.iterdir()} == {"w.safetensors", ".other.safetensors.0123abcd.tmp", "w.safetensors.tmp"}


FULL_DISK = """
import resource, signal, sys, torch
from scidiff.train.checkpoint import CheckpointError, CheckpointStore, save_weights
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = CheckpointStore(sys.argv[1])
store.save(1, {"w": torch.ones(10)}, {})
save_weights(sys.argv[2], {"w": torch.ones(10)})
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
for action in (lambda: store.save(2, {"w": torch.ones(10_000)}, {}), lambda: save_weights(sys.argv[2], {"w": torch.ones(10_000)})):
    try:
        action()
    except CheckpointError as error:
        print(error)
"""


def test_a_full_disk_leaves_the_last_good_one(tmp_path: Path) -> None:
    store, weights = tmp_path / "store", tmp_path / "w.safetensors"
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(store), str(weights)], capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    assert "File too large" in first
    assert "the checkpoint of step 2 was not saved (the checkpoint of step 1 is untouched): free some space" in first
    assert "File too large" in second
    latest = CheckpointStore(store).latest()
    assert latest is not None
    assert latest.step == 1
    assert len(list(store.iterdir())) == 2
    assert same(load_weights(weights)[0], {"w": torch.ones(10)})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store", "w.safetensors"]


OPTIMIZERS = {
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=1e-2, amsgrad=True),
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=1e-2, momentum=0.9),
    "adafactor": lambda parameters: torch.optim.Adafactor(parameters, lr=1e-2),
    "tensor rate": lambda parameters: torch.optim.Adam(parameters, lr=torch.tensor(1e-2), betas=(0.8, 0.9)),
}


def trained(model: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        optimizer.zero_grad()
        model(torch.full((2, 3), float(step))).square().sum().backward()
        optimizer.step()


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_an_optimiser_continues_bit_for_bit(tmp_path: Path, kind: str) -> None:
    def fresh() -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
        groups = [{"params": model[0].parameters(), "weight_decay": 0.1}, {"params": model[1].parameters()}]
        return model, OPTIMIZERS[kind](groups)

    straight, optimizer = fresh()
    trained(straight, optimizer, range(6))

    model, optimizer = fresh()
    trained(model, optimizer, range(3))
    saved, state = flatten_optimizer(optimizer)
    store = CheckpointStore(tmp_path)
    store.save(3, {**{f"model.{name}": value for name, value in model.state_dict().items()}, **saved}, state)
    checkpoint = store.latest()
    assert checkpoint is not None

    again, optimizer = fresh()
    again.load_state_dict({name.removeprefix("model."): value for name, value in checkpoint.tensors.items() if name.startswith("model.")})
    restore_optimizer(optimizer, {name: checkpoint.tensors[name] for name in saved}, checkpoint.state)
    assert same(flatten_optimizer(optimizer)[0], saved)
    assert json.dumps(flatten_optimizer(optimizer)[1]) == json.dumps(state)
    trained(again, optimizer, range(3, 6))
    assert same(dict(again.state_dict()), dict(straight.state_dict()))


def test_optimiser_state_keeps_its_precision() -> None:
    weight = nn.Parameter(torch.ones(3, dtype=torch.bfloat16))
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
    optimizer.state[weight]["momentum_buffer"] = torch.tensor([1.0, 2.0, 1 / 3])
    saved, state = flatten_optimizer(optimizer)
    restore_optimizer(optimizer, saved, state)
    assert same({"m": optimizer.state[weight]["momentum_buffer"]}, {"m": torch.tensor([1.0, 2.0, 1 / 3])})


def test_an_optimiser_of_another_model_is_refused() -> None:
    saved, state = flatten_optimizer(torch.optim.Adam([nn.Parameter(torch.ones(3))]))
    with pytest.raises(CheckpointError, match="in a shape"):
        restore_optimizer(torch.optim.Adam([nn.Parameter(torch.ones(4))]), saved, state)
    with pytest.raises(CheckpointError, match="in their number"):
        restore_optimizer(torch.optim.Adam([nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))]), saved, state)
