from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import websockets

from pinecall_cli.server.embedded import EmbeddedServer
from tests.server.log_reader import address, chat, desk, token, until
from tests.server.peer import bearer, connected, embedded


async def test_a_page_of_another_origin_may_read_with_a_token():
    async with desk() as (server, _):
        origin = {"Origin": "https://dashboard.example"}
        url = address(server, token=token(server), agent="desk")
        async with websockets.connect(url, additional_headers=origin) as socket:
            await until(socket, "log.caught_up")


async def test_a_marker_in_the_log_of_one_call_names_its_agent():
    """Readers of the public SDK take no entry without an agent, and no marker either."""
    async with desk() as (server, peer):
        await chat(peer, "c1")
        paths = (f"/v1/attach?call=c1&token={token(server)}",)
        paths += (f"/ws/stream?session=c1&token={token(server)}",)
        for path in paths:
            async with websockets.connect(f"ws{server.url[4:]}{path}") as socket:
                marker = (await until(socket, "log.caught_up"))[-1]
                assert (marker["call"], marker["agent"]) == ("c1", "desk")


async def get(server: EmbeddedServer, path: str, key: str | None = "pk_one", **query: Any) -> Any:
    headers = {} if key is None else bearer(key)
    async with httpx.AsyncClient() as http:
        answer = await http.get(f"{server.url}{path}", params=query, headers=headers)
    return answer.json() if answer.is_success else answer.status_code


async def test_what_a_server_without_a_given_key_did_is_its_next_runs_too(tmp_path: Any):
    made: Callable[[], EmbeddedServer] = lambda: embedded(keys=(), data=tmp_path)  # noqa: E731
    async with made() as first, connected(first, first.key) as peer:
        await peer.agent("desk", llm="script")
        await chat(peer, "c1")
    async with made() as second:
        assert second.key != first.key
        listed = await get(second, "/v1/calls", key=second.key)
        assert [call["call_id"] for call in listed["calls"]] == ["c1"]
        assert listed["calls"][0]["live"] is False
