"""How loud it is, as a bar shows it: a position between 0 and 1, and the peak that stays a while.

Pure; time is an argument, in seconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

FLOOR_DBFS = -60.0
"""The bar's left end; a quiet room measures about here."""
FALL_DB_PER_S = 24.0
"""How fast a bar comes down: from full scale to nothing in two and a half seconds."""
HOLD_S = 1.0
"""How long a peak stays before it falls too."""


@dataclass(frozen=True, slots=True)
class Level:
    """What a meter shows; both go from 0, at the floor, to 1, full scale."""

    value: float
    peak: float


def position(dbfs: float) -> float:
    """Return where a level stands on the bar: 0 at -60 dBFS and below, 1 at 0 dBFS and above."""
    if math.isnan(dbfs):
        return 0.0
    return min(1.0, max(0.0, 1.0 - dbfs / FLOOR_DBFS))


class Meter:
    """Rises at once, falls slowly, and holds its peaks, so that an eye can follow it."""

    def __init__(self) -> None:
        self._value = self._peak = 0.0
        self._at: float | None = None
        self._peak_at = 0.0

    def update(self, dbfs: float, now: float) -> Level:
        """Return what to show at ``now`` when the sound measures ``dbfs``; -inf is silence.

        A clock that stands still or runs backwards lets nothing fall.
        """
        elapsed = 0.0 if self._at is None else max(0.0, now - self._at)
        fall = elapsed * FALL_DB_PER_S / -FLOOR_DBFS
        self._value = max(position(dbfs), self._value - fall)
        if self._value >= self._peak:
            self._peak, self._peak_at = self._value, now
        elif now - self._peak_at > HOLD_S:
            self._peak = max(self._value, self._peak - fall)
        self._at = now
        return Level(self._value, self._peak)
