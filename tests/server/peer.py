"""A client of the agent socket for tests: it sends what it is told and remembers what came."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import websockets

from pinecall_cli.server.embedded import EmbeddedServer

PATIENCE_S = 10.0
"""For an answer on a busy machine; a test that runs into it has failed."""


class Deaf:
    """Speech engines that are never needed."""

    def load(self) -> None:
        """Load nothing."""


def embedded(**options: Any) -> EmbeddedServer:
    """Return a server on a free port, with its call log in memory and without speech."""
    return EmbeddedServer(**({"engines": Deaf(), "keys": ["pk_one", "pk_two"]} | options))


class Peer:
    """One connection to ``/client``."""

    def __init__(self, socket: websockets.ClientConnection) -> None:
        self.socket = socket
        self.seen: list[dict[str, Any]] = []

    async def send(self, event: str, **fields: Any) -> None:
        """Send a frame."""
        await self.socket.send(json.dumps({"event": event, **fields}))

    async def receive(self) -> dict[str, Any]:
        """Return the next frame."""
        async with asyncio.timeout(PATIENCE_S):
            frame: dict[str, Any] = json.loads(await self.socket.recv())
        self.seen.append(frame)
        return frame

    async def until(self, event: str, **fields: Any) -> dict[str, Any]:
        """Return the next frame of that name and those fields; what comes before is `seen`."""
        while True:
            frame = await self.receive()
            if frame["event"] == event and fields.items() <= frame.items():
                return frame

    async def settled(self) -> list[dict[str, Any]]:
        """Return all frames that come before the answer to a ping: what the server did so far."""
        begun = len(self.seen)
        await self.send("ping")
        await self.until("pong")
        return self.seen[begun:-1]

    async def agent(self, name: str, **payload: Any) -> dict[str, Any]:
        """Register an agent."""
        await self.send("agent.create", agent_id=name, **payload)
        return await self.receive()

    async def closed(self) -> tuple[int, str]:
        """Wait for the server to close the socket; return code and reason."""
        try:
            while True:
                await self.receive()
        except websockets.ConnectionClosed:
            return self.socket.close_code or 0, self.socket.close_reason or ""


@asynccontextmanager
async def unauthenticated(server: EmbeddedServer, **options: Any) -> AsyncIterator[Peer]:
    """Open the socket and say nothing."""
    async with websockets.connect(f"ws{server.url[4:]}/client", **options) as socket:
        yield Peer(socket)


@asynccontextmanager
async def connected(
    server: EmbeddedServer, key: str = "pk_one", client: dict[str, Any] | None = None
) -> AsyncIterator[Peer]:
    """Open the socket and be let in."""
    async with unauthenticated(server) as peer:
        hello = {"api_key": key} | ({} if client is None else {"client": client})
        await peer.send("connect", **hello)
        assert (await peer.receive())["event"] == "connected"
        yield peer


def bearer(key: str = "pk_one") -> dict[str, str]:
    """Return the header that carries a key."""
    return {"Authorization": f"Bearer {key}"}


async def token(
    server: EmbeddedServer,
    agent: str = "desk",
    kind: str = "webrtc",
    *,
    key: str = "pk_one",
    **query: str,
) -> str:
    """Return a token of an agent, as its owner's backend gets it."""
    async with httpx.AsyncClient(base_url=server.url, headers=bearer(key)) as http:
        answer = await http.get(f"/{kind}/token", params={"agent_id": agent, **query})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["token"])
