"""Tells a device that has gone from a program that was held up; pure, time is an argument."""

from __future__ import annotations

LONGEST_STEP_S = 0.1
"""What one look may count for: longer gaps are our own (Ctrl-Z, a laptop's sleep, a busy loop)."""
STEADY = 50
"""Callbacks, a second of sound, after which a device runs. A sound server fills its buffers with
the first ones at once, and asks for more when it has really started."""


class Stall:
    """Notices that a device has stopped calling back. Seconds."""

    def __init__(self, *, patience: float = 1.0, first: float = 5.0) -> None:
        """Allow ``patience`` without a callback, and ``first`` until they come steadily.

        A stream was seen to take up to 1.9 s to start on an idle sound server.
        """
        self._patience, self._first = patience, first
        self._calls = 0
        self._quiet = 0.0
        self._looked: float | None = None

    def gone(self, calls: int, now: float) -> bool:
        """Say whether the device is lost, given how often it has called back until ``now``."""
        step = 0.0 if self._looked is None else min(max(0.0, now - self._looked), LONGEST_STEP_S)
        self._looked = now
        if calls != self._calls:
            self._calls, self._quiet = calls, 0.0
        else:
            self._quiet += step
        return self._quiet > (self._patience if calls >= STEADY else self._first)
