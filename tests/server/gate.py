"""A gate in an engine of a server: who comes to it waits, and a test can wait for them to come."""

from __future__ import annotations

import asyncio
import threading

from pinecall_cli.server.embedded import EmbeddedServer
from tests.server.peer import PATIENCE_S


class Gate:
    """Passed on the server's thread, watched and opened from the test's."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._changed = threading.Condition()
        self._held = 0

    async def passed(self) -> None:
        """Return when the gate is open."""
        self._count(1)
        try:
            await self._open.wait()
        finally:
            self._count(-1)

    def _count(self, more: int) -> None:
        with self._changed:
            self._held += more
            self._changed.notify_all()

    async def holds(self, count: int) -> None:
        """Return when exactly so many wait."""
        assert await asyncio.to_thread(self._wait_for, count), f"{self._held} wait, not {count}"

    def _wait_for(self, count: int) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._held == count, PATIENCE_S)

    def open(self, server: EmbeddedServer) -> None:
        """Let everybody through, from now on."""
        server.call_soon(self._open.set)
