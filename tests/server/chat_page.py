"""A page on the chat socket (protocol: sessions.md §1)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import websockets

from pinecall_cli.server.embedded import EmbeddedServer
from tests.server.peer import Peer


@asynccontextmanager
async def page(
    server: EmbeddedServer, minted: str, query: str = "", **options: Any
) -> AsyncIterator[Peer]:
    url = f"ws{server.url[4:]}/chat/ws?token={minted}{query}"
    async with websockets.connect(url, **options) as socket:
        yield Peer(socket)
