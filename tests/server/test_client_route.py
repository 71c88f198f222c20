from __future__ import annotations

import asyncio
import json
import string

import pytest
import websockets
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pinecall_cli.server.app import Limits
from tests.server.peer import Peer, connected, embedded, unauthenticated

PHONE = "+13186330963"


async def test_a_key_lets_in_and_the_answer_says_where_one_is():
    async with embedded() as server, unauthenticated(server) as peer:
        await peer.send("connect", api_key="pk_one")
        hello = await peer.receive()
        assert hello["event"] == "connected"
        assert hello["embedded"] is True
        assert hello["protocol_version"] == "2"
        assert hello["org_id"].startswith("org_")
        assert hello["connection_id"].startswith("conn_")
        assert "pk_one" not in json.dumps(hello)


@pytest.mark.parametrize("key", ["", "pk_wrong", "pk_on", "pk_one ", "\u2603"])
async def test_a_wrong_key_is_refused_and_the_socket_closed(key: str):
    async with embedded() as server, unauthenticated(server) as peer:
        await peer.send("connect", api_key=key)
        assert (await peer.receive())["code"] == "INVALID_KEY"
        assert await peer.closed() == (4401, "invalid_key")


async def test_silence_before_connect_is_not_waited_for():
    async with embedded(limits=Limits(auth_s=0.05)) as server, unauthenticated(server) as peer:
        assert (await peer.receive())["code"] == "AUTH_TIMEOUT"
        assert await peer.closed() == (4408, "auth_timeout")


async def test_anything_before_connect_is_unauthorised_and_connect_still_works():
    async with embedded() as server, unauthenticated(server) as peer:
        await peer.send("agent.create", agent_id="front-desk")
        assert (await peer.receive())["code"] == "UNAUTHORIZED"
        await peer.socket.send("no json")
        assert (await peer.receive())["code"] == "UNAUTHORIZED"
        await peer.send("connect", api_key="pk_one")
        assert (await peer.receive())["event"] == "connected"


async def test_a_ping_is_answered_and_frames_are_stamped_in_order():
    async with embedded() as server, connected(server) as peer:
        await peer.send("ping")
        await peer.send("ping")
        first, second = await peer.until("pong"), await peer.until("pong")
        assert second["seq"] > first["seq"]
        assert first["ts"] == pytest.approx(first["timestamp"], abs=1)


async def test_a_silent_client_is_asked_and_an_answer_keeps_it():
    limits = Limits(quiet_s=0.05, patience_s=5)
    async with embedded(limits=limits) as server, connected(server) as peer:
        for _ in range(3):
            await peer.until("ping")
            await peer.send("pong")
        assert (await peer.agent("still-here"))["event"] == "agent.created"


async def test_a_client_that_does_not_answer_is_given_up():
    limits = Limits(quiet_s=0.05, patience_s=0.05)
    async with embedded(limits=limits) as server, connected(server) as peer:
        await peer.agent("asleep")
        await peer.until("ping")
        assert await peer.closed() == (4408, "no_sign_of_life")


async def test_an_agent_is_registered_under_its_slug():
    async with embedded() as server, connected(server) as peer:
        created = await peer.agent("My Agent", prompt="hi", voice="elevenlabs/sarah")
        assert created["event"] == "agent.created"
        assert created["agent_id"] == "my-agent"
        await peer.send("agent.configure", agent_id="My Agent", prompt="hello")
        assert (await peer.receive())["event"] == "agent.configured"


async def test_creating_ones_own_agent_again_replaces_its_configuration():
    async with embedded() as server, connected(server) as peer:
        await peer.agent("a", prompt="one", greeting="hi")
        assert (await peer.agent("a", prompt="two"))["event"] == "agent.created"
        agent = next(server.server.registry.online())
        assert agent.payload == {"prompt": "two"}


async def test_configure_changes_only_what_it_names():
    async with embedded() as server, connected(server) as peer:
        await peer.agent("a", prompt="one", greeting="hi")
        await peer.send("agent.configure", agent_id="a", prompt="two", flash=False)
        await peer.until("agent.configured")
        agent = next(server.server.registry.online())
        assert agent.payload == {"prompt": "two", "greeting": "hi", "flash": False}


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        ({"stt": "deepgram/nova-2"}, "nova"),
        ({"voice": 5}, "voice"),
        ({"tools": "no list"}, "tools"),
        ({"allowed_origins": ["*"]}, "origin"),
        ({"agent_id": "!!!"}, "agent name"),
    ],
)
async def test_a_refused_configuration_settles_the_registration(payload: dict, says: str):
    async with embedded() as server, connected(server) as peer:
        await peer.send("agent.create", **({"agent_id": "a"} | payload))
        refusal = await peer.until("error", code="REGISTRATION_ERROR")
        assert says in refusal["error"]
        assert refusal["agent_id"] == payload.get("agent_id", "a")
        assert not list(server.server.registry.online())


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


async def test_channels_are_added_changed_and_removed():
    async with embedded() as server, connected(server) as peer:
        await peer.agent("a", voice="elevenlabs/sarah")
        as_typed = "1 (318) 633-0963"
        await peer.send("channel.add", agent_id="a", type="phone", ref=as_typed, language="es")
        added = await peer.receive()
        assert (added["event"], added["type"], added["ref"]) == ("channel.added", "phone", as_typed)
        for kind in ("webrtc", "chat"):
            await peer.send("channel.add", agent_id="a", type=kind)
            assert (await peer.receive())["type"] == kind
        await peer.send("channel.configure", agent_id="a", ref=PHONE, flash=True)
        assert (await peer.receive())["event"] == "channel.configured"
        agent = next(server.server.registry.online())
        assert agent.config_for("phone", PHONE) == {
            "voice": "elevenlabs/sarah",
            "language": "es",
            "flash": True,
        }
        await peer.send("channel.remove", agent_id="a", ref=PHONE, type="phone")
        assert (await peer.receive())["event"] == "channel.removed"
        assert agent.numbers == ()
        await peer.send("channel.remove", agent_id="a", ref=PHONE)
        assert (await peer.receive())["code"] == "CHANNEL_NOT_FOUND"


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


async def test_a_number_has_one_owner_in_an_organisation():
    async with (
        embedded() as server,
        connected(server) as one,
        connected(server) as two,
        connected(server, "pk_two") as other,
    ):
        await one.agent("a")
        await one.send("channel.add", agent_id="a", type="phone", ref=PHONE)
        await one.until("channel.added")
        await two.agent("b")
        await two.send("channel.add", agent_id="b", type="phone", ref="1 318-633-0963")
        refusal = await two.receive()
        assert refusal["code"] == "PHONE_IN_USE"
        assert refusal["phone"] == "1 318-633-0963"
        await two.agent("dev-b")
        await two.send("channel.add", agent_id="dev-b", type="phone", ref=PHONE)
        assert (await two.receive())["event"] == "channel.added"
        await other.agent("c")
        await other.send("channel.add", agent_id="c", type="phone", ref=PHONE)
        assert (await other.receive())["event"] == "channel.added"


async def test_dev_callers_lead_to_the_developers_own_agent():
    async with embedded() as server, connected(server) as one, connected(server) as dev:
        registry, org = server.server.registry, server.server.organisations.of_key("pk_one")
        assert org is not None
        await one.agent("front-desk")
        await one.send("channel.add", agent_id="front-desk", type="phone", ref=PHONE)
        await dev.agent("dev-front-desk")
        await dev.send("channel.add", agent_id="dev-front-desk", type="phone", ref=PHONE)
        await dev.send("dev.config", callers=["+34 600 123 456"])
        await dev.settled()
        await one.settled()
        mine = registry.dev_owner_of(org, PHONE, "+34600123456")
        assert mine is not None
        assert mine.slug == "dev-front-desk"
        assert registry.dev_owner_of(org, PHONE, "+34600999999") is None
        production = registry.owner_of(org, PHONE)
        assert production is not None
        assert production.slug == "front-desk"


async def test_a_live_holder_is_protected_and_named():
    holder = {"name": "pinecall-cli", "version": "0.1.0", "pid": 4711}
    async with embedded() as server, connected(server, client=holder) as one:
        await one.agent("a")

        async def answer() -> None:
            await one.until("ping")
            await one.send("pong")

        async with connected(server) as two, asyncio.TaskGroup() as tasks:
            tasks.create_task(answer())
            await two.send("agent.create", agent_id="A")
            refusal = await two.receive()
            assert refusal["code"] == "AGENT_CONFLICT_FATAL"
            assert refusal["agent_id"] == "A"
            assert refusal["holder"] == holder
            assert (await two.agent("b"))["event"] == "agent.created"
        held = {
            a.slug: a.connection.client for a in server.server.registry.online() if a.connection
        }
        assert held["a"] == holder


async def test_other_agents_are_registered_while_a_holder_is_asked():
    async with embedded() as server, connected(server) as one, connected(server) as two:
        await one.agent("a")
        await two.send("agent.create", agent_id="a")
        assert (await two.agent("b"))["agent_id"] == "b"
        await one.until("ping")
        await one.send("pong")
        assert (await two.until("error"))["code"] == "AGENT_CONFLICT_FATAL"


async def test_a_dead_holder_is_displaced():
    limits = Limits(patience_s=0.05)
    async with embedded(limits=limits) as server, connected(server) as one:
        await one.agent("a")
        await one.agent("b")
        async with connected(server) as two:
            assert (await two.agent("a"))["event"] == "agent.created"
            displaced = await one.until("agent.displaced")
            assert displaced["agent_id"] == "a"
            assert (await two.agent("b"))["event"] == "agent.created"
            code, reason = await one.closed()
            assert code == 4001
            assert "Displaced" in reason


async def test_a_holder_that_leaves_while_it_is_asked_is_not_waited_for():
    async with embedded(limits=Limits(patience_s=3600)) as server, connected(server) as two:
        async with connected(server) as one:
            await one.agent("a")
            await two.send("agent.create", agent_id="a")
            await one.until("ping")
        assert (await two.receive())["event"] == "agent.created"


async def test_a_newcomer_that_leaves_while_the_holder_is_asked_takes_nothing():
    async with embedded(limits=Limits(patience_s=0.2)) as server, connected(server) as one:
        await one.agent("a")
        async with connected(server) as two:
            await two.send("agent.create", agent_id="a")
            await one.until("ping")
        await one.send("agent.configure", agent_id="a", prompt="mine")
        await one.until("agent.configured")
        assert [agent.slug for agent in server.server.registry.online()] == ["a"]


async def test_names_of_another_organisation_are_free():
    async with embedded() as server, connected(server) as one, connected(server, "pk_two") as two:
        assert (await one.agent("a"))["event"] == "agent.created"
        assert (await two.agent("a"))["event"] == "agent.created"


async def test_a_full_server_says_how_full_it_is():
    async with embedded(limits=Limits(agents=1)) as server, connected(server) as peer:
        await peer.agent("a")
        refusal = await peer.agent("b")
        assert refusal["code"] == "SERVER_AT_CAPACITY"
        assert (refusal["used"], refusal["limit"], refusal["agent_id"]) == (1, 1, "b")
        assert refusal["error"].startswith("SERVER_AT_CAPACITY: ")
        assert (await peer.agent("a"))["event"] == "agent.created"


async def test_commands_for_no_call_of_ours_are_told_so_and_history_is_always_answered():
    async with embedded() as server, connected(server) as one, connected(server) as two:
        await one.agent("a", llm="script")
        await two.send("llm.chat", agent_id="a", session_id="chat-1", text="hi")
        await two.until("llm.chat.done")
        for call in ("chat-1", "chat-2"):
            await two.send("bot.reply", call_id=call, message_id="m", text="hi")
            error = await two.receive()
            assert (error["code"], error["call_id"]) == ("CALL_NOT_FOUND", call)
            await two.send("history.get", call_id=call, request_id="rq_1")
            data = await two.receive()
            assert (data["event"], data["request_id"], data["call_id"]) == (
                "history.data",
                "rq_1",
                call,
            )
            assert data["error"]
            await two.send("history.add", call_id=call, request_id="rq_2", messages=[])
            assert (await two.receive())["event"] == "history.updated"
            await two.send("session.configure", session_id=call, voice="elevenlabs/daniel")
            assert (await two.receive())["code"] == "CALL_NOT_FOUND"
        await one.send("history.get", call_id="chat-1", request_id="rq_3")
        assert len((await one.until("history.data"))["messages"]) == 2


async def test_a_malformed_history_request_is_answered_too():
    async with embedded() as server, connected(server) as peer:
        await peer.send("history.add", call_id="chat-1", request_id="rq_9", messages="none")
        answer = await peer.receive()
        assert (answer["event"], answer["request_id"]) == ("history.updated", "rq_9")
        assert answer["error"]


async def test_an_unknown_event_is_told_and_ignored():
    async with embedded() as server, connected(server) as peer:
        await peer.send("agent.sing", agent_id="a")
        assert (await peer.receive())["code"] == "UNKNOWN_EVENT"
        await peer.send("connect", api_key="pk_one")
        assert (await peer.receive())["code"] == "ALREADY_CONNECTED"


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


async def test_sessions_outlive_their_agents_socket_and_are_announced_to_the_next():
    async with embedded() as server, connected(server) as sender:
        async with connected(server) as one:
            await one.agent("a", llm="script")
            await sender.send("llm.chat", agent_id="a", session_id="chat-1", text="hello")
            await sender.until("llm.chat.done")
        async with connected(server) as two:
            assert (await two.agent("a", llm="script"))["event"] == "agent.resumed"
            again = await two.receive()
            assert (again["event"], again["call_id"]) == ("llm.chat.started", "chat-1")
            await two.send("history.get", call_id="chat-1", request_id="rq")
            assert len((await two.until("history.data"))["messages"]) == 2


async def test_sessions_whose_agent_does_not_come_back_end_after_the_grace():
    async with embedded(limits=Limits(grace_s=0.1)) as server, connected(server) as sender:
        async with connected(server) as one:
            await one.agent("a", llm="script")
            await sender.send("llm.chat", agent_id="a", session_id="chat-1", text="hello")
            await sender.until("llm.chat.done")
        while server.server.registry.sessions():
            await sender.settled()
        ended = [e for e in server.server.journal.entries(call="chat-1") if e.type == "call.ended"]
        assert [entry.data["reason"] for entry in ended] == ["agent_disconnected"]
        assert (await sender.agent("a"))["event"] == "agent.created"


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
