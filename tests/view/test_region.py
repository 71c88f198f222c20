import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from pinecall_cli.call.records import (
    DevReconnecting,
    DevReloadFailed,
    EngineNotice,
    FileProblem,
)
from pinecall_cli.call.session import AgentState, SessionState
from pinecall_cli.protocol.codec import decode_event
from pinecall_cli.view.ink import Ink
from pinecall_cli.view.region import CALL_KEYS, MOST_LINES, Region, Ui, focused, meter, render
from tests.call.conversations import START, order_call, received
from tests.view.sessions import READY, Happened, after

STARTED = received("call.started", 0.0, from_="webrtc", to="webrtc", transport="webrtc")


def drawn(
    *happened: Happened, ui: Ui | None = None, width: int = 72, height: int = 24
) -> list[str]:
    region = render(after([READY, *happened]), ui)
    return [line.plain for line in region.lines(Ink(), width, height)]


HINTS = "c call   t type   q quit   ? help   h hang up   m mute   r reload"


def test_without_a_call_it_says_what_it_waits_for():
    assert drawn() == ["● ready · waiting for a call", HINTS]
    starting = SessionState(agents=(AgentState(slug="a"),))
    assert render(starting).lines(Ink(), 72)[0].plain == "○ connecting"
    loading = EngineNotice(at=START, text="loading the recogniser", loading=True)
    assert drawn(loading)[0] == "○ loading the recogniser"


def test_without_an_agent_it_waits_for_no_call():
    there, gone = (
        decode_event(json.dumps({"event": event, "agent_id": "front-desk"}))
        for event in ("agent.created", "agent.displaced")
    )
    assert drawn(there)[0] == "● ready · waiting for a call"
    assert drawn(there, gone)[0] == "○ no agent is registered · r registers again"
    assert drawn(there, gone, there)[0] == "● ready · waiting for a call"
    two = SessionState(agents=(AgentState(slug="front-desk"), AgentState(slug="night-desk")))
    region = render(after([there, gone], two))
    assert "no agent" not in region.lines(Ink(), 72, 24)[0].plain


def test_a_lost_connection_is_what_counts():
    lost = DevReconnecting(at=START, attempt=3, delay_ms=4000)
    assert drawn(STARTED, lost)[0] == "! reconnecting · attempt 3"


def test_the_callers_partial_stands_above_the_state():
    assert drawn(STARTED, received("user.speaking", 4.0, text="Where is my")) == [
        "    caller › Where is my",
        "● listening · 0:04",
        HINTS,
    ]


def test_the_reply_grows_as_it_is_heard():
    words = [
        received("bot.speaking", 1.0, message_id="m", text="Hi, Acme front desk."),
        received("bot.word", 1.1, message_id="m", word="Hi,", word_index=0),
        received("bot.word", 1.2, message_id="m", word="Acme", word_index=1),
    ]
    assert drawn(STARTED, *words)[:2] == ["front-desk › Hi, Acme", "● speaking · 0:01"]


def test_a_chats_answer_is_seen_as_it_is_written():
    happened = [
        received("llm.chat.started", 0.0),
        received("llm.chat.token", 1.0, text="We open"),
    ]
    assert drawn(*happened)[:2] == ["front-desk › We open", "● writing · 0:01"]
    answered = received("llm.chat.done", 2.0, text="We open at nine.")
    assert drawn(*happened, answered)[0] == "● waiting · 0:02"


def test_of_a_long_text_the_end_is_seen_on_two_lines():
    said = " ".join(f"word{count}" for count in range(100))
    lines = drawn(STARTED, received("user.speaking", 1.0, text=said), width=40)
    assert len(lines) == 4
    assert lines[0].startswith("    caller › …")
    assert lines[1].startswith(" " * 13)
    assert lines[1].endswith("word99")


def test_the_state_says_more_than_its_colour():
    ui = Ui(microphone=-30.0, badges=("half duplex",))
    held = [received("call.held", 1.0), received("call.muted", 2.0)]
    assert drawn(STARTED, *held, ui=ui)[0] == (
        "● listening · 0:02 · mic ▮▮▮▮▯▯▯▯ · on hold · caller muted · half duplex"
    )


def test_the_clock_goes_on_between_events():
    assert drawn(STARTED, ui=Ui(now=START + 3725.0))[0] == "● listening · 1:02:05"
    assert drawn(received("call.held"))[0] == "● listening · on hold"


def test_several_calls_are_counted_and_one_is_chosen():
    second = received("call.started", 1.0, call_id="wrt_abcd1234", from_="a", to="b")
    assert drawn(STARTED, second)[:2] == [
        "● listening · 0:00 · [abcd1234]",
        "+1 [c1] listening",
    ]
    assert drawn(STARTED, second, ui=Ui(focus="c1"))[0] == "● listening · 0:00 · [c1]"


def test_a_call_that_is_over_is_not_shown():
    session = after(order_call())
    assert focused(session, "c1") is None


def test_a_broken_file_stays_in_sight():
    problem = FileProblem(code="x", message="unknown key `vioce`", line=4, column=1)
    record = DevReloadFailed(at=START, agent="a", file="a.yaml", errors=(problem,))
    assert drawn(record)[0] == "✗ a.yaml:4:1 unknown key `vioce`"
    twice = replace(record, errors=(problem, problem))
    assert drawn(twice, width=30)[0] == "✗ a.yaml:4:1 unknow… (+1 more)"
    nothing = replace(record, errors=())
    assert drawn(nothing)[0] == "● ready · waiting for a call"


def test_what_is_typed_takes_the_place_of_the_hints():
    assert drawn(ui=Ui(prompt="Where is"))[-1] == "you › Where is"
    assert drawn(ui=Ui(prompt="x" * 100), width=20)[-1] == "you › …" + "x" * 12


def test_as_many_hints_are_shown_as_fit():
    assert drawn(width=20)[-1] == "c call   t type"
    assert drawn(width=3)[-1] == ""
    assert drawn(ui=Ui(keys=CALL_KEYS))[-1].startswith("h hang up   m mute")


def test_help_shows_every_key():
    for width in (40, 72, 200):
        text = "\n".join(drawn(ui=Ui(help=True), width=width))
        for key, meaning in Ui().keys:
            assert f"{key} {meaning}" in text


@pytest.mark.parametrize(
    ("dbfs", "bar"),
    [(float("-inf"), "▯" * 8), (-60, "▯" * 8), (-30, "▮" * 4 + "▯" * 4), (3, "▮" * 8)],
)
def test_levels_are_bars_of_eight(dbfs: float, bar: str):
    assert meter(dbfs, Ink()) == bar
    assert meter(dbfs, Ink("ascii")) == bar.replace("▮", "#").replace("▯", ".")


CROWD = [
    *order_call()[:9],
    received("call.started", 1.0, call_id="c2", from_="a", to="b"),
    received("user.speaking", 5.0, call_id="c2", text="日本語 and \x1b[2J " * 20),
    DevReloadFailed(
        at=START,
        agent="a",
        file="agents/a.yaml",
        errors=(FileProblem(code="x", message="m" * 300, line=1, column=1),),
    ),
]


@given(
    st.integers(1, 200),
    st.integers(1, 60),
    st.integers(0, len(CROWD)),
    st.sampled_from(["utf-8", "ascii"]),
    st.sampled_from([Ui(), Ui(help=True), Ui(prompt="日本" * 40), Ui(microphone=-12.5)]),
)
def test_the_region_fits_every_terminal(width: int, height: int, count: int, encoding: str, ui: Ui):
    lines = Region(after(CROWD[:count]), ui).lines(Ink(encoding), width, height)
    assert 1 <= len(lines) <= max(1, min(MOST_LINES, height - 1))
    for line in lines:
        assert cell_len(line.plain) <= width
        assert "\n" not in line.plain
        assert encoding != "ascii" or line.plain.isascii()
