"""When to try again for an agent's name that somebody else holds (protocol README, section 9)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

BUDGET_S = 90.0
"""Twice the 45 s after which a silent holder counts as gone."""
FIRST_S = 5.0
DOUBLINGS = 10
"""More would pass every cap."""
TICK_S = 0.001
"""The protocol counts whole milliseconds; less than one is none."""
SPREAD = (0.85, 1.15)
CAP_S = 60.0
CAP_HELD_S = 600.0
"""For a holder that is known to live."""


class ConflictRetry:
    """The retries of one agent, from its first refusal to its registration or the end of budget.

    Times are seconds on the caller's clock. A new episode wants a new object.
    """

    def __init__(self, uniform: Callable[[float, float], float]) -> None:
        self._uniform = uniform
        self._started: float | None = None
        self._attempt = 0
        self._held = False
        self.deadline: float | None = None
        """When to send ``agent.create`` again; None while no retry is scheduled."""

    def refused(
        self,
        now: float,
        *,
        retry_after_s: float | None = None,
        holder_alive: bool | None = None,
    ) -> Literal["wait", "exhausted"]:
        """Take note of a refusal and say whether to go on.

        Args:
            now: The time.
            retry_after_s: The server's hint; absent, the delay doubles from 5 s.
            holder_alive: Whether the holder answered the server's probe; absent, nothing changes.
        """
        if self._started is None:
            self._started = now
        if holder_alive is False:
            self._started, self._attempt, self._held = now, 0, False
        if self.deadline is not None:
            return "wait"
        self._held = self._held or holder_alive is True
        remaining = BUDGET_S - (now - self._started)
        if remaining < TICK_S:
            return "exhausted"
        self.deadline = now + min(self._delay(retry_after_s), remaining)
        self._attempt += 1
        return "wait"

    def due(self, now: float) -> bool:
        """Return whether the retry is to be sent now; if so it is no longer scheduled."""
        if self.deadline is None or now < self.deadline:
            return False
        self.deadline = None
        return True

    def _delay(self, retry_after_s: float | None) -> float:
        doubled = FIRST_S * 2 ** min(self._attempt, DOUBLINGS)
        base = doubled if retry_after_s is None else max(0.0, retry_after_s)
        capped = min(base, CAP_HELD_S if self._held else CAP_S)
        return round(capped * self._uniform(*SPREAD), 3)
