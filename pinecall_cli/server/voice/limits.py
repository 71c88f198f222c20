"""How long a call may last and how long it may be quiet (events.md §12), as a pure counter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pinecall_cli.protocol.config import SessionLimits


@dataclass(frozen=True, slots=True)
class Warn:
    """The caller has been quiet: the call ends in ``remaining_seconds`` unless they speak."""

    remaining_seconds: float
    idle_timeout_seconds: float


@dataclass(frozen=True, slots=True)
class Expire:
    """The call is over its limit."""

    reason: Literal["max_duration", "idle_timeout"]


class Limits:
    """Count a call's duration and the caller's silence, in ms of the call's audio clock.

    Agent speech pauses the idle counter, caller speech alone resets it. A limit of 0 is none.
    """

    def __init__(self, limits: SessionLimits) -> None:
        self._duration_ms = 0
        self._idle_ms = 0
        self._warned = 0
        self.change(limits)

    def change(self, limits: SessionLimits) -> None:
        """Go on counting under other limits."""
        self._limits = limits

    def spoken(self) -> None:
        """Take it that the caller has just said something, in writing."""
        self._idle_ms, self._warned = 0, 0

    def step(self, ms: int, *, caller: bool, agent: bool) -> Warn | Expire | None:
        """Count ``ms`` more; return what has become due."""
        limits = self._limits
        self._duration_ms += ms
        if 0 < limits.max_duration_seconds * 1000 <= self._duration_ms:
            return Expire("max_duration")
        if caller:
            self.spoken()
        elif not agent:
            self._idle_ms += ms
        timeout = limits.idle_timeout_seconds * 1000
        if not timeout:
            return None
        warning, grace = limits.idle_warning_seconds * 1000, limits.idle_grace_seconds * 1000
        if self._idle_ms >= timeout + grace:
            return Expire("idle_timeout")
        if self._idle_ms >= timeout and self._warned < 2 and grace:
            self._warned = 2
            return Warn(limits.idle_grace_seconds, limits.idle_timeout_seconds)
        if warning and self._idle_ms >= timeout - warning and self._warned < 1:
            self._warned = 1
            return Warn(limits.idle_warning_seconds, limits.idle_timeout_seconds)
        return None
