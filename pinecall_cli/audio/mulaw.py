"""µ-law (G.711), the telephone's 8-bit samples, by look-up tables; without numpy.

The tables are made by runs, not sample by sample, so importing costs nothing worth measuring.
"""

from __future__ import annotations

from array import array

from pinecall_cli.audio.pcm import samples

BIAS = 132
"""Added to a magnitude before its logarithm is taken (0x84 in G.711)."""


def _expand(code: int) -> int:
    """Return the sample that ``code`` stands for."""
    exponent, mantissa = (~code >> 4) & 7, ~code & 15
    magnitude = (((mantissa << 3) + BIAS) << exponent) - BIAS
    return magnitude if code & 0x80 else -magnitude


def _compressed() -> bytes:
    """Return the code of every sample, indexed by the sample taken as unsigned.

    A step with exponent e and mantissa m holds the magnitudes from ``((16 + m) << e + 3) - BIAS``
    on, ``1 << e + 3`` of them: 128 runs make the positive half.
    """
    positive = bytearray()
    for exponent in range(8):
        for mantissa in range(16):
            run = 1 << exponent + 3
            first = ((16 + mantissa) << exponent + 3) - BIAS
            code = ~(exponent << 4 | mantissa) & 0xFF
            positive += bytes([code]) * (first + run - max(first, 0))
    # The last step reaches past 32767 by less than a run; -32768 clips to the loudest code.
    positive = positive[:32768].ljust(32768, b"\x80")
    negative = bytes(code & 0x7F for code in reversed(positive[1:]))
    return bytes(positive) + b"\0" + negative


_LOW = bytes(_expand(code) & 0xFF for code in range(256))
_HIGH = bytes(_expand(code) >> 8 & 0xFF for code in range(256))
_CODES = _compressed()


def decode(ulaw: bytes) -> bytes:
    """Return the int16 PCM of µ-law samples."""
    pcm = bytearray(2 * len(ulaw))
    pcm[0::2] = ulaw.translate(_LOW)
    pcm[1::2] = ulaw.translate(_HIGH)
    return bytes(pcm)


def encode(pcm: bytes) -> bytes:
    """Return the µ-law samples of int16 PCM, louder than 32635 clipped.

    Raises:
        AudioFormatError: If ``pcm`` is not a whole number of samples.
    """
    signed = samples(pcm)
    return bytes(map(_CODES.__getitem__, array("H", signed.tobytes())))
