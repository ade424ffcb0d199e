"""Molecules in shards: the same bytes whatever the cut, the order, the ranks, the kills; and blocks that do not fit in memory."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.killing import killed
from typer.testing import CliRunner, Result

from scidiff.cli import app
from scidiff_molecules import MoleculeGenerator
from scidiff_molecules.decode import Generated

LOAD = ["torch", "scidiff.cli.merge", "scidiff_molecules.cli", "scidiff_molecules.sharded", "scidiff_molecules.output"]
N, FIRST, BATCH, STEPS = 17, 3, 4, 1
"""Ids 3 to 19: four blocks, and the last of the one before."""


def asked(model: Path, *more: object) -> list[str]:
    common = ["-n", N, "--first", FIRST, "--batch-size", BATCH, "--steps", STEPS, "--seed", 5, "--device", "cpu", "--model", model]
    return ["molecules", "generate", *map(str, common), *map(str, more)]


def scidiff(*arguments: object) -> Result:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return done


def said(result: Result) -> str:
    return re.sub(r"\s+", " ", result.output)


@pytest.fixture(scope="module")
def one_process(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of one process that knows no shards."""
    folder = tmp_path_factory.mktemp("one")
    for ending in ("sdf", "smi"):
        scidiff(*asked(tiny_model, "--out", folder / f"all.{ending}"))
    return {ending: (folder / f"all.{ending}").read_bytes() for ending in ("sdf", "smi")}


@pytest.mark.parametrize(("shards", "ending"), [(3, "sdf"), (5, "smi")])
def test_any_number_of_shards_in_any_order_is_one_process(
    tiny_model: Path, tmp_path: Path, one_process: dict[str, bytes], shards: int, ending: str
) -> None:
    order = random.Random(shards).sample(range(shards), shards)
    for shard in order:
        scidiff(*asked(tiny_model, "--out", tmp_path / "parts", "--format", ending, "--shards", shards, "--shard", shard))
    done = scidiff("merge", tmp_path / "parts", "--out", tmp_path / f"all.{ending}")
    assert (tmp_path / f"all.{ending}").read_bytes() == one_process[ending]
    failed = one_process["smi"].count(b"failed: ")
    assert failed > 0
    assert f"{N} molecules of {shards} shards" in said(done)
    assert f"{failed} of {N} molecules do not sanitise; they are in it, marked so" in said(done)


def test_ranks_and_tasks_take_their_shares(
    tiny_model: Path, tmp_path: Path, one_process: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    for rank in (1, 0, 2):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "3")
        done = scidiff(*asked(tiny_model, "--out", tmp_path / "all.sdf", "--shards", 5))
        assert f"in {1 if rank == 2 else 2} shard" in said(done)
        assert "one file of all: scidiff merge" in said(done)
        assert not (tmp_path / "all.sdf").exists()  # no rank knows when the others are through
    scidiff("merge", tmp_path / "all.sdf.parts", "--out", tmp_path / "all.sdf")
    assert (tmp_path / "all.sdf").read_bytes() == one_process["sdf"]


def test_one_process_merges_in_the_end(tiny_model: Path, tmp_path: Path, one_process: dict[str, bytes]) -> None:
    done = scidiff(*asked(tiny_model, "--out", tmp_path / "all.sdf", "--shards", 3))
    assert [path.name for path in tmp_path.iterdir()] == ["all.sdf"]
    assert (tmp_path / "all.sdf").read_bytes() == one_process["sdf"]
    assert f"written to {tmp_path / 'all.sdf'}" in done.output.replace("\n", "")


def test_another_seed_is_another_plan(tiny_model: Path, tmp_path: Path) -> None:
    first, other = asked(tiny_model, "--out", tmp_path / "parts", "--shards", 3, "--shard", 1), tmp_path / "other.safetensors"
    scidiff(*first)
    shutil.copy(tiny_model, other)
    changes = {"seed (5 there, 6 here)": ["--seed", "6"], "model (": ["--model", str(other)], "n (17 there, 16 here)": ["-n", "16"]}
    for message, change in changes.items():
        done = CliRunner().invoke(app, [*first, *change])
        assert done.exit_code == 2
        assert "holds shards of another plan: " in said(done)
        assert message in said(done)


@pytest.mark.long
def test_a_million_in_20000_shards(tiny_model: Path, tmp_path: Path) -> None:
    """The plan of all; two of them, which hold what an unsharded call makes of the same ids."""
    million = ["molecules", "generate", "-n", "1000000", "--shards", "20000", "--steps", "1", "--seed", "3", "--model", str(tiny_model)]
    million += ["--out", str(tmp_path / "parts"), "--device", "cpu"]
    plan = scidiff(*million, "--plan")
    assert "1,000,000 molecules (0 to 999999) in 20,000 shards of whole blocks of 50" in said(plan)
    assert "19999 999950 to 999999 50 part-19999-of-20000.sdf" in said(plan)
    assert re.search(r"measured: 50 molecules in \d+\.\d\d s, [\d,]+ bytes .* time: .* in one process.* disk: [\d.]+ GB of", said(plan))
    assert not list(tmp_path.iterdir())
    for shard in (12_345, 19_999):
        scidiff(*million, "--shard", shard)
        alone = ["-n", 50, "--first", 50 * shard, "--steps", 1, "--seed", 3, "--model", tiny_model, "--device", "cpu"]
        scidiff("molecules", "generate", *alone, "--out", tmp_path / "alone.sdf")
        assert (tmp_path / "parts" / f"part-{shard:05d}-of-20000.sdf").read_bytes() == (tmp_path / "alone.sdf").read_bytes()
    missing = CliRunner().invoke(app, ["merge", str(tmp_path / "parts"), "--out", str(tmp_path / "all.sdf")])
    assert missing.exit_code == 2
    assert "shard 0, 1, 2, 3, " in said(missing)
    assert "(19,998 of them): not there" in said(missing)


@pytest.mark.long  # tests/core/test_shards.py kills at every step of a write
def test_kills_in_the_middle_and_two_at_once(tiny_model: Path, tmp_path: Path, one_process: dict[str, bytes]) -> None:
    """Real SIGKILLs: of a folder of shards; of one long file, whose second call continues; and two processes that share the work."""
    (tmp_path / "long").mkdir()

    def run(*arguments: object, **how: Any) -> dict[str, Any]:
        return {"events": str(tmp_path / "events"), "argv": list(map(str, arguments)), **how}

    parts = asked(tiny_model, "--out", tmp_path / "parts", "--shards", 5)
    runs: list[Any] = [run(*parts, **how) for how in ({"event": 7}, {"delay": 0.5}, {"event": 2}, {})]
    changed = {"scidiff_molecules.cli.LONG": 10, "scidiff_molecules.sharded.PART": 4}
    long = run(*asked(tiny_model, "--out", tmp_path / "long" / "all.sdf"), set=changed, out=str(tmp_path / "says"))
    runs += [{**long, "event": 14}, long]
    both = asked(tiny_model, "--out", tmp_path / "both", "--shards", 5)
    runs.append([{**run(*both), "out": str(tmp_path / f"says-{k}"), "events": str(tmp_path / f"events-{k}")} for k in range(2)])
    merge = run("merge", tmp_path / "parts", "--out", tmp_path / "all.sdf")
    runs += [{**merge, "event": 2}, merge]
    statuses = [status for status, _ in killed(LOAD, runs)]
    assert statuses == [-9, statuses[1], statuses[2], 0, -9, 0, 0, 0, -9, 0]
    assert set(statuses) == {0, -9}
    assert (tmp_path / "all.sdf").read_bytes() == one_process["sdf"]
    assert [path.name for path in (tmp_path / "long").iterdir()] == ["all.sdf"]
    assert (tmp_path / "long" / "all.sdf").read_bytes() == one_process["sdf"]
    assert "there already" in (tmp_path / "says").read_text()
    made = [int(re.search(r"molecules in (\d+) shard", (tmp_path / f"says-{k}").read_text())[1]) for k in range(2)]  # type: ignore[index]
    assert sum(made) == 5  # each by one of them


# ---- memory ----


@pytest.fixture(scope="module")
def exact(tiny_model: Path) -> MoleculeGenerator:
    """In float64: random weights amplify float32's rounding as trained ones do not."""
    loaded = MoleculeGenerator.load(tiny_model)
    loaded.denoiser.double()
    return loaded


class Small(torch.nn.Module):
    """A denoiser whose machine has room for ``most`` rows."""

    def __init__(self, inner: Any, most: int) -> None:
        super().__init__()
        self.inner, self.most, self.process = inner, most, inner.process

    def forward(self, x: Any, *rest: Any) -> Any:
        if len(next(iter(x.values()))) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        return self.inner(x, *rest)


def heavy(one: Generated) -> tuple[list[int], np.ndarray]:
    """Elements and places of what the network made; hydrogens around bonds that cannot be may go anywhere."""
    numbers = np.array([atom.GetAtomicNum() for atom in one.mol.GetAtoms()])
    return numbers[numbers > 1].tolist(), one.mol.GetConformer().GetPositions()[numbers > 1]


def alike(one: Generated, other: Generated) -> bool:
    (elements, places), (others, there) = heavy(one), heavy(other)
    return (one.id, one.smiles, elements) == (other.id, other.smiles, others) and float(np.abs(places - there).max()) < 1e-9


@pytest.mark.parametrize("most", [1, 4])
def test_out_of_memory_halves_the_batch_and_keeps_the_molecules(exact: MoleculeGenerator, most: int) -> None:
    expected = list(exact.stream(12, seed=1, steps=2, batch_size=6))
    small = MoleculeGenerator(exact.denoiser, exact.statistics, exact.metadata)
    small.denoiser = Small(exact.denoiser, most)  # type: ignore[assignment]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = list(small.stream(12, seed=1, steps=2, batch_size=6))
    assert all(alike(*pair) for pair in zip(found, expected, strict=True))
    assert len(told) == 1
    assert re.match(r"molecules of a block: memory does not suffice for more than \d at a time", str(told[0].message))


LIMITED = """
import json, resource, sys, warnings
import torch
torch.set_num_threads(1)
from scidiff_molecules import MoleculeGenerator
generator = MoleculeGenerator.load(sys.argv[1])
generator.denoiser.double()
asked = {"seed": 1, "steps": 1, "atoms": 32, "batch_size": 32}
def places(stream):
    return [[one.smiles, one.mol.GetConformer().GetPositions()[:32].tolist()] for one in stream]  # of the heavy atoms
free = places(generator.stream(32, **asked))
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[2]) * 2**20, resource.RLIM_INFINITY))
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    limited = places(generator.stream(32, **asked))
worst = max(abs(a - b) for x, y in zip(free, limited) for p, q in zip(x[1], y[1]) for a, b in zip(p, q))
print(json.dumps([[x[0] for x in free] == [x[0] for x in limited], worst, [str(one.message) for one in told]]))
"""


@pytest.mark.long  # what an allocator can do with 10 MB differs between machines
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, limits address space")
def test_a_process_of_little_memory_makes_the_same_molecules(tiny_model: Path) -> None:
    """For real: the address space ends, the allocator fails, and the block is computed in parts."""
    done = subprocess.run([sys.executable, "-c", LIMITED, str(tiny_model), "10"], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    same, worst, told = json.loads(done.stdout)
    assert same
    assert worst < 1e-9
    assert len(told) == 1
    assert "memory does not suffice for more than" in told[0]
