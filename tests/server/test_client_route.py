from __future__ import annotations

import asyncio
import string

import pytest
import websockets
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pinecall_cli.server.app import Limits
from tests.server.peer import Peer, connected, embedded, unauthenticated

PHONE = "+13186330963"


async def test_what_comes_late_for_a_call_that_has_ended_is_no_mistake():
    async with embedded() as server, connected(server) as owner:
        await owner.agent("desk")
        result = {"tool_call_id": "t", "result": 1}
        await owner.send("llm.tool_result", call_id="gone", msg_id="m", results=[result])
        await owner.send("llm.ready", call_id="gone", agent_id="desk", turn=1)
        await owner.send("bot.reply.stream", call_id="gone", message_id="m", action="start")
        await owner.send("call.hangup", call_id="gone")
        assert (await owner.receive())["code"] == "CALL_NOT_FOUND"
        await owner.send("ping")
        assert (await owner.receive())["event"] == "pong"


async def test_an_agent_that_is_not_there_cannot_be_configured():
    async with embedded() as server, connected(server) as peer:
        for event in ("agent.configure", "agent.remove", "channel.remove"):
            await peer.send(event, agent_id="nobody", ref=PHONE)
            error = await peer.receive()
            assert (error["code"], error["agent_id"]) == ("AGENT_NOT_FOUND", "nobody")


async def test_a_removed_agent_frees_its_name():
    async with embedded() as server, connected(server) as one, connected(server) as two:
        await one.agent("a")
        await one.send("agent.remove", agent_id="a")
        assert (await one.receive())["event"] == "agent.removed"
        assert (await two.agent("a"))["event"] == "agent.created"


@pytest.mark.parametrize(
    ("channel", "code"),
    [
        ({"type": "whatsapp", "ref": "1"}, "INVALID_FRAME"),
        ({"type": "fax"}, "CHANNEL_NOT_SUPPORTED"),
        ({"type": "phone", "ref": "12"}, "INVALID_NUMBER"),
        ({"type": "phone"}, "INVALID_FRAME"),
        ({}, "INVALID_FRAME"),
    ],
)
async def test_a_channel_that_cannot_be_had_is_a_clear_error(channel: dict, code: str):
    async with embedded() as server, connected(server) as peer:
        await peer.agent("a")
        await peer.send("channel.add", agent_id="a", **channel)
        error = await peer.receive()
        assert (error["event"], error["code"], error["agent_id"]) == ("error", code, "a")
        assert error["error"]


async def test_a_newcomer_that_leaves_while_the_holder_is_asked_takes_nothing():
    async with embedded(limits=Limits(patience_s=0.2)) as server, connected(server) as one:
        await one.agent("a")
        async with connected(server) as two:
            await two.send("agent.create", agent_id="a")
            await one.until("ping")
        await one.send("agent.configure", agent_id="a", prompt="mine")
        await one.until("agent.configured")
        assert [agent.slug for agent in server.server.registry.online()] == ["a"]


NONSENSE = [
    "",
    "null",
    "[]",
    "{}",
    '{"event":5}',
    '{"event":"agent.create"}',
    '{"event":"agent.create","agent_id":null}',
    '{"event":"bot.reply","call_id":{}}',
    '{"event":"llm.chat","text":"x"}',
    '{"event":"llm.tool_result","call_id":"x","msg_id":"m","results":"r"}',
    "[" * 5000,
    '{"event":"ping"',
    '{"event":"history.get"}',
    '{"event":"dev.config","callers":["x"]}',
    "\x00",
]


async def test_nonsense_never_ends_a_connection():
    async with embedded() as server, connected(server) as peer:
        for text in NONSENSE:
            await peer.socket.send(text)
            await peer.socket.send(text.encode())
        await peer.settled()
        assert (await peer.agent("a"))["event"] == "agent.created"


fields = st.dictionaries(
    st.sampled_from(["agent_id", "call_id", "session_id", "text", "messages", "ref", "type"]),
    st.one_of(st.none(), st.text(max_size=5), st.integers(), st.lists(st.none(), max_size=2)),
)
names = st.sampled_from(
    ["agent.create", "agent.configure", "channel.add", "llm.chat", "history.set", "bot.reply"]
)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(names | st.text(string.printable, max_size=12), fields), max_size=20))
def test_no_order_of_odd_frames_ends_a_connection(frames: list[tuple[str, dict]]):
    async def run() -> None:
        async with embedded() as server, connected(server) as peer:
            for event, extra in frames:
                await peer.send(event, **extra)
            await peer.settled()

    asyncio.run(run())


async def test_an_oversized_frame_ends_its_connection_and_no_other():
    async with embedded() as server, connected(server) as one, connected(server) as two:
        await one.socket.send("x" * (1024 * 1024 + 1))
        assert (await one.closed())[0] == 1009
        assert (await two.agent("a"))["event"] == "agent.created"


async def test_a_client_that_reads_too_slowly_is_closed_and_the_others_go_on():
    limits = Limits(outbox_frames=50)
    async with embedded(limits=limits) as server, connected(server) as other:
        async with unauthenticated(server, max_queue=1) as peer:
            await peer.send("connect", api_key="pk_one")
            await peer.receive()
            await peer.agent("a")
            slow = next(server.server.registry.online()).connection
            assert slow is not None
            server.call_soon(lambda: [slow.post("x" * 100_000) for _ in range(200)])
            assert (await other.agent("b"))["event"] == "agent.created"
            with pytest.raises(websockets.ConnectionClosed):
                await read_all(peer)
        assert (await other.agent("a"))["event"] == "agent.created"


async def read_all(peer: Peer) -> None:
    """Read until the socket is closed, which raises."""
    while True:
        await peer.socket.recv()


async def test_a_removed_agents_sessions_live_to_their_end():
    async with embedded() as server, connected(server) as one, connected(server) as sender:
        await one.agent("a", llm="script")
        await sender.send("llm.chat", agent_id="a", session_id="chat-1", text="hello")
        await sender.until("llm.chat.done")
        await one.send("agent.remove", agent_id="a")
        await one.until("agent.removed")
        await sender.send("llm.chat", agent_id="a", session_id="chat-1", text="still there?")
        assert (await sender.until("llm.chat.done"))["text"] == "You said: still there?"
        await sender.send("llm.chat", agent_id="a", session_id="chat-2", text="hello?")
        assert (await sender.receive())["event"] == "llm.chat.error"


async def test_what_an_offline_engine_stands_in_for_is_said_once():
    said: list[str] = []
    async with embedded(notice=said.append) as server, connected(server) as peer:
        await peer.agent("a", voice="elevenlabs/sarah")
        await peer.agent("b", voice="elevenlabs/sarah")
        assert len([text for text in said if "elevenlabs/sarah" in text]) == 1
