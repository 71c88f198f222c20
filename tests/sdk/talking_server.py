"""A WebSocket server that says what a test has written down: what ours never would."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from websockets.asyncio.server import ServerConnection, serve


@asynccontextmanager
async def saying(
    *messages: str | bytes, close: tuple[int, str] | None = None, drop: bool = False
) -> AsyncIterator[str]:
    """Serve connections that are told these messages; yields the server's address.

    Args:
        messages: Sent at once to whoever connects.
        close: Code and reason with which the connection is closed then; else it stays open.
        drop: Whether the connection breaks off then, without a word.
    """

    async def handler(socket: ServerConnection) -> None:
        for message in messages:
            await socket.send(message)
        if close is not None:
            await socket.close(*close)
        elif drop:
            socket.transport.abort()
        await socket.wait_closed()

    async with serve(handler, "127.0.0.1", 0) as listening:
        yield f"http://127.0.0.1:{next(iter(listening.sockets)).getsockname()[1]}"
