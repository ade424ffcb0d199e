"""Time grids: where a sampler stops on its way from t = 1 to t = 0."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from scidiff.schedule import Schedule

GridName = Literal["uniform", "karras", "log_snr", "quadratic", "power"]


def time_grid(schedule: Schedule, steps: int, name: GridName = "uniform", rho: float | None = None) -> Float[Tensor, " points"]:
    r"""``steps`` + 1 descending float64 times: 1, ..., t_min, 0 (power: without t_min).

    uniform: even in t. quadratic: even in sqrt(t). log_snr: even in log-SNR. karras: even in :math:`(\sigma/\alpha)^{1/\rho}`,
    rho = 7 (Karras et al. 2022).
    power: :math:`(1 - k/K)^\rho`, rho = 1.5, which spends no call at t_min: of ten calls one counts.
    Where alpha(1) = 0 the log-SNR is infinite at t = 1, and the last two are spaced between t = 1 - t_min and t_min, with 1 put in front.
    Raises ValueError for steps < 1 or an unknown name.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    if name not in get_args(GridName):
        raise ValueError(f"unknown grid {name!r}; known: {', '.join(get_args(GridName))}")
    one, zero = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    if name == "power":
        return torch.linspace(1, 0, steps + 1, dtype=torch.float64) ** (1.5 if rho is None else rho)
    t_min = schedule.t_min
    if steps == 1:
        return torch.cat((one, zero))
    even = torch.linspace(0, 1, steps, dtype=torch.float64)
    if name == "uniform":
        inner = 1 - even * (1 - t_min)
    elif name == "quadratic":
        inner = (1 - even * (1 - t_min**0.5)) ** 2
    else:
        singular = bool(torch.isinf(schedule.log_snr(one)))
        ends = schedule.log_snr(torch.tensor([1 - t_min if singular else 1.0, t_min], dtype=torch.float64))
        if name == "log_snr":
            inner = schedule.time(ends[0] + even * (ends[1] - ends[0]))
        else:
            rho = 7.0 if rho is None else rho
            root = torch.exp(-0.5 * ends / rho)
            inner = schedule.time(-2 * rho * torch.log(root[0] + even * (root[1] - root[0])))
        inner = torch.cat((one, inner[1:]))  # the first stop is t = 1 itself, exactly
    return torch.cat((inner, zero))
