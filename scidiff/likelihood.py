r"""The evidence lower bound of a denoiser, in nats:
:math:`-\log p(x_0) \le \mathrm{KL}_{prior} + \int_{t_{min}}^1 \mathrm{kl\_rate}\,dt + \mathrm{reconstruction}`.

The integral is a quadrature over fixed nodes, with fresh noise at each; Gaussian fields are integrated in their log-SNR, where the
integrand is bounded (in t it grows as t -> 0). Source: Kingma et al. 2021; Campbell et al. 2022 for labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from scidiff.denoiser import Condition, Denoise
from scidiff.process import Joint, Layouts, State
from scidiff.random import NoiseSource


@dataclass(frozen=True)
class Bound:
    """Nats per sample and field: the two ends, the integral, and :attr:`total`, which bounds -log p(x_0) in expectation."""

    prior: dict[str, Float[Tensor, " batch"]]
    diffusion: dict[str, Float[Tensor, " batch"]]
    reconstruction: dict[str, Float[Tensor, " batch"]]

    @property
    def total(self) -> Float[Tensor, " batch"]:
        parts = (*self.prior.values(), *self.diffusion.values(), *self.reconstruction.values())
        return torch.stack(list(parts)).sum(0)


def quadrature(t_min: float, nodes: int) -> tuple[Float[Tensor, " nodes"], Float[Tensor, " nodes"]]:
    """Gauss-Legendre nodes and weights for the integral over [t_min, 1], even in log(t/(2 - t)): dense where rates grow, exact for
    smooth integrands."""
    x, w = np.polynomial.legendre.leggauss(nodes)
    low, high = np.log(t_min / (2 - t_min)), 0.0
    v = low + (high - low) * (x + 1) / 2
    t = 2 / (1 + np.exp(-v))
    jacobian = t * (2 - t) / 2
    return torch.from_numpy(t), torch.from_numpy(w * (high - low) / 2 * jacobian)


@torch.no_grad()
def elbo(
    denoiser: Denoise,
    process: Joint,
    x_0: State,
    layouts: Layouts,
    noise: NoiseSource,
    *,
    nodes: int = 32,
    t_min: float = 1e-3,
    condition: Condition | None = None,
) -> Bound:
    """The negative ELBO of each sample by quadrature with ``nodes`` network calls and one more for the reconstruction.

    Draws 1..nodes of ``noise`` serve the nodes, draw 0 the lower end. One clock for all fields; with known entries it bounds -log
    p(free | known).
    """
    times, weights = quadrature(t_min, nodes)
    device = next(iter(x_0.values())).device
    batch = next(iter(layouts.values())).batch
    zero = torch.zeros(batch, dtype=torch.float64, device=device)
    integral = {f: torch.zeros_like(zero) for f in process.fields}
    for number, (time, weight) in enumerate(zip(times.tolist(), weights.tolist(), strict=True), start=1):
        t = torch.full_like(zero, time)
        x_t = process.diffuse(x_0, zero, t, layouts, noise, number)
        rates = process.kl_rate(x_0, x_t, denoiser(x_t, t, layouts, condition), t, layouts)
        integral = {f: integral[f] + weight * rates[f] for f in integral}
    low = torch.full_like(zero, t_min)
    x_low = process.diffuse(x_0, zero, low, layouts, noise, 0)
    ends = process.reconstruction(x_0, x_low, denoiser(x_low, low, layouts, condition), low, layouts)
    return Bound(process.kl_prior(x_0, layouts), integral, ends)
