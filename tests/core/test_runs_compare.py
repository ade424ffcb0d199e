"""Runs side by side: read back from a folder or a store alike, and differences judged by intervals."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from scidiff.cli import app
from scidiff.errors import UserError
from scidiff.runs import compare, read_run
from scidiff.runs.bits import compare_bits, ulps
from scidiff.runs.intervals import difference, estimate, mean_interval
from scidiff.runs.record import Logged, is_clock
from scidiff.runs.show import difference_text
from scidiff.tracking import OFF, DataInfo, Tracker, sync

FLOATS = st.floats(allow_nan=False, allow_infinity=False)


def course(values: Any, every: int = 1) -> list[Logged]:
    return [Logged(every * step, float(value), step) for step, value in enumerate(values)]


# -- bits -----------------------------------------------------------------------------------------------------------------


@given(FLOATS, st.integers(0, 50))
def test_ulps_count_the_numbers_between(value: float, count: int) -> None:
    other = value
    for _ in range(count):
        other = math.nextafter(other, math.inf)
    if math.isfinite(other):
        assert ulps(value, other) == ulps(other, value) == count


def test_ulps_pass_through_zero_and_across_powers_of_two() -> None:
    tiny = struct.unpack("<d", struct.pack("<q", 1))[0]
    assert (ulps(-0.0, 0.0), ulps(-tiny, tiny), ulps(0.0, tiny)) == (0, 2, 1)
    assert ulps(1.0, 2.0) == 2**52


def test_where_two_courses_part_is_found_to_the_step_and_the_bit() -> None:
    first = {"a": course([1, 2, 3, 4]), "b": course([math.nan, math.inf, -1]), "train/seconds": course([1, 2])}
    second = {"a": course([1, 2, math.nextafter(3, 4), 5]), "b": course([math.nan, math.inf, -1]), "train/seconds": course([5, 6])}
    found = compare_bits(first, second)
    assert (found.metrics, found.values, found.clocks) == (2, 7, ("train/seconds",))
    (parted,) = found.parted
    assert (parted.name, parted.first, parted.steps, parted.of) == ("a", 2, 2, 4)
    assert (parted.relative, parted.ulps) == (0.2, 2**50)
    missing = compare_bits(first, {**second, "a": course([1, 2])}).parted[0]
    assert (missing.first, missing.steps, missing.note) == (2, 2, "missing in the repetition at 2 steps")
    assert compare_bits(first, first).parted == ()


def test_what_tells_time_is_told_from_what_judges_a_model() -> None:
    clocks = ["train/seconds", "system/cpu_utilization_percentage", "examples_per_second", "sample/time"]
    others = ["train/loss", "valid/gain_at_1", "sample/A/validity", "train/learning_rate", "final/calibration.temperature", "data_timeouts"]
    assert [name for name in [*clocks, *others] if is_clock(name)] == clocks


# -- intervals ------------------------------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(st.lists(st.integers(-9, 9).map(float), min_size=5, max_size=30), st.integers(1, 5), st.integers(-5, 5))
def test_an_interval_moves_and_scales_with_its_values(values: list[float], scale: int, shift: int) -> None:
    low, high = mean_interval(values)
    moved = mean_interval([scale * value + shift for value in values])
    assert moved == pytest.approx((scale * low + shift, scale * high + shift), abs=1e-9)
    assert low <= np.mean(values) <= high or math.isclose(low, high)


def test_values_that_are_alike_near_each_other_give_a_wider_interval() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=400)
    walk = noise.copy()
    for k in range(1, len(walk)):
        walk[k] = 0.8 * walk[k - 1] + 0.6 * noise[k]  # the same variance, and a memory
    widths = [high - low for low, high in (mean_interval(noise.tolist()), mean_interval(walk.tolist()))]
    assert widths[0] == pytest.approx(2 * 1.96 / math.sqrt(400), rel=0.15)
    assert widths[1] > 1.7 * widths[0]  # truly 3 times; blocks of 8 see most of it


def test_the_difference_of_paired_tails_has_the_scatter_of_the_differences_alone() -> None:
    noise = np.random.default_rng(0).normal(size=100)
    first, second = {"loss": course(noise)}, {"loss": course(noise + 0.01)}
    found = difference(estimate(first, "loss"), estimate(second, "loss"))  # type: ignore[arg-type]
    assert (found.value, found.low, found.high) == pytest.approx((0.01, 0.01, 0.01))
    assert (found.verdict, found.paired) == ("larger than its interval", True)
    other = {"loss": course(noise + 0.01, every=2)}  # at other steps there is nothing to pair
    found = difference(estimate(first, "loss"), estimate(other, "loss"))  # type: ignore[arg-type]
    assert (found.verdict, found.paired) == ("within its interval", False)


def test_intervals_that_a_run_logged_are_used_and_combined_by_hand() -> None:
    def logged(value: float, low: float, high: float) -> dict[str, list[Logged]]:
        return {"a": course([0, value]), "a_low": course([0, low]), "a_high": course([0, high])}

    first, second = (estimate(one, "a") for one in (logged(0.50, 0.46, 0.53), logged(0.60, 0.57, 0.66)))
    assert first is not None
    assert second is not None
    assert (first.value, first.low, first.high, first.how, first.steps) == (0.50, 0.46, 0.53, "logged", (1, 1))
    found = difference(first, second)
    assert (found.low, found.high) == pytest.approx((0.10 - math.hypot(0.03, 0.03), 0.10 + math.hypot(0.06, 0.04)))
    assert difference_text(found) == "+0.1 [0.05757, 0.1721] larger"
    assert difference(first, first).verdict == "equal"


def test_too_few_values_have_no_interval_and_say_so() -> None:
    short, clock = estimate({"a": course(range(20))}, "a"), estimate({"x/seconds": course(range(100))}, "x/seconds")
    assert short is not None
    assert clock is not None
    assert (short.value, short.low, short.how) == (19, None, "last")
    assert (clock.value, clock.low, clock.how) == (99, None, "last")
    assert difference(short, clock).verdict == "no interval"
    long = estimate({"a": course(range(25))}, "a")
    assert long is not None
    assert (long.value, long.values, long.steps, long.how) == (22, 5, (20, 24), "tail")
    assert estimate({}, "a") is None


# -- reading and comparing runs -------------------------------------------------------------------------------------------


def record(folder: Path, seed: int = 0, uri: str = OFF, name: str = "first", rate: float = 1e-3) -> Path:
    noise = np.random.default_rng(seed).normal(size=60)
    with Tracker.start(name, folder, {"train.rate": rate, "train.seed": 0, "name": name}, {"scidiff.domain": "toys"}, uri) as run:
        run.log_dataset(DataInfo("dots", "ab" * 32, "nowhere", 40, "CC0", {"kind": "test"}))
        for step, value in enumerate(noise):
            run.log_metrics({"train/loss": 1 + 0.1 * value + 10 * (rate - 1e-3), "train/seconds": step}, step)
        run.log_metrics({"sample/a": 0.5, "sample/a_low": 0.4, "sample/a_high": 0.6, "odd": math.nan, "big": math.inf}, 59)
        (folder / "note.txt").write_text(name)
        run.log_artifact(folder / "note.txt")
    return folder


def test_a_store_gives_back_what_the_folder_holds(tmp_path: Path, uri: str) -> None:
    folder = record(tmp_path / "run", uri=uri)
    ours = read_run(folder)
    for theirs in (read_run(ours.run_id, uri), read_run(f"runs:/{ours.run_id}", uri)):
        assert compare_bits(ours.metrics, theirs.metrics).parted == ()
        assert set(ours.metrics) == set(theirs.metrics)
        assert (ours.name, ours.status, ours.params) == (theirs.name, theirs.status, theirs.params)
        assert ours.tags.items() <= theirs.tags.items()
        assert [one.digest for one in ours.datasets] == [one.digest for one in theirs.datasets] == ["ab" * 32]
        assert theirs.datasets[0].licence == "CC0"
        assert ours.last_step == theirs.last_step == 59
        for one in (ours, theirs):
            assert one.need("note.txt", tmp_path / "fetched").read_text() == "first"
            with pytest.raises(UserError, match=r"holds no nothing\.txt \(its artifacts: .*note\.txt"):
                one.need("nothing.txt", tmp_path)


def test_a_value_logged_again_at_its_step_and_a_changed_setting_are_taken_as_they_were_last(tmp_path: Path) -> None:
    for steps, value in ((3, 1.0), (6, 2.0)):
        with Tracker.start("first", tmp_path / "run", {"steps": steps}, tracking_uri=OFF) as run:
            for step in range(steps):
                run.log_metrics({"loss": value + step}, step)
    found = read_run(tmp_path / "run")
    assert found.config == {"steps": "6"}
    assert [one.value for one in found.metrics["loss"]] == [2, 3, 4, 5, 6, 7]


def test_what_differs_is_shown_and_what_does_not_is_not(tmp_path: Path) -> None:
    first, again, other = (
        record(tmp_path / name, seed=seed, name=name, rate=rate) for name, seed, rate in (("a", 0, 1e-3), ("b", 0, 1e-3), ("c", 1, 1e-2))
    )
    same = compare([read_run(first), read_run(again)]).only_what_differs()
    assert [row.name for row in same.metrics] == []
    assert {fact.name for fact in same.facts} <= {"id", "started", "took", "command", "name"}
    whole = compare([read_run(one) for one in (first, again, other)])
    shown = whole.only_what_differs()
    assert {row.name for row in shown.metrics} == {"train/loss"}
    assert {row.name for row in whole.metrics} == {"train/loss", "train/seconds", "sample/a", "odd", "big"}
    assert [one.verdict for one in shown.metrics[0].differences if one] == ["equal", "larger than its interval"]
    changed = {fact.name: fact.values for fact in shown.facts if fact.group == "configuration"}
    assert changed == {"train.rate": ("0.001", "0.001", "0.01"), "name": ("a", "b", "c")}
    assert any(fact.group == "data" and fact.values == ("ab" * 32,) * 3 for fact in whole.facts)


def scidiff(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(one) for one in arguments], prog_name="scidiff")


def test_the_command_prints_tables_json_and_a_page_and_escapes_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first, other = record(tmp_path / "a"), record(tmp_path / "b", seed=1, name="<script>[bold]", rate=1e-2)
    done = scidiff("compare", first, other, "--page", "page.html")
    assert done.exit_code == 0, done.stderr
    assert "<script>[bold]" in done.stdout
    assert any(line.split()[0] == "train.rate" for line in done.stdout.splitlines() if line.strip())
    assert "sample/a" not in done.stdout
    assert "sample/a" in scidiff("compare", first, other, "--all").stdout
    page = (tmp_path / "page.html").read_text()
    assert "<script>[" not in page
    assert "&lt;script&gt;[bold]" in page
    assert page.count('<path class="line l1') >= 1  # the second run's curve, over the first's
    content = json.loads(scidiff("compare", first, other, "--all", "--json").stdout)
    rows = {row["name"]: row for row in content["metrics"]}
    assert rows["sample/a"]["runs"][0] == {"value": 0.5, "low": 0.4, "high": 0.6, "how": "logged", "values": 1, "steps": [59, 59]}
    assert (rows["odd"]["runs"][0]["value"], rows["big"]["runs"][0]["value"]) == ("nan", "inf")
    assert (rows["odd"]["differs"], rows["train/loss"]["differences"][0]["verdict"]) == (False, "larger than its interval")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a"], "compare needs two runs or more"),
        (["a", "here"], "here: no run is recorded here: expected here/tracking/run.json"),
        (["a", "nosuch"], "no folder of that name, and no database"),
        (["a", "../x y"], "../x y: no folder, and no id of a run"),
        (["a", "a", "--page", "no/page.html"], "--page no/page.html: the folder no does not exist"),
    ],
)
def test_what_cannot_be_compared_is_told_and_nothing_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    record(tmp_path / "a")
    (tmp_path / "here").mkdir()
    done = scidiff("compare", *arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "here"]


def test_an_id_that_a_store_does_not_know_is_told_with_the_last_that_it_does(tmp_path: Path, uri: str) -> None:
    with pytest.raises(UserError, match=r"neither a folder nor a run in .*, which holds none"):
        read_run("0" * 32, uri)
    report = sync(record(tmp_path / "run"), uri)
    with pytest.raises(UserError, match=rf"the last there: {report.run_id} \(first\)"):
        read_run("0" * 32, uri)
