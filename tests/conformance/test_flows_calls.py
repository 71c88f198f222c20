"""flows.md §2-§5, §13: voice calls, played frame by frame."""

from __future__ import annotations

from typing import Any

import pytest

from pinecall_cli.server.app import Limits
from pinecall_cli.server.phone.numbers import Listens, Number, Voicemail
from tests.conformance.desk import (
    LOOKUP,
    OURS,
    STORY,
    THEIRS,
    Frame,
    desk,
    hearing,
    hears_always,
    names,
    of,
    one,
    place,
    told,
    whole,
    with_number,
)
from tests.conformance.microphone import calling
from tests.conformance.paragraphs import holds
from tests.server.peer import Peer

BUSY = "+15005550001"
VOICE = ("speech.started", "speech.ended", "user.speaking")
"""Of what a caller's voice makes of itself, how often and when is not a flow's business."""


async def reply(owner: Peer, call_id: str, id: str, text: str, in_reply_to: str = "") -> None:
    """Say a text as the application."""
    fields = {"message_id": id, "text": text, "in_reply_to": in_reply_to}
    await owner.send("bot.reply", call_id=call_id, **fields)


async def stream(owner: Peer, call_id: str, id: str, action: str, **fields: Any) -> None:
    """Send one frame of a reply stream."""
    await owner.send("bot.reply.stream", call_id=call_id, message_id=id, action=action, **fields)


@holds("flows", "2")
async def test_an_inbound_phone_call_with_the_servers_model():
    engines = hears_always("hello there")
    config = {"greeting": "Hi.", "preparing": {"timeout_ms": 2_000}, "vars": {"NAME": "?"}}
    async with desk(engines, **config) as (server, owner):
        await with_number(owner)
        async with calling(server, to=OURS, from_=THEIRS) as caller:
            started = await owner.receive()
            id = started["call_id"]
            greeting = await owner.until("bot.speaking")
            g1 = greeting["message_id"]
            await owner.until("message.confirmed", message_id=g1, text="Hi.")
            assert (await owner.receive())["event"] == "bot.finished"
            caller.say(0, 400)
            end = await owner.until("turn.end")
            before = await owner.receive()
            assert (before["event"], before["turn"]) == ("llm.before", end["turn_id"])
            await owner.send("history.set_vars", call_id=id, request_id="rq", vars={"NAME": "Ana"})
            assert (await owner.receive())["event"] == "history.updated"
            await owner.send("llm.ready", call_id=id, agent_id="desk", turn=end["turn_id"])
            b1 = (await owner.until("bot.speaking"))["message_id"]
            await owner.until("bot.finished", message_id=b1)
            await caller.hang_up()
            frames = await told(owner, id)
    assert names(frames, "bot.word", *VOICE) == [
        *("call.started", "bot.speaking", "message.confirmed", "bot.finished"),
        *("user.message", "turn.end", "llm.before", "history.updated"),
        *("bot.speaking", "turn.latency", "message.confirmed", "bot.finished", "call.ended"),
    ]
    about = {"from": THEIRS, "to": OURS, "direction": "inbound", "transport": "phone"}
    assert about.items() <= started.items()
    assert frames[-1]["reason"] == "hangup"
    assert [m["content"] for m in frames[-1]["messages"]] == [
        "Hi.",
        "hello there",
        "You said hello there.",
    ]


@holds("flows", "2")
async def test_a_greeting_that_the_application_says_is_the_only_one():
    async with desk() as (server, owner), calling(server) as caller:
        id = (await owner.until("call.started"))["call_id"]
        fields = {"in_reply_to": "", "add_to_history": True}
        await owner.send("bot.reply", call_id=id, message_id="g1", text="Hi Ana.", **fields)
        await owner.until("bot.finished", message_id="g1")
        frames = await whole(caller, owner)
    assert one(frames, "bot.speaking")["text"] == "Hi Ana."
    assert frames[-1]["messages"] == [{"role": "assistant", "content": "Hi Ana."}]


@holds("flows", "3")
async def test_a_round_of_tools_goes_out_and_comes_back_in_one_frame_each():
    rules = [
        {
            "on": "trip",
            "call": {"lookupOrder": {"orderId": "42"}, "getWeather": {"city": "Lima"}},
            "say": "All well.",
        }
    ]
    async with desk(llm={"provider": "script", "rules": rules}, preparing=True, tools=[LOOKUP]) as (
        server,
        owner,
    ):
        async with calling(server) as caller:
            id = (await owner.until("call.started"))["call_id"]
            await caller.act("inject_text", text="my trip")
            await owner.until("llm.before")
            await owner.send("llm.ready", call_id=id, agent_id="desk", turn=1)
            call = await owner.until("llm.tool_call")
            c1, c2 = (wish["id"] for wish in call["tool_calls"])
            results = [
                {"tool_call_id": c1, "result": {"error": "Unknown tool: lookupOrder"}},
                {"tool_call_id": c2, "result": {"sky": "grey"}},
            ]
            await owner.send("llm.tool_result", call_id=id, msg_id=call["msg_id"], results=results)
            speaking = await owner.until("bot.speaking")
            await owner.until("bot.finished", message_id=speaking["message_id"])
            frames = await whole(caller, owner)
    order = ["turn.end", "llm.before", "llm.tool_call", "llm.tool_result", "bot.speaking"]
    places = [place(frames, name) for name in order]
    assert places == sorted(places)
    assert len(of(frames, "llm.tool_call")) == 1
    assert [m["role"] for m in frames[-1]["messages"]] == [
        *("user", "assistant", "tool", "tool", "assistant"),
    ]


@holds("flows", "3")
@pytest.mark.parametrize(("quiet", "speaks"), [((True, True), False), ((True, False), True)])
async def test_there_is_no_answer_to_tools_only_if_all_of_them_want_none(
    quiet: tuple[bool, bool], speaks: bool
):
    rules = [{"on": "trip", "call": {"a": {}, "b": {}}, "say": "So."}]
    llm = {"provider": "script", "rules": rules}
    async with desk(llm=llm) as (server, owner), calling(server) as caller:
        id = (await owner.until("call.started"))["call_id"]
        await caller.act("inject_text", text="my trip")
        call = await owner.until("llm.tool_call")
        results = [
            {"tool_call_id": wish["id"], "result": 1} | ({"no_followup": True} if no else {})
            for wish, no in zip(call["tool_calls"], quiet, strict=True)
        ]
        await owner.send("llm.tool_result", call_id=id, msg_id=call["msg_id"], results=results)
        if speaks:
            await owner.until("bot.speaking")
        else:
            await caller.until("llm.tool_result", tool_call_id=call["tool_calls"][1]["id"])
        frames = await whole(caller, owner)
    assert bool(of(frames, "bot.speaking")) is speaks


async def cut_in(owner: Peer, caller: Any, id: str) -> Frame:
    """Begin a stream in answer to the last turn, and let the caller speak over it."""
    end = await owner.until("turn.end")
    await stream(owner, id, "r1", "start", in_reply_to=end["message_id"])
    await stream(owner, id, "r1", "chunk", token=f"{STORY}. Mor")
    await owner.until("bot.word", word="two")
    caller.say(1, 600)
    return end


@holds("flows", "4")
async def test_a_reply_stream_of_the_application_is_aborted_and_the_turn_goes_on():
    async with desk(hearing("", "about boats"), llm=None) as (server, owner):
        async with calling(server) as caller:
            id = (await owner.until("call.started"))["call_id"]
            await caller.act("inject_text", text="tell me")
            first = await cut_in(owner, caller, id)
            continued = await owner.until("turn.continued")
            assert continued["turn_id"] == first["turn_id"] == 1
            cut = await owner.until("bot.interrupted", message_id="r1")
            assert cut["reason"] == "continuation"
            assert cut["played_ms"] < 2_000
            await stream(owner, id, "r1", "chunk", token="e to say.")
            await stream(owner, id, "r1", "end")
            again = await owner.until("turn.end")
            assert (again["turn_id"], again["text"]) == (1, "tell me about boats")
            assert again["message_id"] != first["message_id"]
            await stream(owner, id, "r2", "start", in_reply_to=again["message_id"])
            await stream(owner, id, "r2", "chunk", token="Boats.")
            await stream(owner, id, "r2", "end")
            await owner.until("bot.finished", message_id="r2")
            frames = await whole(caller, owner)
    ours = [f for f in frames if f.get("message_id") == "r2"]
    assert names(ours, "bot.word", "turn.latency") == [
        *("bot.speaking", "message.confirmed", "bot.finished"),
    ]
    assert of(frames, "bot.speaking", message_id="r1")[0]["text"] == ""
    assert not of(frames, "message.confirmed", message_id="r1")
    assert [m["content"] for m in frames[-1]["messages"]] == ["tell me about boats", "Boats."]


@holds("flows", "4")
async def test_late_chunks_of_a_reply_that_was_interrupted_for_good_are_ignored():
    async with desk(hearing("", "stop it please"), llm=None) as (server, owner):
        async with calling(server) as caller:
            id = (await owner.until("call.started"))["call_id"]
            await caller.act("inject_text", text="tell me")
            end = await owner.until("turn.end")
            await stream(owner, id, "r1", "start", in_reply_to=end["message_id"])
            await stream(owner, id, "r1", "chunk", token=f"{STORY}. Mor")
            await owner.until("bot.word", word="nine")
            caller.say(1, 600)
            cut = await owner.until("bot.interrupted")
            assert (cut["message_id"], cut["reason"]) == ("r1", "user_spoke")
            prefix = await owner.until("message.confirmed", message_id="r1")
            await stream(owner, id, "r1", "chunk", token="e to say.")
            await stream(owner, id, "r1", "end")
            again = await owner.until("turn.end")
            assert again["turn_id"] == 2
            frames = await whole(caller, owner)
    assert prefix["text"].split() == STORY.split()[: cut["words_spoken"]]
    after = frames[frames.index(prefix) + 1 :]
    assert not [f for f in after if f.get("message_id") == "r1"]
    assert not of(frames, "turn.continued")


@holds("flows", "5")
@pytest.mark.parametrize("detect", [False, True])
async def test_an_outbound_call_greets_at_once_or_after_the_other_sides_turn(detect: bool):
    answers = Voicemail("Nobody.") if detect else Listens()
    there = {"numbers": {THEIRS: Number(answers, ring_ms=0)}}
    async with desk(hears_always("nobody is here"), server=there) as (_, owner):
        await with_number(owner)
        wish: Frame = {
            "agent_id": "desk",
            "to": THEIRS,
            "from": OURS,
            "greeting": "Hi, this is Acme.",
        }
        wish |= {"metadata": {"order": "42"}} | ({"detect_turn_end": True} if detect else {})
        await owner.send("call.dial", **wish)
        dialing = await owner.until("call.dialing")
        started = await owner.until("call.started")
        assert started["call_id"] == dialing["call_id"]
        assert (started["direction"], started["metadata"]) == ("outbound", {"order": "42"})
        if detect:
            end = await owner.until("turn.end")
            assert end["source"] == "bot"
        await owner.until("bot.speaking", text="Hi, this is Acme.")
        await owner.send("call.hangup", call_id=started["call_id"])
        frames = await told(owner, started["call_id"])
    assert bool(of(frames, "turn.end")) is detect
    assert names(frames)[:2] == ["call.dialing", "call.started"]


@holds("flows", "5")
async def test_an_outbound_call_that_fails_ends_with_the_reason_and_zero_seconds():
    async with desk(server={"limits": Limits(ring_s=0.0)}) as (_, owner):
        await with_number(owner)
        await owner.send("call.dial", **{"agent_id": "desk", "to": BUSY, "from": OURS})
        dialing = await owner.until("call.dialing")
        frames = await told(owner, dialing["call_id"])
    expected = {"event": "call.ended", "direction": "outbound", "from": OURS, "to": BUSY}
    assert (expected | {"reason": "busy", "duration_seconds": 0}).items() <= frames[-1].items()


@holds("flows", "5")
async def test_a_dial_that_is_refused_is_a_call_error_and_no_call():
    async with desk() as (_, owner):
        await owner.send("call.dial", **{"agent_id": "nobody", "to": BUSY, "from": OURS})
        error = await owner.until("call.error")
        assert error["error"]
        await owner.settled()
    assert not of(owner.seen, "call.ended")


@holds("flows", "13")
@pytest.mark.parametrize("decision", ["call.accept", None])
async def test_a_ringing_call_that_is_taken_or_left_to_itself_starts(decision: str | None):
    async with desk(server={"limits": Limits(accept_s=0.1)}) as (server, owner):
        await with_number(owner, ringing=True)
        async with calling(server, to=OURS, from_=THEIRS) as caller:
            ringing = await owner.until("call.ringing")
            assert not of(owner.seen, "call.started")
            if decision:
                await owner.send(decision, agent_id="desk", call_id=ringing["call_id"])
            started = await owner.until("call.started")
            assert started["call_id"] == ringing["call_id"]
            await whole(caller, owner)


@holds("flows", "13")
async def test_a_ringing_call_that_is_rejected_is_dropped():
    async with desk() as (server, owner):
        await with_number(owner, ringing=True)
        async with calling(server, to=OURS, from_=THEIRS) as caller:
            id = (await owner.until("call.ringing"))["call_id"]
            await caller.until("call.ringing")
            await owner.send("call.reject", agent_id="desk", call_id=id, reason="busy")
            await owner.until("call.rejected", call_id=id, reason="busy")
            await caller.until("call.rejected", reason="busy")
            await owner.settled()
    assert not of(owner.seen, "call.started")
    assert not any(caller.heard), "the line was never opened"
