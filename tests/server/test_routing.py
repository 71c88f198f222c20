"""Calls that a phone line hands over to an agent (commands.md §11.3, flows.md §14)."""

from __future__ import annotations

import asyncio
import json
import threading
import wave
from pathlib import Path
from typing import Any

import pytest

from pinecall_cli.server.attach import WatchedLog
from pinecall_cli.server.log.log_file import read_calls
from tests.sdk.jumping import BACKEND
from tests.server.dialled import Office
from tests.server.incoming import Incoming
from tests.server.receptionist import LINE, SCRIPT, hearing, line_owner, on_the_line, routed, say


@pytest.fixture
def anyio_backend() -> Any:
    return BACKEND


# --- handing over -------------------------------------------------------------------------------


async def test_a_call_goes_on_with_an_agent_under_the_same_id():
    async with Office(engines=hearing("a table for two")) as office:
        line, caller, call = await on_the_line(office)
        agent = await routed(office, line, call)
        await agent.until("bot.finished")
        caller.speak(800)
        await agent.until("message.confirmed", text="You said a table for two.")
        caller.hang_up()
        ended = await agent.ended()
    told = sorted(
        (frame["seq"], frame["event"], frame["agent_id"])
        for frame in (*line.frames, *agent.frames)
        if frame.get("call_id") == call
    )
    assert [(event, owner) for _, event, owner in told[:5]] == [
        ("call.started", LINE),
        ("call.started", "desk"),
        ("call.routed", LINE),
        ("call.ended", LINE),
        ("bot.speaking", "desk"),
    ]
    assert [frame["reason"] for frame in line.of("call.ended")] == ["routed"]
    assert (ended["reason"], ended["call_id"], ended["agent_id"]) == ("hangup", call, "desk")
    assert line.frames[-1]["event"] == "call.ended", "it is over for the line"
    assert [m["content"] for m in ended["messages"]] == [
        "Desk here.",
        "a table for two",
        "You said a table for two.",
    ]


async def test_the_caller_is_in_one_call_that_goes_on():
    async with Office() as office:
        line, caller, call = await on_the_line(office)
        say(line, call, "One moment.")
        await line.until("bot.finished")
        agent = await routed(office, line, call)
        await agent.until("bot.finished")
        caller.hang_up()
        await agent.ended()
        await caller.call
    assert caller.names().count("call.ended") == 1
    assert {frame["call_id"] for frame in caller.frames} == {call}
    assert "call.routed" in caller.names()
    assert [f["text"] for f in caller.frames if f["event"] == "bot.speaking"] == [
        "One moment.",
        "Desk here.",
    ]
    seconds = caller.frames[-1]["duration_seconds"]
    assert len(caller.sounds) == pytest.approx(seconds * 50, abs=1), "no frame is missing"


async def test_the_agent_learns_the_extension_and_what_was_said():
    async with Office(engines=hearing("sales")) as office:
        line, caller = line_owner(office), Incoming(office)
        await caller.until("call.started")
        caller.press("33#")
        call = (await line.until("call.started"))["call_id"]
        say(line, call, "Sales or support?")
        await line.until("bot.finished")
        caller.speak(800)
        await line.until("turn.end")
        agent = await routed(office, line, call)
        started = await agent.until("call.started")
        agent.send("history.get", call_id=call, request_id="r1")
        history = await agent.until("history.data")
    assert (started["routed_from"], started["extension"]) == (LINE, "33")
    assert (started["owner"], started["transport"]) == ("agent", "phone")
    transcript = started["line_transcript"]
    assert [(entry["who"], entry["text"]) for entry in transcript] == [
        ("line", "Sales or support?"),
        ("caller", "sales"),
    ]
    assert all(entry["at"] > 1e12 for entry in transcript), "epoch milliseconds"
    assert history["messages"][:2] == [
        {"role": "assistant", "content": "Sales or support?"},
        {"role": "user", "content": "sales"},
    ]


async def test_the_agent_need_not_know_what_was_said():
    async with Office() as office:
        line, caller, call = await on_the_line(office)
        say(line, call, "Welcome.")
        await line.until("bot.finished")
        agent = await routed(office, line, call, history=False, greeting="Hello.")
        await agent.until("bot.finished")
        caller.hang_up()
        ended = await agent.ended()
    assert ended["messages"] == [{"role": "assistant", "content": "Hello."}]


async def test_a_route_may_say_language_greeting_and_variables():
    async with Office() as office:
        line, _, call = await on_the_line(office, language="en")
        agent = await routed(
            office,
            line,
            call,
            language="es",
            voice="elevenlabs/lucia",
            greeting="Plan {{plan}}.",
            prompt_vars={"plan": "gold"},
        )
        assert (await agent.until("call.started"))["language"] == "es"
        assert (await agent.until("bot.speaking"))["text"] == "Plan gold."


async def test_context_is_kept_whoever_set_it():
    async with Office() as office:
        line, caller, call = await on_the_line(office)
        line.send("set_context", call_id=call, key="vip", value=True)
        line.send("set_context", call_id=call, key="gone", value="x")
        line.send("set_context", call_id=call, key="gone", value=None)
        caller.know("page", "/pricing")
        await asyncio.sleep(0.1)
        await routed(office, line, call, context={"plan": "gold"})
        prompt = caller.session.conversation.system_prompt()
    for told in ("vip", "/pricing", "gold"):
        assert told in prompt
    assert "gone" not in prompt


async def test_what_the_line_is_saying_ends_before_the_agent_has_the_call():
    async with Office() as office:
        line, _, call = await on_the_line(office)
        say(line, call, "A long text that nobody will hear to its end. " * 3)
        say(line, call, "And another.", "m2")
        await line.until("bot.word", word_index=1)
        agent = await routed(office, line, call)
        await agent.until("bot.finished")
    cut, never = await line.until("bot.interrupted", message_id="m1"), line.of("bot.interrupted")[1]
    assert cut["reason"] == "cancelled"
    assert never["message_id"] == "m2"
    started = agent.of("call.started")[0]
    assert cut["seq"] < never["seq"] < started["seq"]
    assert started["line_transcript"][0]["text"].startswith("A long")
    assert len(started["line_transcript"]) == 1, "of a text that was cut off, what was heard"


async def test_a_turn_that_began_on_the_line_is_answered_by_the_agent():
    async with Office(engines=hearing("and one more thing")) as office:
        line, caller, call = await on_the_line(office)
        caller.speak(1500)
        await line.until("speech.started")
        agent = await routed(office, line, call)
        await agent.until("message.confirmed", text="You said and one more thing.")
    assert not line.of("user.message")


@pytest.mark.parametrize(
    ("agent", "wishes", "reason"),
    [
        ("nobody", {}, "unknown"),
        ("gone", {}, "offline"),
        ("desk", {"voice": "elevenlab/sarah"}, "swap_failed"),
        (LINE, {}, "unknown"),
    ],
)
async def test_a_route_that_fails_leaves_the_call_with_the_line(
    agent: str, wishes: dict[str, Any], reason: str
):
    async with Office() as office:
        line, caller, call = await on_the_line(office)
        office.owner("gone", None).leave()
        desk = office.owner("desk", None, llm=SCRIPT)
        line.send("call.route", call_id=call, agent=agent, **wishes)
        failed = await line.until("call.route_failed")
        assert (failed["agent"], failed["reason"]) == (agent, reason)
        assert (failed["agent_id"], failed["call_id"]) == (LINE, call)
        say(line, call, "Nobody is there.")
        await line.until("bot.finished")
        caller.hang_up()
        assert (await line.ended())["reason"] == "hangup"
        assert not desk.of("call.started")


async def test_only_a_line_hands_calls_over():
    async with Office() as office:
        line, _, call = await on_the_line(office)
        agent = await routed(office, line, call)
        for peer in (line, agent):
            before = len(peer.frames)
            peer.send("call.route", call_id=call, agent="desk")
            (refused,) = [f for f in peer.frames[before:] if f["event"] == "error"]
            assert refused["code"] == ("CALL_NOT_FOUND" if peer is line else "NOT_SUPPORTED")


async def test_a_call_that_was_forwarded_cannot_be_routed():
    async with Office() as office:
        line, _, call = await on_the_line(office)
        office.owner("desk", None)
        phone = office.phone()
        line.send("call.forward", call_id=call, to=phone.number)
        await line.until("call.forwarded")
        line.send("call.route", call_id=call, agent="desk")
        assert (await line.until("call.route_failed"))["reason"] == "swap_failed"


async def test_a_call_that_is_routed_while_its_forward_rings_stays_with_the_agent():
    async with Office() as office:
        line, _, call = await on_the_line(office)
        phone = office.phone(after_s=3.0)
        line.send("call.forward", call_id=call, to=phone.number)
        await asyncio.sleep(1)
        agent = await routed(office, line, call)
        await asyncio.sleep(5)
        assert phone.rung == [call]
        assert phone.hung_up == 1
        assert not agent.of("call.forwarded")
        assert agent.of("bot.finished")


async def test_hold_and_mute_end_with_the_lines_part():
    async with Office(engines=hearing("hello")) as office:
        line, caller, call = await on_the_line(office)
        line.send("call.hold", call_id=call)
        line.send("call.mute", call_id=call)
        agent = await routed(office, line, call)
        await agent.until("bot.finished")
        caller.speak(800)
        await agent.until("message.confirmed", text="You said hello.")


async def test_a_late_answer_of_the_lines_code_is_not_spoken_in_the_agents_call():
    async with Office(engines=hearing("sales")) as office:
        both, caller, call = await on_the_line(office)
        both.send("agent.create", agent_id="desk", greeting="Desk here.", preparing=False)
        caller.speak(800)
        turn = await both.until("turn.end")
        both.send("call.route", call_id=call, agent="desk")
        say(both, call, "To the line's caller.", "late", in_reply_to=turn["message_id"])
        await both.until("reply.rejected", message_id="late")
        await both.until("bot.finished")
    assert [frame["text"] for frame in both.of("bot.speaking")] == ["Desk here."]


async def test_the_agents_limits_count_from_the_hand_over():
    async with Office() as office:
        line, _, call = await on_the_line(office)
        await asyncio.sleep(20)
        agent = office.owner("desk", None, session_limits={"max_duration_seconds": 15})
        line.send("call.route", call_id=call, agent="desk")
        ended = await agent.ended()
    assert ended["reason"] == "max_duration"
    assert ended["duration_seconds"] == pytest.approx(35, abs=0.1)


@pytest.mark.parametrize("interruptible", [True, False])
async def test_the_agent_is_interrupted_as_it_says_and_not_as_the_line(interruptible: bool):
    async with Office(engines=hearing("stop that please")) as office:
        line, caller, call = await on_the_line(office)
        agent = office.owner(
            "desk", None, greeting="A greeting that goes on. " * 4, interruption=interruptible
        )
        line.send("call.route", call_id=call, agent="desk")
        await agent.until("bot.word", word_index=3)
        caller.speak(1500)
        await agent.until("message.confirmed")
    assert bool(agent.of("bot.interrupted")) is interruptible


# --- what is kept of it -------------------------------------------------------------------------


async def test_the_log_tells_of_one_call_that_is_the_agents_in_the_end():
    async with Office(engines=hearing("sales")) as office:
        line, caller, call = await on_the_line(office)
        caller.speak(800)
        await line.until("turn.end")
        agent = await routed(office, line, call)
        await agent.until("bot.finished")
        caller.hang_up()
        await agent.ended()
        org = office.orgs[0]
        entries = office.server.journal.entries(call=call)
        asked = office.server.journal.ask(lambda database: read_calls(database, limit=10))
        (row,) = asked.result(10)
    types = [entry.type for entry in entries]
    for once in ("call.started", "call.routed", "call.ended", "call.summary"):
        assert types.count(once) == 1
    assert types[-2:] == ["call.ended", "call.summary"]
    assert (row.agent, row.call_id, row.reason) == ("desk", call, "hangup")
    whole, of_agent = WatchedLog(org, call=call), WatchedLog(org, agent="desk")
    assert all(whole.has(entry) for entry in entries)
    mine = [entry.type for entry in entries if of_agent.has(entry)]
    assert mine[0] == "call.routed"
    assert "user.message" not in mine, "that was said to the line"
    (handed,) = [entry for entry in entries if entry.type == "call.routed"]
    assert handed.data == {"agent": "desk", "routed_from": LINE}


def kept(folder: Path, call: str) -> tuple[float, list[dict[str, Any]]]:
    """Return how long a recording is, in seconds, and its events, once it is all written."""
    for thread in threading.enumerate():
        if thread.name == "recording":
            thread.join(10)
    with wave.open(str(folder / f"{call}.wav")) as sound:
        seconds = sound.getnframes() / sound.getframerate()
    lines = (folder / f"{call}.jsonl").read_text(encoding="utf-8").splitlines()
    return seconds, [json.loads(line) for line in lines]


async def test_a_recording_holds_both_parts_of_a_call(tmp_path: Path):
    async with Office() as office:
        office.server._record = tmp_path
        line, caller, call = await on_the_line(office)
        say(line, call, "Welcome.")
        await line.until("bot.finished")
        agent = await routed(office, line, call)
        await agent.until("bot.finished")
        caller.hang_up()
        ended = await agent.ended()
        await caller.call
        seconds, told = kept(tmp_path, call)
    assert seconds == pytest.approx(ended["duration_seconds"], abs=0.02)
    spoken = [event["text"] for event in told if event["event"] == "bot.speaking"]
    assert spoken == ["Welcome.", "Desk here."]
    assert [event["event"] for event in told].count("call.ended") == 1


async def test_an_agent_that_wants_its_calls_recorded_has_its_part_recorded(tmp_path: Path):
    async with Office() as office:
        office.server.recordings = tmp_path
        line, caller, call = await on_the_line(office)
        await asyncio.sleep(2)
        agent = office.owner("desk", None, greeting="Desk here.", media={"recording": True})
        line.send("call.route", call_id=call, agent="desk")
        await agent.until("bot.finished")
        caller.hang_up()
        ended = await agent.ended()
        await caller.call
        seconds, told = kept(tmp_path, call)
    assert seconds < ended["duration_seconds"] - 1.5
    assert told[0]["event"] == "call.started"
    assert told[0]["routed_from"] == LINE
    assert told[-1]["event"] == "call.ended"
