"""Measures and cuts int16 little-endian PCM; pure, and without numpy."""

from __future__ import annotations

import math
import sys
from array import array
from collections.abc import Iterator
from operator import mul

SAMPLE_BYTES = 2
FRAME_MS = 20
FULL_SCALE = 32768.0
AUDIBLE_DBFS = -50.0
"""What is quieter counts as silence (protocol: events.md §7.8)."""


class AudioFormatError(ValueError):
    """PCM that is not a whole number of samples: a bug of the caller, not of a user."""


def samples(pcm: bytes) -> array[int]:
    """Return the samples of ``pcm`` as native integers, -32768 to 32767.

    Raises:
        AudioFormatError: If ``pcm`` is not a whole number of samples.
    """
    if len(pcm) % SAMPLE_BYTES:
        raise AudioFormatError(f"{len(pcm)} bytes are not a whole number of 16-bit samples")
    values = array("h", pcm)
    if sys.byteorder == "big":
        values.byteswap()
    return values


def from_samples(values: array[int]) -> bytes:
    """Return native int16 ``values`` as PCM; the inverse of `samples`."""
    if sys.byteorder == "big":
        values = values[:]
        values.byteswap()
    return values.tobytes()


def level_dbfs(pcm: bytes) -> float:
    """Return the RMS level of mono PCM, in dBFS; -inf for silence or nothing.

    0 dBFS here is a full-scale square wave, so a full-scale sine reads -3.01.
    AES17 puts the sine at 0; meters that follow it show 3.01 dB more.

    Raises:
        AudioFormatError: If ``pcm`` is not a whole number of samples.
    """
    values = samples(pcm)
    energy = sum(map(mul, values, values))
    if not energy:
        return -math.inf
    return 10 * math.log10(energy / len(values) / FULL_SCALE**2)


def first_above(pcm: bytes, dbfs: float) -> int | None:
    """Return the number of the first sample whose amplitude is above ``dbfs``, if one is."""
    bound = FULL_SCALE * 10 ** (dbfs / 20)
    return next((n for n, value in enumerate(samples(pcm)) if abs(value) > bound), None)


def last_above(pcm: bytes, dbfs: float) -> int | None:
    """Return how many samples there are up to the last one above ``dbfs``, if one is."""
    values = samples(pcm)
    values.reverse()
    bound = FULL_SCALE * 10 ** (dbfs / 20)
    back = next((n for n, value in enumerate(values) if abs(value) > bound), None)
    return None if back is None else len(values) - back


def sample_count(ms: float, rate: int) -> int:
    """Return how many samples at ``rate`` Hz last ``ms`` milliseconds, to the nearest."""
    return round(ms * rate / 1000)


def silence(ms: float, rate: int) -> bytes:
    """Return ``ms`` milliseconds of digital silence at ``rate`` Hz."""
    return bytes(SAMPLE_BYTES * sample_count(ms, rate))


def duration_ms(pcm: bytes, rate: int) -> float:
    """Return how long mono ``pcm`` lasts at ``rate`` Hz, in milliseconds."""
    return 1000 * (len(pcm) // SAMPLE_BYTES) / rate


def frames(pcm: bytes, rate: int, ms: int = FRAME_MS) -> Iterator[bytes]:
    """Yield ``pcm`` in frames of ``ms`` milliseconds, the last one filled up with silence."""
    size = SAMPLE_BYTES * sample_count(ms, rate)
    for start in range(0, len(pcm), size):
        yield pcm[start : start + size].ljust(size, b"\0")


def interleave(left: bytes, right: bytes) -> bytes:
    """Return stereo PCM of two mono sides, the shorter one filled up with silence."""
    length = max(len(left), len(right))
    both = array("h", bytes(2 * length))
    both[0::2] = array("h", left.ljust(length, b"\0"))
    both[1::2] = array("h", right.ljust(length, b"\0"))
    return both.tobytes()
