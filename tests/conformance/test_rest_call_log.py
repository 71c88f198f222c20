"""The call log over HTTP: rest.md §6."""

from __future__ import annotations

from typing import Any

import httpx

from pinecall_cli.server.embedded import EmbeddedServer
from tests.conformance.paragraphs import holds
from tests.server.log_reader import (
    attached,
    chat,
    desk,
    hang_up,
    token,
    until,
)
from tests.server.peer import bearer


async def get(server: EmbeddedServer, path: str, key: str | None = "pk_one", **query: Any) -> Any:
    headers = {} if key is None else bearer(key)
    async with httpx.AsyncClient() as http:
        answer = await http.get(f"{server.url}{path}", params=query, headers=headers)
    return answer.json() if answer.is_success else answer.status_code


@holds("rest", "6")
async def test_a_calls_entries_come_in_pages():
    async with desk() as (server, peer):
        for _ in range(3):
            await chat(peer, "c1")
        async with attached(server, call="c1") as socket:
            log = (await until(socket, "log.caught_up"))[:-1]
        path = "/v1/calls/c1/events"
        whole = await get(server, path)
        assert whole == {"entries": log, "last_seq": log[-1]["seq"], "has_more": False}
        found, after = [], 0
        while True:
            page = await get(server, path, after=after, limit=5)
            found += page["entries"]
            after = page["last_seq"]
            if not page["has_more"]:
                break
        assert found == log
        nothing = await get(server, path, after=log[-1]["seq"])
        assert nothing == {"entries": [], "last_seq": log[-1]["seq"], "has_more": False}
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
