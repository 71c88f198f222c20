"""The event stream: sessions.md §5.4."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import websockets

from pinecall_cli.server.embedded import EmbeddedServer
from tests.conformance.paragraphs import holds
from tests.server.peer import PATIENCE_S, Peer, bearer, connected, embedded

SCRIPT = {"provider": "script", "rules": [{"say": "Yes, we do."}]}


class Reader:
    def __init__(self, socket: websockets.ClientConnection) -> None:
        self.socket = socket

    async def receive(self) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE_S):
            entry: dict[str, Any] = json.loads(await self.socket.recv())
        return entry

    async def until(self, type: str) -> list[dict[str, Any]]:
        entries = [await self.receive()]
        while entries[-1].get("type") != type:
            entries.append(await self.receive())
        return entries


async def token(server: EmbeddedServer, agents: str = "desk", **query: str) -> str:
    async with httpx.AsyncClient(base_url=server.url, headers=bearer()) as http:
        answer = await http.get("/stream/token", params={"agent_id": agents, **query})
    return str(answer.json()["token"])


@asynccontextmanager
async def reading(server: EmbeddedServer, query: str, **options: Any) -> AsyncIterator[Reader]:
    url = f"ws{server.url[4:]}/ws/stream?{query}"
    async with websockets.connect(url, **options) as socket:
        yield Reader(socket)


async def chat(peer: Peer, agent: str, session: str, text: str = "Hello?") -> None:
    await peer.send("llm.chat", agent_id=agent, session_id=session, text=text)
    await peer.until("llm.chat.done")


@holds("sessions", "5", "5.4")
async def test_an_agents_stream_begins_now_and_goes_on_from_a_cursor():
    async with embedded() as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT)
        await chat(peer, "desk", "chat-before")
        pass_ = await token(server)
        page = {"origin": "https://anywhere.example"}
        async with reading(server, f"token={pass_}&agent=desk", **page) as reader:
            assert (await reader.receive())["type"] == "log.caught_up"
            await chat(peer, "desk", "chat-1")
            live = await reader.until("bot.finished")
            assert {entry["data"]["call"] for entry in live} == {"chat-1"}
            assert [e["type"] for e in live if not e["ephemeral"]][:1] == ["call.started"]
        await chat(peer, "desk", "chat-2")
        cursor = live[-1]["seq"]
        async with reading(server, f"token={pass_}&agent=desk&after={cursor}") as reader:
            missed = await reader.until("log.caught_up")
            assert missed[0]["seq"] > cursor
            assert "chat-2" in {entry["data"].get("call") for entry in missed}
            assert "chat-before" not in {entry["data"].get("call") for entry in missed}


@holds("sessions", "5.4")
async def test_a_sessions_stream_begins_at_its_beginning():
    async with embedded() as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT)
        await chat(peer, "desk", "chat-1")
        for query in ("session=chat-1", "session=chat-1&agent=desk"):
            async with reading(server, f"token={await token(server)}&{query}") as reader:
                entries = await reader.until("log.caught_up")
                assert entries[0]["type"] == "call.started"
                assert {entry["call"] for entry in entries} == {"chat-1"}
        narrow = await token(server, call_id="chat-1")
        async with reading(server, f"token={narrow}") as reader:
            assert (await reader.receive())["call"] == "chat-1"


@holds("sessions", "5.4")
@holds("rest", "2.1")
async def test_a_token_for_several_agents_shows_them_and_no_other():
    async with embedded() as server, connected(server) as peer:
        for name in ("desk", "shop", "vault"):
            await peer.agent(name, llm=SCRIPT)
        await chat(peer, "vault", "chat-secret")
        both = await token(server, "desk,shop")
        async with reading(server, f"token={both}&after=0") as reader:
            assert (await reader.receive())["type"] == "log.caught_up"
            for name in ("vault", "desk", "shop"):
                await chat(peer, name, f"chat-{name}")
            seen: list[dict[str, Any]] = []
            while {entry["agent"] for entry in seen} != {"desk", "shop"}:
                seen.append(await reader.receive())
                assert seen[-1]["agent"] in ("desk", "shop")


@holds("sessions", "5.4")
async def test_a_ping_is_answered_and_nothing_else_is_obeyed():
    async with embedded() as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT)
        async with reading(server, f"token={await token(server, scope='supervise')}") as reader:
            await reader.until("log.caught_up")
            for message in ('{"action":"hangup"}', "nonsense", "[" * 5_000, '{"action":"ping"}'):
                await reader.socket.send(message)
            assert await reader.receive() == {"event": "pong"}


@holds("sessions", "5.4")
@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 401),
        ("token=nonsense", 401),
        ("token={}&agent=vault", 403),
        ("token={}&session=none", 404),
        ("token={}&session=chat-1", 403),
        ("token={}&after=x", 422),
    ],
)
async def test_what_is_not_ones_own_is_refused(query: str, status: int):
    async with embedded() as server, connected(server) as peer:
        for name in ("desk", "vault"):
            await peer.agent(name, llm=SCRIPT)
        await chat(peer, "vault", "chat-1")
        address = query.replace("{}", await token(server))
        with pytest.raises(websockets.InvalidStatus) as refused:
            async with reading(server, address):
                pass
        assert refused.value.response.status_code == status


@holds("sessions", "5.4")
async def test_the_key_shows_the_whole_organisation():
    async with embedded() as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT)
        await chat(peer, "desk", "chat-1")
        options = {"additional_headers": bearer()}
        async with reading(server, "after=0", **options) as reader:
            entries = await reader.until("log.caught_up")
            assert entries[0]["type"] == "call.started"
