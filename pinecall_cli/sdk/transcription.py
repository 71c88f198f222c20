"""`Transcription`: a socket to which one speaks and which writes it down (sessions.md §7)."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any

from pinecall_cli.errors import PinecallError, ServerUnreachableError
from pinecall_cli.sdk.socket import Socket, SocketClosedError
from pinecall_cli.sdk.spoken import Piece, number_of, piece_of, text_of


class Transcription:
    """Speech on its way to text: send sound, read pieces, say when it is over.

    Use it with ``async with``; it is open, and the server ready, from there on.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Socket]],
        refused: Callable[[str, str], PinecallError],
    ) -> None:
        self._connect, self._refused = connect, refused
        self._socket: Socket | None = None
        self.audio_seconds: float | None = None
        """How much was heard; known at the end."""

    async def __aenter__(self) -> Transcription:
        """Connect, and wait until the server takes sound.

        Raises:
            AudioError: If the server cannot do what was asked for.
            NotAuthorisedError: If there is no key, or it is refused.
            ServerUnreachableError: If there is no answer.
        """
        self._socket = await self._connect()
        try:
            while (await self._message()).get("type") != "ready":
                pass
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def send(self, sound: bytes) -> None:
        """Send some sound, in the encoding that was asked for; any length.

        It waits where the server is behind.

        Raises:
            ServerUnreachableError: If the connection is lost.
        """
        await self._send(sound)

    async def finalize(self) -> None:
        """Have what was said so far written down for good, without a pause being heard."""
        await self._send(json.dumps({"type": "finalize"}))

    async def stop(self) -> None:
        """Say that there is no more sound; what is left is written down, then it is over."""
        await self._send(json.dumps({"type": "stop"}))

    def __aiter__(self) -> Transcription:
        return self

    async def __anext__(self) -> Piece:
        """Return the next piece; it is over when all was written down after `stop`.

        Raises:
            AudioError: If the server fails at it.
            ServerUnreachableError: If the connection is lost before the end.
        """
        while True:
            if self.audio_seconds is not None:
                raise StopAsyncIteration
            message = await self._message()
            match message.get("type"):
                case "partial":
                    return piece_of(message, final=False)
                case "final":
                    return piece_of(message, final=True)
                case "done":
                    self.audio_seconds = number_of(message.get("audio_seconds")) or 0.0

    async def close(self) -> None:
        """Leave, whether or not it is over; a second time does nothing."""
        if self._socket is not None:
            await self._socket.close()

    async def _message(self) -> dict[str, Any]:
        """Return the next message; raises what it says has gone wrong."""
        try:
            received = await self._open.receive()
        except SocketClosedError as closed:
            raise lost(closed) from None
        try:
            message = json.loads(received)
        except (ValueError, RecursionError):
            return {}
        if not isinstance(message, dict):
            return {}
        if message.get("type") == "error":
            code = text_of(message.get("code")) or "UPSTREAM_ERROR"
            raise self._refused(code, text_of(message.get("error")) or "no reason given")
        return message

    async def _send(self, message: str | bytes) -> None:
        try:
            await self._open.send(message)
        except SocketClosedError as closed:
            raise lost(closed) from None

    @property
    def _open(self) -> Socket:
        if self._socket is None:
            raise RuntimeError("the transcription is not open: use it with `async with`")
        return self._socket


def lost(closed: SocketClosedError) -> ServerUnreachableError:
    """Return the error for a stream that ended before its end."""
    return ServerUnreachableError(f"the connection is lost: {closed}")
