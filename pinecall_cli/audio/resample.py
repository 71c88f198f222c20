"""Changes the sample rate of a stream, with about a millisecond of delay.

A windowed-sinc filter in polyphase form: output k stands at input time k·M/L, and the filter's
phase (k·M mod L) is a row of a table. Sixteen zero crossings and a Kaiser window of beta 7 keep
aliases 70 dB down; streaming soxr is 143 dB down but 20 to 60 ms late.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from pinecall_cli.audio.pcm import AudioFormatError

CROSSINGS = 8
"""Zero crossings of the sinc on each side."""
BETA = 7.0
EDGE = 0.92
"""Where the filter is 6 dB down, as a share of the lower of both Nyquist frequencies."""
BLOCK = 1 << 14
"""Outputs computed at once: bounds the memory of a long file to about 10 MB."""


@lru_cache(maxsize=16)
def _bank(up: int, down: int) -> NDArray[np.float32]:
    """Return the filter's phases: row p, column j weighs the sample at ``j - half`` for p/up."""
    cut = EDGE * min(1.0, up / down)
    half = math.ceil(CROSSINGS / cut)
    at = np.arange(-half, half + 1)[None, :] - np.arange(up)[:, None] / up
    window = np.i0(BETA * np.sqrt(np.maximum(0.0, 1 - (at / half) ** 2))) / np.i0(BETA)
    window[np.abs(at) > half] = 0.0
    bank = np.sinc(cut * at) * window
    # Every phase passes a constant unchanged: else a steady signal would ripple at the phase rate.
    bank /= bank.sum(axis=1, keepdims=True)
    return np.ascontiguousarray(bank, dtype=np.float32)


class Resampler:
    """A stream's way from ``rate_in`` to ``rate_out`` Hz; how it is cut up changes no sample.

    n samples in give ``ceil(n * rate_out / rate_in)`` out, `flush` included, aligned with the
    input: nothing is shifted, the last few merely come later.
    """

    def __init__(self, rate_in: int, rate_out: int) -> None:
        if rate_in <= 0 or rate_out <= 0:
            raise AudioFormatError(f"cannot resample from {rate_in} to {rate_out} Hz")
        common = math.gcd(rate_in, rate_out)
        self._up, self._down = rate_out // common, rate_in // common
        self._same = rate_in == rate_out
        if not self._same:
            self._phases = _bank(self._up, self._down)
            self._half = self._phases.shape[1] // 2
        self.reset()

    def reset(self) -> None:
        """Forget the stream; the next sample is the first of a new one."""
        self._received = 0
        self._produced = 0
        if not self._same:
            # The first output looks `half` samples back, where nothing is.
            self._first = -self._half
            self._held: NDArray[np.float32] = np.zeros(self._half, np.float32)

    def process(self, pcm: bytes) -> bytes:
        """Return the samples that ``pcm`` completes; possibly none.

        Raises:
            AudioFormatError: If ``pcm`` is not a whole number of samples.
        """
        if len(pcm) % 2:
            raise AudioFormatError(f"{len(pcm)} bytes are not a whole number of 16-bit samples")
        if self._same:
            return pcm
        self._held = np.concatenate((self._held, np.frombuffer(pcm, "<i2").astype(np.float32)))
        self._received += len(pcm) // 2
        # Output k needs the input up to floor(k·down/up) + half.
        reach = self._received - self._half
        return self._until(-(-reach * self._up // self._down) if reach > 0 else 0)

    def flush(self) -> bytes:
        """Return the rest of the stream, silence assumed after it, and start a new one."""
        if self._same:
            return b""
        total = -(-self._received * self._up // self._down)
        self._held = np.concatenate((self._held, np.zeros(self._half + 1, np.float32)))
        rest = self._until(total)
        self.reset()
        return rest

    def _until(self, end: int) -> bytes:
        """Compute the outputs up to ``end`` and let go of what no later one needs."""
        parts = []
        while self._produced < end:
            stop = min(end, self._produced + BLOCK)
            at = np.arange(self._produced, stop, dtype=np.int64) * self._down
            windows = sliding_window_view(self._held, 2 * self._half + 1)
            rows = windows[at // self._up - self._half - self._first]
            parts.append(np.einsum("ij,ij->i", rows, self._phases[at % self._up]))
            self._produced = stop
        oldest = self._produced * self._down // self._up - self._half
        drop = min(max(oldest - self._first, 0), len(self._held))
        self._held = self._held[drop:]
        self._first += drop
        return b"".join(_to_pcm(part) for part in parts)


class SteadyResampler:
    """A `Resampler` for frames: each gives exactly as many ms as it has, from the first on.

    So the sound comes a millisecond late, behind as much silence.
    """

    def __init__(self, rate_in: int, rate_out: int) -> None:
        self._rate_in, self._rate_out = rate_in, rate_out
        self._stream = Resampler(rate_in, rate_out)
        self._pending = bytearray()

    def process(self, frame: bytes) -> bytes:
        """Return ``frame`` at the other rate.

        Raises:
            AudioFormatError: If it is not a whole number of samples at both rates.
        """
        samples, rest = divmod(len(frame) // 2 * self._rate_out, self._rate_in)
        if rest:
            raise AudioFormatError(
                f"{len(frame) // 2} samples at {self._rate_in} Hz are no whole number of them"
                f" at {self._rate_out} Hz"
            )
        self._pending += self._stream.process(frame)
        if len(self._pending) < 2 * samples:
            self._pending[:0] = bytes(2 * samples - len(self._pending))
        out = bytes(self._pending[: 2 * samples])
        del self._pending[: 2 * samples]
        return out


def _to_pcm(values: NDArray[Any]) -> bytes:
    pcm: bytes = np.clip(np.rint(values), -32768, 32767).astype("<i2").tobytes()
    return pcm


def resample(pcm: bytes, rate_in: int, rate_out: int) -> bytes:
    """Return the whole of ``pcm`` at another rate."""
    stream = Resampler(rate_in, rate_out)
    return stream.process(pcm) + stream.flush()
