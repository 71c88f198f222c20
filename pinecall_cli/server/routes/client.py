"""``WS /client``: the socket of an agent process, from its first frame to its close."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any

import msgspec
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from pinecall_cli.protocol import codec, commands, events
from pinecall_cli.protocol.ids import connection_id
from pinecall_cli.protocol.liveness import Liveness
from pinecall_cli.server.agents.registry import Connection
from pinecall_cli.server.app import VoiceServer
from pinecall_cli.server.dispatch import Dispatch
from pinecall_cli.server.faults import Cut, Spoiled
from pinecall_cli.server.outbox import Close, Outbox

log = logging.getLogger("pinecall.server")

PROTOCOL_VERSION = "2"
BAD_KEY: Close = (4401, "invalid_key")
NO_KEY: Close = (4408, "auth_timeout")
LOST: Close = (4408, "no_sign_of_life")
CLOSING_S = 1.0
"""For a peer that may not be reading to take its close frame, before it is cut off."""


def routes(server: VoiceServer) -> list[BaseRoute]:
    """Return the route of the agent socket."""

    async def client(socket: WebSocket) -> None:
        await AgentSocket(server, socket).serve()

    return [WebSocketRoute("/client", client)]


class AgentSocket:
    """One agent socket: who may speak, in what order, and for how long it may be silent."""

    def __init__(
        self,
        server: VoiceServer,
        socket: WebSocket,
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._server, self._socket, self._now = server, socket, now
        limits = server.limits
        self._outbox = Outbox(frames=limits.outbox_frames, size=limits.outbox_bytes)
        self._heard = asyncio.Event()
        self._liveness = Liveness(quiet=limits.quiet_s, patience=limits.patience_s, now=now())

    async def serve(self) -> None:
        """Hold the connection until either side ends it."""
        await self._socket.accept()
        connection: Connection | None = None
        try:
            connection = await self._authenticate()
            if connection is not None:
                await self._hold(connection)
        except WebSocketDisconnect:
            pass  # the peer is gone: what that means is done below
        finally:
            if connection is not None:
                self._server.connection_lost(connection)

    # --- before `connected` ---

    async def _authenticate(self) -> Connection | None:
        """Wait for `connect` and its key; None if that fails and the socket is closed."""
        try:
            async with asyncio.timeout(self._server.limits.auth_s):
                connect = await self._first_frame()
        except TimeoutError:
            await self._refuse("AUTH_TIMEOUT", "no `connect` in time", NO_KEY)
            return None
        org = self._server.organisations.of_key(connect.api_key)
        if org is None:
            await self._refuse("INVALID_KEY", "Invalid API key", BAD_KEY)
            return None
        who = None if connect.client is msgspec.UNSET else msgspec.to_builtins(connect.client)
        return Connection(
            id=connection_id(),
            org=org,
            client=who,
            stamps=self._server.stamps,
            post=self._outbox.put,
            close=self._outbox.close,
            now=self._now,
        )

    async def _first_frame(self) -> commands.Connect:
        while True:
            text = await self._read()
            if text is None:
                continue
            frame = codec.decode_command(text).frame
            if isinstance(frame, commands.Connect):
                return frame
            await self._say("UNAUTHORIZED", "the first frame is `connect` with an `api_key`")

    async def _say(self, code: str, message: str) -> None:
        seq, ts = self._server.stamps.next()
        error = events.Error(code=code, error=message, seq=seq, ts=ts)
        await self._socket.send_text(codec.encode(error))

    async def _refuse(self, code: str, message: str, close: Close) -> None:
        await self._say(code, message)
        await self._socket.close(*close)

    # --- connected ---

    async def _hold(self, connection: Connection) -> None:
        self._server.connections.add(connection)
        connection.send(
            events.Connected(
                org_id=connection.org.id,
                connection_id=connection.id,
                protocol_version=PROTOCOL_VERSION,
                embedded=True,
            )
        )
        dispatch = Dispatch(self._server, connection)
        loop = asyncio.get_running_loop()
        reading = loop.create_task(self._listen(connection, dispatch), name="agent socket, in")
        spoiled = Spoiled(self._server.faults, self._socket.send_text)
        write = spoiled if self._server.faults.on else self._socket.send_text
        writing = loop.create_task(self._outbox.run(write), name="out")
        watching = loop.create_task(self._watch(connection), name="liveness")
        full = loop.create_task(self._outbox.overflow.wait(), name="overflow")
        ends: set[asyncio.Task[Any]] = {reading, writing, watching, full}
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if full.done() or watching.done():
                why = self._outbox.closing if full.done() else LOST
                log.warning("agent socket %s cut off: %s", connection.id, why[1])
                writing.cancel()
                await self._close(why)
                self._socket.scope["state"]["abort"]()
            elif writing.done() and isinstance(writing.exception(), Cut):
                self._socket.scope["state"]["abort"]()
            elif writing.done() and writing.exception() is None:
                await self._close(writing.result())
        finally:
            spoiled.close()
            dispatch.close()
            for task in ends:
                task.cancel()
            await asyncio.gather(*ends, return_exceptions=True)

    async def _listen(self, connection: Connection, dispatch: Dispatch) -> None:
        while True:
            text = await self._read()
            connection.heard()
            self._liveness.heard(self._now())
            self._heard.set()
            if text is not None:
                dispatch.handle(codec.decode_command(text))

    async def _read(self) -> str | None:
        """Return the next text frame; None for a binary one, which means nothing here.

        Raises:
            WebSocketDisconnect: When the socket is closed.
        """
        message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1005), message.get("reason"))
        text: str | None = message.get("text")
        return text

    async def _watch(self, connection: Connection) -> None:
        """Ask a silent peer whether it is there; returns when it is not."""
        while True:
            await asyncio.sleep(max(0.0, self._liveness.deadline - self._now()))
            match self._liveness.tick(self._now()):
                case "probe":
                    self._heard.clear()
                    connection.send(events.Ping())
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(self._liveness.deadline - self._now()):
                            await self._heard.wait()
                case "lost":
                    return

    async def _close(self, close: Close) -> None:
        """Close the socket; a peer that is not reading is not waited for but cut off."""
        try:
            async with asyncio.timeout(CLOSING_S):
                await self._socket.close(*close)
        except TimeoutError:
            self._socket.scope["state"]["abort"]()
