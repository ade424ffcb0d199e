r"""An exponential moving average of the weights, with a warm-up of its horizon.

:math:`\bar\theta \leftarrow d\,\bar\theta + (1-d)\,\theta`, :math:`d = \min(\mathrm{decay}, (1+s)/(10+s))` at step s, so that early
averages are not held back by the initial weights.
"""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def update_ema(average: nn.Module, module: nn.Module, decay: float, step: int) -> None:
    """One step of the average, in place. Both modules have the same parameters."""
    weight = 1 - min(decay, (1 + step) / (10 + step))
    targets = [p.data for p in average.parameters()]
    torch._foreach_lerp_(targets, [p.data for p in module.parameters()], weight)  # pyright: ignore[reportPrivateImportUsage, reportPrivateUsage]
