"""How frames look: names, spellings, numbers and stamps (README §1)."""

from __future__ import annotations

import asyncio
import json
import re
import time
from typing import Any

import httpx
import pytest

from pinecall_cli.server.embedded import EmbeddedServer
from tests.conformance.answered import SCRIPT, answered
from tests.conformance.microphone import calling, speaking
from tests.conformance.paragraphs import holds
from tests.server.peer import bearer, connected, embedded, unauthenticated

AN_HOUR_AGO = 3600.0


async def config_of(server: EmbeddedServer, agent: str) -> dict[str, Any]:
    """Return an agent's configuration as the server has it."""
    async with httpx.AsyncClient(base_url=server.url, headers=bearer()) as http:
        answer = await http.get(f"/api/sdk/agents/{agent}/config")
    config: dict[str, Any] = answer.json()["config"]
    return config


async def conversation() -> list[dict[str, Any]]:
    """Hold a call of one turn, and a chat; return every frame that the agent's owner got."""
    texts = {0: "hello"}
    async with speaking(texts) as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT, greeting="Hi", preparing=False)
        async with calling(server) as caller:
            await owner.until("bot.finished")
            caller.say(0)
            said = await owner.until("message.confirmed", text="You said hello.")
            await owner.until("bot.finished", message_id=said["message_id"])
            await caller.hang_up()
        await owner.until("call.ended")
        await owner.send("llm.chat", agent_id="desk", session_id="chat-1", text="hi")
        await owner.until("llm.chat.done")
        await owner.settled()
    return owner.seen


@pytest.fixture(scope="module")
def frames() -> list[dict[str, Any]]:
    """Return what the owner of an agent was told in a call and in a chat."""
    return asyncio.run(conversation())


# --- conventions --------------------------------------------------------------------------------


@holds("README", "1")
async def test_what_the_server_sends_is_text_and_one_object_with_an_event_in_each_frame():
    async with embedded() as server, connected(server) as peer:
        for frame in ({"event": "ping"}, {"event": "agent.create", "agent_id": "a"}, {}):
            await peer.socket.send(json.dumps(frame))
            message = await peer.socket.recv()
            assert isinstance(message, str)
            assert isinstance(json.loads(message)["event"], str)


@holds("README", "1")
@pytest.mark.parametrize(
    "frame",
    ["", "no json", "[1,2]", '"ping"', "null", "{", '{"event":7}', b'{"event":"ping"}', b"\xff"],
)
async def test_what_is_no_text_frame_with_an_object_does_nothing_and_harms_nothing(
    frame: str | bytes,
):
    async with embedded() as server, connected(server) as peer:
        await peer.socket.send(frame)
        assert all(f["event"] == "error" for f in await peer.settled())
        assert (await peer.agent("a"))["event"] == "agent.created"


@holds("README", "1")
async def test_unknown_fields_are_tolerated_in_any_frame():
    extra = {"surprise": {"nested": [1, None]}, "zzz": None, "seq": 9, "ts": 1.0}
    async with answered(llm=SCRIPT) as (owner, caller):
        call = caller.call_id
        for event, fields, answer in (
            ("ping", {}, "pong"),
            ("agent.create", {"agent_id": "other"}, "agent.created"),
            ("agent.configure", {"agent_id": "other", "prompt": "x"}, "agent.configured"),
            ("channel.add", {"agent_id": "other", "type": "chat"}, "channel.added"),
            ("session.configure", {"session_id": call, "prompt": "x"}, "session.configured"),
            ("history.get", {"call_id": call, "request_id": "r"}, "history.data"),
            ("call.hangup", {"call_id": call}, "call.ended"),
        ):
            await owner.send(event, **(extra | fields))
            await owner.until(answer)
        assert not [f for f in owner.seen if f["event"] == "error"]


@holds("README", "1")
def test_field_names_are_in_snake_case(frames: list[dict[str, Any]]):
    for frame in frames:
        for name in frame:
            assert re.fullmatch(r"[a-z][a-z0-9_]*", name), (frame["event"], name)


@holds("README", "1")
async def test_a_key_that_is_left_out_keeps_its_value_and_false_nought_and_nothing_are_values():
    limits = {"max_duration_seconds": 0, "idle_timeout_seconds": 5}
    async with embedded() as server, connected(server) as peer:
        await peer.agent("a", flash=True, prompt="Be kind.", greeting="Hi", language="en")
        patch = {"flash": False, "prompt": "", "session_limits": limits}
        await peer.send("agent.configure", agent_id="a", **patch)
        await peer.until("agent.configured")
        assert await config_of(server, "a") == patch | {"greeting": "Hi", "language": "en"}


@holds("README", "1")
def test_points_in_time_are_seconds_and_durations_in_ms_are_milliseconds(
    frames: list[dict[str, Any]],
):
    now = time.time()
    points = ("ts", "timestamp", "started_at", "ended_at")
    found = [(n, f[n]) for f in frames for n in points if f.get(n) is not None]
    assert {name for name, _ in found} == set(points)
    for name, value in found:
        assert now - AN_HOUR_AGO < value <= now + 1, name
    (ended,) = (f for f in frames if f["event"] == "call.ended")
    lasted = ended["ended_at"] - ended["started_at"]
    assert ended["duration_seconds"] == pytest.approx(lasted, abs=0.5)
    spoken = next(f for f in frames if f["event"] == "bot.finished")
    assert spoken["duration_ms"] == pytest.approx(2 * 60, abs=25), "two letters of 60 ms"


@holds("README", "1.1")
async def test_the_configuration_keys_in_camel_case_have_their_effect_as_they_are_spelled():
    async with embedded() as server, connected(server) as peer:
        await peer.agent("a", llm=SCRIPT, greeting="Hello.", greetingInChat=True)
        await peer.send("llm.chat", agent_id="a", session_id="chat-1", text="hi")
        assert (await peer.until("chat.response"))["text"] == "Hello."
        await peer.agent("b", llm=SCRIPT, greeting="Hello.", greeting_in_chat=True)
        await peer.send("llm.chat", agent_id="b", session_id="chat-2", text="hi")
        response = await peer.until("chat.response", call_id="chat-2")
        assert response["text"] == "You said hi."


@holds("README", "1.1")
async def test_the_secrets_of_whatsapp_are_read_in_camel_case_alone():
    channel = {"agent_id": "a", "type": "whatsapp", "ref": "1234"}
    async with embedded() as server, connected(server) as peer:
        await peer.agent("a")
        await peer.send("channel.add", **channel, access_token="EAA", verify_token="open")
        assert (await peer.receive())["event"] == "error"
        await peer.send("channel.add", **channel, accessToken="EAA", verifyToken="open")
        assert (await peer.receive())["event"] == "channel.added"
        query = {"hub.mode": "subscribe", "hub.verify_token": "open", "hub.challenge": "42"}
        async with httpx.AsyncClient(base_url=server.url) as http:
            answer = await http.get("/whatsapp/webhook", params=query)
        assert (answer.status_code, answer.text) == (200, "42")


@holds("README", "1.1")
async def test_what_a_user_nests_travels_as_it_is():
    nested: dict[str, Any] = {
        "memory": {"contactKey": ["userId"], "remember": ["names"]},
        "media": {"live": True, "maxDurationSeconds": 60},
        "session_limits": {"max_duration_seconds": 900},
        "llm": {"provider": "script", "rules": [{"say": "x"}], "anyThing": {"Inner_Key": None}},
        "config": {"analysis": {"send_audio_metrics": True, "someThing": 1}},
    }
    async with embedded() as server, connected(server) as peer:
        await peer.agent("a", **nested)
        assert await config_of(server, "a") == nested


@holds("README", "1.1")
async def test_metadata_come_back_as_they_were_given():
    metadata = {"userId": "u_9", "snake_case": {"innerKey": [1, {"Deep": None}]}, "ünïcode": "✓"}
    async with embedded() as server, connected(server) as peer:
        await peer.agent("a", llm=SCRIPT)
        await peer.send("llm.chat", agent_id="a", session_id="chat-1", text="hi", metadata=metadata)
        started = await peer.until("llm.chat.started", call_id="chat-1")
        assert started["metadata"] == metadata


# --- stamps -------------------------------------------------------------------------------------


@holds("README", "1.2")
def test_every_frame_has_a_number_and_a_time(frames: list[dict[str, Any]]):
    for frame in frames:
        assert isinstance(frame["seq"], int), frame
        assert isinstance(frame["ts"], float), frame


@holds("README", "1.2")
def test_frames_of_a_call_say_whose_they_are_and_of_which_call(frames: list[dict[str, Any]]):
    of_calls = [f for f in frames if f["event"].split(".")[0] in CALL_FAMILIES]
    assert len(of_calls) > 15
    for frame in of_calls:
        assert frame["agent_id"] == "desk", frame
        assert frame["call_id"], frame
        assert frame.get("session_id", frame["call_id"]) == frame["call_id"], frame
    (started,) = (f for f in frames if f["event"] == "call.started")
    assert started["session_id"] == started["call_id"]


CALL_FAMILIES = {"call", "speech", "user", "turn", "bot", "message", "chat"}


@holds("README", "1.2")
def test_the_numbers_of_a_call_grow_and_so_do_those_of_the_connection(
    frames: list[dict[str, Any]],
):
    calls = {f["call_id"] for f in frames if "call_id" in f}
    assert len(calls) == 2
    for call in (*calls, None):
        numbers = [f["seq"] for f in frames if f.get("call_id") == call]
        assert numbers == sorted(set(numbers)), call


@holds("README", "1.2")
async def test_answers_and_errors_are_stamped_as_well():
    async with embedded() as server, connected(server) as peer:
        for event, fields in (
            ("ping", {}),
            ("nonsense", {}),
            ("agent.create", {"agent_id": "a"}),
            ("agent.create", {"agent_id": "!"}),
            ("channel.remove", {"agent_id": "a", "ref": "+1"}),
            ("history.get", {"call_id": "none", "request_id": "r"}),
            ("line.create", {"number": "x"}),
        ):
            await peer.send(event, **fields)
            answer = await peer.receive()
            assert {"seq", "ts"} <= answer.keys(), answer


@holds("README", "1.2")
async def test_an_error_before_connected_is_stamped_too():
    async with embedded() as server, unauthenticated(server) as peer:
        await peer.send("ping")
        assert {"seq", "ts"} <= (await peer.receive()).keys()
