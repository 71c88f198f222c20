"""Connections to a real server that are lost, come back, or are closed."""

from __future__ import annotations

from pathlib import Path

import pytest

from pinecall_cli.errors import (
    ServerUnreachableError,
)
from pinecall_cli.protocol import commands
from pinecall_cli.sdk.client import Pinecall
from pinecall_cli.sdk.discover import key_of
from pinecall_cli.sdk.rest import Rest
from pinecall_cli.server.embedded import EmbeddedServer
from pinecall_cli.settings import Secret
from tests.fakes.engines import Engines
from tests.sdk.desk import desk, listed
from tests.sdk.listening import Frames, Log, chat


async def test_it_comes_back_and_brings_everything_with_it() -> None:
    heard = Log()
    async with EmbeddedServer(engines=Engines(), keys=["pk_1"]) as first:
        client = Pinecall("pk_1", first.url)
        for name in ("connected", "disconnected", "reconnecting", "error"):
            client.on(name, lambda *args, name=name: heard(name, *args))
        agent = desk(phone_numbers=["+13186330963"])
        agent.on("call.ended", lambda *args: heard("call.ended", *args))
        client.add(agent)
        client.add(desk("second"))
        await client.registered()
        await chat(client, "front-desk", "Hello")
        (call,) = client.calls()
        port = first.port
    await heard.until(lambda name, *_: name == "disconnected")
    assert client.calls() == ()
    assert call.status == "ended"
    agent.update(prompt="Changed while away.")
    async with EmbeddedServer(engines=Engines(), keys=["pk_1"], port=port) as again:
        await client.ready
        await client.registered()
        async with Rest(again.url, Secret("pk_1")) as rest:
            agents = {one.slug: one for one in await rest.agents()}
            config = (await rest.agent_config("front-desk"))["config"]
        assert set(agents) == {"front-desk", "second"}
        assert config["prompt"] == "Changed while away."
        await chat(client, "front-desk", "Hello again")
        frames = Frames(client)
        await client.channel_add("front-desk", {"type": "phone", "ref": "+13186330963"})
        await frames.frame("channel.added")
        async with Rest(again.url, Secret("pk_1")) as rest:
            assert {p for one in await rest.agents() for p in one.phones or ()} == {"+13186330963"}
        names = [entry[0] for entry in heard.entries]
        assert names[0] == "connected"
        assert names.count("connected") == 2
        attempt, delay = next(e[1:] for e in heard.entries if e[0] == "reconnecting")
        assert attempt == 1
        assert 1 <= delay <= 1.25
        await client.disconnect()
    assert names[-1] == "connected"


async def test_it_comes_back_to_a_local_server_with_another_key(tmp_path: Path) -> None:
    async with EmbeddedServer(engines=Engines(), run_dir=tmp_path) as first:
        url, port, known = first.url, first.port, Secret(first.key)
        client = Pinecall(lambda: key_of(url, tmp_path) or known, url)
        client.on("error", Log())
        lost = Log()
        client.on("disconnected", lost)
        client.add(desk())
        await client.registered()
    await lost.until()
    async with EmbeddedServer(engines=Engines(), run_dir=tmp_path, port=port) as second:
        assert second.key != first.key
        await client.registered()
        assert set(await listed(second)) == {"front-desk"}
        await client.disconnect()


async def test_a_request_under_way_fails_when_the_connection_is_lost() -> None:
    async with EmbeddedServer(engines=Engines(), keys=["pk_1"]) as server:
        client = Pinecall("pk_1", server.url)
        client.on("error", Log())
        client.add(desk())
        await client.registered()
    lost = Log()
    client.on("disconnected", lost)
    if client.connected:
        await lost.until()
    answer = client.configure("front-desk", {"prompt": "x"})
    await client.disconnect()
    with pytest.raises(ServerUnreachableError):
        await answer


async def test_disconnecting_ends_calls_and_says_nothing_of_loss(client: Pinecall) -> None:
    ended, lost = Log(), Log()
    client.on("call.ended", ended)
    client.on("disconnected", lost)
    client.add(desk())
    await client.registered()
    await chat(client, "front-desk", "Hello")
    await client.disconnect()
    assert [reason for _, reason in ended.entries] == ["client_disconnect"]
    assert not lost.entries
    await client.disconnect()
    with pytest.raises(ServerUnreachableError):
        client.send(commands.Ping())
    await client.connect()
    await client.registered()


async def test_without_a_key_it_takes_that_of_the_local_server_whenever_that_starts_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    run_dir = tmp_path / "pinecall"
    async with EmbeddedServer(engines=Engines(), run_dir=run_dir) as first:
        port = first.port
        monkeypatch.setenv("PINECALL_URL", f"http://localhost:{port}")
        client = Pinecall()
        client.on("error", Log())
        lost = Log()
        client.on("disconnected", lost)
        client.add(desk())
        await client.registered()
    await lost.until()
    async with EmbeddedServer(engines=Engines(), run_dir=run_dir, port=port) as second:
        await client.registered()
        assert set(await listed(second)) == {"front-desk"}
        await client.disconnect()
