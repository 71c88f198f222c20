"""ASGI without a framework: what an endpoint of ours needs of it, in the interface's own terms."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine, Mapping, MutableMapping
from typing import Any, TypeAlias
from urllib.parse import parse_qsl

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]


def header(scope: Scope, name: str) -> str | None:
    """Return a request's header; the name is in lower case."""
    wanted = name.encode()
    found: list[tuple[bytes, bytes]] = scope.get("headers") or []
    return next((value.decode("latin-1") for key, value in found if key.lower() == wanted), None)


def query(scope: Scope) -> dict[str, str]:
    """Return a request's query parameters; of several with one name the last."""
    text = (scope.get("query_string") or b"").decode("latin-1")
    return dict(parse_qsl(text, keep_blank_values=True))


async def start(send: Send, status: int, headers: Mapping[str, str]) -> None:
    """Send a response's status and headers."""
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})


async def answer(
    send: Send, status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> None:
    """Send a whole response: a JSON object that nobody may keep."""
    data = json.dumps(body).encode()
    given = {
        "Content-Type": "application/json",
        "Content-Length": str(len(data)),
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        **(headers or {}),
    }
    await start(send, status, given)
    await send({"type": "http.response.body", "body": data})


async def lifespan(receive: Receive, send: Send) -> None:
    """Take a server's start and end, where an endpoint of ours is the whole application."""
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return


async def left(receive: Receive) -> None:
    """Return when whoever made a request has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def first_of(*works: Coroutine[Any, Any, None]) -> None:
    """Run these until one ends, and cancel the others; what the one raised comes out."""
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
