"""Imputation of the literature's sets: ours, its base law alone, and simple fillings, on windows that training has not seen.

    SCIDIFF_DATA=FOLDER python benchmarks/timeseries_imputation.py beijing [--steps 800] [--windows 45]
    SCIDIFF_DATA=FOLDER python benchmarks/timeseries_imputation.py physionet [--steps 800] [--windows 800]

Beijing air: each of 11 variables is a system of 12 stations; fitted on March 2013 to February 2016, asked about windows of 48 hours of the
year after, spread evenly. PhysioNet 2012: set A, 48 hours x 35 channels, one pooled fit of all patients; 70 / 10 / 20 % of the patients
train, validate and test (CSDI's rule, seed 1, fold 0). In each window 10 / 50 / 90 % of the observed entries are hidden, at random or in
blocks of one channel; a window is all that is known of its time. CRPS and MAE are CSDI's: nineteen levels, 100 paths, hidden entries only,
values standardised by each channel's training mean and deviation; intervals are 95 %, by a bootstrap over windows (blocks of neighbours)
or patients.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scidiff.train.loop import NoLog
from scidiff.train.loop import fit as train
from scidiff.train.weights import load_weights
from scidiff_timeseries.baselines.imputation import last_value, linear_interpolation
from scidiff_timeseries.gaps import GapTask, Split
from scidiff_timeseries.generate import draw_paths
from scidiff_timeseries.hiding import hidden
from scidiff_timeseries.literature import ICU_PARAMETERS, beijing_air, physionet2012
from scidiff_timeseries.metrics import ratio_interval
from scidiff_timeseries.metrics.scores import NINETEEN, absolute_error_terms, wql_terms
from scidiff_timeseries.model import TimeSeriesDenoiser
from scidiff_timeseries.pooled import pooled_fit
from scidiff_timeseries.recipe import Recipe, WindowConfig
from scidiff_timeseries.windows import Prepared, Question

HOURS, PATHS = 48, 100
TRAINING = {"beijing": {"steps": 800, "batch_size": 16}, "physionet": {"steps": 800, "batch_size": 32}}


@dataclass(frozen=True)
class Problem:
    """Training, validation and test windows [time, channel], each with the number of its group, and per group and channel the
    training part's mean and deviation. ``block``: of the bootstrap over test windows (None: of neighbours in time)."""

    split: Split
    test: list[tuple[Prepared, int]]
    groups: tuple[str, ...]
    mean: np.ndarray
    deviation: np.ndarray
    block: int | None
    seasons: tuple[int, ...]


def prepared(fit: Any, values: np.ndarray, hour: np.ndarray) -> Prepared:
    """A window with its hour as the only covariate. Of the time of the year nothing is told: training holds three of each at the most."""
    extra = np.stack([f(2 * np.pi * hour / 24) for f in (np.sin, np.cos)], 1)
    none = np.zeros((len(values), 0))
    return Prepared.of(fit, values, extra, none, np.zeros(0), np.full((len(values), 2), 0.5))


def beijing(root: str | None, windows: int, seed: int) -> Problem:
    air = beijing_air(root)
    first = int(np.flatnonzero(air.stamps == np.datetime64("2016-03-01T00", "h"))[0])
    hours = np.arange(len(air.stamps)) % 24
    valid = first - 90 * 24
    starts = np.arange(first, len(air.stamps) - HOURS + 1, HOURS)
    starts = starts[np.unique(np.linspace(0, len(starts) - 1, min(windows, len(starts))).round().astype(int))]
    training, validation, test, mean, deviation = [], [], [], [], []
    for group in range(len(air.variables)):
        values = air.values[:, :, group]
        fit = pooled_fit([values[:first]], (24,), HOURS, alike=True, seed=seed)
        print(f"{air.variables[group]}: {fit.channels[0].transform.title}, {fit.channels[0].law.name}", file=sys.stderr, flush=True)
        mean.append(np.nanmean(values[:first], 0))
        deviation.append(np.nanstd(values[:first], 0))
        training.append(prepared(fit, values[:valid], hours[:valid]))
        validation.append(prepared(fit, values[valid:first], hours[valid:first]))
        test.append([(prepared(fit, values[s : s + HOURS], hours[s : s + HOURS]), group) for s in starts])
    in_time = [one for each in zip(*test, strict=True) for one in each]
    return Problem(Split(training, validation), in_time, air.variables, np.stack(mean), np.stack(deviation), None, (24,))


def physionet(root: str | None, windows: int, seed: int) -> Problem:
    stays = physionet2012(root)
    values = stays.hourly()[~stays.set_b]
    rng = np.random.RandomState(1)  # CSDI's permutation: its default seed, fold 0
    order = rng.permutation(len(values))
    count = len(values) // 5
    rest = np.random.RandomState(1).permutation(order[count:])
    parts = {"test": order[:count], "train": rest[: int(0.7 * len(values))], "valid": rest[int(0.7 * len(values)) :]}
    known = values[parts["train"]]
    fit = pooled_fit(list(known), (), HOURS, seed=seed)
    for name, channel in zip(ICU_PARAMETERS, fit.channels, strict=True):
        print(f"{name}: {channel.transform.title}, {channel.law.name}", file=sys.stderr, flush=True)
    hour = np.arange(HOURS)
    made = {name: [prepared(fit, values[p], hour) for p in members if np.isfinite(values[p]).any()] for name, members in parts.items()}
    mean, deviation = np.nanmean(known, (0, 1))[None], np.nanstd(known, (0, 1))[None]
    test = [(one, 0) for one in made["test"][:windows]]
    return Problem(Split(made["train"], made["valid"]), test, ("all",), mean, np.where(deviation > 0, deviation, 1.0), 1, ())


PROBLEMS: dict[str, Callable[[str | None, int, int], Problem]] = {"beijing": beijing, "physionet": physionet}


def recipe_of(name: str, steps: int | None, seed: int) -> Recipe:
    base = Recipe(windows=WindowConfig(horizon=HOURS, context=2, view=0))
    changes = TRAINING[name] | {"seed": seed} | ({} if steps is None else {"steps": steps})
    return base.model_copy(update={"train": base.train.model_copy(update=changes)})


@dataclass(frozen=True)
class Terms:
    """Of every window and group: the quantile losses' and the medians' numerators and denominators, [window, 4]; and their groups."""

    terms: np.ndarray
    group: np.ndarray

    def line(self, block: int | None, per: int) -> str:
        """CRPS and MAE with their intervals; ``per`` windows share a time."""
        cells: list[str] = []
        for top, bottom in ((0, 1), (2, 3)):
            rows = self.terms[:, [top, bottom]].reshape(-1, per, 2).sum(1)
            interval = ratio_interval(rows[:, 0], rows[:, 1], block=block)
            limits = "" if interval is None else f" ({interval.low:.3f} to {interval.high:.3f})"
            cells.append(f"{rows[:, 0].sum() / rows[:, 1].sum():.3f}{limits}")
        return " | ".join(cells)

    def crps_by_group(self, groups: int) -> list[float]:
        return [float(np.divide(*self.terms[self.group == g, :2].sum(0))) for g in range(groups)]


def score(problem: Problem, masks: Sequence[np.ndarray], fill: Callable[[Sequence[int]], np.ndarray]) -> Terms:
    """``fill`` gives paths [window, path, time, channel] of some windows."""
    terms = np.zeros((len(problem.test), 4))
    for start in range(0, len(problem.test), 16):
        numbers = range(start, min(start + 16, len(problem.test)))
        for number, paths in zip(numbers, fill(numbers), strict=True):
            one, group = problem.test[number]
            mean, deviation = problem.mean[group], problem.deviation[group]
            truth = (one.back(one.values, 0) - mean) / deviation
            at = masks[number]
            y, p = truth[at][:, None], ((paths - mean) / deviation)[:, at].T[..., None]
            terms[number] = [part.sum() for part in (*wql_terms(p, y, NINETEEN, "linear"), *absolute_error_terms(p, y))]
    return Terms(terms, np.array([group for _, group in problem.test]))


def drawn(
    problem: Problem, masks: Sequence[np.ndarray], denoiser: TimeSeriesDenoiser, recipe: Recipe, n_paths: int, numbers: Sequence[int]
) -> np.ndarray:
    asked: list[Question] = []
    for number in numbers:
        one, _ = problem.test[number]
        asked.append(Question(one, 0, np.where(masks[number], np.nan, one.values), masks[number]))
    return draw_paths(denoiser, asked, problem.seasons, n_paths, recipe.sampler, seed=0, first=numbers[0] * n_paths)


def simple(problem: Problem, masks: Sequence[np.ndarray], filling: Callable[..., np.ndarray], numbers: Sequence[int]) -> np.ndarray:
    made: list[np.ndarray] = []
    for number in numbers:
        one, group = problem.test[number]
        made.append(filling(np.where(masks[number], np.nan, one.back(one.values, 0)), problem.mean[group]))
    return np.stack(made)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=list(PROBLEMS))
    parser.add_argument("--data-root")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.1, 0.5, 0.9])
    parser.add_argument("--kinds", nargs="+", default=["random", "blocks"], choices=["random", "blocks"])
    parser.add_argument("--windows", type=int, default=10**6, help="test windows (of each variable) or patients, at the most")
    parser.add_argument("--paths", type=int, default=PATHS)
    parser.add_argument("--steps", type=int, default=0, help="of training; 0: the base law alone")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    started = time.perf_counter()
    problem = PROBLEMS[options.set](options.data_root, options.windows, options.seed)
    recipe = recipe_of(options.set, options.steps or None, options.seed)
    task = GapTask(recipe, problem.split, problem.seasons)
    print(f"{len(problem.test)} windows; fitted in {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    models: dict[str, TimeSeriesDenoiser] = {"base law alone": task.base_law()}
    if options.steps:
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            tensors, metadata = load_weights(train(task, recipe.train, Path(folder), _Silent(), device="cpu", resume=False))
        ours = task.base_law()
        ours.load_state_dict(tensors)
        models["ours"] = ours
        print(json.dumps(metadata["calibration"]), f"trained in {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    fillings = {"linear interpolation": linear_interpolation, "last value": last_value}
    per = len(problem.groups)
    print("| gaps | hidden | method | CRPS | MAE |\n|---|---|---|---|---|")
    for kind in options.kinds:
        for share in options.shares:
            observed = [np.isfinite(one.values) for one, _ in problem.test]
            masks = [hidden(mask, share, kind=kind, seed=options.seed, number=number) for number, mask in enumerate(observed)]
            rows: dict[str, Terms] = {}
            for name, filling in fillings.items():
                rows[name] = score(problem, masks, lambda numbers, f=filling, m=masks: simple(problem, m, f, numbers))
            for name, model in models.items():
                rows[name] = score(problem, masks, lambda n, d=model, m=masks: drawn(problem, m, d, recipe, options.paths, n))
            for name, terms in rows.items():
                print(f"| {kind} | {share:.0%} | {name} | {terms.line(problem.block, per)} |", flush=True)
            if per > 1:
                for name, terms in rows.items():
                    each = zip(problem.groups, terms.crps_by_group(per), strict=True)
                    print(f"  {name}: " + ", ".join(f"{group} {crps:.3f}" for group, crps in each), file=sys.stderr, flush=True)


class _Silent(NoLog):
    """A training that nobody tracks."""

    def log_metrics(self, metrics: Any, step: int) -> None:
        print(step, {name: round(float(value), 4) for name, value in metrics.items() if "gain" in name or "loss" in name}, file=sys.stderr)


if __name__ == "__main__":
    main()
