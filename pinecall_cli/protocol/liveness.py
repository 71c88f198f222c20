"""Is the peer still there? Decided from what was heard and when, without a clock of its own."""

from __future__ import annotations

from typing import Literal

QUIET_S = 45.0
"""A peer that pings every 30 s is never this quiet while it lives."""
PATIENCE_S = 5.0
"""What a probe's answer may take."""


class Liveness:
    """Decide whether a peer is still there. All times are seconds on the caller's clock."""

    def __init__(self, *, quiet: float = QUIET_S, patience: float = PATIENCE_S, now: float) -> None:
        self._quiet, self._patience = quiet, patience
        self._probed = False
        self._heard = now
        self.deadline = now + quiet
        """When ``tick`` has something to say next, if nothing is heard until then."""

    def heard(self, now: float) -> None:
        """Take note of a frame from the peer, of any kind."""
        self._heard, self._probed, self.deadline = now, False, now + self._quiet

    def alive(self, now: float) -> bool:
        """Return whether the peer was heard recently enough to need no probe."""
        return now < self._heard + self._quiet

    def tick(self, now: float) -> Literal["probe", "lost"] | None:
        """Say what is due at ``now``; afterwards sleep until ``deadline``."""
        if now < self.deadline:
            return None
        if self._probed:
            return "lost"
        self._probed, self.deadline = True, now + self._patience
        return "probe"

    def probe(self, now: float) -> None:
        """Begin the answer window at once: somebody else wants to know."""
        if not self._probed:
            self._probed, self.deadline = True, now + self._patience
