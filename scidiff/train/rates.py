r"""The course of the learning rate, as a factor of ``train.learning_rate``; each begins with a linear warm-up.

============  ====================================================================================================
trapezoid     a plateau, then a linear fall to 0 over the last ``cooldown`` of the steps (which a longer run postpones)
cosine        :math:`\tfrac12(1+\cos\pi p)`, p the share of the steps after the warm-up (Loshchilov & Hutter 2017)
inverse_sqrt  :math:`\sqrt{w/\max(s, w)}` at step s after a warm-up of w steps (Vaswani et al. 2017); needs no end
constant      1
============  ====================================================================================================
"""

from __future__ import annotations

import math

from scidiff.train.config import TrainConfig


def rate_factor(config: TrainConfig, step: int) -> float:
    """The factor at optimiser step ``step`` (from 0)."""
    up = min(1.0, (step + 1) / max(config.warmup, 1))
    if config.rate == "trapezoid":
        return min(up, (config.steps - step) / max(config.cooldown * config.steps, 1))
    if step < config.warmup or config.rate == "constant":
        return up
    if config.rate == "cosine":
        return 0.5 * (1 + math.cos(math.pi * (step - config.warmup) / max(config.steps - config.warmup, 1)))
    return math.sqrt(max(config.warmup, 1) / max(step + 1, config.warmup, 1))
