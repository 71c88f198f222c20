"""Frames on their way to one socket: in order, bounded, written by one task."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

Close = tuple[int, str]
"""A close code and reason."""

SLOW: Close = (1008, "slow_consumer")


class Outbox:
    """What waits to be written to a peer.

    A peer that reads slower than is written to it would fill the memory of a server that has
    others to serve; when the bound is reached the rest is dropped and `overflow` is set.
    """

    def __init__(self, *, frames: int, size: int) -> None:
        """``frames`` and ``size`` (in characters) bound what may wait."""
        self.overflow = asyncio.Event()
        self._frames_limit, self._size_limit = frames, size
        self._frames: deque[str] = deque()
        self._size = 0
        self._closing: Close | None = None
        self._wake = asyncio.Event()

    def put(self, text: str) -> None:
        """Queue a frame; nothing is queued behind a close."""
        if self._closing is not None:
            return
        self._frames.append(text)
        self._size += len(text)
        if len(self._frames) > self._frames_limit or self._size > self._size_limit:
            self._frames.clear()
            self._closing = SLOW
            self.overflow.set()
        self._wake.set()

    def close(self, code: int, reason: str) -> None:
        """Close the socket once everything queued is written; the first close counts."""
        if self._closing is None:
            self._closing = code, reason
            self._wake.set()

    @property
    def closing(self) -> Close:
        """The close that is due, or the one for a peer that reads too slowly."""
        return self._closing or SLOW

    async def run(self, write: Callable[[str], Awaitable[None]]) -> Close:
        """Write what is queued until a close is due; returns that close."""
        while True:
            while self._frames:
                text = self._frames.popleft()
                self._size -= len(text)
                await write(text)
            if self._closing is not None:
                return self._closing
            self._wake.clear()
            await self._wake.wait()
