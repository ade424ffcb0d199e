"""Guidance: functions from denoiser to denoiser (:class:`ClassifierFree`, :class:`Measurement`, :class:`Tilt`), and particles that wrap the
sampling loop (:func:`steer`)."""

from scidiff.guidance.base import Given
from scidiff.guidance.classifier_free import ClassifierFree
from scidiff.guidance.measurement import AssumedVariance, Measurement
from scidiff.guidance.particles import Particles, steer
from scidiff.guidance.tilt import Tilt

__all__ = ["AssumedVariance", "ClassifierFree", "Given", "Measurement", "Particles", "Tilt", "steer"]
