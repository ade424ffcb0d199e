"""Configuration: YAML 1.2 scalars, every fault at once with its line, nothing but values."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AfterValidator, Field

from scidiff.config import Config, ConfigError, Registry, flatten, load_config, read_yaml, to_yaml

BACKBONES = Registry[type]("backbone")


@BACKBONES.register("attention")
class Attention: ...


class Cosine(Config):
    name: Literal["cosine"] = "cosine"
    offset: float = 0.008


class Linear(Config):
    name: Literal["linear"] = "linear"
    beta_max: float = Field(20.0, gt=0)


class Train(Config):
    steps: int = Field(100, ge=1)
    rate: float = 1e-3
    compiled: bool = False


class Recipe(Config):
    domain: str = "test"
    train: Train = Train()
    schedule: Annotated[Cosine | Linear, Field(discriminator="name")] = Cosine()
    stages: tuple[Train, ...] = ()
    backbone: Annotated[str, AfterValidator(BACKBONES.check)] = "attention"


@pytest.fixture
def recipe(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "recipe.yaml"
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E3", 1000.0),
        ("-.5", -0.5),
        ("3.", 3.0),
        ("1_000", 1000),
        ("0x1F", 31),
        (".inf", math.inf),
        ("true", True),
        ("null", None),
        ("", None),
        ("~", None),
        ("no", "no"),
        ("on", "on"),
        ("010", "010"),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("'1e-4'", "1e-4"),
        ("e5", "e5"),
        ("[1, a]", [1, "a"]),
    ],
)
def test_scalars_follow_yaml_1_2(recipe, text: str, value: object) -> None:
    read = read_yaml(recipe(f"key: {text}\n")).data["key"]
    assert (read, type(read)) == (value, type(value))


def test_all_faults_are_told_at_once_with_their_lines(recipe) -> None:
    path = recipe("domain: test\ntrain:\n  stpes: 3\n  rate: abc\nschedule:\n  name: cosin\nstages:\n  - steps: 0\n_target_: os.system\n")
    with pytest.raises(ConfigError) as caught:
        load_config(Recipe, path, ["train.compiled=7"])
    assert [(problem.where, problem.key) for problem in caught.value.problems] == [
        ("line 3", "train.stpes"),
        ("line 4", "train.rate"),
        ("line 6", "schedule.name"),
        ("line 8", "stages.0.steps"),
        ("line 9", "_target_"),
        ("override 'train.compiled=7'", "train.compiled"),
    ]
    message = str(caught.value)
    assert f"{path}: 6 errors" in message
    assert "did you mean 'steps'?" in message
    assert "unknown component 'cosin'; did you mean 'cosine'? (known: cosine, linear)" in message
    assert "unknown key, with the value 'os.system'" in message
    assert "got 'abc'" in message


def test_hint_for_a_member_of_a_union_is_from_that_member(recipe) -> None:
    with pytest.raises(ConfigError, match="did you mean 'beta_max'") as caught:
        load_config(Recipe, recipe("schedule:\n  name: linear\n  beta_mx: 3\n"))
    assert caught.value.problems[0].where == "line 3"
    with pytest.raises(ConfigError, match=r"\(known: name, offset\)"):
        load_config(Recipe, recipe("schedule:\n  name: cosine\n  beta_max: 3\n"))


def test_a_value_out_of_range_is_named(recipe) -> None:
    with pytest.raises(ConfigError, match=r"line 3: schedule.beta_max: input should be greater than 0, got -1"):
        load_config(Recipe, recipe("schedule:\n  name: linear\n  beta_max: -1\n"))
    with pytest.raises(ConfigError, match=r"train.rate: input should be a finite number, got inf"):
        load_config(Recipe, recipe("train:\n  rate: .inf\n"))


def test_overrides_reach_into_mappings_lists_and_replace_whole_parts(recipe) -> None:
    path = recipe("stages:\n  - steps: 1\n  - steps: 2\n")
    overrides = ["stages.1.rate=1e-2", "train.steps=7", "schedule={name: linear, beta_max: 3}", "train.compiled=true"]
    read = load_config(Recipe, path, overrides)
    assert read.stages == (Train(steps=1), Train(steps=2, rate=1e-2))
    assert read.train == Train(steps=7, compiled=True)
    assert read.schedule == Linear(beta_max=3)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.steps", "expected KEY=VALUE"),
        ("train..steps=1", "expected KEY=VALUE"),
        ("stages.1.steps=1", "stages is a list of 1: expected a position from 0 to 0, got '1'"),
        ("domain.name=1", "domain is the value 'test', so it has no key 'name'"),
        ("domain=*a", "anchors and aliases"),
        ("domain=!!python/name:os.system", "tag"),
        ("train.stpes=1", "did you mean 'steps'"),
    ],
)
def test_bad_overrides_are_named(recipe, override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(Recipe, recipe("domain: test\nstages:\n  - steps: 1\n"), [override])
    assert message in str(caught.value)
    assert f"override {override!r}" in str(caught.value)


BOMB = "a: &a [x, x, x]\n" + "\n".join(f"{b}: &{b} [*{a}, *{a}, *{a}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "line 1: anchors and aliases"),
        ("a: 1\nb: &x 2\n", "line 2: anchors and aliases"),
        ("a: 1\nb: 2\na: 3\n", "line 3: a: given twice (first on line 1)"),
        ("a: !!python/object/apply:os.system [ls]\n", "line 1: a: the tag"),
        ("a: !!set {x}\n", "line 1: a: the tag"),
        ("? [1, 2]\n: 3\n", "line 1: a key must be a word"),
        ("- 1\n", "line 1: the file must be a mapping"),
        ("word\n", "line 1: the file must be a mapping"),
        ("a: [1\nb: 2\n", "line 2"),
        ("a: 1\n---\nb: 2\n", "expected a single document"),
        ("a: " + "[" * 100 + "]" * 100, "nested deeper"),
        ("a: " + "x" * 1_000_000, "larger than 1,000,000 bytes"),
    ],
)
def test_what_is_not_plain_values_is_refused(recipe, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_yaml(recipe(text))
    assert message in str(caught.value)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent.yaml: 1 error\n  cannot be read \(No such file"):
        read_yaml(tmp_path / "absent.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"a: 1\nb: \xe9\n")
    with pytest.raises(ConfigError, match="line 2: not UTF-8 text"):
        read_yaml(tmp_path / "latin.yaml")


def test_an_empty_file_is_all_defaults(recipe) -> None:
    assert load_config(Recipe, recipe("")) == Recipe()


def test_a_config_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Recipe().domain = "other"  # pyright: ignore[reportAttributeAccessIssue]


words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x85"), max_size=20) | st.sampled_from(
    ["no", "1e-5", "010", "0x1", "null", "~", "", "1.", ".nan", "2024-01-01", "<<", "=", "12:30", "true"]
)


@given(word=words, rate=st.floats(allow_nan=False, allow_infinity=False), steps=st.integers(1, 10**12), compiled=st.booleans())
def test_yaml_round_trip(tmp_path_factory: pytest.TempPathFactory, word: str, rate: float, steps: int, compiled: bool) -> None:
    train = Train(steps=steps, rate=rate, compiled=compiled)
    written = Recipe(domain=word, train=train, stages=(train, train))
    path = tmp_path_factory.mktemp("round") / "recipe.yaml"
    path.write_text(to_yaml(written), encoding="utf-8", newline="")
    assert load_config(Recipe, path) == written


def test_flatten_gives_scalars_under_dotted_names() -> None:
    flat = flatten(Recipe(stages=(Train(),)))
    assert flat["train.rate"] == 1e-3
    assert flat["train.compiled"] is False
    assert flat["schedule.name"] == "cosine"
    assert flat["stages"] == '[{"steps": 100, "rate": 0.001, "compiled": false}]'
    assert flatten({"a": {"b": {}}, "c": None}) == {"a.b": "{}", "c": None}


def test_registry_lists_what_it_knows(recipe) -> None:
    assert BACKBONES.get("attention") is Attention
    with pytest.raises(ConfigError, match=r"line 1: backbone: unknown backbone 'atention'; did you mean 'attention'\?"):
        load_config(Recipe, recipe("backbone: atention\n"))
    with pytest.raises(ValueError, match="registered already"):
        BACKBONES.register("attention")
