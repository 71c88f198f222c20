"""What a client asks of a real server: configuration, channels, agents taken out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pinecall_cli.errors import (
    ConflictError,
    NotFoundError,
    UsageError,
)
from pinecall_cli.sdk.client import Pinecall
from pinecall_cli.sdk.rest import Rest
from pinecall_cli.server.embedded import EmbeddedServer
from pinecall_cli.settings import Secret
from tests.fakes.engines import Engines
from tests.sdk.desk import add, desk, listed, second
from tests.sdk.listening import Frames, Log, chat


async def test_requests_are_over_when_the_server_has_acknowledged_them(
    client: Pinecall, server: EmbeddedServer
) -> None:
    client.add(desk(phone_numbers=["+13186330963"]))
    await client.registered()
    frames = Frames(client)
    await client.configure("front-desk", {"voice": "elevenlabs/sarah"})
    await client.channel_add("front-desk", {"type": "phone", "ref": "+1 415 555 0100"})
    await client.channel_configure("front-desk", "+14155550100", {"language": "es"})
    await client.channel_remove("front-desk", "+1-318-633-0963")
    await client.create("front-desk")
    assert [name for name in frames.names if name != "pong"][-5:] == [
        "agent.configured",
        "channel.added",
        "channel.configured",
        "channel.removed",
        "agent.created",
    ]
    agents = await listed(server)
    assert agents["front-desk"].phones == ("+14155550100",)
    with pytest.raises(NotFoundError):
        client.configure("nobody", {})
    with pytest.raises(NotFoundError):
        client.set_prompt("no-call", "x")


async def test_a_number_in_use_fails_its_request_and_is_not_an_error_event(
    client: Pinecall, server: EmbeddedServer
) -> None:
    client.add(desk(phone_numbers=["+13186330963"]))
    await client.registered()
    await client.channel_add("front-desk", {"type": "chat"})
    async with second(server) as other:
        errors = Log()
        other.on("error", errors)
        other.add(desk("sales"))
        await other.registered()
        with pytest.raises(ConflictError, match="PHONE_IN_USE"):
            await other.channel_add("sales", {"type": "phone", "ref": "+13186330963"})
        with pytest.raises(Exception, match="whatsapp"):
            await other.channel_add("sales", {"type": "whatsapp", "ref": "1"})
        assert not errors.entries


async def test_a_live_call_is_changed_without_counting_as_its_own(client: Pinecall) -> None:
    client.add(desk())
    await client.registered()
    session = await chat(client, "front-desk", "Hello")
    await client.configure_session(session, {"language": "es"})
    await client.set_prompt(session, "Reloaded {{who}}")
    await client.set_prompt_vars(session, {"who": "now"})
    (call,) = client.calls()
    assert call.overrides == set()
    frames = Frames(client)
    await chat(client, "front-desk", "prompt", session=session)
    assert "Reloaded now" in (await frames.frame("llm.chat.done"))["text"]


async def test_update_sends_what_changed(client: Pinecall, server: EmbeddedServer) -> None:
    agent = desk()
    client.add(agent)
    await client.registered()
    frames = Frames(client)
    agent.update(prompt="Changed.", tools=[add])
    await frames.frame("agent.configured")
    assert (await frames.frame("agent.configured"))["agent_id"] == "front-desk"
    async with Rest(server.url, Secret(server.key)) as rest:
        config = (await rest.agent_config("front-desk"))["config"]
    assert config["prompt"] == "Changed."
    assert [t["function"]["name"] for t in config["tools"]] == ["add"]


async def test_a_removed_agent_finishes_its_calls(client: Pinecall, server: EmbeddedServer) -> None:
    client.add(desk())
    client.add(desk("other"))
    await client.registered()
    session = await chat(client, "front-desk", "Hello")
    agent = client.get_agent("front-desk")
    assert agent is not None
    assert await client.remove_agent("front-desk") is True
    assert await client.remove_agent("front-desk") is False
    assert await client.remove_agent("nobody") is False
    assert client.get_agent("front-desk") is None
    assert set(await listed(server)) == {"other"}
    await chat(client, "front-desk", 'tool add {"a": 1, "b": 1}', session=session)
    (call,) = client.calls("front-desk")
    assert call.messages[-1]["content"] == "2"
    await call.hangup()
    assert client.names == ("other",)
    with pytest.raises(UsageError, match="not registered"):
        agent.dial("+14155550100")
    client.add(desk())
    await client.registered()
    assert set(await listed(server)) == {"other", "front-desk"}


async def test_an_agent_that_is_removed_before_it_is_registered_is_not_left_behind(
    client: Pinecall, server: EmbeddedServer
) -> None:
    client.add(desk())
    assert await client.remove_agent("Front Desk") is True
    assert client.names == ()
    assert await listed(server) == {}
    refused = desk("refused")
    client.on("error", Log())
    client.add(refused, replace(refused.config, stt="deepgram/nova-2"))
    assert await client.remove_agent("refused") is True
    assert client.names == ()


async def test_a_removed_agent_of_the_same_name_may_follow_while_calls_go_on(
    client: Pinecall, server: EmbeddedServer
) -> None:
    old = client.agent("front-desk", llm="script", prompt="x")
    await client.registered()
    await chat(client, "front-desk", "Hello")
    await client.remove_agent("front-desk")
    new = client.agent("front-desk", llm="script", prompt="y")
    assert new is not old
    await client.registered()
    assert set(await listed(server)) == {"front-desk"}


async def test_removing_an_agent_while_the_connection_is_lost_is_done_when_it_is_back() -> None:
    async with EmbeddedServer(engines=Engines(), keys=["pk_1"]) as first:
        client = Pinecall("pk_1", first.url)
        client.on("error", Log())
        lost = Log()
        client.on("disconnected", lost)
        client.add(desk())
        client.add(desk("other"))
        await client.registered()
        port = first.port
    await lost.until()
    assert await client.remove_agent("front-desk") is True
    async with EmbeddedServer(engines=Engines(), keys=["pk_1"], port=port) as again:
        await client.registered()
        async with Rest(again.url, Secret("pk_1")) as rest:
            assert [one.slug for one in await rest.agents()] == ["other"]
        await client.disconnect()
