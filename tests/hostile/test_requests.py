"""Rows 8 and 16, and the memory of row 7: bombs and absurd numbers, answered by one process whose peak of memory is watched."""

from __future__ import annotations

import bz2
import io
import json
import lzma
import tarfile
from pathlib import Path
from typing import Any

import pytest
from support.hostile import alias_bomb, measure
from support.training import RECIPE, SERIES, TRAIN

from scidiff.errors import UserError
from scidiff_molecules.data import sources
from scidiff_timeseries import packed

FLAT = 32 * 1024
"""KiB. An honest answer to any of these would take gigabytes."""
GIB = 1 << 30
BLOCK = 1 << 22
WARM: list[tuple[str, list[str] | str]] = [
    ("generate", ["molecules", "generate", "-n", "1", "--steps", "1"]),
    ("forecast", ["timeseries", "forecast", "sample:treasury", "--model", "treasury", "-n", "1", "--horizon", "2"]),
    ("simulate", "forecaster().simulate(1, 2)"),
    ("train", ["train", "timeseries.yaml", "train.steps=1", "--out", "warm", "--tracking-uri", "off"]),
]
NUMBERS: dict[str, tuple[list[str] | str, str]] = {
    "molecules generate n=1e9": (["molecules", "generate", "-n", "1000000000"], "n = 1000000000: must lie between 1 and 100,000,000"),
    "molecules generate n=-1": (["molecules", "generate", "-n", "-1"], "n = -1: must lie between 1"),
    "molecules generate steps=0": (["molecules", "generate", "--steps", "0"], "steps = 0: must lie between 1 and 1,000"),
    "molecules generate atoms=1e9": (["molecules", "generate", "--atoms", "1000000000"], "this model was trained on up to"),
    "MoleculeGenerator n=1e9": ("generator().generate(10**9)", "n = 1000000000: must lie between 1"),
    "Forecaster.predict n=1e9": ("forecaster().predict(2, 10**9, df=panel())", "n_paths = 1000000000: a whole number from 1 to"),
    "Forecaster.impute n=1e9": ("forecaster().impute(panel(), 10**9)", "n_paths = 1000000000: a whole number from 1 to"),
    "Forecaster.simulate n=-1": ("forecaster().simulate(-1)", "n_paths = -1: a whole number from 1 to"),
    "Forecaster.simulate length=1e9": ("forecaster().simulate(1, 10**9)", "length = 1000000000: a whole number from 1 to 20,000"),
    "Forecaster.simulate calls=0": ("forecaster().simulate(1, 2, calls=0)", "calls = 0: a whole number from 1 to 256"),
    "Forecaster.simulate product": ("forecaster().simulate(100_000, 20_000)", "16,000,000,000 values; the limit of one answer"),
    **{
        f"timeseries {command} {option} {value}": (["timeseries", command, *data, "--model", "treasury", option, value], f"{option}")
        for command, data in (("forecast", ["sample:treasury"]), ("impute", ["sample:treasury"]), ("simulate", []))
        for option, value in (("-n", "1000000000"), ("-n", "-1"), ("-n", "0"), ("--calls", "0"), ("--calls", "1000000000"))
    },
    "timeseries forecast horizon=1e9": (["timeseries", "forecast", "sample:co2", "--model", "m", "--horizon", "1000000000"], "--horizon"),
    "timeseries simulate length=0": (["timeseries", "simulate", "--model", "treasury", "--length", "0"], "--length"),
    "train steps=0": (["train", "molecules.yaml", "train.steps=0", "--tracking-uri", "off"], "train.steps"),
    "train batch=1e9": (["train", "molecules.yaml", "train.batch_size=1000000000", "--out", "run", "--tracking-uri", "off"], "batch_size"),
    "train width=1e9": (["train", "timeseries.yaml", "backbone.width=1000000000", "--tracking-uri", "off"], "backbone.width"),
}  # fmt: skip
"""Row 16."""
ALIASES = {f"alias bomb {domain}": ["train", f"bomb-{domain}.yaml", "--tracking-uri", "off"] for domain in ("molecules", "timeseries")}
QM9 = ["molecules", "data", "qm9", "--cache", "cache", "--source"]
ARCHIVES: dict[str, tuple[list[str], str, int]] = {
    "tar with a member of 2 GiB": ([*QM9, "member.tar.bz2"], "its member 'dsgdb9nsd_000001.xyz' claims 2,147,483,648 bytes", FLAT),
    "tar with a name of 2 GiB": ([*QM9, "name.tar.bz2"], "unpacks to more than 1 GiB, which QM9 does not", FLAT),
    "tar of other members, 2 GiB": ([*QM9, "others.tar.bz2"], "claims", FLAT),
    "csv in gzip": (["timeseries", "fit", "data.csv.gz", "--tracking-uri", "off"], "compressed files are not read; unpack it first", FLAT),
    "csv of 2 GiB": (["timeseries", "fit", "large.csv", "--tracking-uri", "off"], "2.0 GiB is over the limit of 1 GiB", FLAT),
    "yaml of 2 GiB": (["train", "large.yaml", "--tracking-uri", "off"], "larger than 1,000,000 bytes", FLAT),
    "xz of 2 GiB": (["train", "benchmark.yaml", "--tracking-uri", "off"], "unpacks to more than 268435456 bytes", 3 * packed.LARGEST >> 10),
}  # fmt: skip
"""Row 8: the request, what it is answered, and by how much its memory may grow."""


def tar_header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member.tobuf(tarfile.GNU_FORMAT)


def repeated(compress: Any, size: int) -> bytes:
    """``size`` zeros, as equal streams one after the other: what a decompressor takes for one stream."""
    return compress(bytes(BLOCK)) * (size // BLOCK)


def write_bombs(folder: Path) -> None:
    zeros = repeated(bz2.compress, 2 * GIB)
    names = {
        "member": tar_header("dsgdb9nsd_000001.xyz", 2 * GIB),
        "name": tar_header("././@LongLink", 2 * GIB, tarfile.GNUTYPE_LONGNAME),
        "others": tar_header("readme", 64) + bytes(512) + tar_header("other", 2 * GIB),
    }
    for name, header in names.items():
        (folder / f"{name}.tar.bz2").write_bytes(bz2.compress(header) + zeros)
    (folder / "uncharacterized.txt").write_text(
        "".join(f"{number} CCO 1.0\n" for number in range(200_000, 200_000 + sources.UNCHARACTERIZED))
    )
    (folder / "m4").mkdir()
    (folder / "m4" / "m4_hourly.npz.xz").write_bytes(repeated(lzma.compress, 2 * GIB))
    (folder / "data.csv.gz").write_bytes(b"\x1f\x8b")
    for name in ("large.csv", "large.yaml"):
        with (folder / name).open("wb") as file:
            file.truncate(2 * GIB)


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What one process says to all requests, one after the other."""
    folder = tmp_path_factory.mktemp("requests")
    recipes = {"molecules": {**RECIPE, "train": TRAIN}, "timeseries": SERIES}
    for domain, recipe in recipes.items():
        (folder / f"{domain}.yaml").write_text(json.dumps(recipe))
        (folder / f"bomb-{domain}.yaml").write_text(
            "".join(f"{key}: {json.dumps(value)}\n" for key, value in recipe.items()) + alias_bomb()
        )
    benchmark = {"source": "benchmark", "name": "m4_hourly", "root": "."}
    (folder / "benchmark.yaml").write_text(json.dumps({**SERIES, "data": benchmark}))
    write_bombs(folder)
    requests = [(name, request) for name, (request, _) in NUMBERS.items()]
    requests += list(ALIASES.items())
    requests += [(name, request) for name, (request, _, _) in ARCHIVES.items()]
    requests.insert(-1, ("control", f"len(bytearray(b'1') * {4 * FLAT << 10})"))  # before the one that may take as much
    return measure([*WARM, *requests], folder)


def plain(text: str) -> str:
    """Without the frame that usage errors are drawn in."""
    return " ".join(text.replace("│", " ").split())


def test_the_process_answers_what_may_be_asked(answers: dict[str, dict[str, Any]]) -> None:
    """So that the limits of the others are tried on a warm process, with its models loaded."""
    assert {answers[name]["code"] for name, _ in WARM} == {0}


def test_memory_that_is_taken_is_measured(answers: dict[str, dict[str, Any]]) -> None:
    assert answers["control"]["grown"] > 3 * FLAT


@pytest.mark.parametrize("name", ALIASES)
def test_row_07_an_alias_bomb_takes_no_memory(name: str, answers: dict[str, dict[str, Any]]) -> None:
    answer = answers[name]
    assert (answer["code"], answer["left"]) == (2, [])
    assert "anchors and aliases are not allowed" in answer["said"]
    assert answer["grown"] < FLAT


@pytest.mark.parametrize("name", ARCHIVES)
def test_row_08_an_archive_that_expands_is_refused_at_the_cap(name: str, answers: dict[str, dict[str, Any]]) -> None:
    answer, (_, message, limit) = answers[name], ARCHIVES[name]
    assert answer["code"] == 2, answer["said"]
    assert message in plain(answer["said"])
    assert "Traceback" not in answer["said"]
    assert answer["grown"] < limit


def test_row_08_many_members_are_counted_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is small; together they pass the cap."""
    monkeypatch.setattr(sources, "_MAX_ARCHIVE", 1 << 20)
    stream = io.BytesIO()
    for number in range(400):
        stream.write(tar_header(f"readme-{number}", 4096) + bytes(4096))
    (tmp_path / "dsgdb9nsd.xyz.tar.bz2").write_bytes(bz2.compress(stream.getvalue()))
    write_list = "".join(f"{number} CCO 1.0\n" for number in range(200_000, 200_000 + sources.UNCHARACTERIZED))
    (tmp_path / "uncharacterized.txt").write_text(write_list)
    with pytest.raises(UserError, match=r"dsgdb9nsd.xyz.tar.bz2: refused"):
        list(sources.Source.find(tmp_path).records())


@pytest.mark.parametrize("name", NUMBERS)
def test_row_16_absurd_numbers_are_refused_with_the_limit_and_memory_flat(name: str, answers: dict[str, dict[str, Any]]) -> None:
    answer = answers[name]
    assert answer["code"] == 2, answer["said"]
    assert NUMBERS[name][1] in plain(answer["said"])
    assert "Traceback" not in answer["said"]
    assert answer["grown"] < FLAT
    assert not [left for left in answer["left"] if left != "run"]
