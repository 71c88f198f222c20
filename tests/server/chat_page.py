"""A page on the chat socket (protocol: sessions.md §1)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import websockets

from pinecall_cli.server.embedded import EmbeddedServer
from tests.server.peer import Peer, bearer


async def token(server: EmbeddedServer, agent: str = "desk", **query: str) -> str:
    async with httpx.AsyncClient(base_url=server.url) as http:
        params = {"agent_id": agent, **query}
        answer = await http.get("/chat/token", params=params, headers=bearer())
    assert answer.status_code == 200, answer.text
    return str(answer.json()["token"])


@asynccontextmanager
async def page(
    server: EmbeddedServer, minted: str, query: str = "", **options: Any
) -> AsyncIterator[Peer]:
    url = f"ws{server.url[4:]}/chat/ws?token={minted}{query}"
    async with websockets.connect(url, **options) as socket:
        yield Peer(socket)
