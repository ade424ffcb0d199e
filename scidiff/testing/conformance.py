"""The whole kit on one third party's part: a process, a rule. (Schedules: :func:`~scidiff.testing.schedules.check_schedule`.)"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from scidiff.layout import Layout
from scidiff.process import Categorical, Gaussian, Joint, Process
from scidiff.random import Noise
from scidiff.sampling import Rule
from scidiff.schedule import Straight
from scidiff.testing.chains import Chain, check_branches
from scidiff.testing.labels import check_label_process
from scidiff.testing.locality import check_sampler_locality
from scidiff.testing.oracles import CategoricalOracle
from scidiff.testing.orders import check_gaussian_order, check_label_order, even_grid, plain_labels
from scidiff.testing.reals import check_real_process


def check_process(process: Process, *, labels: int | None = None, data_labels: int | None = None, channels: int = 2) -> None:
    """That a process is one Markov chain, its bridges its posteriors and its rates their divergence.

    See :mod:`~scidiff.testing.labels` for a process on ``labels`` labels (``data_labels`` of them clean), :mod:`~scidiff.testing.reals` for
    one on reals (``labels`` None), which is tried on plain entries and in the zero-mean subspace.
    Raises AssertionError with the statement that fails, the place and the numbers.
    """
    if labels is not None:
        check_label_process(process, labels, data_labels)
        return
    check_real_process(process, Layout(torch.ones(1, 2, dtype=torch.bool)), channels)
    check_real_process(process, Layout(torch.ones(1, 3, dtype=torch.bool), centred=True), channels)


def check_rule(rule: Rule, order: tuple[float, float], *, churns: Sequence[float] = (0.0, 1.0)) -> None:
    """That a rule's law converges to the exact one: on reals at ``order`` (and its tolerance), on labels at order 1, at each of ``churns``;
    that labels are drawn by the law that was enumerated; and law 5. A rule must take times through :meth:`Walk.times` for the labels' part.

    Raises AssertionError with the law that fails and what was measured.
    """
    straight = Straight()
    for churn in churns:
        check_gaussian_order(rule, Gaussian(straight), churn, order, black_box=True)
        for process in (Categorical.absorbing(2, straight), Categorical.uniform(2, straight)):
            check_label_order(rule, process, plain_labels(2), churn)
            check_branches(Chain(rule, CategoricalOracle(process, plain_labels(2)), churn), even_grid(3))
        fields = {"x": Gaussian(straight), "c": Categorical.absorbing(3, straight)}
        check_sampler_locality(rule, Joint(fields), even_grid(3, (1.0, 0.1)), lambda ids: Noise(0, ids), churn)
