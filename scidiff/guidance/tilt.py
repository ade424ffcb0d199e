r"""Guidance by a likelihood of clean data: the posterior tilted by it, :math:`p'(x_0|x_t) \propto p(x_0|x_t)\, L(x_0)`.

Labels: L is a product over entries, given as a table of log L_i(k): the posterior of entry i becomes
:math:`p_i(k) L_i(k)/\sum_l p_i(l) L_i(l)`. A table of 0 and -inf (or of booleans) allows some labels and forbids others. Exact if entries
are independent given x_t; otherwise what one entry's evidence says about the *others* reaches them only through x_s, at the next steps.

Reals: L is a function, and log L is expanded to first order at the posterior mean D. With the posterior's covariance S the tilt of a
normal law is the normal law with mean :math:`D + S\,\nabla \log L(D)` and the same covariance: exact for a linear log L, an approximation
for others (DPS has the same gradient, another size of step, and differentiates the network too). The log-likelihood of a linear-Gaussian
measurement is quadratic: :class:`~scidiff.guidance.Measurement` is exact for it.

Sources: Chung et al. 2023 (DPS); Boys et al. 2023 (the covariance in front of the gradient).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from scidiff import posterior as post
from scidiff.errors import UserError
from scidiff.guidance.base import Wrapper, shared, stated
from scidiff.guidance.measurement import covariance_times, project_rows
from scidiff.layout import Layout
from scidiff.posterior import Posteriors
from scidiff.process import Clocks, Layouts

LogTable = Float[Tensor, "group *entries label"] | Bool[Tensor, "group *entries label"]
LogFunction = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Tilt(Wrapper):
    """See the module. Implements :class:`~scidiff.denoiser.Denoise`.

    ``log_likelihood`` in nats. Of a field of labels: a table [group, *entries, label] (one row for all samples, or one each; symmetric for
    pairs; True for what is allowed), where labels beyond its end are forbidden. Of a field of reals: a differentiable function of clean
    values [batch, *entries, channel] -> [batch]; the posterior must state a covariance. Known entries are left as they are. Where the
    denoiser gives no allowed label any probability, the table alone decides.

    Raises UserError if the kind of likelihood does not fit the field, an entry (padding too) is allowed no label, or shapes do not fit.
    """

    field: str
    log_likelihood: LogTable | LogFunction

    def __post_init__(self) -> None:
        if isinstance(self.log_likelihood, Tensor) and bool(torch.isneginf(self._table(self.log_likelihood)).all(-1).any()):
            raise UserError(f"Tilt of {self.field!r}: an entry is allowed no label at all (padding must be allowed one, too)")

    def change(self, posteriors: Posteriors, t: Clocks, layouts: Layouts) -> Posteriors:
        posterior, given, layout = stated(posteriors, self.field), self.log_likelihood, layouts[self.field]
        if isinstance(posterior, post.Categorical) and isinstance(given, Tensor):
            return {**posteriors, self.field: self._labels(posterior, self._table(given), layout)}
        if isinstance(posterior, post.Gaussian) and not isinstance(given, Tensor):
            return {**posteriors, self.field: self._reals(posterior, given, layout)}
        raise UserError(f"Tilt of {self.field!r}: labels take a table of log-likelihoods, reals a function of clean values")

    @staticmethod
    def _table(given: Tensor) -> Tensor:
        return given.double().log() if given.dtype == torch.bool else given

    def _labels(self, posterior: post.Categorical, table: Tensor, layout: Layout) -> post.Categorical:
        table = shared(table.to(posterior.logits), layout.batch, f"Tilt of {self.field!r}")
        beyond = posterior.logits.shape[-1] - table.shape[-1]
        if beyond < 0 or table.shape[:-1] != posterior.logits.shape[:-1]:
            raise UserError(
                f"Tilt of {self.field!r}: the table is {tuple(table.shape)}, the field's labels {tuple(posterior.logits.shape)}"
            )
        table = torch.nn.functional.pad(table, (0, beyond), value=-torch.inf)
        both = posterior.logits + table
        both = torch.where(torch.isneginf(both).all(-1, keepdim=True), table, both)
        return post.Categorical(torch.where(layout.free[..., None], both, posterior.logits))

    def _reals(self, posterior: post.Gaussian, log_likelihood: LogFunction, layout: Layout) -> post.Gaussian:
        mean = posterior.mean
        with torch.enable_grad():
            x_0 = mean.detach().clone().requires_grad_()
            (slope,) = torch.autograd.grad(log_likelihood(x_0).sum(), x_0)
        rows = project_rows(slope.double().flatten(1)[:, None], mean, layout)
        shift = project_rows(covariance_times(posterior, rows, layout), mean, layout)
        return post.Gaussian(mean + shift.reshape(mean.shape).to(mean), posterior.variance, posterior.root)
