"""Faults on purpose: each strikes as named, and none strikes unasked."""

from __future__ import annotations

import asyncio

import httpx
import pytest
import websockets

from pinecall_cli.errors import UsageError
from pinecall_cli.server.faults import Faults, Spoiled, parse_faults
from tests.server.peer import connected, embedded

SCRIPT = {"provider": "script", "rules": [{"say": "one two three"}]}


def test_faults_are_named_with_their_values():
    faults = parse_faults(["drop-after=20", "refuse=SERVER_AT_CAPACITY", "delay-ms=5"])
    assert faults == Faults(drop_after=20, refuse="SERVER_AT_CAPACITY", delay_ms=5)
    assert faults.on == ["drop-after=20", "delay-ms=5", "refuse=SERVER_AT_CAPACITY"]
    assert parse_faults([]).on == []


@pytest.mark.parametrize(
    "text", ["", "drop", "drop-after", "drop-after=x", "drop-after=-1", "refuse=", "refuse=a b"]
)
def test_what_is_no_fault_is_told(text: str):
    with pytest.raises(UsageError) as refused:
        parse_faults([text])
    assert refused.value.fix


async def written(faults: Faults, count: int) -> list[str]:
    out: list[str] = []

    async def write(frame: str) -> None:
        out.append(frame)

    spoiled = Spoiled(faults, write)
    for number in range(1, count + 1):
        await spoiled(str(number))
    return out


async def test_frames_are_duplicated_and_change_places():
    assert await written(Faults(duplicate=2), 4) == ["1", "2", "2", "3", "4", "4"]
    assert await written(Faults(reorder=2), 5) == ["1", "3", "2", "5", "4"]


async def test_a_frame_that_waits_for_another_comes_by_itself_in_the_end():
    out: list[str] = []
    came = asyncio.Event()

    async def write(frame: str) -> None:
        out.append(frame)
        came.set()

    spoiled = Spoiled(Faults(reorder=1), write)
    await spoiled("1")
    assert out == []
    async with asyncio.timeout(10):
        await came.wait()
    assert out == ["1"]


async def test_an_agent_socket_is_cut_off_without_a_close():
    async with embedded(faults=Faults(drop_after=3)) as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT)
        await peer.send("ping")
        await peer.receive()
        await peer.send("ping")
        with pytest.raises(websockets.ConnectionClosedError):
            await peer.receive()
        assert peer.socket.close_code == 1006


async def test_registrations_are_refused_with_the_code_named():
    async with embedded(faults=Faults(refuse="SERVER_AT_CAPACITY")) as server:
        async with connected(server) as peer:
            assert (await peer.agent("desk", llm=SCRIPT))["code"] == "SERVER_AT_CAPACITY"


async def test_models_are_stalled_and_then_say_all():
    async with embedded(faults=Faults(stall_ms=300)) as server, connected(server) as peer:
        loop = asyncio.get_running_loop()
        await peer.agent("desk", llm=SCRIPT)
        begun = loop.time()
        await peer.send("llm.chat", agent_id="desk", session_id="c", text="hi")
        done = await peer.until("llm.chat.done")
        assert done["text"] == "one two three"
        assert loop.time() - begun >= 0.3


async def test_every_so_many_th_request_is_one_too_many():
    async with embedded(faults=Faults(too_many=2)) as server, httpx.AsyncClient() as http:
        http.headers["Authorization"] = "Bearer pk_one"
        answers = [await http.get(f"{server.url}/api/sdk/agents") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 429, 200, 429]
    assert answers[1].headers["retry-after"] == "1"


async def test_frames_come_late_and_in_order():
    async with embedded(faults=Faults(delay_ms=20)) as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT)
        await peer.send("llm.chat", agent_id="desk", session_id="c", text="hi")
        await peer.until("llm.chat.done")
        seqs = [frame["seq"] for frame in peer.seen]
        assert seqs == sorted(seqs)
