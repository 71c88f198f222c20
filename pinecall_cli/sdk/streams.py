"""`EventStream`: what happens in calls, for a web application in the same process.

One object is an ASGI endpoint that answers requests with server-sent events and WebSockets with
JSON frames (sessions.md §5.1 and §5.3), and an async iterator for code.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pinecall_cli.protocol.origins import origin_allowed
from pinecall_cli.sdk.asgi import Receive, Scope, Send, first_of, header, query
from pinecall_cli.sdk.feed import Feed
from pinecall_cli.sdk.reader import Reader, SlowReaderError
from pinecall_cli.sdk.sse import EventSource, goodbye, too_late
from pinecall_cli.sdk.streamed import TOOL_CALL, TOOL_RESULT, Repeats, StreamEvent

if TYPE_CHECKING:
    from pinecall_cli.sdk.client import Pinecall

WEBSOCKET_PING_S = 25.0
SLOW_CLOSE = 1008
OF_TOOLS = frozenset((TOOL_CALL, TOOL_RESULT))
"""What WebSockets alone are told, and of results only where the application asks for them."""


class EventStream(EventSource):
    """The events of some agents' calls; see `Pinecall.stream`.

    Anybody who reaches the endpoint reads what callers say: put it behind your own login. A page
    of another origin cannot read the events; it could open a WebSocket with your user's cookies,
    so those are taken from the endpoint's own origin alone, and from ``allowed_origins``.
    """

    ping_s = 30.0

    def __init__(
        self,
        client: Pinecall,
        feed: Feed,
        agents: Collection[str] | None,
        *,
        one: bool = False,
        allowed_origins: Iterable[str] = (),
        tool_results: bool = False,
    ) -> None:
        self._client, self._feed = client, feed
        self._agents = None if agents is None else frozenset(agents)
        self._one = one
        self._origins = tuple(allowed_origins)
        self._tool_results = tool_results

    def __repr__(self) -> str:
        whose = "all agents" if self._agents is None else ", ".join(sorted(self._agents))
        return f"<EventStream of {whose}>"

    def __aiter__(self) -> Subscription:
        """Return an iterator of events, from now on; it may be closed with ``aclose``."""
        reader, _ = self.open()
        return Subscription(self, reader)

    def open(self, asked: Scope | None = None) -> tuple[Reader, list[StreamEvent]]:
        """Return a new reader; ``?session=ID`` of a request narrows it to one call."""
        repeats, wanted = Repeats(), self._wanted(asked)

        def wants(event: StreamEvent) -> bool:
            return event.name not in OF_TOOLS and wanted(event) and not repeats.is_one(event)

        return self._feed.join(wants), [self._connected()]

    def close(self, reader: Reader) -> None:
        """Forget a reader."""
        self._feed.leave(reader)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or WebSocket, as ASGI has it."""
        if scope["type"] == "websocket":
            await self._socket(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    def _wanted(self, asked: Scope | None) -> Callable[[StreamEvent], bool]:
        session = None if asked is None else query(asked).get("session")
        known: dict[str, bool] = {}

        def wanted(event: StreamEvent) -> bool:
            agent = str(event.agent)
            if agent not in known:
                known[agent] = self._has(agent)
            return known[agent] and session in (None, event.call_id)

        return wanted

    def _has(self, name: str) -> bool:
        """Return whether an agent of the client is one of these, by either of its names."""
        if self._agents is None or name in self._agents:
            return True
        agent = self._client.get_agent(name)
        return agent is not None and agent.name in self._agents

    def _connected(self) -> StreamEvent:
        """Return the first event: whose events these are."""
        names = [name for name in self._client.names if self._has(name)]
        if not self._one:
            return StreamEvent("connected", {"agents": names})
        (asked,) = self._agents or ("",)
        return StreamEvent("connected", {"agent": names[0] if names else asked})

    # --- WebSockets ---

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (await receive())["type"] != "websocket.connect":
            return
        if not self._may(scope):
            await send({"type": "websocket.close", "code": 1008})  # not accepted yet: HTTP 403
            return
        wanted = self._wanted(scope)

        def wants(event: StreamEvent) -> bool:
            return wanted(event) and (self._tool_results or event.name != TOOL_RESULT)

        reader = self._feed.join(wants)

        async def say(event: StreamEvent) -> None:
            await send({"type": "websocket.send", "text": event.message})

        async def write() -> None:
            await say(self._connected())
            while True:
                try:
                    taken = await reader.take()
                except SlowReaderError as problem:
                    await say(goodbye(problem))
                    close = {"type": "websocket.close", "code": SLOW_CLOSE}
                    await send({**close, "reason": problem.code})
                    return
                for event in taken:
                    await say(event)

        async def ping() -> None:
            while True:
                await asyncio.sleep(WEBSOCKET_PING_S)
                await say(StreamEvent("ping", {}))

        async def hear() -> None:
            while (message := await receive())["type"] != "websocket.disconnect":
                if action(message.get("text")) == "ping":
                    await say(StreamEvent("pong", {}))

        try:
            await send({"type": "websocket.accept"})
            await first_of(write(), ping(), hear(), too_late(reader))
        except OSError:
            return  # they have left: servers say so when we send
        finally:
            self.close(reader)

    def _may(self, scope: Scope) -> bool:
        """Return whether a page may open a WebSocket: cookies go along, wherever it is from."""
        origin, host = header(scope, "origin"), header(scope, "host")
        if origin is None:
            return True  # no browser
        same = host is not None and urlsplit(origin).netloc.lower() == host.lower()
        return same or origin_allowed(origin, self._origins)


class Subscription:
    """An iterator of a stream's events. Let go of, it costs nothing any more."""

    def __init__(self, stream: EventStream, reader: Reader) -> None:
        self._stream, self._reader = stream, reader
        self._taken: list[StreamEvent] = []

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> StreamEvent:
        """Return the next event.

        Raises:
            SlowReaderError: If too many had not been taken, and some are lost.
        """
        if not self._taken:
            self._taken = (await self._reader.take())[::-1]
        if not self._taken:
            raise StopAsyncIteration
        return self._taken.pop()

    async def aclose(self) -> None:
        """Hear nothing more."""
        self._reader.end()
        self._taken.clear()
        self._stream.close(self._reader)


def action(text: Any) -> str:
    """Return what a page's message asks for; empty if that means nothing to us."""
    try:
        message = json.loads(text or "")
    except (ValueError, TypeError, RecursionError):
        return ""
    wanted = message.get("action") if isinstance(message, dict) else None
    return wanted if isinstance(wanted, str) else ""
