"""A call in which there is something to be heard, and where one listens to it (sessions.md §4)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from pinecall_cli.server.embedded import EmbeddedServer
from tests.fakes.engines import Engines
from tests.server.peer import connected

GREETING = "a greeting that goes on for quite a while so that there is something to be heard"


@asynccontextmanager
async def desk(server: EmbeddedServer, **payload: Any) -> AsyncIterator[None]:
    async with connected(server) as peer:
        await peer.agent("desk", greeting=GREETING, **payload)
        await peer.send("channel.add", agent_id="desk", type="phone", ref="+13186330963")
        await peer.until("channel.added")
        yield


def serving(**options: Any) -> EmbeddedServer:
    return EmbeddedServer(**({"engines": Engines(), "keys": ["pk_one", "pk_two"]} | options))


def url(server: EmbeddedServer, call_id: str, token: str = "pk_one") -> str:
    return f"ws{server.url[4:]}/live/{call_id}/ws?token={token}"
