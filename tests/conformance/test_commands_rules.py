"""Rules for every command, and the frames of the connection (commands.md §0-§2, §12)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.answered import SCRIPT, answered
from tests.conformance.microphone import calling, speaking
from tests.conformance.paragraphs import holds
from tests.server.peer import connected, embedded, unauthenticated

OF_A_CALL: dict[str, dict[str, Any]] = {
    "bot.reply": {"message_id": "m1", "text": "hi", "in_reply_to": ""},
    "bot.cancel": {},
    "bot.clear": {},
    "call.hangup": {},
    "call.forward": {"to": "+14155550123", "message": "", "announce": False},
    "call.dtmf": {"digits": "1"},
    "call.hold": {},
    "call.unhold": {},
    "call.mute": {},
    "call.unmute": {},
    "call.route": {"agent": "desk"},
    "skill.load": {"skill": "booking"},
    "skill.unload": {"skill": "booking"},
    "llm.tool_result": {"msg_id": "m1", "results": []},
    "llm.ready": {"agent_id": "desk"},
    "set_context": {"key": "k", "value": 1},
}
REQUESTS: dict[str, dict[str, Any]] = {
    "history.get": {},
    "history.add": {"messages": [{"role": "user", "content": "x"}]},
    "history.set": {"messages": []},
    "history.clear": {},
    "history.set_instructions": {"prompt": "x"},
    "history.set_vars": {"vars": {"a": "b"}},
    "history.add_context": {"text": "x"},
}

# --- general rules ------------------------------------------------------------------------------


@holds("commands", "0")
@pytest.mark.parametrize("event", OF_A_CALL)
async def test_a_command_for_an_unknown_call_does_nothing_or_is_told_so_once(event: str):
    async with embedded() as server, connected(server) as peer:
        await peer.agent("desk")
        await peer.send(event, call_id="CA00000000000000000000000000000000", **OF_A_CALL[event])
        told = await peer.settled()
        assert len(told) <= 1
        for error in told:
            assert (error["event"], error["code"]) == ("error", "CALL_NOT_FOUND")
            assert error["call_id"] == "CA00000000000000000000000000000000"


@holds("commands", "0", "7")
@pytest.mark.parametrize("event", REQUESTS)
async def test_a_request_for_an_unknown_call_is_always_answered_with_an_error(event: str):
    async with embedded() as server, connected(server) as peer:
        await peer.agent("desk")
        await peer.send(event, call_id="gone", request_id="rq_7_abcdef", **REQUESTS[event])
        (answer,) = await peer.settled()
        assert answer["event"] == ("history.data" if event == "history.get" else "history.updated")
        assert (answer["request_id"], answer["call_id"]) == ("rq_7_abcdef", "gone")
        assert isinstance(answer["error"], str)
        assert answer["error"]


@holds("commands", "0")
async def test_a_call_can_be_commanded_by_its_own_connection_alone():
    async with speaking() as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT)
        async with (
            calling(server) as caller,
            connected(server) as other,
            connected(server, "pk_two") as stranger,
        ):
            call = (await owner.until("call.started"))["call_id"]
            for peer in (other, stranger):
                await peer.agent("another")
                for event, fields in OF_A_CALL.items():
                    await peer.send(event, call_id=call, **fields)
                for event, fields in REQUESTS.items():
                    await peer.send(event, call_id=call, request_id="r", **fields)
                await peer.send("session.configure", session_id=call, prompt="mine now")
                told = await peer.settled()
                assert {f.get("code", "CALL_NOT_FOUND") for f in told} == {"CALL_NOT_FOUND"}
                assert {f["event"] for f in told} == {"error", "history.data", "history.updated"}
                assert not any(frame.get("messages") for frame in told)
            assert [f for f in await owner.settled() if f["event"] != "llm.before"] == []
            assert caller.names() == ["call.started"]


@holds("commands", "0")
async def test_frames_of_a_call_need_no_agent_id_and_tolerate_one():
    async with answered() as (owner, caller):
        call = caller.call_id
        said = {"text": "Hi", "in_reply_to": ""}
        await owner.send("bot.reply", call_id=call, message_id="m1", **said)
        await owner.send("bot.reply", call_id=call, agent_id="desk", message_id="m2", **said)
        await owner.until("bot.finished", message_id="m2")
        assert [f["event"] for f in owner.seen].count("bot.finished") == 2


@holds("commands", "0")
@pytest.mark.parametrize("event", ["agent.sing", "", "BOT.REPLY", "x" * 5000, "agent.destroy"])
async def test_an_unknown_event_is_ignored_or_told(event: str):
    async with embedded() as server, connected(server) as peer:
        await peer.agent("a")
        await peer.send(event, agent_id="a")
        for error in await peer.settled():
            assert (error["event"], error["code"]) == ("error", "UNKNOWN_EVENT")
        await peer.send("agent.configure", agent_id="a", prompt="x")
        await peer.until("agent.configured")


@holds("commands", "0")
async def test_commands_are_carried_out_in_the_order_they_come():
    async with answered() as (owner, caller):
        call = caller.call_id
        for number in range(5):
            await owner.send("history.get", call_id=call, request_id=f"get-{number}")
            message = {"role": "user", "content": str(number)}
            await owner.send(
                "history.add", call_id=call, request_id=f"add-{number}", messages=[message]
            )
        told = [f for f in await owner.settled() if f["event"].startswith("history.")]
    expected = [f"{kind}-{number}" for number in range(5) for kind in ("get", "add")]
    assert [frame["request_id"] for frame in told] == expected
    counts = [len(f["messages"]) for f in told if f["event"] == "history.data"]
    assert counts == [0, 1, 2, 3, 4]


# --- connect, ping, pong ------------------------------------------------------------------------


@holds("commands", "1")
async def test_connect_lets_in_whose_key_is_known():
    async with embedded() as server:
        for key in ("pk_one", "pk_two"):
            async with unauthenticated(server) as peer:
                await peer.send("connect", api_key=key)
                assert (await peer.receive())["event"] == "connected"


@holds("commands", "1")
async def test_an_empty_key_is_refused():
    async with embedded() as server, unauthenticated(server) as peer:
        await peer.send("connect", api_key="")
        assert (await peer.receive())["code"] == "INVALID_KEY"
        await peer.closed()


@holds("commands", "1")
async def test_connect_without_a_key_is_no_connect():
    async with embedded() as server, unauthenticated(server) as peer:
        await peer.send("connect")
        assert (await peer.receive())["event"] == "error"
        await peer.send("agent.create", agent_id="a")
        assert (await peer.receive())["code"] == "UNAUTHORIZED"


@holds("commands", "2")
async def test_every_ping_is_answered_once_and_a_pong_not_at_all():
    async with embedded() as server, connected(server) as peer:
        for event in ("ping", "pong", "ping", "pong", "pong"):
            await peer.send(event)
        await peer.send("agent.create", agent_id="a")
        told = [await peer.receive() for _ in range(3)]
    assert [frame["event"] for frame in told] == ["pong", "pong", "agent.created"]


# --- legacy -------------------------------------------------------------------------------------


@holds("commands", "12")
@pytest.mark.parametrize(
    "frame",
    [
        {"event": "register", "api_key": "pk_two", "app_id": "x", "phones": {}},
        {"event": "update_config", "config": {"prompt": "x"}},
        {"event": "update_session_config", "session_id": "chat-1", "config": {"prompt": "x"}},
        {"event": "add_phone", "phone": "+13186330963"},
        {"event": "remove_phone", "phone": "+13186330963"},
    ],
    ids=lambda frame: frame["event"],
)
async def test_frames_of_an_older_generation_are_ignored_or_told_to_be_unsupported(
    frame: dict[str, Any],
):
    async with embedded() as server, connected(server) as peer:
        await peer.agent("a", llm=SCRIPT, prompt="Mine.", raw_prompt=True)
        await peer.send(**frame)
        for error in await peer.settled():
            assert (error["event"], error["code"]) == ("error", "UNSUPPORTED")
        await peer.send("llm.chat", agent_id="a", session_id="chat-1", text="your prompt")
        assert (await peer.until("llm.chat.done"))["text"] == "Mine."
