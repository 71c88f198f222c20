"""The client against a real server: connecting, registering, and under the command line."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from pinecall_cli.agent.define import Agent, collecting
from pinecall_cli.errors import (
    ConflictError,
    NotAuthorisedError,
    NotFoundError,
    PinecallError,
    ServerUnreachableError,
    UsageError,
)
from pinecall_cli.protocol import commands
from pinecall_cli.sdk.client import Pinecall
from pinecall_cli.sdk.registration import RegistrationRefusedError
from pinecall_cli.sdk.rest import Rest
from pinecall_cli.server.embedded import EmbeddedServer
from pinecall_cli.settings import Secret
from tests.fakes.engines import Engines
from tests.sdk.desk import desk, listed, second
from tests.sdk.listening import Log, chat


async def test_it_connects_by_itself_and_registers_what_it_was_given(
    server: EmbeddedServer,
) -> None:
    client = Pinecall(server.key, server.url.replace("http", "ws"))
    client.add(desk(phone_numbers=["+1 (318) 633-0963"]))
    client.agent("billing", llm="script", prompt="x")
    await client.ready
    await client.registered()
    assert client.connected
    assert client.embedded
    agents = await listed(server)
    assert set(agents) == {"front-desk", "billing"}
    await client.disconnect()
    assert not client.connected


async def test_a_client_made_before_the_loop_connects_when_it_is_entered(
    server: EmbeddedServer,
) -> None:
    made: list[Pinecall] = []
    thread = threading.Thread(target=lambda: made.append(Pinecall(server.key, server.url)))
    thread.start()
    thread.join()
    (client,) = made
    client.add(desk())
    async with client:
        await client.registered("front-desk")
        assert "front-desk" in await listed(server)
    assert not client.connected


async def test_a_wrong_key_fails_at_once_and_for_good(server: EmbeddedServer) -> None:
    client = Pinecall("pk_wrong", server.url)
    client.add(desk())
    errors = Log()
    client.on("error", errors)
    with pytest.raises(NotAuthorisedError) as caught:
        await client.ready
    assert caught.value.exit_code == 4
    assert str(caught.value) == f"{server.url} refuses the key: Invalid API key"
    assert "pk_wrong" not in str(caught.value.as_json())
    with pytest.raises(NotAuthorisedError):
        await client.registered()
    assert len(errors.entries) == 1
    await client.disconnect()


async def test_an_error_that_nobody_handles_is_logged_and_ends_nothing(
    server: EmbeddedServer, caplog: pytest.LogCaptureFixture
) -> None:
    client = Pinecall("pk_wrong", server.url)
    with pytest.raises(NotAuthorisedError):
        await client.ready
    (record,) = [one for one in caplog.records if one.levelname == "ERROR"]
    assert (record.name, record.getMessage()) == (
        "pinecall",
        f"{server.url} refuses the key: Invalid API key",
    )
    await client.disconnect()


async def test_no_key_is_an_error_with_a_fix(server: EmbeddedServer) -> None:
    client = Pinecall(api_url=server.url)
    with pytest.raises(NotAuthorisedError, match="no API key") as caught:
        await client.ready
    assert "PINECALL_API_KEY" in (caught.value.fix or "")


async def test_key_and_server_of_the_environment_are_used(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PINECALL_API_KEY", server.key)
    monkeypatch.setenv("PINECALL_URL", server.url)
    async with Pinecall() as client:
        assert client.connected
        assert client.api_url == server.url
    assert Pinecall("pk_1", "ws://elsewhere.test").api_url == "ws://elsewhere.test"
    monkeypatch.setenv("PINECALL_URL", "")
    with collecting():
        assert Pinecall().api_url == "wss://voice.pinecall.io"


async def test_connect_tells_that_nobody_is_there(unused_url: str) -> None:
    client = Pinecall("pk_1", unused_url)
    client.on("error", Log())
    with pytest.raises(ServerUnreachableError, match="connection refused"):
        await client.connect()
    await client.disconnect()
    with pytest.raises(ServerUnreachableError):
        async with Pinecall("pk_1", unused_url):
            pass


@pytest.fixture
async def unused_url() -> str:
    async with EmbeddedServer(engines=Engines()) as gone:
        url = gone.url
    return url


async def test_connecting_twice_is_connecting_once(
    client: Pinecall, server: EmbeddedServer
) -> None:
    await client.connect()
    await client.ready
    assert len(server.server.connections) == 1


async def test_agents_of_a_live_client_are_registered_at_once(
    client: Pinecall, server: EmbeddedServer
) -> None:
    agent = client.agent("Late Agent", llm="script", prompt="x")
    assert client.agent("Late Agent") is client.get_agent("Late Agent") is agent
    await client.registered(*client.names)
    assert set(await listed(server)) == {"late-agent"}
    client.add(agent)
    with pytest.raises(UsageError, match="two agents"):
        client.add(desk(agent.name))
    with pytest.raises(NotFoundError):
        await client.registered("nobody")


async def test_a_live_holder_of_the_name_is_a_conflict(
    client: Pinecall, server: EmbeddedServer
) -> None:
    client.add(desk())
    await client.registered()
    async with second(server) as other:
        errors = Log()
        other.on("error", errors)
        other.add(desk())
        with pytest.raises(ConflictError, match="held by another live process") as caught:
            await other.registered()
        assert caught.value.exit_code == 6
        assert "pinecall-cli, process" in str(caught.value)
        (problem,) = await errors.until()
        assert problem is caught.value
    async with second(server, "pk_two") as stranger:
        stranger.add(desk())
        await stranger.registered()


async def test_a_configuration_the_server_refuses_fails_the_registration(
    client: Pinecall,
) -> None:
    errors = Log()
    client.on("error", errors)
    agent = desk()
    client.add(agent)
    await client.registered()
    with pytest.raises(Exception, match="nova-2"):
        await client.configure("front-desk", {"stt": "deepgram/nova-2"})
    await client.configure("front-desk", {"prompt": "still fine"})
    client.swap("front-desk", agent, replace(agent.config, stt="deepgram/nova-2"))
    with pytest.raises(Exception, match="nova-2"):
        await client.create("front-desk")
    await client.configure("front-desk", {"prompt": "and still"})
    assert not errors.entries
    bad = desk("bad")
    client.add(bad, replace(bad.config, stt="deepgram/nova-2"))
    with pytest.raises(RegistrationRefusedError):
        await client.registered("bad")
    assert len(errors.entries) == 1


async def test_who_was_kicked_stays_away_until_asked(
    client: Pinecall, server: EmbeddedServer
) -> None:
    displaced = Log()
    agent = desk()
    agent.on("agent.displaced", displaced)
    client.add(agent)
    client.add(desk("other"))
    await client.registered()
    async with Rest(server.url, Secret(server.key)) as rest:
        await rest.kick("front-desk")
    await displaced.until()
    with pytest.raises(ConflictError, match="taken from us"):
        await client.registered("front-desk")
    assert client.connected
    assert client.displaced == ("front-desk",)
    assert set(await listed(server)) == {"other"}
    await client.create("front-desk")
    await client.registered()
    assert client.displaced == ()
    assert set(await listed(server)) == {"other", "front-desk"}


async def test_the_last_agent_kicked_ends_the_connection_for_good(
    client: Pinecall, server: EmbeddedServer
) -> None:
    down = Log()
    client.on("disconnected", down)
    client.add(desk())
    await client.registered()
    async with Rest(server.url, Secret(server.key)) as rest:
        await rest.kick("front-desk")
    (reason,) = await down.until()
    assert "isplaced" in reason
    with pytest.raises(ConflictError):
        await client.ready
    await client.connect()
    await client.create("front-desk")
    assert "front-desk" in await listed(server)


# --- under the CLI --------------------------------------------------------------------------------


@pytest.fixture
def imported() -> tuple[Pinecall, Agent]:
    with collecting() as collected:
        handle = Pinecall()
        agent = handle.agent("front-desk", llm="script", prompt="x")
        Pinecall("pk_other", "wss://elsewhere.test").run(agent)
    assert collected.clients[0] is handle
    assert collected.agents == [agent]
    return handle, agent


async def test_a_handle_never_connects_and_hears_what_the_cli_hears(
    client: Pinecall, imported: tuple[Pinecall, Agent]
) -> None:
    handle, agent = imported
    heard = Log()
    handle.on("user.message", heard)
    await handle.connect()
    assert not handle.connected
    release = client.adopt(handle)
    client.add(agent)
    await handle.ready
    await client.registered()
    assert handle.connected
    assert handle.embedded
    assert handle.get_agent("front-desk") is agent
    await chat(client, "front-desk", "Hello")
    _, call = await heard.until()
    assert handle.calls() == (call,)
    await handle.configure("front-desk", {"prompt": "by the handle"})
    handle.agent("second", llm="script", prompt="made while running")
    await handle.registered()
    assert set(client.names) == {"front-desk", "second"}
    await handle.remove_agent("second")
    assert client.names == ("front-desk",)
    handle.route_callers(["+34600123456"])
    handle.send(commands.Ping())
    release()
    release()
    await chat(client, "front-desk", "Hello?", session=call.id)
    assert len(heard.entries) == 1
    await handle.disconnect()
    assert client.connected


@pytest.mark.parametrize("url", ["localhost:4747", "ftp://127.0.0.1", "http://", "http://[::1"])
async def test_what_is_no_address_is_told_at_once_and_not_tried_again(url: str) -> None:
    with pytest.raises(PinecallError, match="is no server address") as caught:
        Pinecall("pk_1", url)
    assert caught.value.exit_code == 2
