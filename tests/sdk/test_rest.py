"""The HTTP side, against a real server and against strange ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from pinecall_cli.agent.define import Agent
from pinecall_cli.errors import (
    InfrastructureError,
    NotAuthorisedError,
    NotFoundError,
    ServerUnreachableError,
)
from pinecall_cli.sdk.client import Pinecall
from pinecall_cli.sdk.listing import ConnectedAgent, connected_agent
from pinecall_cli.sdk.rest import Rest, ServerSlowError
from pinecall_cli.server.embedded import EmbeddedServer
from pinecall_cli.settings import Secret
from tests.sdk.listening import raw_server


async def test_it_lists_agents_and_shows_and_kicks_them(
    server: EmbeddedServer, client: Pinecall
) -> None:
    client.add(Agent("front-desk", llm="script", prompt="x", phone_numbers=["+13186330963"]))
    await client.registered()
    await client.channel_add("front-desk", {"type": "chat"})
    async with Rest(server.url, Secret(server.key)) as rest:
        (agent,) = await rest.agents()
        assert agent.slug == "front-desk"
        assert agent.phones == ("+13186330963",)
        assert agent.channels is not None
        assert "phone" in agent.channels
        assert agent.live_calls == 0
        assert agent.since
        config = await rest.agent_config("front-desk")
        assert config["config"]["prompt"] == "x"
        await rest.kick("front-desk")
        for request in (rest.kick, rest.agent_config):
            with pytest.raises(NotFoundError, match="no agent `front-desk`"):
                await request("front-desk")


async def test_it_mints_tokens(server: EmbeddedServer, client: Pinecall) -> None:
    client.add(Agent("front-desk", llm="script", prompt="x", allowed_origins=["http://a.test"]))
    await client.registered()
    async with Rest(server.url, Secret(server.key)) as rest:
        token = await rest.token("chat", "front-desk", metadata={"userId": "u"})
        assert token.token.startswith("cht_")
        assert token.token not in repr(token)
        assert token.expires_in == 60
        assert token.server == server.url
        with pytest.raises(NotFoundError):
            await rest.token("chat", "nobody")
    async with Rest(server.url, None) as browser:
        assert (await browser.token("webrtc", "front-desk", origin="http://a.test")).token
        with pytest.raises(NotAuthorisedError):
            await browser.token("webrtc", "front-desk", origin="http://b.test")


async def test_a_wrong_key_is_refused_and_never_shown(server: EmbeddedServer) -> None:
    async with Rest(server.url, Secret("pk_wrong")) as rest:
        with pytest.raises(NotAuthorisedError) as caught:
            await rest.agents()
    assert "pk_wrong" not in str(caught.value.as_json())


async def test_nobody_there_is_unreachable() -> None:
    async with EmbeddedServer(engines=_Deaf()) as gone:
        url = gone.url
    async with Rest(url, Secret("pk_1"), timeout=1) as rest:
        with pytest.raises(ServerUnreachableError, match="cannot reach"):
            await rest.agents()


class _Deaf:
    def load(self) -> None:
        """Load nothing."""


@asynccontextmanager
async def answering(body: bytes | None, status: int = 200) -> AsyncIterator[Rest]:
    """A server that answers everything alike; never, if there is no body."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if body is None:
            await reader.read()
            return
        head = f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await reader.read()

    async with (
        raw_server(handle) as port,
        Rest(f"http://127.0.0.1:{port}", Secret("pk_1"), timeout=0.3) as rest,
    ):
        yield rest


async def test_a_server_that_does_not_answer_is_slow_not_gone() -> None:
    async with answering(None) as rest:
        with pytest.raises(ServerSlowError):
            await rest.agents()


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"agents": 3}'])
async def test_what_is_no_voice_server_is_said_so(body: bytes) -> None:
    async with answering(body) as rest:
        with pytest.raises(InfrastructureError, match="not answer as a voice server"):
            await rest.agents()


async def test_a_token_that_is_none_is_refused() -> None:
    async with answering(b'{"server": "x"}') as rest:
        with pytest.raises(InfrastructureError, match="no token"):
            await rest.token("webrtc", "front-desk", scope="observe", call_id="c1")
    async with answering(b'{"token": "t"}') as rest:
        token = await rest.token("webrtc", "front-desk")
        assert token.server == rest.url


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (500, b'{"detail": "disk full"}', "HTTP 500: disk full"),
        (503, b'{"error": "SERVER_AT_CAPACITY: 3/3"}', "SERVER_AT_CAPACITY"),
        (502, b"Bad gateway", "HTTP 502"),
        (404, b"{}", "HTTP 404"),
    ],
)
async def test_other_answers_are_infrastructure(status: int, body: bytes, said: str) -> None:
    async with answering(body, status) as rest:
        with pytest.raises(InfrastructureError, match=said):
            await rest.agents()


async def test_a_server_that_does_not_let_go_of_an_agent_says_why() -> None:
    async with answering(b'{"success": false, "error": "it is busy"}') as rest:
        with pytest.raises(InfrastructureError, match="did not disconnect `desk`: it is busy"):
            await rest.kick("desk")


@asynccontextmanager
async def answering_by_path(answers: dict[str, bytes]) -> AsyncIterator[Rest]:
    """A server that answers some paths, and any other with 404."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not reader.at_eof():
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                return
            body = answers.get(head.split()[1].decode())
            status = 404 if body is None else 200
            body = body or b"{}"
            writer.write(f"HTTP/1.1 {status} X\r\n".encode())
            writer.write(b"date: Sun, 06 Nov 1994 08:49:37 GMT\r\n")
            writer.write(f"content-length: {len(body)}\r\n\r\n".encode() + body)

    async with (
        raw_server(handle) as port,
        Rest(f"http://127.0.0.1:{port}", Secret("pk_1")) as rest,
    ):
        yield rest


async def test_a_server_without_that_route_is_told_from_one_without_the_agent() -> None:
    async with answering_by_path({"/api/sdk/agents": b'{"agents": [{"slug": "desk"}]}'}) as rest:
        with pytest.raises(InfrastructureError) as caught:
            await rest.agent_config("Desk")
        assert caught.value.code == "no_such_route"
        with pytest.raises(NotFoundError, match="no agent `other`"):
            await rest.agent_config("other")
    path = "/api/sdk/agents/desk/config"
    async with answering_by_path({path: b'{"config": "secret"}'}) as rest:
        with pytest.raises(InfrastructureError, match="no configuration"):
            await rest.agent_config("desk")


async def test_a_server_that_dates_its_answers_has_a_clock() -> None:
    async with answering_by_path({"/api/sdk/agents": b'{"agents": []}'}) as rest:
        assert await rest.clock() == datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC)
    async with answering(b'{"agents": []}') as rest:
        assert await rest.clock() is None


async def test_a_list_of_calls_that_is_none_and_a_page_that_is_none_are_refused() -> None:
    async with answering(b'{"calls": 3}') as rest:
        with pytest.raises(InfrastructureError, match="no list of calls"):
            await rest.calls(limit=1)
    async with answering(b'{"calls": [{"id": "c1"}, 7], "last_seq": "?"}') as rest:
        listed = await rest.calls("desk", limit=1)
        assert (listed.rows, listed.last_seq) == (({"id": "c1"},), None)
    async with answering(b'{"entries": 3}') as rest:
        with pytest.raises(InfrastructureError, match="no page of entries"):
            await rest.call_events("c1")
    async with answering(b"{}", 404) as rest:
        with pytest.raises(NotFoundError, match="no call `c1`"):
            await rest.call_events("c1")


def test_what_a_listing_does_not_say_is_none() -> None:
    assert connected_agent({"slug": "a"}) == ConnectedAgent(slug="a")
    odd = {"slug": "a", "phones": "x", "channels": 3, "live_calls": "many", "since": None}
    assert connected_agent(odd) == ConnectedAgent(slug="a")
    channels = {"phone": {"count": 1}, "whatsapp": {"count": 0}, "webrtc": {"count": 0}}
    said = {"slug": "a", "phones": ["+1"], "channels": channels, "live_calls": 2, "since": 1}
    assert connected_agent(said) == ConnectedAgent(
        slug="a", phones=("+1",), channels=("phone", "webrtc"), live_calls=2, since=1.0
    )
