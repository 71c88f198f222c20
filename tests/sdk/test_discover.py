"""Finding the server that is meant: runtime files, names, and what is swept."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from pinecall_cli.agent.define import Agent
from pinecall_cli.errors import (
    ConflictError,
    NotAuthorisedError,
    NotFoundError,
    ServerUnreachableError,
    UsageError,
)
from pinecall_cli.sdk import discover
from pinecall_cli.sdk.client import Pinecall
from pinecall_cli.sdk.discover import Running, choose, find, refuse_held, running, runtime_files
from pinecall_cli.sdk.listing import ConnectedAgent
from pinecall_cli.server.embedded import EmbeddedServer
from pinecall_cli.settings import Secret, Target
from pinecall_cli.settings.running import MAX_FILE_BYTES
from tests.fakes.engines import Engines
from tests.sdk.listening import raw_server


def write(folder: Path, name: str, **fields: object) -> Path:
    path = folder / "servers" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    body = {"url": "http://127.0.0.1:1", "key": "k", "pid": 1, "started": 1.0}
    path.write_text(json.dumps(body | fields))
    return path


def of(url: str, *names: str) -> Running:
    return Running(url, Secret("k"), tuple(ConnectedAgent(slug=name) for name in names))


async def test_a_running_server_is_found_with_its_agents(
    tmp_path: Path, server: EmbeddedServer, client: Pinecall
) -> None:
    client.add(Agent("front-desk", llm="script", prompt="x"))
    await client.registered()
    (found,) = await running(tmp_path)
    assert found.local is not None
    assert (found.url, found.key, found.local.pid) == (server.url, Secret(server.key), os.getpid())
    assert found.has("Front Desk")
    assert await find("front-desk", Target("embedded"), tmp_path) == found
    assert server.key not in repr(found)


async def test_files_of_servers_that_are_gone_are_swept(
    tmp_path: Path, server: EmbeddedServer
) -> None:
    dead = write(tmp_path, "1", pid=os.getpid())
    other_key = write(tmp_path, "2", url=server.url)
    (found,) = await running(tmp_path)
    assert found.url == server.url
    assert not dead.exists()
    assert not other_key.exists()


async def test_a_slow_servers_file_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discover, "ANSWER_WITHIN", 0.2)

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with raw_server(silent) as port:
        path = write(tmp_path, "3", url=f"http://127.0.0.1:{port}")
        assert await running(tmp_path) == ()
    assert path.exists()


def test_files_that_are_none_are_passed_over(tmp_path: Path) -> None:
    assert runtime_files(tmp_path) == ()
    for number, text in enumerate(["", "[]", "{}", '"x"', '{"url": 1, "key": 2}']):
        write(tmp_path, str(number)).write_text(text)
    write(tmp_path, "bad-url", url="ftp://x")
    write(tmp_path, "bad-key", key=None)
    write(tmp_path, "big", padding="x" * MAX_FILE_BYTES)
    later, earlier = write(tmp_path, "a", started=2.0, pid=2), write(tmp_path, "b", started=1.0)
    assert [server.file for server in runtime_files(tmp_path)] == [earlier, later]


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="files have no owner here")
def test_a_file_of_another_user_is_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "a")
    mine = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: mine + 1)
    assert runtime_files(tmp_path) == ()


def test_one_server_with_the_name_is_chosen() -> None:
    first, second = of("http://a", "sales"), of("http://b", "front-desk")
    assert choose("Front Desk", [first, second]) is second


def test_two_servers_with_the_name_are_a_question() -> None:
    with pytest.raises(UsageError, match="http://a, http://b") as caught:
        choose("sales", [of("http://a", "sales"), of("http://b", "sales", "x")])
    assert caught.value.exit_code == 2


def test_no_server_with_the_name_lists_the_names_there_are() -> None:
    with pytest.raises(NotFoundError) as caught:
        choose("nobody", [of("http://a", "sales"), of("http://b", "front-desk")])
    assert caught.value.exit_code == 1
    assert caught.value.fix == "connected: `front-desk`, `sales`"
    with pytest.raises(NotFoundError) as caught:
        choose("nobody", [of("http://a")])
    assert caught.value.fix == "no agent is connected there"
    with pytest.raises(NotFoundError, match="no local server is running"):
        choose("nobody", [])


async def test_a_local_server_named_by_url_brings_its_key(
    tmp_path: Path, server: EmbeddedServer, client: Pinecall
) -> None:
    client.add(Agent("front-desk", llm="script", prompt="x"))
    await client.registered()
    (found,) = await discover.servers(Target("local", server.url), tmp_path)
    assert found.key == Secret(server.key)
    with pytest.raises(NotAuthorisedError, match="no key for"):
        await discover.servers(Target("local", server.url), tmp_path / "nothing is noted here")
    for key in (None, Secret("k")):  # a server that is not there needs no key first
        with pytest.raises(ServerUnreachableError):
            await discover.servers(Target("local", "http://127.0.0.1:1", key), tmp_path)


async def test_a_name_that_only_a_local_server_has_says_so(
    tmp_path: Path, server: EmbeddedServer, client: Pinecall
) -> None:
    client.add(Agent("front-desk", llm="script", prompt="x"))
    await client.registered()
    async with EmbeddedServer(engines=Engines(), keys=["pk_h"]) as far:
        target = Target("hosted", far.url, Secret("pk_h"))
        with pytest.raises(NotFoundError) as caught:
            await find("front-desk", target, tmp_path)
        assert "--local" in (caught.value.fix or "")
        with pytest.raises(NotFoundError, match="no agent `nobody`"):
            await find("nobody", target, tmp_path)


async def test_a_held_name_tells_who_holds_it(
    tmp_path: Path, server: EmbeddedServer, client: Pinecall
) -> None:
    client.add(Agent("front-desk", llm="script", prompt="x"))
    await client.registered()
    servers = await running(tmp_path)
    refuse_held(["sales"], servers)
    with pytest.raises(ConflictError, match=f"process {os.getpid()}") as caught:
        refuse_held(["sales", "front-desk"], servers)
    assert caught.value.exit_code == 6
    assert str(tmp_path) in str(caught.value)
    with pytest.raises(ConflictError, match="http://a"):
        refuse_held(["x"], [of("http://a", "x")])
