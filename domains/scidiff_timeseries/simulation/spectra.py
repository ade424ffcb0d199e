"""Power spectra of paths."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import spectrogram

from scidiff_timeseries.simulation.resample import Units, ratio

__all__ = ["Spectrum", "segment_length", "spectrum"]

Array = NDArray[np.float64]
_BANDS = 16
_LONGEST = 1024
_KNOWN = 0.9


@dataclass(frozen=True)
class Spectrum:
    """Power [1 + resamples, band] by ``frequencies`` [band], in cycles a step: the mean over segments of half overlap (Welch 1967)."""

    frequencies: Array
    power: Array


def segment_length(times: int) -> int:
    """The longest power of two within a third of the times, at most 1024; 0 where a spectrum would say nothing."""
    length = 1 << max(0, int(times / 3).bit_length() - 1)
    return min(length, _LONGEST) if length >= 16 else 0


def spectrum(values: Array, units: Units, segment: int) -> Spectrum:
    """Of one column [path, time] without its cycles: one-sided density by scipy's spectrogram (Hann window), averaged over bands of equal
    width in the logarithm of frequency. Missing values count as 0; segments with more than a tenth missing are left out."""
    there = np.isfinite(values)
    filled = np.where(there, values, 0.0)
    frequencies, at, power = spectrogram(filled, fs=1.0, window="hann", nperseg=segment, noverlap=segment // 2, detrend="constant")
    starts = np.round(at - segment / 2).astype(int)
    known = np.stack([there[:, start : start + segment].mean(1) for start in starts], 1) >= _KNOWN
    path, place = np.nonzero(known)
    weights = units.weights[:, units.number[path, starts[place] + segment // 2]]
    edges = np.geomspace(frequencies[1], frequencies[-1] * (1 + 1e-9), _BANDS + 1)
    band = np.clip(np.searchsorted(edges, frequencies[1:], side="right") - 1, 0, _BANDS - 1)
    used = np.unique(band)
    segments = power[path, 1:, place]  # [segment, frequency]
    banded = np.stack([segments[:, band == b].mean(1) for b in used], 1)
    centres = np.array([np.exp(np.log(frequencies[1:][band == b]).mean()) for b in used])
    return Spectrum(centres, ratio(weights @ banded, weights.sum(1, keepdims=True)))
