"""Hang up, forward, keys, hold and mute; accept and reject (commands.md §9, §9.1)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from pinecall_cli.server.app import Limits
from tests.conformance.answered import OURS, SCRIPT, THEIRS, answered, reply
from tests.conformance.microphone import Caller, calling, speaking
from tests.conformance.paragraphs import holds
from tests.server.peer import Peer, connected

QUICK = Limits(ring_s=0.05, ring_timeout_s=0.3)
BUSY, LISTENS = "+15005550001", "+15005550006"


@asynccontextmanager
async def phoned(
    *, ringing: bool = False, limits: Limits = QUICK, **agent: Any
) -> AsyncIterator[tuple[Peer, Caller]]:
    """Hold a phone call to `desk`, which may still be ringing: its owner, and the caller."""
    async with speaking(limits=limits) as server, connected(server) as owner:
        await owner.agent("desk", **agent)
        channel = {"type": "phone", "ref": OURS} | ({"ringing": True} if ringing else {})
        await owner.send("channel.add", agent_id="desk", **channel)
        await owner.until("channel.added")
        async with calling(server, to=OURS, from_=THEIRS) as caller:
            begun = "call.ringing" if ringing else "call.started"
            await owner.until(begun)
            await caller.until(begun)
            yield owner, caller


# --- hang up ------------------------------------------------------------------------------------


@holds("commands", "9")
async def test_hanging_up_ends_the_call_for_both_sides():
    async with answered() as (owner, caller):
        await owner.send("call.hangup", call_id=caller.call_id)
        ended = await owner.until("call.ended")
        assert (ended["call_id"], ended["reason"]) == (caller.call_id, "hangup")
        assert (await caller.until("call.ended"))["reason"] == "hangup"
        await owner.send("call.hangup", call_id=caller.call_id)
        told = await owner.settled()
        assert [frame["event"] for frame in told] in ([], ["error"])


@holds("commands", "9")
async def test_a_reason_is_for_lines_alone():
    async with answered() as (owner, caller):
        await owner.send("call.hangup", call_id=caller.call_id, reason="done")
        assert (await owner.until("call.ended"))["reason"] == "hangup"


@holds("commands", "9")
async def test_hanging_up_while_something_is_said_ends_it_at_once():
    async with answered() as (owner, caller):
        await reply(owner, caller.call_id, "m1", "one two three four five six seven eight")
        await owner.until("bot.word", message_id="m1")
        await owner.send("call.hangup", call_id=caller.call_id)
        await owner.until("call.ended")
        assert "bot.finished" not in [frame["event"] for frame in owner.seen]
        assert await owner.settled() == [], "the end is the last that is told"


# --- forward ------------------------------------------------------------------------------------


@holds("commands", "9")
async def test_a_call_is_forwarded_without_a_word():
    async with phoned() as (owner, caller):
        forward = {"to": LISTENS, "message": "", "announce": False}
        await owner.send("call.forward", call_id=caller.call_id, **forward)
        forwarded = await owner.until("call.forwarded")
        assert (forwarded["call_id"], forwarded["to"]) == (caller.call_id, LISTENS)
    assert "bot.speaking" not in [frame["event"] for frame in owner.seen]


@holds("commands", "9")
async def test_a_message_is_said_before_the_call_is_forwarded():
    async with phoned() as (owner, caller):
        forward = {"to": "+1 500 555-0006", "message": "One moment", "announce": True}
        await owner.send("call.forward", call_id=caller.call_id, **forward)
        assert (await owner.until("bot.speaking"))["text"] == "One moment"
        await owner.until("call.forwarded")
    told = [frame["event"] for frame in owner.seen]
    assert told.index("bot.finished") < told.index("call.forwarded")


@holds("commands", "9")
async def test_what_was_to_be_said_is_heard_before_the_call_is_forwarded():
    async with phoned() as (owner, caller):
        await reply(owner, caller.call_id, "m1", "One moment please")
        await reply(owner, caller.call_id, "m2", "I connect you now")
        await owner.send("call.forward", call_id=caller.call_id, to=LISTENS, message="")
        await owner.until("call.forwarded")
    told = [(frame["event"], frame.get("message_id")) for frame in owner.seen]
    forwarded = told.index(("call.forwarded", None))
    assert told.index(("bot.finished", "m1")) < told.index(("bot.finished", "m2")) < forwarded
    assert "bot.interrupted" not in [event for event, _ in told]


@holds("commands", "9")
@pytest.mark.parametrize("to", [BUSY, "soon", ""])
async def test_a_call_that_cannot_be_forwarded_stays(to: str):
    async with phoned() as (owner, caller):
        forward = {"to": to, "message": "", "announce": False}
        await owner.send("call.forward", call_id=caller.call_id, **forward)
        error = await owner.until("error")
        assert error["call_id"] == caller.call_id
        await reply(owner, caller.call_id, "m1", "Hi")
        await owner.until("bot.finished", message_id="m1")


# --- keys ---------------------------------------------------------------------------------------


@holds("commands", "9")
@pytest.mark.parametrize("digits", ["1", "1234#", "*0", "0123456789*#"])
async def test_keys_are_played_to_the_caller_and_acknowledged(digits: str):
    async with phoned() as (owner, caller):
        await caller.hears(sound=False)
        await owner.send("call.dtmf", call_id=caller.call_id, digits=digits)
        sent = await owner.until("call.dtmf_sent")
        assert (sent["call_id"], sent["digits"]) == (caller.call_id, digits)
        await caller.hears(sound=True)
        await owner.settled()
    assert "call.dtmf_received" not in [frame["event"] for frame in owner.seen], "never our own"


@holds("commands", "9")
@pytest.mark.parametrize("digits", ["", "A", "1 2", "12x", "+1"])
async def test_what_is_no_key_is_refused_and_nothing_of_it_is_played(digits: str):
    async with phoned() as (owner, caller):
        await owner.send("call.dtmf", call_id=caller.call_id, digits=digits)
        error = await owner.until("error")
        assert error["call_id"] == caller.call_id
        await owner.settled()
    assert "call.dtmf_sent" not in [frame["event"] for frame in owner.seen]


# --- hold and mute ------------------------------------------------------------------------------


@holds("commands", "9")
async def test_on_hold_there_is_music_and_the_caller_is_not_heard():
    async with answered({0: "unheard", 1: "heard"}, llm=SCRIPT, preparing=False) as (
        owner,
        caller,
    ):
        about = {"call_id": caller.call_id, "agent_id": "desk"}
        await owner.send("call.hold", call_id=caller.call_id)
        assert about.items() <= (await owner.until("call.held")).items()
        await caller.hears(sound=True)
        caller.say(0, 300)
        await caller.silence(0.5)
        await owner.send("call.unhold", call_id=caller.call_id)
        assert about.items() <= (await owner.until("call.unheld")).items()
        await caller.hears(sound=False)
        caller.say(1)
        await owner.until("message.confirmed", text="You said heard.")
    told = [frame["text"] for frame in owner.seen if frame["event"] == "user.message"]
    assert told == ["heard"]


@holds("commands", "9")
async def test_what_a_muted_caller_says_is_no_turn_but_is_told_when_they_are_heard_again():
    async with answered({0: "secret", 1: "heard"}, llm=SCRIPT, preparing=False) as (
        owner,
        caller,
    ):
        about = {"call_id": caller.call_id, "agent_id": "desk"}
        await owner.send("call.mute", call_id=caller.call_id)
        assert about.items() <= (await owner.until("call.muted")).items()
        caller.say(0)
        await caller.silence(1.2)
        await owner.send("call.unmute", call_id=caller.call_id)
        unmuted = await owner.until("call.unmuted")
        assert about.items() <= unmuted.items()
        assert unmuted["muted_transcript"] == "secret"
        caller.say(1)
        await owner.until("message.confirmed", text="You said heard.")
    told = [frame["text"] for frame in owner.seen if frame["event"] == "turn.end"]
    assert told == ["heard"]


@holds("commands", "9")
async def test_a_muted_caller_who_says_nothing_leaves_no_transcript():
    async with answered() as (owner, caller):
        await owner.send("call.mute", call_id=caller.call_id)
        await owner.send("call.unmute", call_id=caller.call_id)
        assert (await owner.until("call.unmuted"))["muted_transcript"] is None


# --- accept and reject --------------------------------------------------------------------------


@holds("commands", "9.1")
async def test_a_ringing_call_that_is_accepted_starts():
    async with phoned(ringing=True, greeting="Hi") as (owner, caller):
        ringing = next(f for f in owner.seen if f["event"] == "call.ringing")
        assert (ringing["from"], ringing["to"]) == (THEIRS, OURS)
        assert (ringing["direction"], ringing["agent_id"]) == ("inbound", "desk")
        await owner.send("call.accept", agent_id="desk", call_id=ringing["call_id"])
        started = await owner.until("call.started")
        assert started["call_id"] == ringing["call_id"]
        await caller.until("bot.finished")


@holds("commands", "9.1")
@pytest.mark.parametrize(
    ("fields", "reason"), [({}, "busy")] + [({"reason": r}, r) for r in ("busy", "rejected")]
)
async def test_a_ringing_call_that_is_rejected_never_starts(fields: dict[str, str], reason: str):
    async with phoned(ringing=True) as (owner, caller):
        about = {"agent_id": "desk", "call_id": caller.call_id}
        await owner.send("call.reject", **about, **fields)
        rejected = await owner.until("call.rejected")
        assert about.items() <= rejected.items()
        assert rejected["reason"] == reason
        await owner.send("call.accept", **about)
        await owner.settled()
        await caller.closed()
    assert "call.started" not in [frame["event"] for frame in owner.seen] + caller.names()


@holds("commands", "9.1")
async def test_only_the_first_answer_to_a_ringing_call_counts():
    async with phoned(ringing=True) as (owner, caller):
        about = {"agent_id": "desk", "call_id": caller.call_id}
        await owner.send("call.accept", **about)
        await owner.send("call.reject", **about, reason="busy")
        await owner.until("call.started")
        await owner.settled()
        assert "call.rejected" not in [frame["event"] for frame in owner.seen]
        assert "call.ended" not in caller.names()


@holds("commands", "9.1")
async def test_a_call_that_rings_too_long_is_taken():
    assert Limits().accept_s == 5
    async with phoned(ringing=True, limits=Limits(accept_s=0.1)) as (owner, _):
        await owner.until("call.started")


@holds("commands", "9.1")
async def test_nobody_else_takes_or_turns_away_a_call_that_rings():
    async with speaking() as server, connected(server) as owner, connected(server) as other:
        await owner.agent("desk")
        await other.agent("other")
        await owner.send("channel.add", agent_id="desk", type="phone", ref=OURS, ringing=True)
        await owner.until("channel.added")
        async with calling(server, to=OURS):
            call = (await owner.until("call.ringing"))["call_id"]
            for event in ("call.accept", "call.reject"):
                await other.send(event, agent_id="other", call_id=call, reason="busy")
                assert (await other.receive())["code"] == "CALL_NOT_FOUND"
            assert await owner.settled() == []
            await owner.send("call.accept", agent_id="desk", call_id=call)
            await owner.until("call.started")
