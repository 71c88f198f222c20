"""The event stream: sessions.md §5.4."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import websockets

from pinecall_cli.server.embedded import EmbeddedServer
from tests.conformance.paragraphs import holds
from tests.server.log_reader import chat, entry, until
from tests.server.peer import bearer, connected, embedded, token

SCRIPT = {"provider": "script", "rules": [{"say": "Yes, we do."}]}


@asynccontextmanager
async def reading(
    server: EmbeddedServer, query: str, **options: Any
) -> AsyncIterator[websockets.ClientConnection]:
    url = f"ws{server.url[4:]}/ws/stream?{query}"
    async with websockets.connect(url, **options) as socket:
        yield socket


@holds("sessions", "5", "5.4")
async def test_an_agents_stream_begins_now_and_goes_on_from_a_cursor():
    async with embedded() as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT)
        await chat(peer, "chat-before")
        pass_ = await token(server, kind="stream")
        page = {"origin": "https://anywhere.example"}
        async with reading(server, f"token={pass_}&agent=desk", **page) as socket:
            assert (await entry(socket))["type"] == "log.caught_up"
            await chat(peer, "chat-1")
            live = await until(socket, "bot.finished")
            assert {one["data"]["call"] for one in live} == {"chat-1"}
            assert [e["type"] for e in live if not e["ephemeral"]][:1] == ["call.started"]
        await chat(peer, "chat-2")
        cursor = live[-1]["seq"]
        async with reading(server, f"token={pass_}&agent=desk&after={cursor}") as socket:
            missed = await until(socket, "log.caught_up")
            assert missed[0]["seq"] > cursor
            assert "chat-2" in {one["data"].get("call") for one in missed}
            assert "chat-before" not in {one["data"].get("call") for one in missed}


@holds("sessions", "5.4")
async def test_a_sessions_stream_begins_at_its_beginning():
    async with embedded() as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT)
        await chat(peer, "chat-1")
        for query in ("session=chat-1", "session=chat-1&agent=desk"):
            async with reading(
                server, f"token={await token(server, kind='stream')}&{query}"
            ) as socket:
                entries = await until(socket, "log.caught_up")
                assert entries[0]["type"] == "call.started"
                assert {one["call"] for one in entries} == {"chat-1"}
        narrow = await token(server, kind="stream", call_id="chat-1")
        async with reading(server, f"token={narrow}") as socket:
            assert (await entry(socket))["call"] == "chat-1"


@holds("sessions", "5.4")
@holds("rest", "2.1")
async def test_a_token_for_several_agents_shows_them_and_no_other():
    async with embedded() as server, connected(server) as peer:
        for name in ("desk", "shop", "vault"):
            await peer.agent(name, llm=SCRIPT)
        await chat(peer, "chat-secret", agent="vault")
        both = await token(server, "desk,shop", "stream")
        async with reading(server, f"token={both}&after=0") as socket:
            assert (await entry(socket))["type"] == "log.caught_up"
            for name in ("vault", "desk", "shop"):
                await chat(peer, f"chat-{name}", agent=name)
            seen: list[dict[str, Any]] = []
            while {one["agent"] for one in seen} != {"desk", "shop"}:
                seen.append(await entry(socket))
                assert seen[-1]["agent"] in ("desk", "shop")


@holds("sessions", "5.4")
async def test_a_ping_is_answered_and_nothing_else_is_obeyed():
    async with embedded() as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT)
        async with reading(
            server, f"token={await token(server, kind='stream', scope='supervise')}"
        ) as socket:
            await until(socket, "log.caught_up")
            for message in ('{"action":"hangup"}', "nonsense", "[" * 5_000, '{"action":"ping"}'):
                await socket.send(message)
            assert await entry(socket) == {"event": "pong"}


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
        await chat(peer, "chat-1", agent="vault")
        address = query.replace("{}", await token(server, kind="stream"))
        with pytest.raises(websockets.InvalidStatus) as refused:
            async with reading(server, address):
                pass
        assert refused.value.response.status_code == status


@holds("sessions", "5.4")
async def test_the_key_shows_the_whole_organisation():
    async with embedded() as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT)
        await chat(peer, "chat-1")
        options = {"additional_headers": bearer()}
        async with reading(server, "after=0", **options) as socket:
            entries = await until(socket, "log.caught_up")
            assert entries[0]["type"] == "call.started"
