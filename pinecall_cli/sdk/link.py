"""The connection itself: open, greet, keep alive, and come back when it is lost.

A `Link` knows frames but not what they mean, apart from the few of the connection: ``connected``,
``ping``, and an ``error`` before ``connected``. Everything else goes to its `Ears`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections import deque
from collections.abc import Awaitable, Callable
from logging import DEBUG
from typing import Protocol

from pinecall_cli import __version__
from pinecall_cli.errors import InfrastructureError, NotAuthorisedError, PinecallError
from pinecall_cli.protocol import commands, events
from pinecall_cli.protocol.backoff import backoff
from pinecall_cli.protocol.codec import decode_event, encode
from pinecall_cli.protocol.frames import Received, Unknown, wire_name
from pinecall_cli.protocol.refusal import Outcome, outcome_of
from pinecall_cli.protocol.urls import client_url
from pinecall_cli.sdk.socket import Socket, SocketClosedError
from pinecall_cli.settings import Secret
from pinecall_cli.settings.logger import keep_out, logger

CONNECTED_WITHIN = 10.0
"""Seconds the server has to accept the key (protocol: README §4)."""
PING_EVERY = 30.0
"""Seconds; a server takes 45 s of silence for death (protocol: README §5)."""
FLUSH_WITHIN = 1.0
"""Seconds that what was already sent has to leave when we disconnect."""
MAX_OUTGOING = 10_000
"""Frames that may wait for a slow network before the oldest are dropped."""
INVALID_KEY_CLOSE = 4401
REOPENING = "client_reopen"
STALE_KEYS = 4
"""How often in a row a key that was good may be refused where keys can change: a server that
has come back listens a moment before its new key can be read. 31 s in all."""


class Ears(Protocol):
    """Who is told what happens to a connection. Called on the loop; must not raise."""

    def attempted(self, problem: PinecallError | None) -> None:
        """Hear how an attempt to connect ended: None for well."""
        ...

    def up(self, connected: events.Connected) -> None:
        """Hear that the key was accepted."""
        ...

    def frame(self, received: Received) -> None:
        """Take a frame, in the order in which the server sent them."""
        ...

    def down(self, reason: str, *, final: bool) -> None:
        """Hear that an accepted connection was lost; ``final``: we do not go back to it."""
        ...

    def reconnecting(self, attempt: int, delay: float) -> None:
        """Hear that attempt n begins now, after ``delay`` seconds."""
        ...

    def gave_up(self, problem: PinecallError) -> None:
        """Hear that there will be no further attempt."""
        ...

    def dropped(self, frames: int) -> None:
        """Hear that frames were thrown away because the network did not take them."""
        ...


class Link:
    """A connection to one server with one key, and its successors."""

    def __init__(
        self,
        url: str,
        key: Secret | Callable[[], Secret],
        ears: Ears,
        *,
        auto_reconnect: bool = True,
        chance: Callable[[], float] = random.random,
        open_socket: Callable[[str], Awaitable[Socket]] = Socket.open,
    ) -> None:
        self.url = url
        self.is_up = False
        self.presented = ""
        """The key that the server was last shown."""
        self._key = key
        self._ears = ears
        self._auto_reconnect = auto_reconnect
        self._chance = chance
        self._open = open_socket
        self._task: asyncio.Task[None] | None = None
        self._socket: Socket | None = None
        self._closing: asyncio.Task[None] | None = None
        self._reopening = False
        self._outgoing: deque[str] = deque()
        self._to_write = asyncio.Event()
        self._idle = asyncio.Event()

    def start(self) -> None:
        """Begin to connect, and go on until `stop`; nothing happens if that is under way."""
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._live(), name="pinecall-link")
            self._task.add_done_callback(self._ended)

    def post(self, frame: str) -> bool:
        """Send a frame after those before it; False, and nothing is sent, if not connected."""
        if not self.is_up:
            return False
        if len(self._outgoing) >= MAX_OUTGOING:
            self._outgoing.popleft()
            self._ears.dropped(1)
        if logger.isEnabledFor(DEBUG):
            logger.debug("→ %s, %d characters", frame.split('"', 4)[3], len(frame))
        self._outgoing.append(frame)
        self._idle.clear()
        self._to_write.set()
        return True

    def reopen(self) -> None:
        """Close the connection and open another at once."""
        if self.is_up and self._socket is not None:
            self._reopening = True
            closing = self._socket.close(reason=REOPENING)
            self._closing = asyncio.get_running_loop().create_task(closing, name="pinecall-reopen")

    async def stop(self) -> None:
        """Send what waits, close, and stay closed."""
        task, self._task = self._task, None
        if task is None:
            return
        if self.is_up:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_WITHIN):
                    await self._idle.wait()
        self.is_up = False
        task.cancel()
        await asyncio.wait({task})

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Let a fault of ours be heard, not only seen as silence."""
        problem = None if task.cancelled() else task.exception()
        if problem is not None:
            logger.error("the connection broke", exc_info=problem)
            self._ears.gave_up(InfrastructureError(f"the connection broke: {problem!r}"))

    async def _live(self) -> None:
        """Connect, stay, come back: until stopped, displaced or refused."""
        attempt, delays = 0, backoff(self._chance)
        refusals_left = 0
        while True:
            try:
                reason = await self._converse()
            except PinecallError as problem:
                self._ears.attempted(problem)
                refused = isinstance(problem, NotAuthorisedError)
                if (refused and not refusals_left) or not self._auto_reconnect:
                    self._ears.gave_up(problem)
                    return
                refusals_left -= refused
            else:
                logger.info("the connection was lost: %s", reason)
                refusals_left = STALE_KEYS if callable(self._key) else 0
                final = "isplaced" in reason or not self._auto_reconnect
                self._ears.down(reason, final=final)
                if final:
                    return
                attempt, delays = 0, backoff(self._chance)
            delay = 0.0 if self._reopening else next(delays)
            self._reopening = False
            await asyncio.sleep(delay)
            attempt += 1
            self._ears.reconnecting(attempt, delay)

    async def _converse(self) -> str:
        """Hold one connection; return the reason for which an accepted one was closed."""
        async with await self._open(client_url(self.url)) as socket:
            self._socket = socket
            await self._greet(socket)
            try:
                async with asyncio.TaskGroup() as group:
                    helpers = [
                        group.create_task(self._write(socket)),
                        group.create_task(self._ping()),
                    ]
                    try:
                        return await self._read(socket)
                    finally:
                        self.is_up = False
                        for helper in helpers:
                            helper.cancel()
            finally:
                self.is_up, self._socket = False, None

    async def _greet(self, socket: Socket) -> None:
        """Present the key and wait until it is accepted.

        Raises:
            NotAuthorisedError: If the key is refused.
            InfrastructureError: If the server says nothing, something else, or closes.
        """
        me = commands.ClientInfo(name="pinecall-cli", version=__version__, pid=os.getpid())
        key = self._key() if callable(self._key) else self._key
        self.presented = key.reveal()
        keep_out(self.presented)
        hello = commands.Connect(api_key=self.presented, client=me)
        try:
            async with asyncio.timeout(CONNECTED_WITHIN):
                await socket.send(encode(hello))
                while True:
                    received = decode_event(await socket.receive_bytes())
                    match received.frame:
                        case events.Connected() as connected:
                            break
                        case events.Ping():
                            await socket.send(encode(commands.Pong()))
                        case events.Error() as error:
                            raise self._refused(error)
        except TimeoutError:
            raise InfrastructureError(
                f"{self.url} does not accept the connection within {CONNECTED_WITHIN:g} s",
                code="connection_timeout",
            ) from None
        except SocketClosedError as closed:
            if closed.code == INVALID_KEY_CLOSE:
                raise self._invalid_key("the key is not valid") from None
            raise InfrastructureError(
                f"{self.url} closed the connection: {closed.reason}", code="connection_refused"
            ) from None
        logger.info("connected to %s", self.url)
        self._outgoing.clear()
        self.is_up = True
        self._ears.attempted(None)
        self._ears.up(connected)
        self._hand_over(received)

    def _refused(self, error: events.Error) -> PinecallError:
        if outcome_of(error) is Outcome.UNAUTHORISED:
            return self._invalid_key(error.error or "the key is not valid")
        code = error.code.lower() if isinstance(error.code, str) else "connection_refused"
        return InfrastructureError(f"{self.url} refuses: {error.error}", code=code)

    def _invalid_key(self, text: str) -> NotAuthorisedError:
        return NotAuthorisedError(
            f"{self.url} refuses the key: {text}",
            fix="check `PINECALL_API_KEY`, and that the key belongs to this server",
            code="invalid_key",
        )

    async def _read(self, socket: Socket) -> str:
        while True:
            try:
                received = decode_event(await socket.receive_bytes())
            except SocketClosedError as closed:
                return closed.reason
            if isinstance(received.frame, events.Ping):
                self.post(encode(commands.Pong()))
            self._hand_over(received)

    def _hand_over(self, received: Received) -> None:
        if logger.isEnabledFor(DEBUG):
            frame = received.frame  # its name alone: the rest may hold keys, and is people's words
            name = frame.event if isinstance(frame, Unknown) else wire_name(type(frame))
            logger.debug("← %s", name)
        try:
            self._ears.frame(received)
        except Exception:  # one frame that we stumble over must not cost the connection
            logger.exception("a frame from the server could not be handled")

    async def _write(self, socket: Socket) -> None:
        while True:
            self._idle.set()
            await self._to_write.wait()
            while self._outgoing:
                try:
                    await socket.send(self._outgoing.popleft())
                except SocketClosedError:
                    return  # the reader hears of it too, and tells
            self._to_write.clear()

    async def _ping(self) -> None:
        while True:
            await asyncio.sleep(PING_EVERY)
            self.post(encode(commands.Ping()))
