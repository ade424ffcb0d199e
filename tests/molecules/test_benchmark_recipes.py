"""What takes hours to measure starts, and compares what it says: recipes of the ablation and of benchmarks/scaling.py, not trained."""

from __future__ import annotations

from support.benchmarks import benchmark


def test_every_row_of_the_ablation_is_a_recipe_of_its_own_with_the_budget_of_the_base() -> None:
    ablation = benchmark("molecules_ablation")
    recipes = {name: ablation.recipe_of(changes, 1500) for name, changes in ablation.FACTORS.items()}
    assert len({recipe.model_dump_json() for recipe in recipes.values()}) == len(recipes)
    free = {"self_conditioning", "seed"}  # rows of their own; all else of training is the budget
    for name, recipe in recipes.items():
        assert recipe.train.model_dump(exclude=free) == recipes["base"].train.model_dump(exclude=free), name
        assert recipe.data.limit == recipes["base"].data.limit, name


def test_every_size_of_the_scaling_benchmark_makes_one_call_a_step() -> None:
    scaling = benchmark("scaling")
    for size in scaling.SIZES:
        task, recipe = scaling.task_of(size, 16)
        assert (recipe.train.batch_size, recipe.train.self_conditioning) == (16, 0)
        assert not task.recipe.backbone.self_conditioning
