r"""Laws 1 and 2: how fast a rule's law approaches the exact one, regressed from exact laws on an interior interval.

The error of N steps is fitted as :math:`C N^{-p}`; p is the order. The interval runs from t = 0.9 to 0.2, from the exact q(x_0.9): so
neither the prior's own gap nor the last step to t = 0 is measured, and every schedule is smooth there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from scidiff.layout import Layout
from scidiff.process import Categorical, Gaussian
from scidiff.sampling import Rule
from scidiff.testing.affine import Moments, Setting, law_by_steps, law_of_sampler
from scidiff.testing.chains import Chain, exact_law, total_variation
from scidiff.testing.oracles import CategoricalOracle, GaussianData, projection_matrix

INTERVAL = (0.9, 0.2)
GAUSSIAN_STEPS = (128, 160)
LABEL_STEPS = (32, 64)
FIRST_ORDER = (1.0, 0.2)
"""(order, tolerance) of law 1 for first-order rules."""
SECOND_ORDER = (2.0, 0.25)
"""(order, tolerance) of law 1 for multistep and Heun."""
LABEL_ORDER = (1.0, 0.1)
"""(order, tolerance) of law 2, for every rule."""
_EXACT = 1e-12
"""Errors below this are rounding: there is no order to see."""


def even_grid(steps: int, interval: tuple[float, float] = INTERVAL) -> Float[Tensor, " points"]:
    """``steps`` + 1 times, even in t."""
    return torch.linspace(interval[0], interval[1], steps + 1, dtype=torch.float64)


def order(steps: Sequence[int], errors: Sequence[float]) -> float:
    """The slope of -log(error) against log(steps), by least squares."""
    return float(-np.polyfit(np.log(steps), np.log(errors), 1)[0])


def plain_gaussians() -> tuple[GaussianData, Layout]:
    """Three laws over two scalar entries: means off zero, correlations of both signs, variances below and above one.

    With means and covariances all in one error vector its leading term does not vanish for any schedule; for a single symmetric law
    (mean 0, variance 1 on a variance-preserving schedule) it does, and the regression would see the next order.
    """
    mean = torch.tensor([[0.7, -1.1], [1.5, 0.3], [0.0, 0.4]], dtype=torch.float64)[..., None]
    factor = torch.tensor([[[1.0, 0.0], [0.8, 0.3]], [[0.3, 0.0], [-0.1, 0.9]], [[1.2, 0.0], [0.5, 0.6]]], dtype=torch.float64)
    return GaussianData(mean, factor @ factor.mT), Layout(torch.ones(1, 2, dtype=torch.bool))


def centred_gaussians() -> tuple[GaussianData, Layout]:
    """Two laws over three entries in the plane, in the zero-mean subspace: four degrees of freedom."""
    layout = Layout(torch.ones(1, 3, dtype=torch.bool), centred=True)
    subspace = projection_matrix(layout, 2)
    factor = torch.stack([torch.diag(torch.linspace(0.4, 1.4, 6)).double(), torch.eye(6).double() * 0.8])
    factor[0] += 0.3 * torch.ones(6, 6, dtype=torch.float64).triu(1)
    mean = torch.tensor([[0.9, -0.2, -0.5, 1.0, 0.3, 0.1], [0.0, 0.8, -1.0, 0.0, 0.2, 0.7]], dtype=torch.float64)
    return GaussianData((mean @ subspace).reshape(2, 3, 2), subspace @ factor @ factor.mT @ subspace), layout


def plain_labels(labels: int) -> Float[Tensor, "label label"]:
    """A law over pairs of labels that are neither independent nor symmetric: p(i, j) ~ 1 + 3 [i = j] + 2 i + j/2."""
    i = torch.arange(labels, dtype=torch.float64)
    weight = 1 + 3 * torch.eye(labels, dtype=torch.float64) + 2 * i[:, None] + 0.5 * i
    return weight / weight.sum()


def gaussian_order(setting: Setting, steps: Sequence[int] = GAUSSIAN_STEPS, *, black_box: bool = False) -> tuple[float, list[float]]:
    """(order, errors) of law 1. ``black_box`` probes whole runs of ``sample``: slower, and right for any rule."""
    start, end = setting.exact(INTERVAL[0]), setting.exact(INTERVAL[1])
    law: Callable[[Setting, Tensor, Moments], Moments] = law_of_sampler if black_box else law_by_steps
    errors = [law(setting, even_grid(n), start).distance(end) for n in steps]
    return order(steps, errors), errors


def label_order(chain: Chain, steps: Sequence[int] = LABEL_STEPS) -> tuple[float, list[float]]:
    """(order, errors in total variation) of law 2."""
    end = exact_law(chain.oracle, INTERVAL[1])
    errors = [total_variation(chain.law(even_grid(n)), end) for n in steps]
    return order(steps, errors), errors


def check_gaussian_order(
    rule: Rule,
    process: Gaussian,
    churn: float,
    expected: tuple[float, float],
    *,
    steps: Sequence[int] = GAUSSIAN_STEPS,
    black_box: bool = False,
) -> None:
    """Law 1. ``expected``: the order and its tolerance. Raises AssertionError with the order and the errors measured."""
    data, layout = plain_gaussians()
    found, errors = gaussian_order(Setting(rule, process, data, layout, churn), steps, black_box=black_box)
    where = f"law 1: {rule} at churn {churn} on {process.schedule}"
    _assert_readable(where, steps, errors)
    assert abs(found - expected[0]) <= expected[1], (
        f"{where}: order {found:.3f}, must be {expected[0]} +- {expected[1]}; {_listed(steps, errors)}"
    )


def check_label_order(
    rule: Rule, process: Categorical, joint: Float[Tensor, "*labels"], churn: float, *, steps: Sequence[int] = LABEL_STEPS
) -> None:
    """Law 2: the law over sequences with law ``joint`` is approached at order 1. Raises AssertionError with what was measured."""
    found, errors = label_order(Chain(rule, CategoricalOracle(process, joint), churn), steps)
    where = f"law 2: {rule} at churn {churn}, pi = {[round(p, 4) for p in process.pi]}, {process.schedule}"
    _assert_readable(where, steps, errors)
    centre, tolerance = LABEL_ORDER
    assert abs(found - centre) <= tolerance, f"{where}: order {found:.3f}, must be {centre} +- {tolerance}; {_listed(steps, errors)}"


def _assert_readable(where: str, steps: Sequence[int], errors: Sequence[float]) -> None:
    readable = all(_EXACT < e < float("inf") for e in errors)
    assert readable, f"{where}: no order can be read off the errors {list(errors)} of {list(steps)} steps"


def _listed(steps: Sequence[int], errors: Sequence[float]) -> str:
    return "errors " + ", ".join(f"{e:.3e} at {n} steps" for n, e in zip(steps, errors, strict=True))
