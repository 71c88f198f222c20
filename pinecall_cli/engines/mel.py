"""The picture of sound that Whisper's encoder reads: 80 mel bands, logarithmic, every 10 ms."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

RATE = 16000
SAMPLES = 8 * RATE
"""Eight seconds, the window Smart Turn was trained on."""
FFT, HOP, BANDS = 400, 160, 80
FLOOR = 1e-10
"""Energy under which a band counts as empty, before the logarithm."""
RANGE = 8.0
"""Decades (of energy) below the loudest point that are told apart."""
EPSILON = 1e-7


def hz_of_mel(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return frequencies on Slaney's scale: linear to 1 kHz (15 mel), then 27 mel per 6.4-fold."""
    return np.where(mel < 15, mel * 200 / 3, 1000 * 6.4 ** ((mel - 15) / 27))


def mel_of_hz(hz: float) -> float:
    """Return the mel of a frequency at or above 1 kHz, the inverse of `hz_of_mel`."""
    return 15 + 27 * float(np.log(hz / 1000) / np.log(6.4))


@cache
def bands() -> NDArray[np.float64]:
    """Return the weights of the 201 FFT bins in each band: triangles of equal area."""
    edges = hz_of_mel(np.linspace(0, mel_of_hz(RATE / 2), BANDS + 2))
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    bins = np.linspace(0, RATE / 2, FFT // 2 + 1)
    triangles = np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre))
    return np.maximum(triangles, 0) * 2 / (high - low)


@cache
def _window() -> NDArray[np.float64]:
    return np.hanning(FFT + 1)[:-1]  # periodic, as the training's was


def log_mel(audio: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the features of ``audio`` (float, 16 kHz), bands by 10 ms steps, about -1 to 1.

    The sound is brought to zero mean and unit variance first, so loudness does not matter.
    """
    level = (audio - audio.mean()) / np.sqrt(audio.var() + np.float32(EPSILON))
    # A frame's centre is its time, so the first one reaches back; Whisper drops the one at the end.
    padded = np.pad(level.astype(np.float64), FFT // 2, mode="reflect")
    steps = sliding_window_view(padded, FFT)[::HOP][: len(audio) // HOP]
    power = np.abs(np.fft.rfft(steps * _window(), axis=1)) ** 2
    decades = np.log10(np.maximum(bands() @ power.T, FLOOR))
    decades = np.maximum(decades, decades.max() - RANGE)
    features: NDArray[np.float32] = ((decades + 4) / 4).astype(np.float32)
    return features
