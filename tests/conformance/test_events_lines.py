"""events.md §2.2, §11: phone lines and handing a call over, as their owner is told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.conformance.desk import (
    OURS,
    SCRIPT,
    THEIRS,
    hears_always,
    names,
    of,
    of_call,
    one,
    told,
    whole,
    with_number,
)
from tests.conformance.microphone import Caller, calling
from tests.conformance.paragraphs import holds
from tests.server.peer import Peer, connected, embedded

LINE = f"line:{OURS}"


@asynccontextmanager
async def on_the_line(
    window_ms: int = 0, text: str = "sales please", **agent: Any
) -> AsyncIterator[tuple[Peer, Peer, Caller]]:
    """Call a line; yields its owner, the owner of ``sales``, and the caller."""
    async with (
        embedded(engines=hears_always(text)) as server,
        connected(server) as line,
        connected(server) as sales,
    ):
        await sales.agent("sales", **({"llm": SCRIPT, "preparing": False} | agent))
        await with_number(sales, "+13186330999", agent="sales")
        await line.send("line.create", number=OURS, config={"extension_window_ms": window_ms})
        await line.until("line.created", number=OURS)
        async with calling(server, "sales", to=OURS, from_=THEIRS) as caller:
            yield line, sales, caller


@holds("events", "11")
async def test_a_line_is_created_and_destroyed_by_its_number():
    async with embedded() as server, connected(server) as owner:
        await owner.send("line.create", number=OURS, config={"extension_window_ms": 0})
        created = await owner.until("line.created")
        await owner.send("line.destroy", number=OURS)
        destroyed = await owner.until("line.destroyed")
    assert (created["number"], destroyed["number"]) == (OURS, OURS)


@holds("events", "11")
async def test_a_line_that_cannot_be_had_says_which_and_why():
    async with embedded() as server, connected(server) as one_, connected(server) as two:
        await one_.send("line.create", number=OURS, config={"extension_window_ms": 0})
        await one_.until("line.created")
        await two.send("line.create", number=OURS, config={"extension_window_ms": 0})
        await one_.until("ping")
        await one_.send("pong")
        taken = await two.until("line.error")
        assert (taken["number"], taken["code"]) == (OURS, "LINE_CONFLICT")
        config = {"extension_window_ms": 0, "llm": "openai/gpt-5.4-nano"}
        await two.send("line.create", number="+13186330977", config=config)
        wrong = await two.until("line.error")
    assert (wrong["number"], wrong["code"]) == ("+13186330977", "LINE_CONFIG_ERROR")
    assert taken["error"]
    assert wrong["error"]


@holds("events", "2.2", "11", "4.1")
async def test_a_call_to_a_line_is_the_lines_and_says_so():
    async with on_the_line() as (line, _, caller):
        started = await line.until("call.started")
        about = {"agent_id": LINE, "owner": "line", "transport": "phone", "extension": None}
        assert about.items() <= started.items()
        assert (started["from"], started["to"]) == (THEIRS, OURS)
        frames = await whole(caller, line)
    assert {frame["agent_id"] for frame in frames} == {LINE}


@holds("events", "11", "4.7")
@pytest.mark.parametrize(("keys", "extension"), [("33#", "33"), ("#", None)])
async def test_keys_of_the_extension_window_are_the_extension_and_nothing_else(
    keys: str, extension: str | None
):
    async with on_the_line(window_ms=2_500) as (line, _, caller):
        await caller.act("dtmf", digits=keys)
        started = await line.until("call.started")
        assert started["extension"] == extension
        await caller.act("dtmf", digits="1")
        pressed = await line.until("call.dtmf_received")
        assert (pressed["digit"], pressed["digits"]) == ("1", "1")
        frames = await whole(caller, line)
    assert len(of(frames, "call.dtmf_received")) == 1


@holds("events", "11", "6")
async def test_a_line_has_no_model_and_hears_the_callers_turns():
    async with on_the_line() as (line, _, caller):
        await line.until("call.started")
        caller.say(0, 400)
        end = await line.until("turn.end")
        assert (end["text"], end["agent_id"]) == ("sales please", LINE)
        frames = await whole(caller, line)
    assert one(frames, "user.message")["message_id"] == end["message_id"]
    assert not of(frames, "bot.speaking")
    assert not of(frames, "llm.before")


@holds("events", "11", "4.1", "4.9")
async def test_a_handed_over_call_starts_with_the_agent_and_is_routed_away_from_the_line():
    async with on_the_line(greeting="Sales.") as (line, sales, caller):
        id = (await line.until("call.started"))["call_id"]
        await line.send("bot.reply", call_id=id, message_id="m1", text="Hello.", in_reply_to="")
        await line.until("bot.finished")
        caller.say(0, 400)
        await line.until("turn.end")
        await line.send("call.route", call_id=id, agent="sales", language="es", history=True)
        routed = await line.until("call.routed")
        ended = await line.until("call.ended")
        started = await sales.until("call.started")
        await sales.until("bot.speaking")
        rest = await whole(caller, sales)
        assert not of_call(await line.settled(), id)
    assert (routed["agent_id"], routed["call_id"], routed["agent"]) == (LINE, id, "sales")
    assert (ended["agent_id"], ended["call_id"], ended["reason"]) == (LINE, id, "routed")
    assert ended["direction"] == "inbound"
    expected = {"call_id": id, "agent_id": "sales", "routed_from": LINE, "owner": "agent"}
    assert expected.items() <= started.items()
    assert (started["extension"], started["language"]) == (None, "es")
    said = [(entry["who"], entry["text"]) for entry in started["line_transcript"]]
    assert said == [("line", "Hello."), ("caller", "sales please")]
    # The one moment on the wire that is in milliseconds.
    assert all(entry["at"] > 1_700_000_000_000 for entry in started["line_transcript"])
    assert started["seq"] < routed["seq"] < ended["seq"]
    assert (rest[-1]["event"], rest[-1]["reason"]) == ("call.ended", "hangup")


@holds("events", "11")
@pytest.mark.parametrize(("agent", "reason"), [("nobody", "unknown"), ("gone", "offline")])
async def test_a_call_that_cannot_be_handed_over_stays_with_the_line(agent: str, reason: str):
    async with on_the_line() as (line, sales, caller):
        id = (await line.until("call.started"))["call_id"]
        await sales.agent("gone")
        await sales.send("agent.remove", agent_id="gone")
        await sales.until("agent.removed")
        await line.send("call.route", call_id=id, agent=agent, history=True)
        failed = await line.until("call.route_failed")
        assert (failed["call_id"], failed["agent"], failed["reason"]) == (id, agent, reason)
        assert failed["agent_id"] == LINE
        await line.send("bot.reply", call_id=id, message_id="m1", text="Hm.", in_reply_to="")
        await line.until("bot.finished", message_id="m1")
        await whole(caller, line)
    assert not of(sales.seen, "call.started")
    assert "call.routed" not in names(line.seen)


@holds("events", "11")
async def test_a_caller_who_hangs_up_ends_a_lines_call_like_any_other():
    async with on_the_line() as (line, _, caller):
        await line.until("call.started")
        await caller.hang_up()
        frames = await told(line, caller.call_id)
    assert (frames[-1]["event"], frames[-1]["reason"]) == ("call.ended", "hangup")
