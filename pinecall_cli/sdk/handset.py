"""A terminal that waits for calls to a number (protocol: sessions.md §7.2, 5)."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType

from pinecall_cli.errors import InfrastructureError, NotAuthorisedError, ServerUnreachableError
from pinecall_cli.protocol import codec, events
from pinecall_cli.protocol.frames import Unknown
from pinecall_cli.protocol.mic import MULAW, Accept, MicAnswer, Reject
from pinecall_cli.protocol.urls import answer_url
from pinecall_cli.sdk.mic import PHONE_RATE, MicCall, refused
from pinecall_cli.sdk.socket import Socket, SocketClosedError
from pinecall_cli.settings import Secret

READY_WITHIN_S = 60.0
"""For a server that is still loading its speech engines."""


class Handset:
    """One such terminal. Use as an async context manager: leaving it hangs up."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket

    @classmethod
    async def wait(cls, base: str, key: Secret, number: str, *, fallback: bool = False) -> Handset:
        """Open the socket, and return when calls to ``number`` ring here.

        Args:
            base: The server's URL.
            key: Its key.
            number: E.164.
            fallback: Take only what nobody else answers.

        Raises:
            NotAuthorisedError: If the key is refused.
            InfrastructureError: If the server has no exchange, or no speech engines.
        """
        headers = {"Authorization": f"Bearer {key.reveal()}"}
        handset = cls(await Socket.open(answer_url(base), headers=headers))
        first = MicAnswer(number=number, sample_rate=PHONE_RATE, encoding=MULAW, fallback=fallback)
        try:
            with contextlib.suppress(SocketClosedError):  # what it said before that is read below
                await handset._socket.send(codec.encode(first))
            async with asyncio.timeout(READY_WITHIN_S):
                while not isinstance(await handset._next(), events.AnswerReady):
                    pass
        except TimeoutError:
            await handset._socket.close()
            raise InfrastructureError("the server does not let this terminal ring") from None
        except BaseException:
            await handset._socket.close()
            raise
        return handset

    async def next(self) -> events.CallRinging | events.CallEnded:
        """Return the next call that rings, or the end of one that rang.

        Raises:
            ServerUnreachableError: If the connection is lost.
        """
        while True:
            event = await self._next()
            if isinstance(event, events.CallRinging | events.CallEnded):
                return event

    async def accept(self) -> MicCall:
        """Take the call that rings; hold what this returns.

        If somebody else was faster, or it was given up, that call ends at once.
        """
        await self._send(codec.encode(Accept()))
        return MicCall(self._socket, phone=True, answering=True)

    async def reject(self, reason: str = "busy") -> None:
        """Turn the call that rings away: ``busy`` or ``rejected``."""
        await self._send(
            codec.encode(Reject(reason="rejected" if reason == "rejected" else "busy"))
        )

    async def __aenter__(self) -> Handset:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._socket.close()

    async def _next(self) -> object:
        try:
            message = await self._socket.receive()
        except SocketClosedError as closed:
            raise lost(closed) from None
        if isinstance(message, bytes):
            return None
        received = codec.decode_event(message)
        if isinstance(received.frame, events.Error) or (
            isinstance(received.frame, Unknown) and received.frame.event == "error"
        ):
            raise refused(received)
        return received.frame

    async def _send(self, frame: str) -> None:
        try:
            await self._socket.send(frame)
        except SocketClosedError as closed:
            raise lost(closed) from None


def lost(closed: SocketClosedError) -> Exception:
    """Return the error for a socket that closed while the terminal waited."""
    if closed.code in (1008, 4401):
        return NotAuthorisedError(f"the server does not let this terminal ring: {closed.reason}")
    return ServerUnreachableError(
        "the connection was lost while waiting for a call",
        fix="see whether the server still runs: `pinecall agents`",
    )
