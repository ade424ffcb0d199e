"""What takes hours to measure starts, and compares what it says: recipes of the ablation and of benchmarks/scaling.py, not trained."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def benchmark_module(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    return importlib.import_module(request.param)


@pytest.mark.parametrize("benchmark_module", ["molecules_ablation"], indirect=True)
def test_every_row_of_the_ablation_is_a_recipe_of_its_own_with_the_budget_of_the_base(benchmark_module: ModuleType) -> None:
    recipes = {name: benchmark_module.recipe_of(changes, 1500) for name, changes in benchmark_module.FACTORS.items()}
    assert len({recipe.model_dump_json() for recipe in recipes.values()}) == len(recipes)
    free = {"self_conditioning", "seed"}  # rows of their own; all else of training is the budget
    for name, recipe in recipes.items():
        assert recipe.train.model_dump(exclude=free) == recipes["base"].train.model_dump(exclude=free), name
        assert recipe.data.limit == recipes["base"].data.limit, name


@pytest.mark.parametrize("benchmark_module", ["scaling"], indirect=True)
def test_every_size_of_the_scaling_benchmark_makes_one_call_a_step(benchmark_module: ModuleType) -> None:
    for size in benchmark_module.SIZES:
        task, recipe = benchmark_module.task_of(size, 16)
        assert (recipe.train.batch_size, recipe.train.self_conditioning) == (16, 0)
        assert not task.recipe.backbone.self_conditioning
