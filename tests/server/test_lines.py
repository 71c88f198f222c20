"""Phone lines: numbers whose calls go to code first (commands.md §11, events.md §11)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pinecall_cli.protocol import events
from pinecall_cli.server.routes.agents import listed
from pinecall_cli.server.voice.line_part import LinePart
from tests.sdk.jumping import BACKEND
from tests.server.dialled import OURS, THEIRS, Office
from tests.server.incoming import Incoming
from tests.server.receptionist import LINE, SCRIPT, hearing, line_owner, on_the_line, routed, say

WINDOW_S = 2.5


@pytest.fixture
def anyio_backend() -> Any:
    return BACKEND


# --- taking a line ------------------------------------------------------------------------------


async def test_a_line_is_created_as_often_as_it_is_sent_and_given_up():
    async with Office() as office:
        peer = line_owner(office, language="es", stt="deepgram:nova-3", voice="elevenlabs/sarah")
        peer.send("line.create", number=OURS, config={"language": "en"})
        assert [frame["number"] for frame in peer.of("line.created")] == [OURS, OURS]
        (line,) = office.server.registry.lines(office.orgs[0])
        assert (line.slug, line.payload) == (LINE, {"language": "en"})
        peer.send("line.destroy", number=OURS)
        assert peer.of("line.destroyed")[0]["number"] == OURS
        assert not list(office.server.registry.lines(office.orgs[0]))


@pytest.mark.parametrize(
    ("number", "config", "why"),
    [
        (OURS, {"llm": "openai/gpt-5"}, "`llm`"),
        (OURS, {"prompt": "Be kind.", "tools": []}, "`prompt`, `tools`"),
        (OURS, {"greeting": ""}, "`greeting`"),
        (OURS, {"extension_window_ms": -1}, "window"),
        (OURS, {"extension_window_ms": 1e9}, "window"),
        (OURS, {"extension_window_ms": "soon"}, "extension_window_ms"),
        (OURS, {"voice": "elevenlab/sarah"}, "elevenlab"),
        ("reception", {}, "reception"),
    ],
)
async def test_a_line_that_cannot_be_is_refused_in_the_words_of_lines(
    number: str, config: dict[str, Any], why: str
):
    async with Office() as office:
        peer = line_owner(office, number, **config)
        (told,) = [frame for frame in peer.frames if frame["event"] != "ping"]
        assert (told["event"], told["code"]) == ("line.error", "LINE_CONFIG_ERROR")
        assert told["number"] == number
        assert why in told["error"]
        assert not list(office.server.registry.lines(office.orgs[0]))


async def test_two_live_processes_cannot_have_one_line():
    async with Office() as office:
        first, second = line_owner(office), line_owner(office)
        await first.until("ping")
        first.connection.heard()
        told = await second.until("line.error")
        assert (told["code"], told["number"]) == ("LINE_CONFLICT", OURS)
        assert not second.of("line.created")
        assert office.peer(1).connection.org != office.orgs[0]
        other = office.peer(1)
        other.send("line.create", number=OURS)
        assert other.of("line.created"), "another organisation is none of theirs"


async def test_a_holder_that_gives_no_sign_of_life_loses_the_line():
    async with Office() as office:
        first, second = line_owner(office), line_owner(office)
        await second.until("line.created")
        assert first.of("line.error")[0]["code"] == "LINE_CONFLICT"
        caller = Incoming(office)
        await second.until("call.started")
        assert not first.of("call.started")
        caller.hang_up()


async def test_lines_do_not_count_as_agents():
    async with Office(agents=1) as office:
        line_owner(office)
        line_owner(office, THEIRS)
        owner = office.owner("desk", None)
        assert owner.of("agent.created")
        office.peer().send("agent.create", agent_id="more")
        assert office.server.registry.find(office.orgs[0], "more") is None
        assert office.server.registry.find(office.orgs[0], LINE) is None


# --- the extension window -----------------------------------------------------------------------


async def test_keys_in_the_first_moments_are_the_extension_and_are_not_told():
    async with Office() as office:
        line, caller = line_owner(office), Incoming(office)
        await caller.until("call.started")
        assert not line.of("call.started"), "the caller is connected, the line has not heard of it"
        caller.press("3")
        caller.press("3")
        started = await line.until("call.started")
        assert line.at[line.frames.index(started)] == pytest.approx(WINDOW_S, abs=0.05)
        caller.press("1")
        pressed = await line.until("call.dtmf_received")
        assert (pressed["digit"], pressed["digits"]) == ("1", "1")
        caller.hang_up()
        await line.ended()
    assert started["extension"] == "33"
    assert (started["owner"], started["transport"]) == ("line", "phone")
    assert (started["from"], started["to"], started["direction"]) == (THEIRS, OURS, "inbound")
    assert {frame["agent_id"] for frame in line.frames if "call_id" in frame} == {LINE}


async def test_a_hash_ends_the_window_and_keys_after_it_are_the_calls():
    async with Office() as office:
        line, caller = line_owner(office), Incoming(office)
        await caller.until("call.started")
        caller.press("12#9")
        started = await line.until("call.started")
        assert line.at[line.frames.index(started)] < 0.5
        assert started["extension"] == "12"
        await line.until("call.dtmf_received", digit="9", digits="9")


@pytest.mark.parametrize(("window", "after_s"), [(0, 0.0), (400, 0.4), (None, WINDOW_S)])
async def test_without_keys_there_is_no_extension(window: int | None, after_s: float):
    async with Office() as office:
        line = line_owner(office, **({} if window is None else {"extension_window_ms": window}))
        Incoming(office)
        started = await line.until("call.started")
        assert started["extension"] is None
        assert line.at[line.frames.index(started)] == pytest.approx(after_s, abs=0.05)


async def test_what_is_said_in_the_window_is_told_when_the_call_is():
    async with Office(engines=hearing("hello?")) as office:
        line, caller = line_owner(office), Incoming(office)
        await caller.until("call.started")
        caller.speak(800)
        await line.until("turn.end", text="hello?")
    names = line.names()
    assert names[0] == "call.started"
    assert names.index("user.message") < names.index("turn.end")


async def test_somebody_who_hangs_up_in_the_window_has_called_and_gone():
    async with Office() as office:
        line, caller = line_owner(office), Incoming(office)
        await caller.until("call.started")
        caller.press("7")
        caller.hang_up()
        ended = await line.ended()
    assert line.names() == ["call.started", "call.ended"]
    assert line.of("call.started")[0]["extension"] == "7"
    assert ended["reason"] == "hangup"


@pytest.mark.parametrize(
    ("presses", "extension", "others"),
    [
        (["1", "2"], "12", ""),
        (["12#34", "5"], "12", "345"),
        (["#7"], None, "7"),
        (["*9", "a"], "*9", ""),
        (["1" * 100], "1" * 32, ""),
        ([], None, ""),
    ],
)
def test_an_extension_is_what_is_keyed_in_before_the_hash(
    presses: list[str], extension: str | None, others: str
):
    part = LinePart(2500, lambda: 0.0)
    assert "".join(part.pressed(digits) for digits in presses) == others
    assert part.due(2500)
    assert part.extension == extension


def test_a_turn_that_goes_on_stands_in_the_transcript_once():
    part = LinePart(0, lambda: 12.5)
    for event in (
        events.MessageConfirmed(message_id="m1", text="Sales or support?"),
        events.UserMessage(message_id="u1", text="I want", turn_id=1),
        events.TurnContinued(turn_id=1),
        events.UserMessage(message_id="u2", text="I wanted sales.", turn_id=1),
        events.MessageConfirmed(message_id="m2", text=" "),
        events.UserMessage(message_id="u3", text="Please.", turn_id=2),
    ):
        assert part.passes(event)
    assert [(entry.who, entry.text, entry.at) for entry in part.transcript()] == [
        ("line", "Sales or support?", 12_500),
        ("caller", "I wanted sales.", 12_500),
        ("caller", "Please.", 12_500),
    ]


async def test_an_owner_that_comes_back_in_the_window_hears_of_the_call_once():
    async with Office() as office:
        line, caller = line_owner(office), Incoming(office)
        await caller.until("call.started")
        line.leave()
        back = line_owner(office)
        caller.press("5")
        await back.until("call.started")
        await asyncio.sleep(5)
    assert [frame["extension"] for frame in back.of("call.started")] == ["5"]


# --- answered by code ---------------------------------------------------------------------------


async def test_a_line_says_listens_and_asks_by_code():
    async with Office(engines=hearing("sales please")) as office:
        line, caller, call = await on_the_line(office)
        say(line, call, "Sales or support?")
        await line.until("bot.finished", message_id="m1")
        caller.speak(800)
        message = await line.until("user.message", text="sales please")
        turn = await line.until("turn.end", text="sales please")
        await asyncio.sleep(5)
        assert len(line.of("bot.speaking")) == 1, "there is no model to answer"
        say(line, call, "Right.", "m2", in_reply_to=message["message_id"])
        await line.until("bot.finished", message_id="m2")
        say(line, call, "Too late.", "m3", in_reply_to="another")
        await line.until("reply.rejected", message_id="m3")
        line.send("call.hangup", call_id=call, reason="after hours")
        ended = await line.ended()
    assert turn["message_id"] == message["message_id"]
    assert ended["reason"] == "after hours"
    assert caller.frames[-1]["event"] == "call.ended"
    assert caller.closed == 1000


async def test_a_line_cannot_end_a_call_in_a_way_that_readers_take_for_none():
    async with Office() as office:
        line, _, call = await on_the_line(office)
        line.send("call.hangup", call_id=call, reason="routed")
        assert (await line.ended())["reason"] == "hangup"


async def test_a_call_of_a_line_cannot_be_given_a_model():
    async with Office() as office:
        line, _, call = await on_the_line(office)
        line.send("session.configure", session_id=call, llm=SCRIPT)
        assert line.of("error")[0]["code"] == "LINE_CONFIG_ERROR"
        line.send("session.configure", session_id=call, voice="elevenlabs/sarah")
        assert line.of("session.configured")


# --- who answers a number -----------------------------------------------------------------------


async def test_a_number_is_answered_by_its_line_then_by_a_twin_then_by_its_agent():
    async with Office() as office:
        agent = office.owner("desk", llm=SCRIPT)
        twin = office.owner("dev-ana-desk", llm=SCRIPT)
        twin.send("dev.config", callers=[THEIRS])
        line = line_owner(office)
        for peer, leaves in ((line, line), (twin, twin), (agent, None)):
            caller = Incoming(office)
            assert (await peer.until("call.started"))["to"] == OURS
            assert sum(len(one.of("call.started")) for one in (agent, twin, line)) == 1
            caller.hang_up()
            await peer.ended()
            for one in (agent, twin, line):
                one.frames.clear()
            if leaves is line:
                line.send("line.destroy", number=OURS)
            elif leaves is twin:
                twin.leave()


async def test_an_agent_that_dials_the_number_reaches_the_line_and_keys_in_an_extension():
    async with Office() as office:
        office.owner("desk", llm=SCRIPT)
        line = line_owner(office)
        dialler = office.owner("dialler", THEIRS, llm=SCRIPT)
        dialler.send("call.dial", agent_id="dialler", to=OURS, **{"from": THEIRS})
        out = await dialler.until("call.started")
        dialler.send("call.dtmf", call_id=out["call_id"], digits="42#")
        started = await line.until("call.started")
        assert (started["from"], started["extension"]) == (THEIRS, "42")
        desk = office.owner("sales", None, greeting="Sales here.", llm=SCRIPT)
        line.send("call.route", call_id=started["call_id"], agent="sales")
        await desk.until("bot.finished")
        dialler.send("call.hangup", call_id=out["call_id"])
        assert (await desk.ended())["reason"] == "hangup"
        assert (await dialler.ended())["call_id"] == out["call_id"]


async def test_lines_own_numbers_in_the_listing_and_stand_in_it_when_asked_for():
    async with Office() as office:
        office.owner("desk")
        line_owner(office)
        plain = listed(office.server, office.orgs[0])
        whole = listed(office.server, office.orgs[0], include_lines=True)
        theirs = listed(office.server, office.orgs[1], include_lines=True)
    assert plain["phone_map"] == whole["phone_map"] == {OURS: LINE}
    assert [agent["slug"] for agent in plain["agents"]] == ["desk"]
    assert [agent["slug"] for agent in whole["agents"]] == ["desk", LINE]
    assert whole["agents"][1]["phones"] == [OURS]
    assert (plain["total"], whole["total"]) == (1, 2)
    assert (theirs["agents"], theirs["phone_map"]) == ([], {})


# --- sockets that are lost ----------------------------------------------------------------------


async def test_a_lines_calls_wait_for_its_owner_to_come_back():
    async with Office() as office:
        line, caller, call = await on_the_line(office)
        line.leave()
        await asyncio.sleep(20)
        back = line_owner(office, extension_window_ms=0)
        assert back.of("line.created")
        again = await back.until("call.started", call_id=call)
        assert (again["owner"], again["agent_id"]) == ("line", LINE)
        say(back, call, "Back again.")
        await back.until("bot.finished")
        await asyncio.sleep(30)  # beyond the grace that ended when it came back
        caller.hang_up()
        assert (await back.ended())["reason"] == "hangup"


async def test_a_lines_calls_end_when_its_owner_stays_away_and_new_ones_go_to_the_agent():
    async with Office() as office:
        agent = office.owner("desk")
        line, caller, _ = await on_the_line(office)
        line.leave()
        left_at = asyncio.get_running_loop().time()
        Incoming(office)
        await agent.until("call.started")
        ended = await caller.until("call.ended")
        assert ended["reason"] == "agent_disconnected"
        assert asyncio.get_running_loop().time() - left_at == pytest.approx(45, abs=0.1)


async def test_a_routed_call_outlives_its_lines_owner_and_is_told_again_to_its_agents():
    async with Office() as office:
        line, _, call = await on_the_line(office)
        agent = await routed(office, line, call)
        line.leave()
        await asyncio.sleep(46)
        agent.leave()
        await asyncio.sleep(5)
        back = office.owner("desk", None, llm=SCRIPT)
        again = await back.until("call.started", call_id=call)
        assert again["routed_from"] == LINE
        assert not back.of("call.ended")


async def test_a_line_that_is_given_up_keeps_the_calls_it_has():
    async with Office() as office:
        line, caller, call = await on_the_line(office)
        line.send("line.destroy", number=OURS)
        say(line, call, "Still here.")
        await line.until("bot.finished")
        agent = await routed(office, line, call)
        await agent.until("bot.finished")
        caller.hang_up()
        await agent.ended()
