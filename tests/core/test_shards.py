"""Shards: whatever the cut, the order, the kills and the company, the merged file is that of a single process, byte for byte."""

from __future__ import annotations

import fcntl
import os
import random
import resource
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import killing
from typer.testing import CliRunner

from scidiff.cli import app
from scidiff.errors import UserError
from scidiff.shards import Done, Job, Plan, ShardFolder, Share, Target, make_shards, merge, share_of, target_of
from scidiff.shards.lock import locked

PLAN: dict[str, Any] = {"what": "lines", "n": 53, "first": 3, "block": 4, "shards": 5, "suffix": ".txt", "about": {"seed": 7}}
PLAN["command"] = ["scidiff", "lines", "--shards", "5"]


def folder(path: Path, **changes: Any) -> ShardFolder:
    return ShardFolder(path / "parts", Plan(**{**PLAN, **changes}), {"device": "cpu"})


def make(shards: ShardFolder, *chosen: int) -> Any:
    return [make_shards(Job(shards, killing.write_fake, range(one, one + 1))) for one in chosen]


def whole(plan: Plan) -> str:
    return "".join(killing.fake_line(number) for number in range(plan.first, plan.first + plan.n))


# ---- the cut ----


@given(st.integers(1, 400), st.integers(0, 90), st.integers(1, 30), st.data())
def test_shards_are_whole_blocks_and_cover_all(n: int, first: int, block: int, data: st.DataObject) -> None:
    blocks = -(-(first + n) // block) - first // block
    plan = Plan(**{**PLAN, "n": n, "first": first, "block": block, "shards": data.draw(st.integers(1, blocks))})
    cuts = [plan.ids(shard) for shard in range(plan.shards)]
    assert [number for ids in cuts for number in ids] == list(range(first, first + n))
    for ids in cuts:
        assert ids
        assert ids.start % block == 0 or ids.start == first
    counts = [-(-ids.stop // block) - ids.start // block for ids in cuts]
    assert max(counts) - min(counts) <= 1  # as many blocks in each as can be


def test_a_million_in_20000() -> None:
    plan = Plan(**{**PLAN, "n": 1_000_000, "first": 0, "block": 50, "shards": 20_000, "suffix": ".sdf"})
    assert plan.ids(0) == range(50)
    assert plan.ids(12_345) == range(617_250, 617_300)
    assert plan.name(19_999) == "part-19999-of-20000.sdf"
    with pytest.raises(UserError, match=r"20,001 shards of 1,000,000 lines: these are 20,000 blocks of 50.*give at most 20,000 shards"):
        Plan.of(**{**plan.model_dump(), "shards": 20_001})


@settings(max_examples=10)
@given(n=st.integers(1, 60), first=st.integers(0, 20), block=st.integers(1, 9), data=st.data())
def test_any_cut_in_any_order_is_the_file_of_one_process(
    tmp_path_factory: pytest.TempPathFactory, n: int, first: int, block: int, data: st.DataObject
) -> None:
    place = tmp_path_factory.mktemp("any")
    blocks = -(-(first + n) // block) - first // block
    shards = folder(place, n=n, first=first, block=block, shards=data.draw(st.integers(1, blocks)))
    make(shards, *data.draw(st.permutations(range(shards.plan.shards))))
    merged = merge(shards, place / "all.txt")
    assert (place / "all.txt").read_text() == whole(shards.plan)
    assert merged.counts == {"lines": n, "are odd": sum(number % 2 for number in range(first, first + n))}
    assert not merged.notes


# ---- restarts ----


def test_what_is_finished_and_whole_is_not_made_again(tmp_path: Path) -> None:
    shards = folder(tmp_path)
    make(shards, 1, 3)
    before = {path.name: path.stat().st_mtime_ns for path in shards.path.glob("part-*.txt")}
    report = make_shards(Job(shards, killing.write_fake, range(5)))
    assert (report.made, report.skipped, report.busy) == ([0, 2, 4], [1, 3], [])
    assert report.counts == {"lines": 53, "are odd": 27}
    assert all(shards.path.joinpath(name).stat().st_mtime_ns == stamp for name, stamp in before.items())


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


@pytest.mark.parametrize(
    ("harm", "where", "said"),
    [
        (flip, "part-00002-of-00005.txt", "it does not match its SHA-256"),
        (cut, "part-00002-of-00005.txt", r"it has \d+ bytes, and had \d+"),
        (cut, "part-00002-of-00005.txt.json", "its manifest is damaged"),
        (Path.unlink, "part-00002-of-00005.txt", "not there any more"),
        (Path.unlink, "part-00002-of-00005.txt.json", "not finished"),
    ],
)
def test_what_was_harmed_is_named_and_made_again(tmp_path: Path, harm: Any, where: str, said: str) -> None:
    shards = folder(tmp_path)
    make(shards, *range(5))
    harm(shards.path / where)
    with pytest.raises(UserError, match=rf"shard 2: {said}.*Make what is missing .*: scidiff lines --shards 5 --shard 2$"):
        merge(shards, tmp_path / "all.txt")
    assert not (tmp_path / "all.txt").exists()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        report = make_shards(Job(shards, killing.write_fake, range(5)))
    assert report.made == [2]
    assert len(told) == (not said.startswith("not"))  # that a file is not there needs no warning
    merge(shards, tmp_path / "all.txt")
    assert (tmp_path / "all.txt").read_text() == whole(shards.plan)


def test_what_is_missing_is_named_with_the_command_that_makes_it(tmp_path: Path) -> None:
    shards = folder(tmp_path)
    make(shards, 0, 3)
    expected = r"shard 1, 2 and 4: not there\. Make .* \(what is finished is skipped\): scidiff lines --shards 5$"
    with pytest.raises(UserError, match=expected):
        merge(shards, tmp_path / "all.txt")


def test_another_plan_is_refused_by_both_names(tmp_path: Path) -> None:
    make(folder(tmp_path), 0)
    other = folder(tmp_path, about={"seed": 8, "sampler": {"steps": 5}}, n=60)
    expected = r"n \(53 there, 60 here\), sampler.steps \(None there, 5 here\), seed \(7 there, 8 here\)\. Finish that one \(scidiff lines"
    with pytest.raises(UserError, match=expected):
        make_shards(Job(other, killing.write_fake, range(5)))
    assert sorted(path.name for path in other.path.iterdir()) == ["part-00000-of-00005.txt", "part-00000-of-00005.txt.json", "plan.json"]


def test_parts_without_a_plan_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "part-00000-of-00002.txt").write_text("mine")
    with pytest.raises(UserError, match=r"part-00000-of-00002\.txt: there is no plan\.json beside it"):
        make(folder(tmp_path), 0)
    with pytest.raises(UserError, match="is no folder of shards"):
        ShardFolder.open(tmp_path)


def test_where_shards_were_made_is_told(tmp_path: Path) -> None:
    shards = folder(tmp_path)
    make(shards, 0, 1)
    make(ShardFolder(shards.path, shards.plan, {"device": "NVIDIA"}), 2, 3, 4)
    (note,) = merge(shards, tmp_path / "all.txt").notes
    assert "shards were made with different device (cpu: shard 0 and 1; NVIDIA: shard 2, 3 and 4)" in note


def test_a_full_disk_is_said_and_what_is_finished_stays(tmp_path: Path) -> None:
    shards = folder(tmp_path)
    make(shards, 0)
    size = shards.part(0).stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, hard))
    try:
        with pytest.raises(UserError, match=r"shard 1 cannot be written \(File too large\); the finished ones stay"):
            make_shards(Job(shards, killing.write_fake, range(5)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert isinstance(shards.look(0), Done)
    assert make_shards(Job(shards, killing.write_fake, range(5))).made == [1, 2, 3, 4]


# ---- several processes ----


def test_a_shard_that_another_process_makes_is_left_to_it(tmp_path: Path) -> None:
    shards = folder(tmp_path)
    shards.prepare()
    path = shards.path / ".part-00002-of-00005.txt.lock"
    with path.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)  # held by another open file, as it is by another process
        report = make_shards(Job(shards, killing.write_fake, range(5)))
        assert (report.made, report.busy) == ([0, 1, 3, 4], [2])
    assert path.exists()  # a stale lock, of nobody
    assert make_shards(Job(shards, killing.write_fake, range(5))).made == [2]
    assert not list(shards.path.glob(".*"))


def test_a_lock_is_had_by_one(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path) as first:
        with locked(path) as second:
            assert (first, second) == ("mine", "another's")
        assert f"process {os.getpid()} on " in path.read_text()
    assert not path.exists()


@pytest.mark.parametrize("seed", range(3))
def test_shares_of_all_processes_are_all_shards_once(seed: int) -> None:
    rng = random.Random(seed)
    tasks, ranks, low, step = (rng.randint(1, 5) for _ in range(4))
    array = {"SLURM_ARRAY_TASK_COUNT": str(tasks), "SLURM_ARRAY_TASK_MIN": str(low), "SLURM_ARRAY_TASK_STEP": str(step)}
    array["SLURM_ARRAY_TASK_MAX"] = str(low + (tasks - 1) * step)
    found: list[int] = []
    for task in range(tasks):
        for rank in range(ranks):
            one = array | {"SLURM_ARRAY_TASK_ID": str(low + task * step), "SLURM_STEP_ID": "0"}
            found += share_of(one | {"SLURM_PROCID": str(rank), "SLURM_NTASKS": str(ranks)}).of(17)
    assert sorted(found) == list(range(17))


def test_who_shares_the_work() -> None:
    assert share_of({}) == Share(0, 1, "")
    assert share_of({"RANK": "2", "WORLD_SIZE": "4"}) == Share(2, 4, "torchrun")
    assert share_of({"SLURM_PROCID": "2", "SLURM_NTASKS": "4", "SLURM_STEP_ID": "0"}) == Share(2, 4, "srun")
    assert share_of({"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}) == Share(0, 1, "")  # the batch script itself: nobody else runs it
    nested = {"RANK": "1", "WORLD_SIZE": "2", "SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "4"}
    assert share_of(nested) == Share(7, 8, "torchrun in a SLURM array")
    some = {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_COUNT": "2", "SLURM_ARRAY_TASK_MIN": "3", "SLURM_ARRAY_TASK_MAX": "7"}
    with pytest.raises(UserError, match=r"task 7 of a SLURM array of 2 tasks from 3 to 7.*--array=0-1.*--shard \$SLURM_ARRAY_TASK_ID"):
        share_of(some)


# ---- kills ----


def test_a_kill_at_any_fsync_or_rename_costs_one_shard_and_changes_nothing(tmp_path: Path) -> None:
    def run(place: Path, **plan: Any) -> dict[str, Any]:
        return {"fake": str(place / "parts"), "plan": PLAN, "events": str(tmp_path / "events"), **plan}

    (tmp_path / "whole").mkdir()
    ((status, events),) = killing.killed(["scidiff.shards"], [run(tmp_path / "whole")])
    assert (status, events) == (0, 3 + 5 * 5)  # the plan: fsync, rename, fsync; each shard: fsync, rename, and those of its manifest
    places = [tmp_path / f"{event:02d}" for event in range(1, events + 1)]
    for place in places:
        place.mkdir()
    runs = [one for event, place in enumerate(places, 1) for one in (run(place, event=event), run(place))]
    statuses = [status for status, _ in killing.killed(["scidiff.shards"], runs)]
    assert statuses == [-9, 0] * events
    expected = whole(Plan(**PLAN))
    for place in places:
        assert not list((place / "parts").glob(".part*"))
        merge(ShardFolder.open(place / "parts"), place / "all.txt")
        assert (place / "all.txt").read_text() == expected


def test_after_a_kill_only_finished_shards_have_a_manifest(tmp_path: Path) -> None:
    """Whatever is there under a shard's own name is whole."""
    runs: list[dict[str, Any]] = []
    events = range(4, 28, 3)
    for event in events:
        (tmp_path / f"{event}").mkdir()
        runs.append({"fake": str(tmp_path / f"{event}" / "parts"), "plan": PLAN, "events": str(tmp_path / "events"), "event": event})
    assert {status for status, _ in killing.killed(["scidiff.shards"], runs)} == {-9}
    plan, seen = Plan(**PLAN), 0
    for event in events:
        shards = ShardFolder(tmp_path / f"{event}" / "parts", plan)
        for shard in range(5):
            text = "".join(map(killing.fake_line, plan.ids(shard)))
            found = shards.look(shard)
            assert isinstance(found, Done) or found in ("not there", "not finished")
            assert not shards.part(shard).exists() or shards.part(shard).read_text() == text
            seen += isinstance(found, Done)
    assert seen >= len(events)


# ---- the command line ----


def test_where_shards_go() -> None:
    endings = (".sdf", ".smi")
    assert target_of(Path("a/x.smi"), endings) == Target(Path("a/x.smi.parts"), Path("a/x.smi"), ".smi")
    assert target_of(Path("a/x"), endings) == Target(Path("a/x"), None, ".sdf")
    assert target_of(Path("a/x"), endings, "smi") == Target(Path("a/x"), None, ".smi")


def test_merge_as_a_command(tmp_path: Path) -> None:
    shards = folder(tmp_path)
    make(shards, *range(5))
    done = CliRunner().invoke(app, ["merge", str(shards.path), "--out", str(tmp_path / "all.txt")])
    assert done.exit_code == 0, done.output
    assert "53 lines of 5 shards, " in done.output
    assert "27 of 53 lines are odd; they are in it, marked so" in done.output
    assert (tmp_path / "all.txt").read_text() == whole(shards.plan)
    for out, said in (("all.sdf", "the shards are .txt files"), ("no/all.txt", "does not exist")):
        wrong = CliRunner().invoke(app, ["merge", str(shards.path), "--out", str(tmp_path / out)])
        assert wrong.exit_code == 2
        assert said in wrong.output


@pytest.mark.parametrize("group", [10, 64, 1000])
def test_parquet_is_merged_row_group_by_row_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from scidiff.shards import rows

    monkeypatch.setattr(rows, "ROW_GROUP", group)
    series = [pa.table({"id": [f"s{k}"] * 90, "y": [k + number / 7 for number in range(90)]}) for k in range(3)]
    cuts = [(0, 13), (13, 60), (60, 90)]
    for part, (low, high) in enumerate(cuts):
        rows.write_sections(tmp_path / f"{part}.parquet", [table.slice(low, high - low) for table in series])
    parts, sections = [tmp_path / f"{part}.parquet" for part in range(3)], [[high - low] * 3 for low, high in cuts]
    rows.merge_rows(parts, sections, tmp_path / "merged.parquet")
    pq.write_table(pa.concat_tables(series).combine_chunks(), tmp_path / "whole.parquet", row_group_size=group)
    assert (tmp_path / "merged.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
