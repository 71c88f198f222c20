"""A bounded queue from a client to one reader of its events, who may be slow, or leave.

The client never waits: a reader that does not keep up is dropped, and told why.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from pinecall_cli.errors import PinecallError
from pinecall_cli.sdk.office import running_loop
from pinecall_cli.sdk.streamed import StreamEvent

MOST_WAITING = 4_096
"""Events: of one call about half a minute, words and loudness included."""
SLOW, OVER = "slow_consumer", "over"
"""Why a reader is told nothing more: it did not keep up, or there is nothing more."""


class SlowReaderError(PinecallError):
    """A reader of events was too slow, and was dropped; what it missed is in the call log."""

    code = SLOW


class Reader:
    """What one reader has not taken yet. `put` from any thread, `take` on the reader's loop."""

    def __init__(
        self, wants: Callable[[StreamEvent], bool] = lambda event: True, most: int = MOST_WAITING
    ) -> None:
        self.wants = wants
        """Whether an event is for this reader."""
        self.why: str | None = None
        """Why nothing more will come; None while something may."""
        self.dropped = asyncio.Event()
        """Set when it was too slow."""
        self._most = most
        self._waiting: deque[StreamEvent] = deque()
        self._wake = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def put(self, event: StreamEvent) -> None:
        """Add an event; a reader that is behind by too many is dropped."""
        if self.why is not None:
            return
        if len(self._waiting) >= self._most:
            self._waiting.clear()
            self.end(SLOW)
            return
        self._waiting.append(event)
        self._call(self._wake.set)

    def end(self, why: str = OVER) -> None:
        """Let there be nothing more than what waits."""
        if self.why is None:
            self.why = why
            self._call(self._wake.set)
            if why == SLOW:
                self._call(self.dropped.set)

    async def take(self) -> list[StreamEvent]:
        """Return all that waits, at least one event; nothing at the end.

        Raises:
            SlowReaderError: If this reader was dropped.
        """
        while not self._waiting and self.why is None:
            self._wake.clear()
            await self._wake.wait()
        if self.why == SLOW:
            raise SlowReaderError(
                f"dropped: {self._most} events waited to be read",
                fix="read faster, or ask for fewer agents",
            )
        taken = list(self._waiting)
        self._waiting.clear()
        return taken

    def _call(self, wake: Callable[[], None]) -> None:
        if running_loop() is self._loop:
            wake()
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(wake)
