"""Hearing a running call: the client of ``/live/{id}/ws`` (protocol: sessions.md §4)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from types import TracebackType

from pinecall_cli.errors import InfrastructureError, ServerUnreachableError
from pinecall_cli.protocol.urls import ws_base
from pinecall_cli.sdk.socket import Socket, SocketClosedError
from pinecall_cli.settings import Secret

SHORTEST = 4
"""Bytes of a frame with sound in it; shorter ones keep the connection alive."""
RATES = (8_000, 16_000, 24_000, 48_000)


class LiveAudio:
    """The sound of one call, both sides mixed: int16 mono PCM at ``rate`` Hz."""

    def __init__(self, socket: Socket, rate: int) -> None:
        self.rate = rate
        self.ended = False
        """Whether the call ended, as opposed to the connection."""
        self._socket = socket

    @classmethod
    async def open(cls, url: str, key: Secret, call_id: str) -> LiveAudio:
        """Begin to listen. The key travels in a header: an URL would end up in logs.

        Raises:
            NotFoundError: If there is no such live call.
            NotAuthorisedError: If the key is refused, or live media is off for the agent.
        """
        socket = await Socket.open(
            f"{ws_base(url)}/live/{call_id}/ws",
            headers={"Authorization": f"Bearer {key.reveal()}"},
        )
        try:
            metadata = json.loads(await socket.receive())
            rate = int(metadata["sampleRate"])
        except (ValueError, KeyError, TypeError, SocketClosedError):
            rate = 0
        if rate not in RATES:
            await socket.close()
            raise InfrastructureError(f"{url} does not say how the sound of a call is coded")
        return cls(socket, rate)

    async def __aenter__(self) -> LiveAudio:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._socket.close()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the sound as it comes, about 50 ms at a time, until the call ends.

        Raises:
            ServerUnreachableError: If the connection is lost before that.
        """
        while True:
            try:
                frame = await self._socket.receive()
            except SocketClosedError as closed:
                if self.ended or closed.code == 1000:
                    self.ended = True
                    return
                raise ServerUnreachableError(
                    "the connection was lost while listening",
                    fix="see whether the server still runs: `pinecall agents`",
                ) from None
            if isinstance(frame, bytes):
                if not frame:
                    self.ended = True
                elif len(frame) >= SHORTEST:
                    yield frame[: len(frame) // 2 * 2]
