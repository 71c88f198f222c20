"""A reader of the call log (protocol: sessions.md §6)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import websockets

from pinecall_cli.server.agents.organisation import Organisation
from pinecall_cli.server.embedded import EmbeddedServer
from pinecall_cli.server.tokens import Grant
from tests.server.peer import PATIENCE_S, Peer, bearer, connected, embedded

Log = list[dict[str, Any]]


def address(server: EmbeddedServer, **query: Any) -> str:
    return str(httpx.URL(f"ws{server.url[4:]}/v1/attach", params=query))


@asynccontextmanager
async def attached(
    server: EmbeddedServer, key: str | None = "pk_one", **query: Any
) -> AsyncIterator[websockets.ClientConnection]:
    headers = {} if key is None else bearer(key)
    async with websockets.connect(address(server, **query), additional_headers=headers) as socket:
        yield socket


async def entry(socket: websockets.ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE_S):
        found: dict[str, Any] = json.loads(await socket.recv())
    return found


async def until(socket: websockets.ClientConnection, type: str) -> Log:
    """Return what comes up to an entry of that type."""
    seen = [await entry(socket)]
    while seen[-1]["type"] != type:
        seen.append(await entry(socket))
    return seen


async def to_the_end(socket: websockets.ClientConnection) -> tuple[Log, int | None, str | None]:
    seen: Log = []
    try:
        while True:
            seen.append(await entry(socket))
    except websockets.ConnectionClosed:
        return seen, socket.close_code, socket.close_reason


def types(log: Log) -> list[str]:
    return [one["type"] for one in log]


async def refused(url: str, key: str | None = None) -> tuple[int, str]:
    """Return how an attachment is refused: the status, and the server's words."""
    headers = {} if key is None else bearer(key)
    with pytest.raises(websockets.InvalidStatus) as refusal:
        await websockets.connect(url, additional_headers=headers)
    response = refusal.value.response
    return response.status_code, json.loads(response.body)["detail"]


async def chat(peer: Peer, id: str, text: str = "hello", agent: str = "desk") -> None:
    await peer.send("llm.chat", agent_id=agent, session_id=id, text=text)
    await peer.until("llm.chat.done", session_id=id)


async def hang_up(peer: Peer, id: str) -> None:
    await peer.send("call.hangup", call_id=id)
    await peer.until("llm.chat.ended", call_id=id)


@asynccontextmanager
async def desk(**options: Any) -> AsyncIterator[tuple[EmbeddedServer, Peer]]:
    """Run a server with an agent that answers by itself."""
    async with embedded(**options) as server, connected(server) as peer:
        await peer.agent("desk", llm="script")
        yield server, peer


def organisation(server: EmbeddedServer, key: str = "pk_one") -> Organisation:
    found = server.server.organisations.of_key(key)
    assert found is not None
    return found


def token(server: EmbeddedServer, agent: str = "desk", **grant: Any) -> str:
    org = organisation(server, grant.pop("key", "pk_one"))
    return server.server.tokens.mint(Grant("stream", org, agent, **grant))


CHAT = ["call.started", "turn.start", "user.message", "bot.speaking", "bot.finished", "turn.end"]
