"""Cuts a long turn into pieces a recogniser likes, where the speaker was quietest.

A cut depends only on what comes before it and shortly after, so a turn that grows is always cut
at the same places, and its finished pieces need no second look.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

RATE = 16000
SHORTEST_S, LONGEST_S = 8, 12
"""A piece ends between these. Twelve seconds cost 400 ms to recognise, thirty cost 1300."""
STEP = RATE // 50
"""Energy is measured over 20 ms."""
CALM = 8
"""A pause is judged over so many steps (160 ms): a single one may be the closure of a \"t\"."""


def cut(pcm: bytes) -> Iterator[bytes]:
    """Yield ``pcm`` (16 kHz) in pieces of at most 12 s, cut at pauses; nothing is left out."""
    while len(pcm) > 2 * RATE * LONGEST_S:
        at = 2 * _pause(pcm)
        yield pcm[:at]
        pcm = pcm[at:]
    yield pcm


def _pause(pcm: bytes) -> int:
    """Return the sample in the middle of the quietest stretch in which a piece may end."""
    audio = np.frombuffer(pcm, "<i2", count=RATE * LONGEST_S)[RATE * SHORTEST_S :]
    energy = (audio.astype(np.float64).reshape(-1, STEP) ** 2).mean(axis=1)
    stretches = np.convolve(energy, np.ones(CALM), mode="valid")
    # Of equal ones (digital silence) the last: the longer the piece, the fewer there are.
    quietest = len(stretches) - 1 - int(stretches[::-1].argmin())
    return RATE * SHORTEST_S + (quietest + CALM // 2) * STEP
