"""A sound that is found again in a recording, however faint and noisy: how far, how loud."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pinecall_cli.audio.pcm import FULL_SCALE

LOWEST_HZ, HIGHEST_HZ = 400.0, 3600.0
"""What the smallest loudspeaker plays and a telephone's bandwidth holds."""
LENGTH_MS = 200
FADE_MS = 20
LEVEL = 0.25
"""Of full scale: -12 dB, loud enough for a room and no fright."""
CLEAR = 8.0
"""How far the peak stands out of all else: noise alone reached 5.5 in 1,000 tries of 1 s."""


@dataclass(frozen=True, slots=True)
class Found:
    """Where a chirp is in a recording."""

    at_ms: float
    level_db: float
    """How loud it is, of how loud it was sent."""


def chirp(rate: int) -> bytes:
    """Return a tone that rises evenly, faded in and out, as int16 mono PCM at ``rate`` Hz."""
    return (_wave(rate) * FULL_SCALE).astype("<i2").tobytes()


def find(recording: bytes, rate: int) -> Found | None:
    """Return the clearest chirp in ``recording``; None if none stands out of the noise."""
    heard = np.frombuffer(recording, "<i2").astype(np.float64) / FULL_SCALE
    sent = _wave(rate)
    if len(heard) < len(sent):
        return None
    size = len(heard) + len(sent) - 1
    spectrum = np.fft.rfft(heard, size) * np.conj(np.fft.rfft(sent, size))
    # Beyond these the chirp would hang over the end.
    match = np.abs(np.fft.irfft(spectrum, size)[: len(heard) - len(sent) + 1])
    at = int(match.argmax())
    loudness = float(np.sqrt(np.mean(match**2)))
    if not loudness or match[at] < CLEAR * loudness:
        return None
    gain = match[at] / float(sent @ sent)
    return Found(1000 * at / rate, float(20 * np.log10(gain)))


def _wave(rate: int) -> NDArray[np.float64]:
    count = rate * LENGTH_MS // 1000
    time = np.arange(count) / rate
    rise = (HIGHEST_HZ - LOWEST_HZ) / (count / rate)
    wave = LEVEL * np.sin(2 * np.pi * (LOWEST_HZ * time + rise * time**2 / 2))
    fade = rate * FADE_MS // 1000
    ramp = np.sin(np.linspace(0, np.pi / 2, fade)) ** 2
    wave[:fade] *= ramp
    wave[-fade:] *= ramp[::-1]
    faded: NDArray[np.float64] = wave
    return faded
