"""How to train, as a typed configuration. Times are counted in optimiser steps."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from scidiff.config import Config


class TrainConfig(Config):
    """How to train. Times are counted in optimiser steps; ``batch_size`` is the global one, whatever the number of processes."""

    seed: int = Field(default=0, ge=0)
    steps: int = Field(default=10_000, ge=1)
    batch_size: int = Field(default=256, ge=1)
    accumulate: int = Field(default=1, ge=1, le=4096, description="parts in which a batch is computed, by one process or by several")
    learning_rate: float = Field(default=1e-3, gt=0)
    rate: Literal["trapezoid", "cosine", "constant", "inverse_sqrt"] = Field(default="trapezoid", description="course of the rate")
    weight_decay: float = Field(default=0.01, ge=0)
    beta2: float = Field(default=0.99, gt=0, lt=1)
    warmup: int = Field(default=500, ge=0)
    cooldown: float = Field(default=0.3, ge=0, le=1, description="trapezoid: the last share of the steps, in which the rate falls to 0")
    clip: Literal["fixed", "seen"] = Field(default="fixed", description="seen: at what the last 50 norms make likely, clip_norm at most")
    clip_norm: float = Field(default=1.0, gt=0)
    ema_decay: float = Field(default=0.999, ge=0, lt=1)
    self_conditioning: float = Field(default=0.5, ge=0, le=1, description="how often the network is shown its own answer")
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    compile: bool = False
    log_every: int = Field(default=20, ge=1)
    save_every: int = Field(default=500, ge=1)
    validate_every: int = Field(default=1000, ge=1)
    preview_every: int = Field(default=2000, ge=1)
    keep: int = Field(default=2, ge=1, description="checkpoints that are kept, besides the best")
    patience: int | None = Field(default=None, ge=1, description="stop after so many validations without a new best")
    weights: Literal["auto", "last", "best"] = Field(default="auto", description="which are written in the end; auto: best with patience")
    on_nan: Literal["stop", "skip"] = Field(default="stop", description="skip: leave out up to nan_budget batches")
    nan_budget: int = Field(default=10, ge=0)
    max_seconds: float | None = Field(default=None, gt=0, description="stop (and save) after this long, whatever the step")

    @property
    def keeps_best(self) -> bool:
        """Are the weights of the best validation those that are written in the end?"""
        return self.weights == "best" or (self.weights == "auto" and self.patience is not None)
