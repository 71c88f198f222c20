"""The call log over HTTP: rest.md §6."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from types import MappingProxyType
from typing import Any

import httpx
import pytest

from pinecall_cli.server import event_source
from pinecall_cli.server.embedded import EmbeddedServer
from tests.conformance.paragraphs import holds
from tests.server.log_reader import (
    CHAT,
    attached,
    chat,
    desk,
    hang_up,
    to_the_end,
    token,
    types,
    until,
)
from tests.server.peer import PATIENCE_S, bearer

STREAM = {"Accept": "text/event-stream"}


async def get(server: EmbeddedServer, path: str, key: str | None = "pk_one", **query: Any) -> Any:
    headers = {} if key is None else bearer(key)
    async with httpx.AsyncClient() as http:
        answer = await http.get(f"{server.url}{path}", params=query, headers=headers)
    return answer.json() if answer.is_success else answer.status_code


@asynccontextmanager
async def streamed(
    server: EmbeddedServer,
    path: str,
    headers: Mapping[str, str] = MappingProxyType({}),
    **query: Any,
) -> AsyncIterator[AsyncGenerator[dict[str, Any], None]]:
    """Read a log as a browser's ``EventSource`` does."""
    sent = {**bearer("pk_one"), **STREAM, **headers}
    async with (
        httpx.AsyncClient() as http,
        http.stream("GET", f"{server.url}{path}", params=query, headers=sent) as answer,
        asyncio.timeout(PATIENCE_S),
    ):
        assert answer.headers["content-type"].startswith("text/event-stream")
        async with aclosing(events_of(answer)) as reader:
            yield reader


async def events_of(answer: httpx.Response) -> AsyncGenerator[dict[str, Any], None]:
    fields: dict[str, str] = {}
    async for line in answer.aiter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "data" in fields:
            entry = json.loads(fields["data"])
            assert (fields["id"], fields["event"]) == (str(entry["seq"]), entry["type"])
            yield entry
            fields.clear()


@holds("rest", "6")
async def test_a_calls_entries_come_in_pages():
    async with desk() as (server, peer):
        for _ in range(3):
            await chat(peer, "c1")
        async with attached(server, call="c1") as socket:
            log = (await until(socket, "log.caught_up"))[:-1]
        path = "/v1/calls/c1/events"
        whole = await get(server, path)
        end = log[-1]["seq"]
        assert whole == {"entries": log, "last_seq": end, "has_more": False, "live": True}
        found, after = [], 0
        while True:
            page = await get(server, path, after=after, limit=5)
            found += page["entries"]
            after = page["last_seq"]
            if not page["has_more"]:
                assert "next" not in page
                break
            assert page["next"] == after
        assert found == log
        nothing = await get(server, path, after=log[-1]["seq"])
        assert nothing == whole | {"entries": []}
        assert await get(server, path, limit="x") == 422
        assert await get(server, path, after="9" * 30) == 422
        assert await get(server, path, key="pk_two") == 404
        assert await get(server, path, key="pk_wrong") == 401
        assert await get(server, "/v1/calls/c2/events") == 404


@holds("rest", "6")
async def test_calls_are_listed_live_ones_and_those_that_were():
    async with desk() as (server, peer):
        await peer.agent("shop", llm="script")
        await chat(peer, "c1")
        await hang_up(peer, "c1")
        await chat(peer, "c2", agent="shop")
        listed = await get(server, "/v1/calls")
        live, over = listed["calls"]
        assert set(live) == {
            *("call_id", "agent", "direction", "from", "to", "channel", "started_at", "ended_at"),
            *("duration_s", "reason", "live", "first_seq", "last_seq"),
        }
        assert (live["call_id"], live["agent"], live["live"]) == ("c2", "shop", True)
        assert (over["call_id"], over["live"], over["reason"]) == ("c1", False, "hangup")
        assert over["duration_s"] >= 0
        assert listed["last_seq"] >= live["last_seq"] > over["last_seq"] > over["first_seq"]
        assert [c["call_id"] for c in (await get(server, "/v1/agents/shop/calls"))["calls"]] == [
            "c2"
        ]
        assert len((await get(server, "/v1/calls", limit=1))["calls"]) == 1
        assert (await get(server, "/v1/calls", key="pk_two"))["calls"] == []
        query = {"key": None, "token": token(server)}
        assert (await get(server, "/v1/agents/desk/calls", **query))["calls"] == [over]
        assert await get(server, "/v1/calls", **query) == 403
        shown = await get(server, "/v1/agents/desk/calls", key=token(server))  # as a key is
        assert shown["calls"] == [over]


@holds("rest", "6")
@holds("sessions", "6")
async def test_an_agents_calls_are_told_as_entries_too_and_those_alone():
    async with desk() as (server, peer):
        await chat(peer, "c1")
        await hang_up(peer, "c1")
        await chat(peer, "c2")
        path = "/v1/agents/desk/calls"
        page = await get(server, path)
        assert [(one["type"], one["call"], one["data"]["call"]) for one in page["entries"]] == [
            ("call.started", None, "c1"),
            ("call.ended", None, "c1"),
            ("call.started", None, "c2"),
        ]
        assert (page["live"], "next" in page) == (True, False)
        later = await get(server, path, after=page["entries"][1]["seq"])
        assert later["entries"] == page["entries"][2:]
        first = await get(server, path, limit=1)
        assert (first["entries"], first["next"]) == (
            page["entries"][:1],
            first["entries"][0]["seq"],
        )
        assert first["last_seq"] == first["next"]  # whoever reads on from there misses nothing
        assert page["last_seq"] >= page["entries"][-1]["seq"]


@holds("rest", "6")
async def test_only_the_types_that_are_asked_for_come_and_always_the_end():
    async with desk() as (server, peer):
        await chat(peer, "c1")
        await hang_up(peer, "c1")
        path = "/v1/calls/c1/events"
        wanted = await get(server, path, types="user.message,bot.nothing", durable=1)
        assert types(wanted["entries"]) == ["user.message", "call.ended", "call.summary"]
        agent = await get(server, "/v1/agents/desk/calls", types="user.message")
        assert types(agent["entries"]) == ["call.ended"]
        async with attached(server, call="c1", types="turn.end") as socket:
            log, *_ = await to_the_end(socket)
        assert types(log) == ["turn.end", "call.ended", "call.summary", "log.caught_up"]
        for named in ("", ",", ",".join(f"t{number}" for number in range(33))):
            assert await get(server, path, types=named) == 400


@holds("rest", "6")
async def test_a_call_is_streamed_as_it_goes_on_to_its_last_entry():
    async with desk() as (server, peer):
        await chat(peer, "c1")
        async with streamed(server, "/v1/calls/c1/events") as reader:
            missed = [await anext(reader) for _ in CHAT]
            assert (await anext(reader))["type"] == "log.caught_up"
            await chat(peer, "c1")
            live = [await anext(reader) for _ in CHAT[1:]]
            await hang_up(peer, "c1")
            rest = [one async for one in reader]
        assert types(missed) == CHAT
        assert types(live) == CHAT[1:]
        assert types(rest) == ["call.ended", "call.summary"]
        whole = await get(server, "/v1/calls/c1/events")
        assert whole["entries"] == [*missed, *live, *rest]


@holds("rest", "6")
async def test_a_stream_goes_on_where_it_broke_off_and_not_at_all_behind_the_end():
    async with desk() as (server, peer):
        await chat(peer, "c1")
        await hang_up(peer, "c1")
        log = (await get(server, "/v1/calls/c1/events"))["entries"]
        path = "/v1/calls/c1/events"
        broke_off = {"Last-Event-ID": str(log[3]["seq"])}
        async with streamed(server, path, broke_off, after=log[1]["seq"]) as reader:
            rest = [one async for one in reader]
        assert rest[:-1] == log[4:]
        assert rest[-1]["type"] == "log.caught_up"
        async with httpx.AsyncClient(headers=bearer("pk_one") | STREAM) as http:
            behind = await http.get(f"{server.url}{path}", params={"after": log[-1]["seq"]})
        assert (behind.status_code, behind.content) == (204, b"")


@holds("rest", "6")
async def test_an_agents_calls_are_streamed_as_they_begin_and_end():
    async with desk() as (server, peer):
        await chat(peer, "c1")
        async with streamed(server, "/v1/agents/desk/calls") as reader:
            seen = [await anext(reader) for _ in range(2)]
            await hang_up(peer, "c1")
            await chat(peer, "c2")
            seen += [await anext(reader) for _ in range(2)]
        assert [(one["type"], one["data"].get("call")) for one in seen] == [
            ("call.started", "c1"),
            ("log.caught_up", None),
            ("call.ended", "c1"),
            ("call.started", "c2"),
        ]


@holds("rest", "6")
async def test_a_silent_stream_is_kept_open(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(event_source, "PING_S", 0.01)
    async with desk() as (server, peer):
        await chat(peer, "c1")
        headers = bearer("pk_one") | STREAM
        url = f"{server.url}/v1/calls/c1/events"
        async with (
            httpx.AsyncClient() as http,
            http.stream("GET", url, headers=headers) as answer,
            asyncio.timeout(PATIENCE_S),
        ):
            lines = answer.aiter_lines()
            assert await anext(lines) == "retry: 1000"
            pings = 0
            while pings < 2:
                pings += await anext(lines) == ": ping"
        # Whoever leaves leaves nothing behind.
        async with asyncio.timeout(PATIENCE_S):
            while server.server.observers:
                await get(server, "/v1/calls")


@holds("rest", "6")
async def test_when_the_server_stops_a_stream_ends_with_how_its_calls_did():
    async with desk() as (server, peer):
        await chat(peer, "c1")
        async with streamed(server, "/v1/agents/desk/calls") as reader:
            assert types([await anext(reader), await anext(reader)])[-1] == "log.caught_up"
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(asyncio.to_thread(server.stop))
                assert types([one async for one in reader]) == ["call.ended"]


@holds("rest", "6")
async def test_a_stream_that_is_only_asked_for_by_its_head_is_none():
    async with desk() as (server, peer):
        await chat(peer, "c1")
        async with httpx.AsyncClient(headers=bearer("pk_one") | STREAM) as http:
            head = await http.head(f"{server.url}/v1/calls/c1/events")
        assert (head.status_code, head.headers["content-type"]) == (200, "application/json")
