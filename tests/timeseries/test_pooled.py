"""One fit for many short series: its comparison is the law's own prediction, it finds what made the data, and every series gets it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from scidiff_timeseries.forecaster import Forecaster
from scidiff_timeseries.gaps import GapTask, Split
from scidiff_timeseries.generate import draw_paths
from scidiff_timeseries.law import BaseLaw, Part, SystemLaw, condition
from scidiff_timeseries.panel import read_frame
from scidiff_timeseries.pooled import _NORMAL, PRIORS, _fit, _Trial, pooled_fit, windows_of  # type: ignore[reportPrivateUsage]
from scidiff_timeseries.prepare import too_short
from scidiff_timeseries.recipe import Recipe, WindowConfig
from scidiff_timeseries.selection import ChannelFit, Rolls
from scidiff_timeseries.transforms import Transform
from scidiff_timeseries.windows import Prepared, Question

LAW = BaseLaw(
    name="offset and wander",
    parts=(Part(kind="level", weight=0.02), Part(kind="wander", weight=1.0, memory=0.8), Part(kind="noise", weight=0.1)),
    start=100.0,
    decay=0.99,
)


def short(series: int = 120, length: int = 24, seed: int = 0) -> list[np.ndarray]:
    """Draws of LAW at scale 2 around 10 and -3, in two channels whose innovations have correlation 0.7; a third of the values missing."""
    rng = np.random.default_rng(seed)
    root = LAW.root(length).numpy()
    made = []
    for _ in range(series):
        x = 2 * root @ rng.normal(size=(length, 2)) @ np.linalg.cholesky(np.array([[1, 0.7], [0.7, 1]])).T + [10, -3]
        made.append(np.where(rng.random(x.shape) < 1 / 3, np.nan, x))
    return made


def test_candidates_are_compared_by_what_the_law_says_of_hidden_entries() -> None:
    """Quantile losses of the batched comparison and of the law's own conditioning, window by window."""
    rows = np.stack([table[:, 0] for table in short(6)])
    fit = ChannelFit(transform=Transform(), law=LAW, centre=9.0, volatility=1.5)
    trial = _Trial.of(rows, 0)
    for prior, losses in zip(PRIORS, trial.losses(fit), strict=True):
        law = LAW.model_copy(update={"prior": prior})
        for y, asked, found in zip(rows, trial.asked, losses, strict=True):
            expected = 0.0
            known, free = (torch.from_numpy(mask)[:, None] for mask in (np.isfinite(y) & ~asked, asked))
            centre, volatility = (torch.tensor([v]).double() for v in (9.0, 1.5))
            one = condition(SystemLaw((law,), ((1.0,),)), torch.from_numpy(y)[:, None], known, free, centre, volatility)
            deviation = one.covariance.diagonal().sqrt().numpy()
            for level, z in zip(np.arange(1, 10) / 10, _NORMAL, strict=True):
                q = one.mean.numpy() + z * deviation
                expected += np.abs((q - y[asked]) * ((y[asked] <= q) - level)).sum()
            assert found == pytest.approx(expected, rel=1e-6)


def test_the_panel_s_level_volatility_and_correlation_are_found() -> None:
    fit = pooled_fit(short(), (), 24)
    levels = [float(channel.transform.inverse(np.array([channel.centre]), np.zeros(1))[0]) for channel in fit.channels]
    assert levels == pytest.approx([10, -3], abs=1.0)
    assert fit.correlation[0][1] == pytest.approx(0.7, abs=0.15)
    truth = _fit(np.stack([table[:, 0] for table in short()]), Transform(), LAW)
    assert truth is not None
    assert truth.volatility == pytest.approx(2.0, rel=0.15)


@pytest.mark.parametrize("shared", [1.0, 0.5, 0.0])
def test_channels_share_their_walks_and_of_what_moves_fast_a_share(shared: float) -> None:
    r, length = ((1.0, 0.6), (0.6, 1.0)), 5
    k = SystemLaw((LAW, LAW), r, shared).covariance(length).reshape(length, 2, length, 2)
    t = torch.arange(length).double()
    walk = 0.02 * (100 + torch.minimum(t[:, None], t))
    fast = 0.8 ** (t[:, None] - t).abs() + 0.1 * torch.eye(length)
    for one, other in ((0, 0), (0, 1), (1, 0), (1, 1)):
        expected = walk + fast if one == other else 0.6 * (walk + shared * fast)
        assert torch.allclose(k[:, one, :, other], expected.double(), atol=1e-7)


def test_windows_end_where_series_do() -> None:
    tables = [np.arange(7.0)[:, None], np.arange(3.0)[:, None], np.full((5, 1), np.nan)]
    found = windows_of(tables, 4)[:, :, 0]
    nan = np.nan
    np.testing.assert_array_equal(found, [[nan, 0, 1, 2], [3, 4, 5, 6], [nan, 0, 1, 2]])
    assert windows_of(tables[1:], 4).shape == (1, 4, 1)


def panel(series: int, length: int) -> pd.DataFrame:
    stamps = pd.date_range("2024-01-01", periods=length, freq="D")
    each = [pd.DataFrame({"unique_id": k, "ds": stamps, "a": x[:, 0], "b": x[:, 1]}) for k, x in enumerate(short(series, length))]
    return pd.concat(each, ignore_index=True)


def test_series_too_short_for_a_law_each_share_one(tmp_path: Path) -> None:
    df = panel(15, 12)
    forecaster = Forecaster(10, steps=0).fit(df)
    assert forecaster.metadata["fit"]["pool"]
    assert len(forecaster.metadata["fit"]["series"]) == 1
    forecaster.save(tmp_path / "model.safetensors")
    loaded = Forecaster.load(tmp_path / "model.safetensors")
    renamed = df.assign(unique_id=df["unique_id"] + 100)  # nobody known
    made, again = (loaded.predict(4, 5, df=one).to_array() for one in (df, renamed))
    assert np.array_equal(made, again)
    assert np.array_equal(made, forecaster.predict(4, 5).to_array())
    assert loaded.simulate(2, 5, id=3).to_array().shape == (1, 2, 5, 2)
    apart = Forecaster(recipe=Recipe(windows=WindowConfig(horizon=10, pool=False)), steps=0).fit(df)
    assert len(apart.metadata["fit"]["series"]) == 15
    long = read_frame(panel(15, 20))
    assert [too_short(long, Rolls(horizon, 5, 10)) for horizon in (10, 12)] == [False, True]


def test_training_questions_hide_known_entries_only_and_answers_do_not_depend_on_them() -> None:
    fit = pooled_fit(short(20), (), 24)
    none = np.zeros((24, 0))
    each = [Prepared.of(fit, table, none, none, np.zeros(0), np.full((24, 2), 0.5)) for table in short(20)]
    recipe = Recipe(windows=WindowConfig(horizon=24, context=2, view=0))
    task = GapTask(recipe, Split(each[:15], each[15:]), ())
    batch = task.batch(torch.arange(6))
    free, mask = batch.layouts["values"].free, batch.layouts["values"].mask
    assert free.any((1, 2)).all()
    assert (mask & ~free).any()
    asked = task.validation()
    assert [question.free.sum() for question in asked] == [
        round(share * np.isfinite(q.values).sum()) for share, q in zip((0.1, 0.5, 0.9, 0.1, 0.5), asked, strict=True)
    ]
    model = task.base_law()
    model.strength.fill_(1.0)
    altered = [Question(q.series, 0, np.where(q.free, 1e3, q.values), q.free) for q in asked]
    paths, other = (draw_paths(model, questions, (), 3, recipe.sampler) for questions in (asked, altered))
    np.testing.assert_array_equal(paths, other)
