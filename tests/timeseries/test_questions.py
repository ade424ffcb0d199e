"""What training asks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scidiff_timeseries.questions import KINDS, kinds, pattern, sizes, uniforms
from scidiff_timeseries.recipe import Questions

SHAPE, HORIZON = (30, 3), 10
MIX = Questions(forecast=0.2, gaps=0.2, blocks=0.2, channels=0.2, everything=0.2)


def asked(count: int = 400, shape: tuple[int, int] = SHAPE) -> list[tuple[str, np.ndarray, np.ndarray, int]]:
    u = uniforms(7, torch.arange(count), 6)
    names = [KINDS[k] for k in kinds(MIX, u[:, 0], shape[1])]
    return [(name, row, *pattern(MIX, row, 7, n, shape, HORIZON)) for n, (name, row) in enumerate(zip(names, u, strict=True))]


def test_every_kind_comes_as_often_as_it_is_asked_for() -> None:
    names = [name for name, *_ in asked(4000)]
    for kind in KINDS:
        assert abs(names.count(kind) / 4000 - 0.2) < 4 * np.sqrt(0.2 * 0.8 / 4000)


def test_a_single_channel_is_never_asked_for_as_a_whole() -> None:
    assert "channels" not in [name for name, *_ in asked(200, (30, 1))]


def test_what_each_kind_asks_for() -> None:
    for name, _, free, shown in asked():
        last = np.zeros(SHAPE, dtype=bool)
        last[-HORIZON:] = True
        if name in ("forecast", "everything"):
            assert (free == last).all()
        if name == "channels":
            assert free.all(0).sum() == 1
            assert free.any(0).sum() == 1
        if name == "blocks":
            rows = np.flatnonzero(free.any(1))
            assert (np.diff(rows) == 1).all()
            assert (free[rows] == free[rows[0]]).all()
        assert shown == 0 or name == "everything"


def test_of_everything_half_show_nothing_and_half_a_part_of_what_came_before() -> None:
    shown = np.array([shown for name, _, _, shown in asked(2000) if name == "everything"])
    nothing = shown == SHAPE[0] - HORIZON
    assert abs(nothing.mean() - 0.5) < 4 * np.sqrt(0.25 / len(shown))
    assert set(shown[~nothing]) == set(range(SHAPE[0] - HORIZON))


def test_sizes_are_what_is_asked_for() -> None:
    """Exactly for kinds that draw nothing further, on average for the others."""
    found = asked(2000)
    size = sizes(MIX, np.stack([u for _, u, _, _ in found]), SHAPE, HORIZON)
    counted = np.array([free.sum() for _, _, free, _ in found])
    for kind in KINDS:
        mine = np.array([name == kind for name, *_ in found])
        if kind in ("forecast", "channels", "everything"):
            assert (size[mine] == counted[mine]).all()
        elif kind == "gaps":
            assert size[mine].mean() == pytest.approx(counted[mine].mean(), rel=0.03)
        else:
            assert np.corrcoef(size[mine], counted[mine])[0, 1] > 0.7


def test_a_question_depends_on_seed_and_number_alone() -> None:
    u = uniforms(7, torch.tensor([31]), 6)
    again = pattern(MIX, u[0], 7, 31, SHAPE, HORIZON)
    assert (again[0] == asked()[31][2]).all()
    assert again[1] == asked()[31][3]
