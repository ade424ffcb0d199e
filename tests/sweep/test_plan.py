"""From a sweep block to trials: the grid, the draws, and every fault of every trial before the first one starts."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from scidiff.cli import app
from scidiff.config import ConfigError
from scidiff.errors import UserError
from scidiff.sweep import SweepConfig, read_plan
from scidiff.sweep.plan import draw

LINES = 3  # of the plane's recipe


def lines(error: ConfigError) -> list[str]:
    return [f"{problem.where}: {problem.key}" for problem in error.problems]


def test_a_grid_is_every_combination_once_and_the_last_key_changes_fastest(recipe) -> None:
    plan = read_plan(recipe("sweep: {over: {train.learning_rate: [1e-3, 1e-2], train.seed: [1, 2, 3]}}"))
    found = [(trial.recipe.train.learning_rate, trial.recipe.train.seed) for trial in plan.trials]
    assert found == [(1e-3, 1), (1e-3, 2), (1e-3, 3), (1e-2, 1), (1e-2, 2), (1e-2, 3)]
    assert [trial.name for trial in plan.trials] == [f"run-00{k}" for k in range(6)]
    assert plan.trial(4).text == "train.learning_rate=0.01 train.seed=2"
    assert all(trial.recipe.train.batch_size == 4 for trial in plan.trials)  # the rest is the recipe's
    with pytest.raises(UserError, match=r"the runs 0 to 5, not 6"):
        plan.trial(6)


def test_overrides_reach_the_recipe_and_the_block(recipe) -> None:
    path = recipe("sweep: {kind: random, runs: 2, over: {train.seed: [1, 2]}}")
    plan = read_plan(path, ["train.steps=7", "sweep.runs=5"])
    assert [trial.recipe.train.steps for trial in plan.trials] == [7] * 5


def random_sweep(runs: int, seed: int, over: dict[str, object]) -> list[dict[str, object]]:
    return draw(SweepConfig.model_validate({"kind": "random", "runs": runs, "seed": seed, "over": over}))


RANGES = {
    "rate": {"low": 1e-4, "high": 1e-2, "log": True},
    "width": {"low": 2, "high": 5, "integer": True},
    "momentum": {"low": -1, "high": 1},
    "kind": ["a", "b", ["c"]],
}


@settings(max_examples=40)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**40), st.lists(st.sampled_from(sorted(RANGES)), unique=True, min_size=1))
def test_draw_k_is_a_function_of_the_seed_the_key_and_k_alone(few: int, more: int, seed: int, keys: list[str]) -> None:
    whole = random_sweep(few + more, seed, RANGES)
    part = random_sweep(few, seed, {key: RANGES[key] for key in keys})
    assert part == [{key: trial[key] for key in keys} for trial in whole[:few]]


def test_draws_have_the_law_they_are_asked_for() -> None:
    """Against the uniform law of each key, by the Kolmogorov-Smirnov distance at 1,000 draws, and exact counts of what is discrete."""
    found = random_sweep(1000, 0, RANGES)
    laws = {"rate": lambda x: math.log(x / 1e-4) / math.log(100), "momentum": lambda x: (x + 1) / 2}
    for key, law in laws.items():
        u = sorted(law(trial[key]) for trial in found)
        assert 0 <= u[0] < u[-1] <= 1
        assert max(abs(value - (k + 0.5) / 1000) for k, value in enumerate(u)) < 1.63 / math.sqrt(1000)  # its 1 % point
    for key, values in (("width", [2, 3, 4, 5]), ("kind", ["a", "b", ["c"]])):
        counts = [sum(trial[key] == value for trial in found) for value in values]
        expected = 1000 / len(values)
        assert sum(counts) == 1000
        assert all(abs(count - expected) < 4 * math.sqrt(expected) for count in counts)
        assert all(type(trial["width"]) is int for trial in found)
    assert random_sweep(3, 0, RANGES) != random_sweep(3, 1, RANGES)


def test_every_fault_of_every_trial_is_told_at_once_with_its_line(recipe) -> None:
    path = recipe("""\
widht: 3
sweep:
  over:
    train.learning_rate: [1e-3, -1, 0]
    train.stps: [3, 4]
    domain.x: [1]
    pause: [0, fast]
""")
    with pytest.raises(ConfigError) as caught:
        read_plan(path)
    at = LINES + 1
    expected = [
        (at, "widht", "unknown key"),
        (at + 3, "train.learning_rate", "got -1"),
        (at + 3, "train.learning_rate", "got 0"),
        (at + 4, "train.stps", "did you mean 'steps'?"),
        (at + 4, "train.stps", "did you mean 'steps'?"),
        (at + 5, "domain.x", "domain is the value 'plane', so it has no key 'x'"),
        (at + 6, "pause", "got 'fast'"),
    ]
    assert lines(caught.value) == [f"line {line}: {key}" for line, key, _ in expected]
    assert all(word in problem.message for problem, (*_, word) in zip(caught.value.problems, expected, strict=True))


@pytest.mark.parametrize(
    ("block", "line", "key", "message"),
    [
        ("{gaol: 1, over: {a: [1]}}", 1, "sweep.gaol", "did you mean 'goal'?"),
        ("3", 1, "sweep", "got 3"),
        ("{}", 1, "sweep.over", "required, and missing"),
        ("\n  over:\n    a: []", 3, "sweep.over.a", "at least 1 item"),
        ("\n  over:\n    a: 3", 3, "sweep.over.a", "expected a list of values, or for a random sweep a range"),
        ("\n  over:\n    a: {lo: 3}", 3, "sweep.over.a", "expected a list of values, or for a random sweep a range"),
        ("\n  over: {a: [1, 2, 1]}", 2, "sweep.over", "a: 1 is given twice"),
        ("\n  over: {a: [.nan]}", 2, "sweep.over", "a: nan and infinity are no values"),
        ("\n  over: {a..b: [1]}", 2, "sweep.over", "'a..b' is no key of a recipe"),
        ("{kind: random, over: {a: [1]}}", 1, "sweep", "needs runs"),
        ("{runs: 3, over: {a: [1]}}", 1, "sweep", "leave runs out"),
        ("{over: {a: {low: 1, high: 2}}}", 1, "sweep", "needs a list of values for a"),
        ("{kind: random, runs: 1, over: {a: {low: 2, high: 1}}}", 1, "sweep.over.a", "2 is not less than 1"),
        ("{kind: random, runs: 1, over: {a: {low: 0, high: 1, log: true}}}", 1, "sweep.over.a", "low must be positive"),
        ("{kind: random, runs: 1, over: {a: {low: 0.5, high: 2, integer: true}}}", 1, "sweep.over.a", "must be integers"),
        ("{kind: random, runs: 1000000000, over: {a: [1]}}", 1, "sweep.runs", "less than or equal to 10000"),
    ],
)
def test_a_wrong_block_is_told_with_its_line(recipe, block: str, line: int, key: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_plan(recipe(f"sweep: {block}\n"))
    (problem,) = caught.value.problems
    assert (problem.where, problem.key) == (f"line {LINES + line}", key)
    assert message in problem.message


def test_a_grid_too_large_is_refused_before_it_is_made(recipe) -> None:
    keys = ", ".join(f"k{i}: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]" for i in range(12))
    with pytest.raises(ConfigError, match="a grid of 1,000,000,000,000 combinations, more than 10,000"):
        read_plan(recipe(f"sweep: {{over: {{{keys}}}}}\n"))


def test_what_is_no_sweep_and_what_is_one_are_told_apart(recipe) -> None:
    with pytest.raises(UserError, match=r"tiny.yaml: no 'sweep' block.*scidiff train"):
        read_plan(recipe(""))
    path = recipe("sweep: {over: {train.seed: [1]}}")
    done = CliRunner().invoke(app, ["train", str(path)])
    assert done.exit_code == 2
    assert f"{path}: line {LINES + 1}: a sweep is many trainings: use scidiff sweep {path}" in done.stderr


def test_what_was_written_is_the_same_plan(recipe, tmp_path: Path) -> None:
    plan = read_plan(recipe("sweep: {kind: random, runs: 3, over: {train.learning_rate: {low: 1e-3, high: 1}}}"), ["train.steps=5"])
    again = tmp_path / "again.yaml"
    again.write_text(yaml.safe_dump(plan.written))
    assert read_plan(again).trials == plan.trials
