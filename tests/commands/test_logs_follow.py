"""`logs --follow` in a process of its own, beside servers that come, go and are killed."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import pytest
import websockets

from pinecall_cli.server.embedded import EmbeddedServer
from pinecall_cli.server.log.log_file import FILE
from pinecall_cli.settings import data_dir, run_dir
from tests.commands.killed_server import (
    Follower,
    Server,
    as_stored,
    free_port,
    load,
    newest,
    stored,
    through_kills,
    write,
)
from tests.server.log_reader import chat, hang_up
from tests.server.peer import Deaf, connected, embedded


async def written(server: EmbeddedServer) -> int:
    """Return the newest entry's seq, once all that has happened is written down."""
    asked = server.server.journal.ask(lambda database: newest(data_dir()))
    return await asyncio.wrap_future(asked)


def local(**options: Any) -> Any:
    """Return a local server as others on this machine find it."""
    return embedded(**({"keys": (), "data": data_dir(), "run_dir": run_dir()} | options))


async def test_a_server_killed_ten_times_under_load_loses_and_repeats_nothing(tmp_path: Path):
    server = Server(tmp_path, free_port(), "pk_test")
    server.start()
    follower = await Follower.start("--server", server.url, "--api-key", "pk_test")
    try:
        await through_kills(server, follower, "pk_test", 10)
        assert await follower.stop() == 143
    finally:
        server.kill()
    assert len(follower.printed) > 500
    assert as_stored(follower.printed) == stored(tmp_path)


async def test_servers_of_no_name_are_followed_wherever_they_come_back(empty_home: Path):
    data = data_dir()
    server = Server(data, 0)  # another port and another key each time
    server.start()
    follower = await Follower.start()
    try:
        for _ in range(3):
            files = sorted((run_dir() / "servers").iterdir(), key=lambda file: file.stat().st_mtime)
            place = json.loads(files[-1].read_text())
            loading = asyncio.get_running_loop().create_task(load(place["url"], place["key"]))
            seen = len(follower.printed)
            await follower.count(seen + 50)
            loading.cancel()
            await asyncio.wait({loading})
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
        await follower.has(newest(data))
        await follower.stop()
    finally:
        server.kill()
    assert as_stored(follower.printed) == stored(data)


async def test_it_waits_for_servers_and_follows_several_that_share_a_log(empty_home: Path):
    follower = await Follower.start()
    servers = [Server(data_dir(), free_port(), "pk_test") for _ in range(2)]
    loop = asyncio.get_running_loop()
    try:
        for server in servers:
            server.start()
        working = [loop.create_task(load(s.url, "pk_test", s.agent)) for s in servers]
        await follower.count(200)
        for task in working:
            task.cancel()
        await asyncio.wait(working)
        await asyncio.to_thread(servers[0].kill)
        await follower.count(len(stored(data_dir())))
        assert await follower.stop() == 143
    finally:
        for server in servers:
            server.kill()
    printed, kept = as_stored(follower.printed), stored(data_dir())
    assert len({entry["agent"] for entry in printed}) == 2
    for agent in (server.agent for server in servers):
        assert [e for e in printed if e["agent"] == agent] == [
            e for e in kept if e["agent"] == agent
        ]


async def test_what_a_server_that_came_and_went_unseen_wrote_is_told_too(empty_home: Path):
    follower = await Follower.start()
    made = EmbeddedServer(engines=Deaf(), data=data_dir())  # and leaves no runtime file
    async with made as server, connected(server, server.key) as peer:
        await peer.agent("desk", llm="script")
        await chat(peer, "c1")
        await hang_up(peer, "c1")
    await follower.count(len(stored(data_dir())))
    await follower.stop()
    assert as_stored(follower.printed) == stored(data_dir())


async def test_live_calls_are_told_from_their_beginning_and_old_ones_not():
    async with local() as server, connected(server, server.key) as peer:
        await peer.agent("desk", llm="script")
        await chat(peer, "old")
        await hang_up(peer, "old")
        await chat(peer, "live")
        follower = await Follower.start()
        await hang_up(peer, "live")
        await follower.has(await written(server))
        await follower.stop()
        assert {entry["call"] for entry in follower.printed} == {"live"}
        assert follower.printed[0]["type"] == "call.started"
        since = await Follower.start("--since", "10m")
        await since.has(await written(server))
        await since.stop()
        assert as_stored(since.printed) == stored(data_dir())


async def test_one_agent_or_one_kind_of_entry_can_be_followed():
    async with local() as server, connected(server, server.key) as peer:
        await peer.agent("desk", llm="script")
        await peer.agent("shop", llm="script")
        shop = await Follower.start("--agent", "shop")
        said = await Follower.start(
            "--event", "user.*", "--event", "call.ended", "--grep", "two|ha"
        )
        await chat(peer, "c1", text="one")
        await chat(peer, "c2", agent="shop", text="two")
        await hang_up(peer, "c1")
        await hang_up(peer, "c2")
        await peer.settled()
        await shop.has(await written(server))
        await said.count(3)
        await shop.stop()
        await said.stop()
    of_shop = [entry for entry in stored(data_dir()) if entry["agent"] == "shop"]
    assert as_stored(shop.printed) == of_shop
    assert [entry["type"] for entry in said.printed] == ["user.message", "call.ended", "call.ended"]
    assert said.printed[0]["data"]["text"] == "two"


async def test_an_agent_that_is_not_there_yet_is_waited_for_and_the_closest_named():
    async with local() as server, connected(server, server.key) as peer:
        await peer.agent("desk", llm="script")
        follower = await Follower.start("--agent", "desc")
        assert follower.first == "no agent `desc` yet; did you mean `desk`? connected: `desk`\n"
        await peer.agent("desc", llm="script")
        await chat(peer, "c1", agent="desk")
        await chat(peer, "c2", agent="desc")
        await hang_up(peer, "c2")
        await follower.has(await written(server))
        await follower.stop()
    assert {entry["agent"] for entry in follower.printed} == {"desc"}


async def test_one_call_is_followed_to_its_end():
    async with local() as server, connected(server, server.key) as peer:
        await peer.agent("desk", llm="script")
        await chat(peer, "call-0a11ce00")
        await chat(peer, "c2")
        follower = await Follower.start("0a11")
        await chat(peer, "call-0a11ce00")
        await hang_up(peer, "call-0a11ce00")
        await follower.reading
        assert await follower.process.wait() == 0
        mine = [entry for entry in stored(data_dir()) if entry["call"] == "call-0a11ce00"]
        assert as_stored(follower.printed) == mine
        again = await Follower.start("0a11")  # over: it is told, and that is all
        await again.reading
        assert await again.process.wait() == 0
        assert as_stored(again.printed) == mine
        await follower.talk
        await again.talk


async def test_a_call_that_goes_with_its_server_is_told_to_what_was_written_down(
    empty_home: Path,
):
    server = Server(data_dir(), 0)
    server.start()
    (file,) = (run_dir() / "servers").iterdir()
    place = json.loads(file.read_text())
    loading = asyncio.get_running_loop().create_task(load(place["url"], place["key"]))
    everything = await Follower.start()
    await everything.count(20)
    async with websockets.connect(f"ws{place['url'][4:]}/client") as peer:
        await peer.send(json.dumps({"event": "connect", "api_key": place["key"]}))
        call = "chat-that-lasts"  # those of the load end when they have said enough
        await write(peer, "desk", call)
        follower = await Follower.start(call)
        await follower.count(1)
        await asyncio.to_thread(server.kill)
    loading.cancel()
    await follower.reading
    assert await follower.process.wait() == 3
    error = follower.printed.pop()
    assert (error["type"], error["error"]["code"]) == ("error", "server_unreachable")
    assert as_stored(follower.printed) == [e for e in stored(data_dir()) if e["call"] == call]
    await follower.talk
    await everything.stop()


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_a_signal_ends_it_even_when_nobody_takes_what_it_prints(
    sent: signal.Signals, code: int
):
    async with local() as server, connected(server, server.key) as peer:
        await peer.agent("desk", llm="script")
        follower = await Follower.start(reading=False)
        for _ in range(60):  # far more than a pipe holds
            await chat(peer, "c1", text="hello " * 1_000)
        follower.process.send_signal(sent)
        async with asyncio.timeout(10):
            assert await follower.process.wait() == code
        await chat(peer, "c1")  # and the server has noticed nothing
    assert (data_dir() / FILE).exists()


async def test_a_reader_that_leaves_ends_it_in_peace():
    async with local() as server, connected(server, server.key) as peer:
        await peer.agent("desk", llm="script")
        follower = await Follower.start(reading=False)
        assert follower.process.stdout is not None
        await chat(peer, "c1")
        await follower.process.stdout.readline()
        follower.process._transport.get_pipe_transport(1).close()  # type: ignore[attr-defined]
        while follower.process.returncode is None:
            await chat(peer, "c1")
        assert follower.process.returncode == 0


async def test_for_people_it_tells_the_conversation():
    async with local() as server, connected(server, server.key) as peer:
        await peer.agent("desk", llm="script")
        follower = await Follower.start(json=False)
        await chat(peer, "c1", text="Where is it?")
        await hang_up(peer, "c1")
        await follower.count(4)
        await follower.stop()
    words = [" ".join(line.split()[1:]) for line in follower.lines]
    assert words[:3] == [
        "desk c1 ☎ chat",
        "desk c1 caller › Where is it?",
        "desk c1 desk › You said: Where is it?",
    ]
    assert words[3].startswith("desk c1 ☎ chat ended — hangup")  # and no latency of nothing
