"""Spoils a caller's sound as a telephone line does: band, noise and lost frames.

The same seed and the same sound give the same bytes. Without numpy: a 20 ms frame takes about
half a millisecond, once per frame and call.
"""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass
from random import Random

from pinecall_cli.audio.pcm import FULL_SCALE, from_samples, samples
from pinecall_cli.caller.steps import LineQuality

PHONE_BAND = (300.0, 3400.0)
"""Hz, the pass band of ITU-T G.712."""
FOURTH_ORDER = (0.5412, 1.3066)
"""The Q of both halves of a Butterworth filter of order 4."""


@dataclass(slots=True)
class _Section:
    """One second-order filter, transposed direct form II, and what it remembers."""

    b0: float
    b1: float
    b2: float
    a1: float
    a2: float
    z1: float = 0.0
    z2: float = 0.0

    def run(self, values: list[float]) -> list[float]:
        b0, b1, b2, a1, a2 = self.b0, self.b1, self.b2, self.a1, self.a2
        z1, z2 = self.z1, self.z2
        out = []
        for value in values:
            result = b0 * value + z1
            z1 = b1 * value - a1 * result + z2
            z2 = b2 * value - a2 * result
            out.append(result)
        # Below this nothing is audible, and denormal numbers are ten times slower.
        self.z1 = z1 if abs(z1) > 1e-9 else 0.0
        self.z2 = z2 if abs(z2) > 1e-9 else 0.0
        return out


def _section(frequency: float, q: float, rate: int, *, high_pass: bool) -> _Section:
    """Return a Butterworth section by the bilinear transform."""
    turn = 2 * math.pi * frequency / rate
    cosine, alpha = math.cos(turn), math.sin(turn) / (2 * q)
    edge = (1 + cosine if high_pass else 1 - cosine) / 2 / (1 + alpha)
    middle = -2 * edge if high_pass else 2 * edge
    return _Section(edge, middle, edge, -2 * cosine / (1 + alpha), (1 - alpha) / (1 + alpha))


class Line:
    """One direction of one call at ``rate`` Hz; frame after frame goes through `process`."""

    def __init__(self, quality: LineQuality, rate: int) -> None:
        self._filters: list[_Section] = []
        if quality.band == "phone":
            low, high = PHONE_BAND
            self._filters = [_section(low, q, rate, high_pass=True) for q in FOURTH_ORDER]
            if high < rate / 2:
                self._filters += [_section(high, q, rate, high_pass=False) for q in FOURTH_ORDER]
        self._noise = (
            0.0 if quality.noise_db is None else FULL_SCALE * 10 ** (quality.noise_db / 20)
        )
        self._loss = quality.loss
        # Two sequences, so that more noise does not lose other frames.
        self._hiss, self._holes = Random(quality.seed), Random(~quality.seed)

    def process(self, frame: bytes) -> bytes:
        """Return what arrives of ``frame`` at the other end; as long as it was."""
        values = [float(value) for value in samples(frame)]
        for section in self._filters:
            values = section.run(values)
        if self._noise:
            gauss, level = self._hiss.gauss, self._noise
            values = [value + gauss(0.0, level) for value in values]
        if self._loss and self._holes.random() < self._loss:
            return bytes(len(frame))
        if not self._filters and not self._noise:
            return frame
        whole = [max(-32768, min(32767, round(value))) for value in values]
        return from_samples(array("h", whole))
