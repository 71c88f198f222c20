"""The HTTP side, against a real server and against strange ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from pinecall_cli.agent.define import Agent
from pinecall_cli.errors import (
    InfrastructureError,
    NotAuthorisedError,
    NotFoundError,
    ServerUnreachableError,
)
from pinecall_cli.sdk.client import Pinecall
from pinecall_cli.sdk.rest import ConnectedAgent, Rest, ServerSlowError, connected_agent
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


def test_what_a_listing_does_not_say_is_none() -> None:
    assert connected_agent({"slug": "a"}) == ConnectedAgent(slug="a")
    odd = {"slug": "a", "phones": "x", "channels": 3, "live_calls": "many", "since": None}
    assert connected_agent(odd) == ConnectedAgent(slug="a")
    channels = {"phone": {"count": 1}, "whatsapp": {"count": 0}, "webrtc": {"count": 0}}
    said = {"slug": "a", "phones": ["+1"], "channels": channels, "live_calls": 2, "since": 1}
    assert connected_agent(said) == ConnectedAgent(
        slug="a", phones=("+1",), channels=("phone", "webrtc"), live_calls=2, since=1.0
    )
