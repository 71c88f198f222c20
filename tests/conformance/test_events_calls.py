"""events.md §4: how calls begin, change and end, each event with all that its page asks for."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.conformance.desk import (
    OURS,
    THEIRS,
    Frame,
    desk,
    hearing,
    hears_always,
    names,
    of,
    of_call,
    one,
    told,
    whole,
    with_number,
)
from tests.conformance.microphone import calling
from tests.conformance.paragraphs import holds
from tests.server.peer import Peer, connected

BUSY, SILENT, REJECTS, FAILS = (f"+1500555000{n}" for n in (1, 6, 3, 4))
NO_ANSWER = "+15005550002"
QUICK: dict[str, Any] = {"ring_s": 0.0, "ring_timeout_s": 0.1}


def limits(**changed: float) -> dict[str, Any]:
    """Return options of a server that waits less."""
    from pinecall_cli.server.app import Limits

    return {"limits": Limits(**changed)}


async def dial(owner: Peer, to: str, **fields: Any) -> Frame:
    """Have ``desk`` call a number; return ``call.dialing``."""
    await owner.send("call.dial", agent_id="desk", to=to, **({"from": OURS} | fields))
    return await owner.until("call.dialing")


# -- inbound -----------------------------------------------------------------------------------


@holds("events", "4.1", "4.2")
async def test_a_phone_call_starts_and_ends_with_both_numbers():
    async with desk(language="es") as (server, owner):
        await with_number(owner)
        async with calling(server, to=OURS, from_=THEIRS, metadata={"plan": "gold"}) as caller:
            await caller.until("call.started")
            frames = await whole(caller, owner)
    started, ended = frames[0], frames[-1]
    about = {"from": THEIRS, "to": OURS, "direction": "inbound", "metadata": {"plan": "gold"}}
    assert about.items() <= started.items()
    assert about.items() <= ended.items()
    assert (started["transport"], started["language"]) == ("phone", "es")
    assert ended["language"] == "es"
    assert started["session_id"] == started["call_id"]
    assert re.fullmatch(r"CA[0-9a-f]{32}", started["call_id"])
    assert not {"extension", "owner", "routed_from", "line_transcript"} & started.keys()


@holds("events", "4.2", "8")
async def test_a_call_ends_once_and_nothing_of_it_follows():
    async with desk(greeting="One two three four five.") as (server, owner):
        async with calling(server) as caller:
            await caller.until("bot.word")
            call_id = caller.call_id
            await owner.send("call.hangup", call_id=call_id)
            ended = await owner.until("call.ended")
            await owner.send("call.hangup", call_id=call_id)
            late = await owner.settled()
    assert ended["reason"] == "hangup"
    assert names(of_call(late, call_id)) == ["error"]
    assert names(caller.seen)[-1] == "call.ended"
    assert names(caller.seen).count("call.ended") == 1


@holds("events", "4.5")
async def test_a_ringing_number_asks_and_an_accepted_call_starts():
    async with desk() as (server, owner):
        await with_number(owner, ringing=True)
        async with calling(server, to=OURS, from_=THEIRS) as caller:
            ringing = await owner.until("call.ringing")
            about = {"from": THEIRS, "to": OURS, "direction": "inbound", "agent_id": "desk"}
            assert about.items() <= ringing.items()
            await owner.send("call.accept", agent_id="desk", call_id=ringing["call_id"])
            started = await owner.until("call.started")
            assert started["call_id"] == ringing["call_id"]
            frames = await whole(caller, owner)
    assert names(frames) == ["call.ringing", "call.started", "call.ended"]


@holds("events", "4.5")
async def test_a_call_that_rings_unanswered_is_accepted():
    async with desk(server=limits(accept_s=0.05)) as (server, owner):
        await with_number(owner, ringing=True)
        async with calling(server, to=OURS, from_=THEIRS) as caller:
            await owner.until("call.ringing")
            await owner.until("call.started")
            await whole(caller, owner)


@holds("events", "4.5")
@pytest.mark.parametrize("reason", ["busy", "rejected"])
async def test_a_rejected_call_never_starts(reason: str):
    async with desk() as (server, owner):
        await with_number(owner, ringing=True)
        async with calling(server, to=OURS, from_=THEIRS):
            call_id = (await owner.until("call.ringing"))["call_id"]
            await owner.send("call.reject", agent_id="desk", call_id=call_id, reason=reason)
            rejected = await owner.until("call.rejected")
            assert (rejected["call_id"], rejected["agent_id"]) == (call_id, "desk")
            assert rejected["reason"] == reason
            await owner.settled()
    assert not of(owner.seen, "call.started")


@holds("events", "4.5")
async def test_numbers_ring_only_where_they_are_told_to():
    async with desk() as (server, owner):
        await with_number(owner)
        async with calling(server, to=OURS, from_=THEIRS) as caller:
            await caller.until("call.started")
            frames = await whole(caller, owner)
    assert not of(frames, "call.ringing")


# -- outbound ----------------------------------------------------------------------------------


@holds("events", "4.3", "4.1")
async def test_a_dialled_call_is_announced_before_it_starts():
    async with desk(server=limits(**QUICK)) as (_, owner):
        await with_number(owner)
        dialing = await dial(owner, SILENT, metadata={"order": "42"})
        about = {"agent_id": "desk", "from": OURS, "to": SILENT}
        assert about.items() <= dialing.items()
        started = await owner.until("call.started")
        assert started["call_id"] == dialing["call_id"]
        assert about.items() <= started.items()
        assert (started["direction"], started["transport"]) == ("outbound", "phone")
        assert started["metadata"] == {"order": "42"}
        await owner.send("call.hangup", call_id=dialing["call_id"])
        assert (await owner.until("call.ended"))["reason"] == "hangup"


@holds("events", "4.2", "4.9")
@pytest.mark.parametrize(
    ("to", "reason"),
    [(BUSY, "busy"), (NO_ANSWER, "no-answer"), (REJECTS, "rejected"), (FAILS, "failed")],
)
async def test_a_dialled_call_that_is_not_connected_ends_without_having_started(
    to: str, reason: str
):
    async with desk(server=limits(**QUICK)) as (_, owner):
        await with_number(owner)
        dialing = await dial(owner, to)
        ended = await owner.until("call.ended")
        await owner.settled()
    assert (ended["reason"], ended["direction"]) == (reason, "outbound")
    assert (ended["from"], ended["to"], ended["duration_seconds"]) == (OURS, to, 0)
    assert names(of_call(owner.seen, dialing["call_id"])) == ["call.dialing", "call.ended"]


@holds("events", "4.9")
async def test_a_dialled_call_that_is_given_up_is_canceled():
    async with desk(server=limits(ring_s=5.0)) as (_, owner):
        await with_number(owner)
        dialing = await dial(owner, SILENT)
        await owner.send("call.hangup", call_id=dialing["call_id"])
        ended = await owner.until("call.ended")
    assert (ended["reason"], ended["direction"]) == ("canceled", "outbound")


@holds("events", "4.4")
@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"agent_id": "nobody"}, "nobody"),
        ({"from": "+13186330999"}, "+13186330999"),
        ({"to": "not a number"}, "not a number"),
    ],
    ids=["offline", "number", "nonsense"],
)
async def test_a_refused_dial_is_a_call_error_with_the_reason(fields: dict[str, str], text: str):
    async with desk() as (server, owner), connected(server) as other:
        await other.agent("other")
        await with_number(other, "+13186330999", agent="other")
        await with_number(owner)
        wish = {"agent_id": "desk", "to": SILENT, "from": OURS} | fields
        await owner.send("call.dial", **wish)
        error = await owner.until("call.error")
        assert error["agent_id"] == wish["agent_id"]
        assert text in error["error"]
        assert error["code"]
        await owner.settled()
    assert not of(owner.seen, "call.dialing")


# -- in the middle -----------------------------------------------------------------------------


@holds("events", "4.6")
async def test_a_change_of_language_is_told_before_the_next_generation():
    async with desk(preparing=True, language="en") as (server, owner):
        async with calling(server) as caller:
            await caller.until("call.started")
            await caller.act("configure", language="es")
            await caller.act("inject_text", text="hola")
            updated = await owner.until("call.updated")
            assert (updated["agent_id"], updated["language"]) == ("desk", "es")
            assert updated["call_id"] == caller.call_id
            await owner.until("llm.before")
    assert one(owner.seen, "call.updated") == updated


@holds("events", "4.7")
async def test_a_key_press_is_told_one_by_one_and_added_up():
    async with desk() as (server, owner):
        await with_number(owner)
        async with calling(server, to=OURS, from_=THEIRS) as caller:
            await caller.until("call.started")
            await caller.act("dtmf", digits="1#")
            await caller.act("dtmf", digits="2")
            await owner.until("call.dtmf_received", digit="2")
            frames = await whole(caller, owner)
    pressed = of(frames, "call.dtmf_received")
    assert [(f["digit"], f["digits"]) for f in pressed] == [("1", "1"), ("#", "1#"), ("2", "1#2")]


@holds("events", "4.7")
async def test_keys_that_we_press_are_told_as_sent_and_never_as_received():
    async with desk() as (server, owner):
        await with_number(owner)
        async with calling(server, to=OURS, from_=THEIRS) as caller:
            await caller.until("call.started")
            await owner.send("call.dtmf", call_id=caller.call_id, digits="12#")
            sent = await owner.until("call.dtmf_sent")
            assert (sent["digits"], sent["agent_id"]) == ("12#", "desk")
            frames = await whole(caller, owner)
    assert not of(frames, "call.dtmf_received")


@holds("events", "4.7")
async def test_a_forwarded_call_says_where_it_went():
    async with desk(server=limits(**QUICK)) as (server, owner):
        await with_number(owner)
        async with calling(server, to=OURS, from_=THEIRS) as caller:
            await caller.until("call.started")
            await owner.send(
                "call.forward", call_id=caller.call_id, to=SILENT, message="", announce=False
            )
            forwarded = await owner.until("call.forwarded")
            assert (forwarded["to"], forwarded["call_id"]) == (SILENT, caller.call_id)
            await whole(caller, owner)


@holds("events", "4.8")
@pytest.mark.parametrize(
    ("command", "answer"),
    [("hold", "call.held"), ("unhold", "call.unheld"), ("mute", "call.muted")],
)
async def test_hold_and_mute_are_told_with_the_call_and_nothing_else(command: str, answer: str):
    async with desk() as (server, owner), calling(server) as caller:
        await caller.until("call.started")
        await owner.send(f"call.{command}", call_id=caller.call_id)
        frame = await owner.until(answer)
        assert (frame["agent_id"], frame["call_id"]) == ("desk", caller.call_id)
        assert frame.keys() == {"event", "agent_id", "call_id", "session_id", "seq", "ts"}


@holds("events", "4.8")
async def test_what_a_muted_caller_said_comes_with_the_end_of_the_mute():
    async with desk(hearing("you cannot hear me")) as (server, owner), calling(server) as caller:
        await caller.until("call.started")
        await owner.send("call.mute", call_id=caller.call_id)
        await owner.until("call.muted")
        caller.say(0, 300)
        await caller.hears(sound=False)
        for _ in range(25):  # half a second of the call
            await caller.hears(sound=False)
        await owner.send("call.unmute", call_id=caller.call_id)
        unmuted = await owner.until("call.unmuted")
        assert unmuted["muted_transcript"] == "you cannot hear me"
        assert not of(owner.seen, "user.message")
        await owner.send("call.mute", call_id=caller.call_id)
        await owner.send("call.unmute", call_id=caller.call_id)
        again = await owner.until("call.unmuted")
        assert again["muted_transcript"] is None


# -- the end -----------------------------------------------------------------------------------


@holds("events", "4.9")
async def test_a_microphone_that_vanishes_is_disconnected():
    async with desk() as (server, owner):
        async with calling(server) as caller:
            await caller.until("call.started")
        ended = await owner.until("call.ended")
    assert ended["reason"] == "disconnected"
    assert ended["direction"] == "inbound"


@holds("events", "4.9", "12")
@pytest.mark.parametrize("which", ["max_duration", "idle_timeout"])
async def test_a_limit_is_told_and_is_why_the_call_ends(which: str):
    values = {"idle_timeout_seconds": 0, f"{which}_seconds": 0.2}
    if which == "idle_timeout":
        values |= {"idle_warning_seconds": 0, "idle_grace_seconds": 0}
    async with desk(session_limits=values) as (server, owner), calling(server) as caller:
        await caller.until("call.ended")
        frames = await told(owner, caller.call_id)
    assert one(frames, "session.timeout")["reason"] == which
    assert frames[-1]["event"] == "call.ended"
    assert frames[-1]["reason"] == which


@holds("events", "4.9", "4.10", "8")
async def test_a_recorded_call_ends_with_call_ended_and_no_recording_follows(tmp_path: Any):
    async with desk(server={"record": tmp_path}) as (server, owner):
        async with calling(server) as caller:
            await caller.until("call.started")
            frames = await whole(caller, owner)
    assert frames[-1]["event"] == "call.ended"
    # "send it before call.ended or not at all": our recordings are files beside the call log.
    assert not of(frames, "call.recording")
    assert list(tmp_path.glob("**/*.wav"))


@holds("events", "4.2")
async def test_the_messages_of_a_call_hold_its_tools_in_the_providers_shape():
    tools = [{"type": "function", "function": {"name": "lookup", "parameters": {}}}]
    async with desk(hears_always(""), tools=tools) as (server, owner), calling(server) as caller:
        await caller.until("call.started")
        await caller.act("inject_text", text="my order")
        call = await owner.until("llm.tool_call")
        (wish,) = call["tool_calls"]
        result = {"tool_call_id": wish["id"], "result": {"status": "on its way"}}
        await owner.send(
            "llm.tool_result", call_id=caller.call_id, msg_id=call["msg_id"], results=[result]
        )
        await owner.until("bot.finished")
        frames = await whole(caller, owner)
    user, asked, answered, said = frames[-1]["messages"]
    assert user == {"role": "user", "content": "my order"}
    assert asked["role"] == "assistant"
    (asking,) = asked["tool_calls"]
    assert (asking["id"], asking["type"]) == (wish["id"], "function")
    assert asking["function"] == {"name": "lookup", "arguments": wish["arguments"]}
    assert (answered["role"], answered["tool_call_id"]) == ("tool", wish["id"])
    assert said == {"role": "assistant", "content": "It is on its way."}


@holds("events", "4.1")
@pytest.mark.parametrize("outbound", [False, True])
async def test_a_call_starts_in_the_language_that_it_was_given_while_it_rang(outbound: bool):
    async with desk(language="en", server=limits(ring_s=0.3)) as (server, owner):
        await with_number(owner, ringing=True)
        if outbound:
            id = (await dial(owner, SILENT))["call_id"]
            await owner.send("session.configure", session_id=id, language="es")
            started = await owner.until("call.started")
            await owner.send("call.hangup", call_id=id)
        else:
            async with calling(server, to=OURS, from_=THEIRS) as caller:
                id = (await owner.until("call.ringing"))["call_id"]
                await owner.send("session.configure", session_id=id, language="es")
                await owner.send("call.accept", agent_id="desk", call_id=id)
                started = await owner.until("call.started")
                await caller.hang_up()
        ended = await owner.until("call.ended")
    assert (started["language"], ended["language"]) == ("es", "es")
