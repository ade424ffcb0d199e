"""Simulated paths in shards: the same bytes whatever the cut, the order, the kills; and network calls that do not fit in memory."""

from __future__ import annotations

import random
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from support.killing import killed
from typer.testing import CliRunner, Result

from scidiff.cli import app
from scidiff.errors import UserError
from scidiff_timeseries.forecaster import Forecaster
from scidiff_timeseries.generate import blocks
from scidiff_timeseries.output import write_paths, write_table
from scidiff_timeseries.recipe import Recipe, WindowConfig

N, LENGTH, BLOCK = 14, 9, 4
SMALL = {"scidiff_timeseries.generate.BLOCK": BLOCK, "scidiff_timeseries.sharded.BLOCK": BLOCK}
LOAD = ["torch", "scidiff.cli.merge", "scidiff_timeseries.cli", "scidiff_timeseries.sharded", "pyarrow.parquet"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two series of hours on the clocks of Paris, ids that a spreadsheet would run or quote; a network of random weights, fully trusted."""
    stamps = pd.date_range("2024-03-30 22:00", periods=72, freq="h", tz="Europe/Paris")
    rng = np.random.default_rng(0)
    each = [
        pd.DataFrame({"unique_id": name, "ds": stamps[skip:], "y": 5 + np.cumsum(rng.normal(size=72 - skip))})
        for name, skip in (('=a, "b"', 0), ("c\nd", 2))  # the second begins at midnight
    ]
    recipe = Recipe(windows=WindowConfig(horizon=4, context=12, view=8, rolls=2, selection_rolls=2))
    made = Forecaster(recipe=recipe, steps=0).fit(pd.concat(each, ignore_index=True))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.denoiser.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    made.denoiser.strength.fill_(1.0)
    made._fit = made._fitted.model_copy(update={"series": tuple(one.model_copy(update={"strength": 1.0}) for one in made._fitted.series)})
    made.metadata["fit"] = made._fit.model_dump(mode="json")
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    made.save(path)
    return path


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SMALL.items():
        monkeypatch.setattr(name, value)


def asked(model: Path, *more: object) -> list[str]:
    common = ["-n", N, "--length", LENGTH, "--seed", 5, "--calls", 2, "--device", "cpu", "--model", model]
    return ["timeseries", "simulate", *map(str, common), *map(str, more)]


def scidiff(*arguments: object) -> Result:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return done


@pytest.fixture(scope="module")
def one_process(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of one process that knows no shards."""
    folder = tmp_path_factory.mktemp("one")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SMALL.items():
            patch.setattr(name, value)
        for ending in ("csv", "parquet"):
            scidiff(*asked(model, "--out", folder / f"all.{ending}"))
    return {ending: (folder / f"all.{ending}").read_bytes() for ending in ("csv", "parquet")}


def test_any_number_of_shards_in_any_order_is_one_process(model: Path, tmp_path: Path, one_process: dict[str, bytes]) -> None:
    for shards, ending in ((2, "parquet"), (3, "csv")):
        parts, out = tmp_path / f"{ending}-{shards}", tmp_path / f"{shards}.{ending}"
        for shard in random.Random(shards).sample(range(shards), shards):
            scidiff(*asked(model, "--out", parts, "--format", ending, "--shards", shards, "--shard", shard))
        scidiff("merge", parts, "--out", out)
        assert out.read_bytes() == one_process[ending]
    together = scidiff(*asked(model, "--out", tmp_path / "all.csv", "--shards", 4))
    assert (tmp_path / "all.csv").read_bytes() == one_process["csv"]
    assert "14 paths, " in together.output
    assert not (tmp_path / "all.csv.parts").exists()


def test_blocks_are_the_same_to_the_bit_alone(model: Path) -> None:
    made = Forecaster.load(model)
    whole = made.simulate(N, LENGTH, seed=3)
    assert [list(span) for span in blocks(6, 8)] == [[6, 7], [8, 9, 10, 11], [12, 13]]
    part = made.simulate(8, LENGTH, seed=3, first=4)
    assert sorted(part["path"].unique()) == list(range(4, 12))
    expected = whole[whole["path"].isin(part["path"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(pd.DataFrame(part), pd.DataFrame(expected), check_exact=True)
    with pytest.raises(UserError, match=r"first \+ n = 16777220: a whole number from 8 to 16,777,216"):
        made.simulate(8, LENGTH, first=2**24 - 4)


@pytest.mark.parametrize(("start", "length"), [(None, LENGTH), ("2030-03-30", 49), ("2030-01-01", 1)])
def test_a_file_of_sections_reads_as_one_of_rows(model: Path, tmp_path: Path, start: str | None, length: int) -> None:
    """Stamps are written as in one go: with their time of the day, also of what lies at midnight, and with the zone's offset."""
    paths = Forecaster.load(model).simulate(3, length, start=start)
    header, sections = write_paths(paths, tmp_path / "sections.csv")
    write_table(paths, tmp_path / "rows.csv")
    content = (tmp_path / "sections.csv").read_bytes()
    assert content == (tmp_path / "rows.csv").read_bytes()
    assert content[:header] == b"unique_id,ds,path,y\n"
    assert header + sum(sections) == len(content)
    assert content[header + sections[0] :].startswith(b'"c\nd",')


@pytest.mark.long  # tests/core/test_shards.py kills at every step of a write
def test_kills_in_the_middle(model: Path, tmp_path: Path, one_process: dict[str, bytes]) -> None:
    def run(*arguments: object, **how: Any) -> dict[str, Any]:
        return {"events": str(tmp_path / "events"), "argv": list(map(str, arguments)), "set": SMALL, **how}

    runs: list[dict[str, Any]] = []
    for ending, ends in (("csv", [{"event": 5}, {"delay": 0.3}, {"event": 4}, {}]), ("parquet", [{"event": 9}, {}])):
        parts = asked(model, "--out", tmp_path / ending, "--shards", 3, "--format", ending)
        merge = run("merge", tmp_path / ending, "--out", tmp_path / f"all.{ending}")
        runs += [*(run(*parts, **how) for how in ends), {**merge, "event": 1}, merge]
    statuses = [status for status, _ in killed(LOAD, runs)]
    assert statuses == [-9, statuses[1], statuses[2], 0, -9, 0, -9, 0, -9, 0]
    assert set(statuses) == {0, -9}
    for ending in ("csv", "parquet"):
        assert (tmp_path / f"all.{ending}").read_bytes() == one_process[ending]
    assert not list(tmp_path.glob(".all*"))  # what the killed merges left


def test_the_plan_and_what_is_refused(model: Path, tmp_path: Path) -> None:
    million = ["timeseries", "simulate", "-n", "1000000", "--length", "5", "--model", model, "--out", tmp_path / "parts", "--device", "cpu"]
    plan = re.sub(r"\s+", " ", scidiff(*million, "--shards", 64, "--plan").output)
    assert "1,000,000 paths (0 to 999999) in 64 shards of whole blocks of 4" in plan
    assert "63 984372 to 999999 15,628 part-00063-of-00064.csv" in plan
    assert "measured: 4 paths in " in plan
    assert not list(tmp_path.iterdir())
    scidiff(*asked(model, "--out", tmp_path / "parts", "--shards", 3, "--shard", 1))
    for arguments, message in (
        (million, "-n 1000000: one process makes up to 100,000 at once; cut them into files with --shards"),
        ([*million, "--shards", 64, "--quantiles"], "--plot and --quantiles need all paths at once"),
        ([*million, "--plan"], "--shard, --format and --plan are for --shards"),
        ([*million, "--shards", 2], "500,000: a whole number from 1 to 100,000"),
        (asked(model, "--out", tmp_path / "p", "--shards", 7), "14 paths: these are 4 blocks of 4, and a shard is one or more; give at"),
        (asked(model, "--out", tmp_path / "parts", "--shards", 3, "--length", 8), "length (9 there, 8 here)"),
        (asked(model, "--out", tmp_path / "p", "--shards", 3, "--id", "e"), "no series 'e'"),
    ):
        done = CliRunner().invoke(app, list(map(str, arguments)))
        assert done.exit_code == 2
        said = re.sub(r"\s+", " ", done.output)
        assert message.replace("500,000", "500000") in said


class Small(torch.nn.Module):
    """A network whose machine has room for ``most`` rows."""

    def __init__(self, inner: torch.nn.Module, most: int) -> None:
        super().__init__()
        self.inner, self.most = inner, most

    def forward(self, columns: torch.Tensor, *rest: Any) -> torch.Tensor:
        if len(columns) > self.most:
            raise MemoryError
        return self.inner(columns, *rest)


@pytest.mark.parametrize("most", [1, 3])
def test_out_of_memory_halves_the_calls_and_keeps_the_paths(model: Path, most: int) -> None:
    """Two series' windows at once do not fit; alone they do, or their paths are drawn in parts."""
    made = Forecaster.load(model)
    expected = made.simulate(3, 6, seed=1, calls=2).to_array()
    made.denoiser.backbone = Small(made.denoiser.backbone, most)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = made.simulate(3, 6, seed=1, calls=2).to_array()
    assert float(np.abs(found - expected).max()) < 1e-4 * float(expected.std())
    said = {str(one.message).partition(":")[0] for one in told}
    assert said == {"windows in one network call"} | ({"paths of a window"} if most < 3 else set())


def test_a_device_is_named_once_for_all(model: Path) -> None:
    made = Forecaster.load(model, device="cpu")
    assert made.to(None) is made
    if not torch.cuda.is_available():
        for ask in (lambda: made.simulate(1, 2, device="cuda"), lambda: Forecaster.load(model, device="cuda"), lambda: made.to("cuda")):
            with pytest.raises(UserError, match="device 'cuda': PyTorch sees no CUDA device here"):
                ask()
