"""Listening in: a call's two sides mixed, in the frames of ``/live`` (protocol: sessions.md §4)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Protocol

from pinecall_cli.audio.mix import mix
from pinecall_cli.server.voice.speaking import RATE
from pinecall_cli.server.voice.tape import Listener

CHUNK_MS = 50
PHONE_RATE = 8_000
WAITING = 400
"""Chunks that may wait for a listener: 20 s. A slower one loses the oldest."""
QUIET_S = 5.0
KEEPALIVE = b"\0\0"


class Taped(Protocol):
    """A call that can be listened to."""

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Hand both sides' frames to ``listener``; returns how to stop that."""
        ...


class LiveFeed:
    """One listener of one call: a queue of 50 ms chunks at 8 kHz (phone) or 16 kHz."""

    def __init__(self, tape: Taped, *, phone: bool) -> None:
        self.rate = PHONE_RATE if phone else RATE
        self._mixed = bytearray()
        self._size = RATE * 2 * CHUNK_MS // 1000
        self._chunks: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._down = self._resampler() if phone else None
        self._stop = tape.listen(self._take)

    @staticmethod
    def _resampler() -> Callable[[bytes], bytes]:
        # numpy, which only a server that speaks has
        from pinecall_cli.audio.resample import Resampler  # noqa: PLC0415

        return Resampler(RATE, PHONE_RATE).process

    def _take(self, caller: bytes, agent: bytes) -> None:
        self._mixed += mix(caller, agent)
        while len(self._mixed) >= self._size:
            chunk = bytes(self._mixed[: self._size])
            del self._mixed[: self._size]
            if self._chunks.qsize() >= WAITING:
                self._chunks.get_nowait()
            self._chunks.put_nowait(self._down(chunk) if self._down else chunk)

    def end(self) -> None:
        """The call is over: what waits is still delivered."""
        self._stop()
        self._chunks.put_nowait(None)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the chunks until the call ends; a 2-byte zero for every 5 s without any."""
        while True:
            try:
                async with asyncio.timeout(QUIET_S):
                    chunk = await self._chunks.get()
            except TimeoutError:
                yield KEEPALIVE
                continue
            if chunk is None:
                return
            yield chunk
