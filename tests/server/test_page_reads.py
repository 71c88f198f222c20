"""What a page may read over HTTP, by the token it shows or by an agent that lets it in."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import websockets

from pinecall_cli.server.agents.organisation import Organisations
from pinecall_cli.server.tokens import GIVEN_S, LIFETIME_S, RETURN_S, Grant, Tokens
from tests.server.log_reader import chat, desk
from tests.server.peer import bearer, connected, embedded

DASHBOARD, EVIL = "https://dashboard.example", "https://evil.example"
PATHS = ("/v1/calls/c1/events", "/v1/agents/desk/calls")


async def stream_token(http: httpx.AsyncClient, **query: str) -> str:
    """Return a token that a backend got with its key."""
    answer = await http.get("/stream/token", params={"agent_id": "desk"} | query, headers=bearer())
    return str(answer.json()["token"])


def reader(answer: httpx.Response) -> str | None:
    """Return which origin's pages may read an answer."""
    assert answer.headers["vary"] == "Origin"
    assert "access-control-allow-credentials" not in answer.headers
    found = answer.headers.get("access-control-allow-origin")
    return None if found is None else str(found)


@pytest.mark.parametrize("path", PATHS)
async def test_a_page_reads_the_call_log_with_the_stream_token_of_its_backend(path: str):
    async with desk() as (server, peer), httpx.AsyncClient(base_url=server.url) as http:
        await chat(peer, "c1")
        token = await stream_token(http)
        page: dict[str, Any] = {"params": {"token": token}, "headers": {"Origin": DASHBOARD}}
        for _ in range(2):  # it comes back with the same token
            answer = await http.get(path, **page)
            assert (answer.status_code, reader(answer)) == (200, DASHBOARD)
            assert answer.headers["cache-control"] == "no-store"
        preflight = await http.options(path, **page)
        assert (preflight.status_code, reader(preflight)) == (204, DASHBOARD)
        assert preflight.headers["access-control-allow-methods"] == "GET"
        # With a key in a page it could do whatever the key's holder can.
        assert "authorization" not in preflight.headers["access-control-allow-headers"].lower()


@pytest.mark.parametrize("path", PATHS)
async def test_a_page_without_a_token_reads_nothing_of_the_call_log(path: str):
    async with desk() as (server, peer), httpx.AsyncClient(base_url=server.url) as http:
        await chat(peer, "c1")
        await stream_token(http)
        for method in ("GET", "OPTIONS"):
            answer = await http.request(method, path, headers={"Origin": EVIL})
            assert (answer.status_code, reader(answer)) == (
                204 if method == "OPTIONS" else 401,
                None,
            )
        keyed = await http.get(path, headers=bearer() | {"Origin": EVIL})
        assert reader(keyed) is None


async def test_a_page_learns_that_its_token_is_no_longer_good_and_what_it_is_not_for():
    async with desk() as (server, peer), httpx.AsyncClient(base_url=server.url) as http:
        await peer.agent("shop", llm="script")
        token = await stream_token(http)
        page: dict[str, Any] = {"headers": {"Origin": DASHBOARD}}
        for path, shown, status in (
            ("/v1/agents/desk/calls", "str_gone", 401),
            ("/v1/agents/shop/calls", token, 403),
            ("/v1/calls/none/events", token, 404),
            ("/v1/calls", token, 403),
        ):
            answer = await http.get(path, params={"token": shown}, **page)
            assert (answer.status_code, reader(answer)) == (status, DASHBOARD)


async def test_where_no_stream_token_was_given_no_page_can_have_one():
    async with desk() as (server, _), httpx.AsyncClient(base_url=server.url) as http:
        page: dict[str, Any] = {"params": {"token": "str_x"}, "headers": {"Origin": EVIL}}
        answer = await http.get("/v1/agents/desk/calls", **page)
        assert (answer.status_code, reader(answer)) == (401, None)


def test_pages_may_read_for_as_long_as_a_stream_token_can_be_good():
    now = 0.0
    tokens = Tokens(now=lambda: now)
    tokens.mint(Grant("stream", next(iter(Organisations(["pk_one"]))), "desk"))
    now = LIFETIME_S + RETURN_S
    assert tokens.anywhere("stream")
    now = RETURN_S + GIVEN_S
    assert not tokens.anywhere("stream")


@pytest.mark.parametrize("channel", ["webrtc", "chat"])
async def test_a_page_that_was_let_in_can_tell_that_its_agent_has_gone(channel: str):
    async with embedded() as server, httpx.AsyncClient(base_url=server.url) as http:
        async with connected(server) as owner:
            await owner.agent("Front Desk", allowed_origins=[EVIL])
            await owner.agent("Front Desk", allowed_origins=[DASHBOARD])
            await http.delete("/api/sdk/agents/front-desk", headers=bearer())
            await owner.until("agent.displaced")
        for origin in (DASHBOARD, EVIL):
            answer = await http.get(
                f"/{channel}/token", params={"agent_id": "front-desk"}, headers={"Origin": origin}
            )
            assert answer.status_code == 404
            assert reader(answer) == (origin if origin == DASHBOARD else None)
        assert answer.json()["detail"] == "Agent 'front-desk' is not online"


async def test_a_chat_token_that_a_page_got_is_good_for_pages_of_its_origin_alone():
    async with desk() as (server, peer), httpx.AsyncClient(base_url=server.url) as http:
        await peer.agent("desk", llm="script", allowed_origins=[DASHBOARD])

        async def opened(origin: str | None) -> int:
            answer = await http.get(
                "/chat/token", params={"agent_id": "desk"}, headers={"Origin": DASHBOARD}
            )
            url = f"ws{server.url[4:]}/chat/ws?token={answer.json()['token']}"
            try:
                async with websockets.connect(url, origin=origin):  # type: ignore[arg-type]
                    return 101
            except websockets.InvalidStatus as refused:
                return refused.response.status_code

        assert await opened(DASHBOARD) == 101
        assert await opened(None) == 101
        assert await opened(EVIL) == 403
