"""One reader of the call log: what it missed, then what happens, as it happens.

The backlog is read from disk page by page, at the reader's own pace; with its last page, and on
the log's own thread, the reader begins to be told of what is written. So nothing falls in between
and nothing comes twice. A reader who cannot keep up with what happens is let go, and comes back
with its cursor: no call ever waits for a reader.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from starlette.websockets import WebSocketDisconnect

from pinecall_cli.protocol import codec
from pinecall_cli.protocol.log import LogEntry
from pinecall_cli.server.agents.organisation import Organisation
from pinecall_cli.server.app import VoiceServer
from pinecall_cli.server.log.translate import Entry
from pinecall_cli.server.outbox import Close, Outbox

log = logging.getLogger("pinecall.server")

ALL = "*"
"""Instead of an agent: all agents of the organisation, in one log."""
PAGE = 200
STALLED_S = 30.0
"""For a reader to take one page of what it missed."""
CLOSING_S = 1.0
OVER: Close = (1000, "call_ended")
BROKEN: Close = (1011, "call_log")


@dataclass(frozen=True, slots=True)
class WatchedLog:
    """Which log: of one call, of one agent, or of all agents of an organisation."""

    org: Organisation
    call: str | None = None
    owner: str | None = None
    """Slug of the agent that has the one call: readers take no marker without one."""
    agent: str | None = None
    """Slug; None for all."""
    agents: frozenset[str] | None = None
    """Slugs, where it is of some of them; None for all."""
    types: frozenset[str] | None = None
    """Types of the entries that are wanted; None for all."""
    durable: bool = False
    """Whether what is not kept is not wanted either."""

    def has(self, entry: Entry) -> bool:
        """Tell whether an entry belongs to it."""
        return (
            entry.org == self.org.id
            and self.call in (None, entry.call)
            and self.agent in (None, entry.agent)
            and (self.agents is None or entry.agent in self.agents)
            and (self.types is None or entry.type in self.types)
            and not (self.durable and entry.ephemeral)
        )

    def envelope(self, entry: Entry) -> LogEntry:
        """Return an entry as it is sent: a log of several calls names each in ``data``."""
        data = dict(entry.data)
        if self.call is None:
            data["call"] = entry.call
        return LogEntry(
            seq=entry.seq,
            ts=entry.ts,
            type=entry.type,
            call=self.call,
            agent=entry.agent,
            ephemeral=entry.ephemeral,
            data=data,
        )

    def marker(self, type: str, seq: int, ts: float, data: dict[str, Any]) -> LogEntry:
        """Return a control marker: ``seq`` is the last one delivered."""
        agent = self.agent or self.owner
        return LogEntry(seq=seq, ts=ts, type=type, call=self.call, agent=agent, data=data)


class Reader(Protocol):
    """A reader's connection: a WebSocket, or what looks like one."""

    scope: MutableMapping[str, Any]

    async def receive(self) -> MutableMapping[str, Any]:
        """Return the reader's next message; the last says that it has left."""
        ...

    async def send_text(self, text: str) -> None:
        """Send an entry."""
        ...

    async def close(self, code: int, reason: str) -> None:
        """End the connection."""
        ...


class Attachment:
    """A reader's connection, from its first entry to its close."""

    def __init__(
        self,
        server: VoiceServer,
        socket: Reader,
        watched: WatchedLog,
        *,
        after: int,
        obey: Callable[[str], str | None],
    ) -> None:
        """``obey`` takes each message of the reader and returns what answers it, if anything."""
        self._server, self._socket, self._watched = server, socket, watched
        self._cursor = after
        self._obey = obey
        limits = server.limits
        self._outbox = Outbox(frames=limits.attach_frames, size=limits.attach_bytes)
        self._loop = asyncio.get_running_loop()
        self.gone = asyncio.Event()
        """Set when the reader has left, or was let go."""

    async def serve(self) -> None:
        """Hold the attachment until either side ends it."""
        self._server.observers.add(self)
        reading = self._loop.create_task(self._listen(), name="log reader, in")
        sending = self._loop.create_task(self._send(), name="log reader, out")
        full = self._loop.create_task(self._outbox.overflow.wait(), name="log reader, overflow")
        ends: set[asyncio.Task[Any]] = {reading, sending, full}
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if full.done():
                sending.cancel()
                await self._close(self._outbox.closing)
            elif sending.done():
                await self._close(self._outcome(sending))
        finally:
            self.gone.set()
            self._server.journal.unwatch(self._written)
            self._server.observers.discard(self)
            for task in ends:
                task.cancel()
            await asyncio.gather(*ends, return_exceptions=True)

    def _outcome(self, sending: asyncio.Task[Close]) -> Close:
        """Return how the socket is to be closed when there is no more to send."""
        problem = sending.exception()
        if problem is None:
            return sending.result()
        if not isinstance(problem, WebSocketDisconnect):
            log.error("a reader of the call log was lost", exc_info=problem)
        return BROKEN

    def put(self, text: str) -> None:
        """Send a text behind what waits to be sent."""
        self._outbox.put(text)

    def close(self, code: int, reason: str) -> None:
        """Close the socket behind what waits to be sent."""
        self._outbox.close(code, reason)

    # --- what goes out ---

    async def _send(self) -> Close:
        """Send the backlog, then what happens; returns how the socket is to be closed."""
        try:
            if await self._backlog():
                return OVER
        except TimeoutError:
            return self._outbox.closing  # nobody closed it: it reads too slowly
        return await self._outbox.run(self._socket.send_text)

    async def _backlog(self) -> bool:
        """Send what is stored after the cursor; True when nothing more can come."""
        journal, watched, first = self._server.journal, self._watched, True
        while True:
            live = self._is_live()
            page = await asyncio.wrap_future(
                journal.page(
                    call=watched.call,
                    agent=watched.agent,
                    org=watched.org.id,
                    after=self._cursor,
                    upto=self._server.stamps.horizon(),
                    types=watched.types,
                    limit=PAGE,
                    watcher=self._written,
                )
            )
            async with asyncio.timeout(STALLED_S):
                if first and watched.call is None and page.pruned > self._cursor > 0:
                    await self._say_gap(page.entries, page.pruned)
                for entry in filter(watched.has, page.entries):
                    await self._socket.send_text(codec.encode(watched.envelope(entry)))
            first = False
            if page.entries:
                self._cursor = page.entries[-1].seq
            if page.complete:
                break
        await self._mark("log.caught_up", {"seq": self._cursor})
        summed_up = bool(page.entries) and page.entries[-1].type == "call.summary"
        return not live or (summed_up and not self._is_live())

    async def _say_gap(self, entries: list[Entry], pruned: int) -> None:
        resume = entries[0].seq if entries else pruned + 1
        await self._mark("log.gap", {"from": self._cursor, "resume_from": resume})

    async def _mark(self, type: str, data: dict[str, Any]) -> None:
        marker = self._watched.marker(type, self._cursor, self._server.wall(), data)
        await self._socket.send_text(codec.encode(marker))

    def _is_live(self) -> bool:
        """Tell whether entries may still come: to a call's log only while the call is on."""
        watched = self._watched
        if watched.call is None:
            return True
        return self._server.registry.session(watched.org, watched.call) is not None

    def _written(self, entries: Sequence[Entry]) -> None:
        """Take what has been written: on the log's thread, so hand it over and leave."""
        if self.gone.is_set():  # it left while its last page was being read
            self._server.journal.unwatch(self._written)
            return
        mine = [entry for entry in entries if self._watched.has(entry)]
        if mine:
            texts = [codec.encode(self._watched.envelope(entry)) for entry in mine]
            over = self._watched.call is not None and mine[-1].type == "call.summary"
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody reads any more
                self._loop.call_soon_threadsafe(self._queue, texts, over)

    def _queue(self, texts: Sequence[str], over: bool) -> None:
        for text in texts:
            self._outbox.put(text)
        if over:
            self._outbox.close(*OVER)

    # --- what comes in ---

    async def _listen(self) -> None:
        """Take what the reader asks for until it is gone."""
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            if text is not None and (answer := self._obey(text)) is not None:
                self._outbox.put(answer)

    async def _close(self, close: Close) -> None:
        """Close the socket; a reader that takes nothing is not waited for but cut off."""
        try:
            async with asyncio.timeout(CLOSING_S):
                await self._socket.close(*close)
        except TimeoutError:
            self._socket.scope["state"]["abort"]()
        except (WebSocketDisconnect, RuntimeError):
            log.debug("a log reader had left already")
