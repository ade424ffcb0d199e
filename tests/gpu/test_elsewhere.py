"""No tensor stays behind: samplers and losses of both domains on a device that only pretends, with the CPU's values to the bit."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.elsewhere import Elsewhere, elsewhere, returned
from support.training import RECIPE, SERIES, TRAIN, tiny_task

from scidiff.domain import load_domain
from scidiff.random import Noise
from scidiff_molecules import MoleculeGenerator
from scidiff_molecules.generator import SamplerConfig
from scidiff_molecules.recipe import Recipe
from scidiff_molecules.task import MoleculeTask
from scidiff_timeseries.forecaster import Forecaster
from scidiff_timeseries.task import TimeSeriesTask


def test_a_tensor_left_behind_is_found() -> None:
    here = torch.ones(3)
    with elsewhere() as (device, counts):
        there = torch.arange(3.0, device=device)
        mixes = (lambda: here + there, lambda: torch.cat((here, there)), lambda: here[there.long()], lambda: there.gather(0, here.long()))
        for mix in mixes:
            with pytest.raises(RuntimeError, match="expected all tensors to be on one device"):
                mix()
        with pytest.raises((RuntimeError, TypeError), match="numpy"):
            there.numpy()
        assert isinstance(there * torch.tensor(2.0), Elsewhere)  # numbers and indices may come from the CPU
        assert there[torch.tensor([2, 0])].tolist() == [2.0, 0.0]
        assert torch.tensor([1, 2], device=device).tolist() == [1, 2]
        there[1:] = 7
        assert there.cpu().numpy().tolist() == [0.0, 7.0, 7.0]
        layer = torch.nn.Linear(3, 2)
        expected = layer(there.cpu())
        assert torch.equal(returned(layer.to(device)(there)), expected)
        assert counts.elsewhere["addmm"] == 1


@pytest.mark.parametrize("rule", ["multistep", "corrector"])  # between them every verb, and combined posteriors
def test_molecules_are_sampled_elsewhere(rule: str) -> None:
    task = tiny_task()
    config = SamplerConfig.model_validate({"steps": 2, "rule": rule, "churn_positions": 0.5, "churn_labels": 0.5, "grid": "karras"})
    generator = MoleculeGenerator(task.denoiser, task.statistics, task.metadata(), config)
    here, _ = generator.sample(torch.arange(3), 1, config)
    molecules = generator.generate(2, batch_size=3) if rule == "multistep" else []
    with elsewhere() as (device, counts):
        generator.denoiser.to(device)
        there, _ = generator.sample(torch.arange(3), 1, config)
        assert not counts.here["addmm"] + counts.here["bmm"]
        again = generator.generate(2, batch_size=3) if rule == "multistep" else []
    for name, value in there.state.items():
        assert isinstance(value, Elsewhere)
        assert torch.equal(returned(value), here.state[name]), name
    for one, other in zip(molecules, again, strict=True):
        assert one.GetConformer().GetPositions().tobytes() == other.GetConformer().GetPositions().tobytes()


def losses(task: Any, device: torch.device, self_condition: bool) -> tuple[torch.Tensor, dict[str, torch.Tensor], list[torch.Tensor]]:
    """A batch's losses, their gradients, and the parameters after a step."""
    examples = torch.arange(4)
    batch = task.batch(examples).to(device)
    denoiser = task.denoiser.to(device).train()
    u = ((examples.double() + 0.5) / 4).to(device)
    options: dict[str, Any] = {"step": 3, "condition": batch.condition, "self_condition": self_condition}
    loss = task.objective(denoiser, batch.state, batch.layouts, Noise(1, examples.to(device)), u, **options)
    optimizer = torch.optim.AdamW(denoiser.parameters(), lr=1e-3)
    loss.total.sum().backward()
    optimizer.step()
    terms = {name: returned(value.detach()) for name, value in {**loss.terms, **loss.nats}.items()}
    return returned(loss.total.detach()), terms, [returned(parameter.detach()) for parameter in denoiser.parameters()]


def assert_same_elsewhere(make: Any, self_condition: bool) -> None:
    here = losses(make(), torch.device("cpu"), self_condition)
    with elsewhere() as (device, _):
        there = losses(make(), device, self_condition)
    assert torch.equal(there[0], here[0])
    assert all(torch.equal(there[1][name], value) for name, value in here[1].items())
    assert all(torch.equal(one, other) for one, other in zip(there[2], here[2], strict=True))


@pytest.mark.parametrize("alignment", ["none", "permutation_rotation"])
def test_a_training_step_of_molecules_elsewhere(alignment: str) -> None:
    data = {**RECIPE, "train": TRAIN, "loss": {"alignment": alignment, "positions": "min_snr", "time_law": "logit_normal"}}
    pristine = tiny_task()

    def make() -> MoleculeTask:
        task = copy.copy(pristine)
        task.recipe, task.denoiser = Recipe.model_validate(data), copy.deepcopy(pristine.denoiser)
        task.objective = task._objective()
        return task

    assert_same_elsewhere(make, self_condition=alignment == "none")


@pytest.fixture(scope="module")
def series() -> TimeSeriesTask:
    domain: Any = load_domain("timeseries")
    return domain.task(domain.recipe().model_validate(SERIES))


def shaken(task: TimeSeriesTask) -> TimeSeriesTask:
    """A copy whose network says something."""
    made = copy.copy(task)
    made.denoiser, generator = copy.deepcopy(task.denoiser), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.denoiser.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return made


def test_a_training_step_of_series_elsewhere(series: TimeSeriesTask) -> None:
    assert_same_elsewhere(lambda: shaken(series), self_condition=False)


def test_validation_and_calibration_elsewhere(
    series: TimeSeriesTask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("scidiff_timeseries.calibration._PATHS", 3)
    monkeypatch.setattr("scidiff_timeseries.calibration.TEMPERATURES", (1.0, 1.2))
    monkeypatch.setattr("scidiff_timeseries.calibration._CONTINUED", 3)
    molecules = tiny_task()
    here, there = shaken(series), shaken(series)
    expected = (here.validate(here.denoiser), here.finish(here.denoiser), molecules.validate(molecules.denoiser))
    with elsewhere() as (device, _):
        there.denoiser.to(device)
        found = (there.validate(there.denoiser), there.finish(there.denoiser), molecules.validate(molecules.denoiser.to(device)))
    assert found == expected


def test_series_are_forecast_filled_and_simulated_elsewhere(series: TimeSeriesTask) -> None:
    task = shaken(series)
    made = Forecaster(recipe=task.recipe, steps=0)
    made._panel, made._fit, made.frequency, made.channels = task.panel, task.fit, task.panel.frequency, task.panel.channels
    made.metadata, made.denoiser = task.metadata(), task.denoiser.eval()
    gap = task.panel.to_frame().tail(40).reset_index(drop=True)
    gap.loc[10:13, "y"] = np.nan

    def ask() -> list[np.ndarray]:
        answers = (made.predict(6, 3), made.impute(gap, 2), made.simulate(2, 7))
        return [answer[answer.channels[0]].to_numpy() for answer in answers]

    expected = ask()
    with elsewhere() as (device, counts):
        made.denoiser = made.denoiser.to(device)
        found = ask()
        assert counts.elsewhere["addmm"] + counts.elsewhere["mm"] > 0
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
