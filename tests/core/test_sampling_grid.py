"""Time grids: where they start and end, and in what they are even."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from scidiff.sampling import time_grid
from scidiff.sampling.grid import GridName
from scidiff.schedule import EDM, SCHEDULES, Cosine, Schedule, Straight, VPLinear, Warp

ALL: list[Schedule] = [*(kind() for kind in SCHEDULES.values()), Warp(Cosine(), 2.0)]


@pytest.mark.parametrize("schedule", ALL, ids=str)
@pytest.mark.parametrize("name", get_args(GridName))
@pytest.mark.parametrize("steps", [1, 2, 3, 10, 1000])
def test_grids_descend_from_one_over_t_min_to_zero(schedule: Schedule, name: GridName, steps: int) -> None:
    grid = time_grid(schedule, steps, name)
    assert len(grid) == steps + 1
    assert float(grid[0]) == 1
    assert float(grid[-1]) == 0
    assert bool((grid.diff() < 0).all())
    if steps > 1 and name != "power":  # which has no stop at t_min
        assert float(grid[-2]) == pytest.approx(schedule.t_min, rel=1e-6)


def spread(values: torch.Tensor) -> float:
    gaps = values.diff()
    return float((gaps - gaps.mean()).abs().max() / gaps.mean().abs())


@pytest.mark.parametrize("schedule", [VPLinear(), EDM()], ids=str)
def test_each_grid_is_even_in_what_its_name_says(schedule: Schedule) -> None:
    def inner(name: GridName) -> torch.Tensor:
        return time_grid(schedule, 12, name)[:-1]

    assert spread(inner("uniform")) < 1e-12
    assert spread(inner("quadratic").sqrt()) < 1e-12
    assert spread(time_grid(schedule, 12, "power") ** (1 / 1.5)) < 1e-12
    assert spread(time_grid(schedule, 12, "power", rho=3.0) ** (1 / 3)) < 1e-12
    assert spread(schedule.log_snr(inner("log_snr"))) < 1e-9
    assert spread(torch.exp(-0.5 * schedule.log_snr(inner("karras")) / 7.0)) < 1e-9


def test_where_alpha_ends_at_zero_log_snr_grids_start_from_just_below_one() -> None:
    grid = time_grid(Straight(), 5, "log_snr")
    assert float(grid[0]) == 1
    # Even in log-SNR between 1 - t_min and t_min, whose place at the front t = 1 takes.
    level = Straight().log_snr(torch.cat((torch.tensor([1 - 1e-3], dtype=torch.float64), grid[1:-1])))
    assert spread(level) < 1e-9


def test_bad_grids_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        time_grid(Cosine(), 0)
