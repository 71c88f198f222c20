"""A web application around an agent: any ASGI application on a real port, and its readers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import uvicorn

from tests.sdk.listening import PATIENCE_S


@asynccontextmanager
async def served(app: Any, **options: Any) -> AsyncIterator[str]:
    """Serve an application on a free port; yields its address."""
    config = uvicorn.Config(app, port=0, log_config=None, timeout_graceful_shutdown=1, **options)
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    try:
        (socket,) = server.servers[0].sockets
        yield f"http://127.0.0.1:{socket.getsockname()[1]}"
    finally:
        await server.shutdown()


class Sse:
    """What a page reads of server-sent events."""

    def __init__(self, answer: httpx.Response) -> None:
        self.status, self.headers = answer.status_code, answer.headers
        self._lines = answer.aiter_lines()
        self.seen: list[tuple[str, dict[str, Any]]] = []

    async def next(self) -> tuple[str, dict[str, Any]]:
        """Return the next event and its data."""
        name = ""
        async with asyncio.timeout(PATIENCE_S):
            async for line in self._lines:
                if line.startswith("event: "):
                    name = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    event = (name, json.loads(line.removeprefix("data: ")))
                    self.seen.append(event)
                    return event
        raise EOFError("the stream is over")

    async def until(self, name: str) -> dict[str, Any]:
        """Return the data of the next event of that name."""
        while True:
            found, data = await self.next()
            if found == name:
                return data

    def of(self, name: str) -> list[dict[str, Any]]:
        """Return the data of the events of that name that were read."""
        return [data for found, data in self.seen if found == name]


@asynccontextmanager
async def reading(url: str) -> AsyncIterator[Sse]:
    """Open a stream as a page does."""
    async with httpx.AsyncClient(timeout=PATIENCE_S, trust_env=False) as http:
        async with http.stream("GET", url) as answer:
            yield Sse(answer)


def parsed(chunks: Iterable[bytes]) -> list[tuple[str, dict[str, Any]]]:
    """Return the events in the body of a response."""
    found = []
    for block in b"".join(chunks).decode().split("\n\n"):
        if block.startswith("event: "):
            name, data = block.split("\n")
            found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


class Page:
    """One request to an ASGI application, in memory; `slow` makes it take nothing any more."""

    def __init__(self, app: Any, path: str = "/", **scope: Any) -> None:
        path, _, query = path.partition("?")
        self.scope = {
            "type": "http",
            "method": "GET",
            "path": path,
            "query_string": query.encode(),
            "headers": [],
            **scope,
        }
        self.sent: list[dict[str, Any]] = []
        self.more = asyncio.Event()
        self.reads = asyncio.Event()
        self.reads.set()
        self.incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        if self.scope["type"] == "websocket":
            self.incoming.put_nowait({"type": "websocket.connect"})
        else:
            self.incoming.put_nowait({"type": "http.request", "body": b"", "more_body": False})
        self.served = asyncio.ensure_future(app(self.scope, self.incoming.get, self._send))

    async def _send(self, message: dict[str, Any]) -> None:
        await self.reads.wait()
        self.sent.append(message)
        self.more.set()

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def bodies(self) -> list[bytes]:
        return [m["body"] for m in self.sent if m["type"] == "http.response.body"]

    @property
    def events(self) -> list[tuple[str, dict[str, Any]]]:
        return parsed(self.bodies)

    @property
    def texts(self) -> list[dict[str, Any]]:
        return [json.loads(m["text"]) for m in self.sent if m["type"] == "websocket.send"]

    async def until(self, count: int, within: float = PATIENCE_S) -> None:
        """Wait for so many messages."""
        async with asyncio.timeout(within):
            while len(self.sent) < count:
                self.more.clear()
                await self.more.wait()

    async def leave(self) -> None:
        """Close the page."""
        kind = "websocket" if self.scope["type"] == "websocket" else "http"
        self.incoming.put_nowait({"type": f"{kind}.disconnect"})
        await self.served
