"""TCP connections below the routes: how many there are, and how long a peer may keep one waiting.

uvicorn reads a request whenever it comes, and keeps an answer until it is taken; these see to it
that it does come and is taken. A peer that sends a header every few seconds, fragments without end,
or what it never reads the answer to, holds nothing here for long.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from pinecall_cli.server.app import GOODBYE_S, Limits

MOST_FRAGMENTS = 4_096
"""Of one message; an empty one costs memory too."""
NOT_UTF8, TOO_BIG = 1007, 1009


class Patience:
    """Cuts a peer off that takes nothing of what waits to be sent to it."""

    def __init__(self, transport: asyncio.Transport, stalled_s: float) -> None:
        """``stalled_s`` is how long it may take nothing; one that reads slowly does take some."""
        self._transport, self._stalled_s = transport, stalled_s
        self._waiting = 0
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Something waits to be sent."""
        self.end()
        self._waiting = self._transport.get_write_buffer_size()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._stalled_s, self._look)

    def end(self) -> None:
        """Nothing waits any more, or there is nobody to send it to."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        if self._transport.get_write_buffer_size() < self._waiting:
            self.begin()
        else:
            self._transport.abort()


class Http(H11Protocol):
    """uvicorn's HTTP, which gives up on a request that does not come, and on too many peers."""

    def __init__(self, *arguments: Any, limits: Limits, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._limits = limits
        self._late: asyncio.TimerHandle | None = None
        self._awaited: tuple[str, object] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        # So that we are told whenever anything waits to be sent, also when it is the last there is.
        transport.set_write_buffer_limits(high=0)
        self._patience = Patience(transport, self._limits.stalled_s)
        # Answers that are made while they are sent can be broken off by this.
        self.app_state = {**self.app_state, "abort": transport.abort}
        if len(self.connections) > self._limits.connections:
            transport.abort()
        else:
            self._expect(("head", None))

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._expect(None)
        self._patience.end()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Wait until what is sent is taken."""
        super().pause_writing()
        self._patience.begin()

    def resume_writing(self) -> None:
        """Go on: all of it was taken."""
        self._patience.end()
        super().resume_writing()

    def shutdown(self) -> None:
        """Stop; a peer that has not taken its answer by then is not waited for."""
        super().shutdown()
        # Before uvicorn cancels whoever answers it, which it would report as a fault of ours.
        self.loop.call_later(GOODBYE_S, self._leave)

    def _leave(self) -> None:
        if self.flow.write_paused:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take what came, and wait for the rest of it."""
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        """Go on to the next request."""
        super().on_response_complete()
        self._look()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Leave the connection to `Socket`, which waits by its own rules."""
        super().handle_websocket_upgrade(event)
        self._expect(None)
        self._patience.end()
        left = self.transport.get_write_buffer_size()  # of the answer to a request before this one
        socket = self.transport.get_protocol()
        if left and isinstance(socket, Socket):
            socket.pause_writing()

    def _look(self) -> None:
        """Note what the peer still owes us."""
        if self.transport.is_closing() or self.transport.get_protocol() is not self:
            self._expect(None)
        elif self.conn.their_state is h11.SEND_BODY:
            self._expect(("body", self.cycle))
        elif self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]:
            self._expect(("head", self.cycle))
        else:
            self._expect(None)  # between two requests uvicorn waits

    def _expect(self, awaited: tuple[str, object] | None) -> None:
        if awaited == self._awaited:
            return
        self._awaited = awaited
        if self._late is not None:
            self._late.cancel()
            self._late = None
        if awaited is not None:
            limits = self._limits
            wait = limits.head_s if awaited[0] == "head" else limits.body_s
            self._late = self.loop.call_later(wait, self.transport.abort)


class Socket(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket, which drops a peer that stopped reading, as the application can too.

    Closing one of those waits for a buffer that never empties.
    """

    def __init__(self, *arguments: Any, limits: Limits, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._limits = limits

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection over from `Http`."""
        super().connection_made(transport)
        self._patience = Patience(transport, self._limits.stalled_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._patience.end()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came; a head that websockets does not take for a handshake is refused.

        It comes in one piece, from `Http`, so that no handshake is one that never comes. h11 takes
        lines of more than 8 KiB, more than 128 headers and a body; websockets does not.
        """
        super().data_received(data)
        if not self.handshake_initiated:
            bad = self.conn.reject(HTTPStatus.BAD_REQUEST, "no WebSocket handshake")
            # What it says itself, where it does: that the head is too large.
            self.transport.write(b"".join(self.conn.data_to_send()) or bad.serialize())
            self.transport.close()

    async def run_asgi(self) -> None:
        """Run the application, with the way to drop the peer in its scope."""
        self.scope["state"]["abort"] = self.transport.abort
        await super().run_asgi()

    async def send(self, message: Any) -> None:
        """Send a message; while the connection ends, there is nobody to send it to.

        Raises:
            ClientDisconnected: Then. uvicorn would say that the application is at fault.
        """
        if not self.transport.is_closing():
            await super().send(message)
        elif message["type"] != "websocket.close":
            raise ClientDisconnected

    def pause_writing(self) -> None:
        """Read nothing, not even a ping, while the peer does not read our answers."""
        super().pause_writing()
        self._patience.begin()
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on reading."""
        self._patience.end()
        super().resume_writing()
        if not self.read_paused and not self.transport.is_closing():
            self.transport.resume_reading()

    def handle_cont(self, event: Any) -> None:
        """Take a fragment, unless there are too many."""
        if len(self.frames) < MOST_FRAGMENTS:
            super().handle_cont(event)
        else:
            self._fail(TOO_BIG, "too many fragments")

    def send_receive_event_to_app(self) -> None:
        """Hand a message on; text that is none ends the connection, without a word in our log."""
        if self.curr_msg_data_type == "text":
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                self.frames = []
                self._fail(NOT_UTF8, "not UTF-8")
                return
        super().send_receive_event_to_app()

    def _fail(self, code: int, reason: str) -> None:
        if not self.close_sent:
            self.conn.fail(code, reason)
            self.handle_parser_exception()
