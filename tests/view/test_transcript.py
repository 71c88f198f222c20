from __future__ import annotations

import json
import re
from textwrap import dedent
from typing import Any

from pinecall_cli.protocol.log import LogEntry
from pinecall_cli.view.ndjson import entry_line
from pinecall_cli.view.transcript import LogView, clock, day_and_clock

T0 = 1_787_352_100.0


def entry(seq: int, type: str, call: str = "0f9b2c41-aaaa", ephemeral: bool = False, **data: Any):
    return LogEntry(
        seq=seq,
        ts=T0 + seq / 10,
        type=type,
        call=call,
        agent="front-desk",
        ephemeral=ephemeral,
        data=data,
    )


def told(call: str = "0f9b2c41-aaaa") -> list[LogEntry]:
    return [
        entry(0, "call.started", call, **{"direction": "inbound", "from": "+1", "to": "+2"}),
        entry(5, "user.message", call, id="u1", text="Where is it?", final=True),
        entry(6, "tool.call", call, id="t1", name="lookup", args={"id": 7}),
        entry(7, "tool.result", call, id="t1", name="lookup", result={"status": "shipped"}, ms=90),
        entry(9, "bot.speaking", call, id="b1", text="It shipped."),
        entry(10, "turn.end", call, turn=1, latency={"vad": 300, "asr": 100, "e2e": 900}),
        entry(20, "bot.finished", call, id="b1"),
        entry(21, "call.ended", call, reason="hangup", duration=2.1),
        entry(22, "call.summary", call, metrics={}, reason="hangup"),
    ]


def shown(happened: list[LogEntry], **options: Any) -> str:
    view = LogView(colour=False, **options)
    return b"".join(view.lines(one) for one in happened).decode()


def test_a_calls_log_reads_as_the_call_was_heard():
    assert shown(told(), one_call=True) == dedent("""\
        t+0.0s ☎ incoming call — +1 · unknown
        t+0.5s     caller › Where is it?
        t+0.6s   ⚡ lookup(id=7)
        t+0.7s   ✓ lookup {"status": "shipped"} · 100 ms
        t+2.0s front-desk › It shipped.
        t+2.0s   ↳ heard 300 → text +100 = 900 ms
        t+2.1s ☎ call ended — hangup (2.1 s)
        """)


def test_lines_of_many_calls_say_when_and_whose_they_are():
    several = [*told("0f9b2c41-aaaa")[:2], *told("wrt_77aa01bb-x")[:2], *told("0f9b2c41-aaaa")[2:]]
    lines = shown(several).splitlines()
    times = {f"{clock(T0 + seq / 10)} " for seq in range(30)}
    assert all(line[:9] in times for line in lines)
    assert [line[9:] for line in lines[:4]] == [
        "front-desk 0f9b2c41 ☎ incoming call — +1 · unknown",
        "front-desk 0f9b2c41     caller › Where is it?",
        "front-desk 77aa01bb ☎ incoming call — +1 · unknown",
        "front-desk 77aa01bb     caller › Where is it?",
    ]


def test_words_that_were_heard_live_stand_in_for_a_text_that_came_too_early():
    spoken = [
        entry(1, "call.started", **{"direction": "inbound", "from": "+1", "to": "+2"}),
        entry(2, "bot.speaking", id="b1", text=""),
        entry(3, "bot.word", ephemeral=True, id="b1", w="It"),
        entry(4, "bot.word", ephemeral=True, id="b1", w="shipped."),
    ]
    assert "front-desk › It shipped." in shown([*spoken, entry(5, "bot.finished", id="b1")])
    corrected = entry(5, "bot.corrected", supersedes=2, id="b1", text="It shipped today.")
    assert "› It shipped today." in shown([*spoken, corrected, entry(6, "bot.finished", id="b1")])


def test_entries_can_be_shown_as_they_are():
    lines = shown(told(), one_call=True, entries=True).splitlines()
    assert lines[2] == 't+0.6s tool.call {"id": "t1", "name": "lookup", "args": {"id": 7}}'
    assert len(lines) == len(told())


def test_only_lines_with_what_is_searched_for_are_shown():
    assert shown(told(), one_call=True, grep=re.compile("shipped")) == (
        't+0.7s   ✓ lookup {"status": "shipped"} · 100 ms\nt+2.0s front-desk › It shipped.\n'
    )


def test_nothing_in_a_log_steers_the_terminal():
    hostile = "\x1b]0;x\x07\x1b[2J\r\n\u202e"
    entries = [
        entry(1, "user.message", id="u1", text=hostile),
        entry(2, "tool.call", id=hostile, name=hostile, args=hostile),
        entry(3, hostile, x=hostile),
    ]
    for options in ({}, {"entries": True}, {"one_call": True}, {"width": 40}):
        assert not set("\x1b\x07\r\u202e") & set(shown(entries, **options))
    for one in entries:
        line = entry_line(one).decode()
        assert not set("\x1b\x07\r") & set(line)
        assert line.count("\n") == 1


def test_an_entrys_line_is_the_entry_but_for_its_time():
    one = entry(3, "user.message", id="u1", text="hi")
    assert json.loads(entry_line(one)) == {
        "seq": 3,
        "ts": "2026-08-21T22:41:40.300Z",
        "call": "0f9b2c41-aaaa",
        "agent": "front-desk",
        "type": "user.message",
        "data": {"id": "u1", "text": "hi"},
    }
    beyond = LogEntry(seq=1, ts=1e300, type="user.message")
    assert json.loads(entry_line(beyond))["ts"] == 1e300


def test_a_time_that_no_calendar_has_is_a_dash():
    assert (clock(1e300), day_and_clock(1e300), day_and_clock(None)) == ("--:--:--", "-", "-")
