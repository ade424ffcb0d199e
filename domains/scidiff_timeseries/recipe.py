"""The typed configuration of a :class:`~scidiff_timeseries.forecaster.Forecaster` and its training."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from scidiff.config import Config
from scidiff.train.loop import TrainConfig
from scidiff_timeseries.backbone import BackboneConfig


class Questions(Config):
    """How often training asks what: the last steps, scattered entries, blocks, whole channels (of systems), everything."""

    forecast: float = Field(default=0.7, ge=0)
    gaps: float = Field(default=0.1, ge=0)
    blocks: float = Field(default=0.1, ge=0)
    channels: float = Field(default=0.05, ge=0)
    everything: float = Field(default=0.05, ge=0)


class WindowConfig(Config):
    """Lengths in steps. ``context``: what the base law sees before a question; ``view``: what of it the network sees. None: three of
    the longest season (at most 512), at least 60 and two horizons; for the view two horizons, at least 60, at most the context."""

    horizon: int = Field(ge=1, le=10_000)
    context: int | None = Field(default=None, ge=2, le=4096)
    view: int | None = Field(default=None, ge=0, le=4096)
    rolls: int = Field(default=5, ge=1, le=100, description="windows at the end of the data that validate: selection and calibration")
    selection_rolls: int = Field(default=20, ge=1, le=100, description="windows on which base laws are compared, validation included")

    def lengths(self, seasons: tuple[int, ...]) -> tuple[int, int]:
        """(context, view)."""
        longest = max(seasons, default=1)
        context = self.context or max(60, 2 * self.horizon, min(3 * longest, 512))
        return context, min(context, self.view if self.view is not None else max(2 * self.horizon, 60))


class SamplerConfig(Config):
    """Network calls a forecast, and how much fresh noise a step takes."""

    calls: int = Field(default=4, ge=1, le=256)
    churn: float = Field(default=1.0, ge=0, le=1)


def default_training() -> TrainConfig:
    return TrainConfig(
        steps=1500, batch_size=64, learning_rate=1e-3, warmup=100, clip_norm=1.0, ema_decay=0.995, self_conditioning=0.0,
        validate_every=250, preview_every=10**6, save_every=250,
    )  # fmt: skip


class Recipe(Config):
    """A training of the time-series domain."""

    domain: Literal["timeseries"] = "timeseries"
    name: str = "timeseries"
    windows: WindowConfig
    questions: Questions = Field(default_factory=Questions)
    backbone: BackboneConfig = Field(default_factory=BackboneConfig)
    sampler: SamplerConfig = Field(default_factory=SamplerConfig)
    train: TrainConfig = Field(default_factory=default_training)
