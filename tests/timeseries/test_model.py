"""The model: untrained it is its base law, exactly; its posterior's root and log score; its noise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from scidiff import posterior as post
from scidiff.random import Noise
from scidiff.sampling import RULES, sample, time_grid
from scidiff.testing import GivenFieldNoise, GivenNoise, RecordingNoise
from scidiff_timeseries.backbone import BackboneConfig, ConvNet
from scidiff_timeseries.generate import draw_paths
from scidiff_timeseries.law import BaseLaw, Part, condition
from scidiff_timeseries.model import VALUES, TimeSeriesDenoiser, gather
from scidiff_timeseries.recipe import SamplerConfig
from scidiff_timeseries.selection import ChannelFit, SeriesFit
from scidiff_timeseries.transforms import Transform
from scidiff_timeseries.windows import Prepared, Question, ask, feature_width

EXACT = 1e-5
"""The state is float32."""


def fit(channels: int = 2) -> SeriesFit:
    walk = BaseLaw(name="walk", parts=(Part(kind="level", weight=1.0),))
    wander = BaseLaw(name="wander", parts=(Part(kind="wander", weight=1.0, memory=0.7), Part(kind="noise", weight=0.2)))
    each = [ChannelFit(transform=Transform(), law=law, centre=2.0, volatility=0.4) for law in (walk, wander)][:channels]
    r = np.eye(channels) * 0.5 + 0.5
    return SeriesFit(channels=tuple(each), correlation=tuple(map(tuple, r.tolist())))


def question(seed: int = 0, length: int = 10, horizon: int = 4, channels: int = 2) -> Question:
    rng = np.random.default_rng(seed)
    values = 2 + np.cumsum(rng.normal(size=(length, channels)), 0) * 0.4
    values[2, 0] = np.nan
    free = np.zeros(values.shape, dtype=bool)
    free[-horizon:] = True
    series = Prepared(fit(channels), values, np.zeros((length, 0)), np.zeros((length, 0)), np.zeros(0), np.zeros((length, 2)))
    return Question(series, 0, values, free)


def untrained(channels: int = 2) -> TimeSeriesDenoiser:
    torch.manual_seed(0)
    return TimeSeriesDenoiser(ConvNet(BackboneConfig(width=8, blocks=2, heads=2), feature_width(0, 0, 0, ()), channels)).eval()


def random_weights(denoiser: TimeSeriesDenoiser, scale: float = 0.3) -> TimeSeriesDenoiser:
    with torch.no_grad():
        for p in denoiser.parameters():
            p.add_(scale * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    return denoiser


@pytest.mark.parametrize("calls", [1, 2, 5])
@pytest.mark.parametrize("churn", [0.0, 1.0])
def test_an_untrained_model_samples_its_base_law_exactly(calls: int, churn: float) -> None:
    """A run of the core's sampler is affine in its noise: unit vectors read off mean and covariance, to be the base law's."""
    asked, denoiser = question(), untrained()
    grid, recording = time_grid(denoiser.schedule, calls), RecordingNoise()
    shape = asked.values.shape

    def run(noise: object, paths: int) -> Tensor:
        asked_rows = ask([asked], (), paths=paths)
        b = asked_rows.batch
        end = sample(denoiser, denoiser.process, b.layouts, noise, grid, RULES["first"], b.state, churn=churn, condition=b.condition)
        return asked_rows.back(end.state[VALUES][..., 0]).flatten(1)

    run(recording, 1)
    entries, draws = shape[0] * shape[1], {step: (1 if step == 0 else 1 + int(churn > 0)) for step in recording.steps}
    rows = 1 + entries * sum(draws.values())
    given, row = {}, 1
    for step, width in draws.items():
        z = torch.zeros(rows, entries * width, dtype=torch.float64)
        z[row : row + entries * width] = torch.eye(entries * width)
        row += entries * width
        given[VALUES, step] = GivenFieldNoise(z.reshape(rows, *shape, width))
    out = run(GivenNoise(given), rows)
    values, free = torch.from_numpy(asked.values), torch.from_numpy(asked.free)
    centre, volatility = torch.full((2,), 2.0).double(), torch.full((2,), 0.4).double()
    law = condition(asked.series.fit.system, values, torch.isfinite(values) & ~free, free, centre, volatility)
    mean, factor = out[0, law.free], (out[1:] - out[0])[:, law.free]
    torch.testing.assert_close(mean, law.mean, rtol=0, atol=EXACT * 10)
    torch.testing.assert_close(factor.T @ factor, law.covariance, rtol=EXACT * 100, atol=EXACT * 100)


def test_known_entries_come_back_to_the_bit_and_missing_ones_missing() -> None:
    asked = question()
    paths = draw_paths(random_weights(untrained()), [asked], (), 7, SamplerConfig(calls=3))
    known = np.isfinite(asked.values) & ~asked.free
    assert (paths[0][:, known] == asked.values[known]).all()
    assert np.isnan(paths[0][:, 2, 0]).all()
    assert np.isfinite(paths[0][:, asked.free]).all()


def test_paths_do_not_depend_on_how_they_are_batched() -> None:
    questions = [question(seed) for seed in range(3)]
    denoiser = random_weights(untrained())
    runs = [draw_paths(denoiser, questions, (), 5, SamplerConfig(calls=2), rows=rows) for rows in (1, 4, 100)]
    for other in runs[1:]:
        np.testing.assert_allclose(other, runs[0], rtol=0, atol=1e-4)
    alone = draw_paths(denoiser, questions[1:2], (), 5, SamplerConfig(calls=2), first=5)
    np.testing.assert_allclose(alone[0], runs[0][1], rtol=0, atol=1e-4)
    assert np.abs(runs[0][0, 0] - runs[0][0, 1])[-1].max() > 1e-3


def test_the_log_score_is_the_density_of_the_draws() -> None:
    """-log p by the root is that of a normal whose mean and covariance the draws themselves reveal."""
    asked, denoiser = question(3), random_weights(untrained())
    denoiser.log_temperature.fill_(0.3)
    batch = ask([asked], ()).batch
    t = torch.tensor([0.6], dtype=torch.float64)
    x_t = denoiser.process.diffuse(batch.state, torch.zeros_like(t), t, batch.layouts, Noise(0, torch.arange(1)))
    with torch.no_grad():
        posterior = denoiser(x_t, t, batch.layouts, batch.condition)[VALUES]
    assert isinstance(posterior, post.Gaussian)
    assert posterior.root is not None
    assert batch.condition is not None
    free = batch.condition["free"]
    entries = asked.values.size
    spread = [
        gather(posterior.root.spread(torch.eye(entries).reshape(entries, 1, *asked.values.shape, 1)[i].double()), free)[0]
        for i in range(entries)
    ]
    columns = torch.stack(spread, 1)
    law = torch.distributions.MultivariateNormal(gather(posterior.mean, free)[0], columns @ columns.T)
    right = -float(law.log_prob(gather(batch.state[VALUES], free)[0]))
    assert float(posterior.log_score(batch.state[VALUES], batch.layouts[VALUES])) == pytest.approx(right, rel=1e-4)


def test_what_is_to_be_forecast_is_not_looked_at() -> None:
    """Changing the values asked for changes neither the law, nor the features, nor a path."""
    asked, denoiser = question(), random_weights(untrained())
    other = Question(asked.series, 0, np.where(asked.free, 99.0, asked.values), asked.free)
    first, second = (ask([q], (3,)).batch.condition for q in (asked, other))
    assert first is not None
    assert second is not None
    for name, x in first.items():
        assert torch.equal(x, second[name]), name
    paths = [draw_paths(denoiser, [q], (), 3, SamplerConfig(calls=2)) for q in (asked, other)]
    assert np.array_equal(paths[0], paths[1], equal_nan=True)


def test_the_marginal_deviations_are_those_of_the_root() -> None:
    model, one = random_weights(untrained()), question()
    batch = ask([one], (), paths=1).batch
    assert batch.condition is not None
    posterior = model(batch.state, torch.tensor([0.6]).double(), batch.layouts, batch.condition)[VALUES]
    free = batch.condition["free"]
    count = int((free >= 0).sum())
    columns = []
    for place in free[0, :count]:
        z = torch.zeros_like(batch.state[VALUES])
        z.view(-1)[place] = 1.0
        columns.append(gather(posterior.root.spread(z), free)[0])
    root = torch.stack(columns, 1)
    torch.testing.assert_close(posterior.root.deviation()[0], root.square().sum(1).sqrt(), rtol=1e-6, atol=1e-9)


def test_a_series_own_strength_scales_its_correction() -> None:
    model, one = random_weights(untrained()), question()
    posteriors = []
    for own, shared in ((0.5, 1.0), (1.0, 0.5), (0.0, 1.0)):
        model.strength.fill_(shared)
        series = Prepared(**{**vars(one.series), "fit": one.series.fit.model_copy(update={"strength": own})})
        batch = ask([Question(series, one.begin, one.values, one.free)], ()).batch
        posteriors.append(model(batch.state, torch.tensor([0.6]).double(), batch.layouts, batch.condition)[VALUES].mean)
    assert torch.equal(posteriors[0], posteriors[1])
    assert not torch.allclose(posteriors[0], posteriors[2])
