from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinecall_cli.errors import InfrastructureError
from pinecall_cli.protocol import events
from pinecall_cli.protocol.frames import Event
from pinecall_cli.protocol.log import LOG_TYPES
from pinecall_cli.server.agents.outlet import Stamps
from pinecall_cli.server.log.journal import Journal, Page
from pinecall_cli.server.log.log_file import open_to_read, read_calls
from pinecall_cli.server.log.translate import TELL, Entry, Translator, summary

STARTED = events.CallStarted(from_="webrtc", to="webrtc", direction="inbound", transport="webrtc")
ENDED = events.CallEnded(reason="hangup", duration_seconds=12.5)


@pytest.fixture
def journal() -> Iterator[Journal]:
    journal = Journal(":memory:")
    yield journal
    journal.close()


def told(*happened: Event, call: str = "c1") -> list[Entry]:
    """Return the log's entries for the events of one call, a second apart."""
    now = 0.0
    stamps = Stamps(wall=lambda: now)
    translator = Translator(call=call, agent="desk", org="org_1")
    found = []
    for event in happened:
        now += 1
        seq, ts = stamps.next()
        found += translator.entries(event, seq=seq, ts=ts, stamps=stamps.next)
    return found


def story(*happened: Event) -> list[tuple[str, dict[str, Any]]]:
    """Return what the log keeps, as a reader finds it: amended, without what is ephemeral."""
    kept: dict[int, tuple[str, dict[str, Any]]] = {}
    for entry in told(*happened):
        if not entry.ephemeral:
            kept[entry.seq] = (entry.type, dict(entry.data))
    return [kept[seq] for seq in sorted(kept)]


def entry(seq: int, call: str = "c1", type: str = "user.message", **data: Any) -> Entry:
    return Entry(seq, float(seq), call, "desk", "org_1", type, data)


# --- translation ---


def test_a_call_from_its_start_to_its_summary():
    turn = {"vad": 300, "asr": 100, "eou": 20, "llm_ttft": 5, "tts_ttfb": 80, "e2e": 520}
    assert story(
        STARTED,
        events.SpeechStarted(turn_id=1, confidence=0.9),
        events.UserSpeaking(text="where", turn_id=1),
        events.UserMessage(message_id="u1", text="where is it?", turn_id=1, language="en"),
        events.SpeechEnded(turn_id=1, duration_ms=700),
        events.TurnEnd(turn_id=1, message_id="u1", latency_ms=420),
        events.BotSpeaking(message_id="b1", text=""),
        events.TurnLatency(turn_id=1, message_id="b1", **turn),
        events.BotWord(message_id="b1", word="On", word_index=0, start_time=0.0, end_time=0.2),
        events.BotWord(message_id="b1", word="its", word_index=1, start_time=0.2, end_time=0.4),
        events.MessageConfirmed(message_id="b1", text="On its way."),
        events.BotFinished(message_id="b1", duration_ms=900),
        ENDED,
    ) == [
        (
            "call.started",
            {"direction": "inbound", "from": "webrtc", "to": "webrtc", "channel": "webrtc"},
        ),
        ("turn.start", {"turn": 1, "role": "user"}),
        (
            "user.message",
            {"id": "u1", "text": "where is it?", "final": True, "language": "en"},
        ),
        ("turn.start", {"turn": 1, "role": "bot"}),
        (
            "bot.speaking",
            {
                "id": "b1",
                "text": "On its way.",
                "words": [
                    {"w": "On", "t0": 0.0, "t1": 0.2},
                    {"w": "its", "t0": 0.2, "t1": 0.4},
                ],
            },
        ),
        ("turn.end", {"turn": 1, "latency": turn}),
        ("bot.corrected", {"supersedes": 7_000_001, "id": "b1", "text": "On its way."}),
        ("bot.finished", {"id": "b1"}),
        ("call.ended", {"reason": "hangup", "duration": 12.5}),
        (
            "call.summary",
            {
                "metrics": {
                    name: {"p50": ms, "p90": ms, "p95": ms, "max": ms, "n": 1}
                    for name, ms in (("e2e", 520), ("asr", 100), ("llm_ttft", 5), ("tts_ttfb", 80))
                },
                "reason": "hangup",
            },
        ),
    ]


def test_a_correction_names_the_entry_it_supersedes():
    entries = told(
        STARTED,
        events.BotSpeaking(message_id="b1", text=""),
        events.MessageConfirmed(message_id="b1", text="Hi."),
    )
    speaking = next(entry for entry in entries if entry.type == "bot.speaking")
    corrected = next(entry for entry in entries if entry.type == "bot.corrected")
    assert corrected.data["supersedes"] == speaking.seq


def test_an_interrupted_reply_keeps_the_words_that_were_heard():
    kept = story(
        STARTED,
        events.BotSpeaking(message_id="b1", text="One two three."),
        events.BotWord(message_id="b1", word="One", word_index=0),
        events.BotInterrupted(message_id="b1", played_ms=2400, words_spoken=1),
        events.MessageConfirmed(message_id="b1", text="One"),
        ENDED,
    )
    assert ("bot.interrupted", {"id": "b1", "at_word": 1}) in kept
    speaking = next(data for type, data in kept if type == "bot.speaking")
    assert speaking["words"] == [{"w": "One"}]
    assert next(data for type, data in kept if type == "bot.corrected")["text"] == "One"


def test_a_turn_nobody_answered_is_told_all_the_same():
    kept = story(STARTED, events.TurnEnd(turn_id=1), ENDED)
    assert ("turn.end", {"turn": 1, "latency": {}}) in kept


def test_a_turn_that_went_on_ended_once():
    kept = story(
        STARTED,
        events.TurnEnd(turn_id=1),
        events.TurnContinued(turn_id=1),
        events.TurnEnd(turn_id=1),
        events.TurnLatency(turn_id=1, e2e=500),
        ENDED,
    )
    assert [data for type, data in kept if type == "turn.end"] == [
        {"turn": 1, "latency": {"e2e": 500}}
    ]


def test_tools_are_told_with_their_arguments_results_and_time():
    calls = (
        events.ToolCall(id="t1", name="order", arguments='{"id":"42"}'),
        events.ToolCall(id="t2", name="odd", arguments="not json"),
    )
    kept = story(
        STARTED,
        events.LlmToolCall(msg_id="m", tool_calls=calls),
        events.LlmToolResult(tool_call_id="t1", name="order", result={"error": "ValueError"}),
        events.LlmToolResult(msg_id="m", results=[{"tool_call_id": "t2", "result": 7}]),
    )
    assert kept[1:] == [
        ("tool.call", {"id": "t1", "name": "order", "args": {"id": "42"}}),
        ("tool.call", {"id": "t2", "name": "odd", "args": "not json"}),
        (
            "tool.result",
            {
                "id": "t1",
                "name": "order",
                "result": {"error": "ValueError"},
                "ms": 1000,
                "error": "ValueError",
            },
        ),
        ("tool.result", {"id": "t2", "name": "odd", "result": 7, "ms": 2000}),
    ]


def test_a_chat_is_told_as_a_call_is():
    kept = story(
        events.LlmChatStarted(metadata={"userId": "u"}),
        events.LlmChatStarted(),
        events.ChatMessage(text="hi", message_id="u1"),
        events.ChatResponse(text="hello", message_id="b1"),
        events.LlmChatEnded(duration_seconds=3, reason="idle_timeout"),
    )
    assert [type for type, _ in kept] == [
        "call.started",
        "turn.start",
        "user.message",
        "bot.speaking",
        "bot.finished",
        "turn.end",
        "call.ended",
        "call.summary",
    ]
    assert kept[0][1]["channel"] == "chat"
    assert kept[-2][1] == {"reason": "idle_timeout", "duration": 3}


def test_a_call_announced_again_is_told_once():
    assert len(story(STARTED, STARTED, STARTED)) == 1


some = st.sampled_from(
    [
        STARTED,
        ENDED,
        events.CallRinging(from_="+1", to="+2"),
        events.SpeechStarted(turn_id=1),
        events.SpeechStarted(),
        events.SpeechEnded(),
        events.UserSpeaking(text="x"),
        events.UserMessage(message_id="u", text="x"),
        events.TurnEnd(turn_id=1),
        events.TurnContinued(turn_id=1),
        events.TurnLatency(turn_id=1, e2e=1),
        events.BotSpeaking(message_id="b", text="x"),
        events.BotSpeaking(message_id="c"),
        events.BotWord(message_id="b", word="x", word_index=0),
        events.BotFinished(message_id="b"),
        events.BotInterrupted(),
        events.MessageConfirmed(message_id="c", text="y"),
        events.LlmToolCall(msg_id="m", tool_calls=(events.ToolCall(id="t", name="n"),)),
        events.LlmToolResult(tool_call_id="t", result=1),
        events.ChatMessage(text="x"),
        events.ChatResponse(text="y"),
        events.AudioMetrics(source="user"),
        events.SkillLoaded(skill="s"),
        events.SkillUnloaded(skill="s"),
        events.SessionPaused(),
        events.SessionResumed(),
        events.DocsSources(),
        events.Pong(),
    ]
)


@given(st.lists(some, max_size=40))
def test_in_any_order_the_log_rises_stays_in_its_words_and_ends_with_the_summary(
    happened: list[Event],
):
    entries = told(*happened)
    seqs = [entry.seq for entry in entries if not entry.amends]
    assert seqs == sorted(set(seqs))
    assert {entry.type for entry in entries} <= set(LOG_TYPES)
    assert {entry.seq for entry in entries if entry.amends} <= set(seqs)
    json.dumps([entry.data for entry in entries])
    if ENDED in happened:
        assert entries[-1].type == "call.summary"


def test_every_type_of_the_log_that_a_session_can_cause_has_its_events():
    reachable = {entry.type for event in ALL for entry in told(STARTED, event)}
    later = {"handoff.requested", "supervisor.said", "supervisor.whispered"}
    markers = {"log.gap", "log.caught_up"}
    others = {"call.summary", "turn.end", "bot.corrected"}
    assert reachable | later | markers | others >= set(LOG_TYPES)
    assert {type(event) for event in ALL} == set(TELL)


ALL = [
    events.CallRinging(from_="+1", to="+2"),
    events.CallDialing(from_="+1", to="+2"),
    events.CallRejected(),
    STARTED,
    ENDED,
    events.LlmChatStarted(),
    events.LlmChatEnded(),
    events.WhatsappSessionStarted(contact_phone="34600"),
    events.WhatsappMessage(from_="34600", type="image", text="x"),
    events.WhatsappResponse(to="34600", text="x"),
    events.WhatsappSessionEnded(contact_phone="34600"),
    events.SpeechStarted(turn_id=1),
    events.SpeechEnded(),
    events.UserSpeaking(text="x"),
    events.UserMessage(message_id="u", text="x"),
    events.ChatMessage(text="x"),
    events.TurnEnd(),
    events.TurnContinued(),
    events.TurnLatency(turn_id=1),
    events.BotSpeaking(message_id="b"),
    events.BotWord(message_id="b", word="x", word_index=0),
    events.MessageConfirmed(message_id="b"),
    events.BotFinished(message_id="b"),
    events.BotInterrupted(message_id="b"),
    events.ChatResponse(text="y"),
    events.LlmToolCall(msg_id="m", tool_calls=(events.ToolCall(id="t", name="n"),)),
    events.LlmToolResult(tool_call_id="t"),
    events.SkillLoaded(skill="s"),
    events.SkillUnloaded(skill="s"),
    events.DocsSources(),
    events.AudioMetrics(source="bot"),
    events.SessionPaused(),
    events.SessionResumed(),
]


def test_percentiles_are_of_values_that_were_measured():
    assert summary([]) == {"p50": None, "p90": None, "p95": None, "max": None, "n": 0}
    assert summary([5.0]) == {"p50": 5.0, "p90": 5.0, "p95": 5.0, "max": 5.0, "n": 1}
    hundred = [float(n) for n in range(100, 0, -1)]
    assert summary(hundred) == {"p50": 50.0, "p90": 90.0, "p95": 95.0, "max": 100.0, "n": 100}


# --- the file ---


def test_what_was_appended_is_read_in_order(journal: Journal):
    journal.append(entry(1, type="call.started", direction="inbound", channel="webrtc"))
    journal.append(entry(3, text="b"))
    journal.append(entry(2, call="c2", text="a"))
    assert [e.seq for e in journal.entries()] == [1, 2, 3]
    assert [e.seq for e in journal.entries(call="c1")] == [1, 3]
    assert [e.seq for e in journal.entries(agent="desk", after=1, limit=1)] == [2]
    assert journal.entries(agent="other") == []
    assert journal.entries(org="org_2") == []
    assert journal.entries(call="c1")[1] == entry(3, text="b")


def test_what_is_ephemeral_is_handed_on_and_not_kept(journal: Journal):
    seen: list[Entry] = []
    stop = journal.watch(seen.extend)
    word = Entry(1, 1.0, "c1", "desk", "org_1", "bot.word", {"w": "hi"}, ephemeral=True)
    journal.append(word)
    journal.append(entry(2))
    journal.flush()
    stop()
    stop()
    journal.append(entry(3))
    assert seen == [word, entry(2)]
    assert [e.seq for e in journal.entries()] == [2, 3]


def test_an_entry_is_amended_in_its_place_and_told_once(journal: Journal):
    seen: list[Entry] = []
    journal.watch(seen.extend)
    journal.append(entry(1, type="bot.speaking", text="Hi"))
    words = {"text": "Hi", "words": [{"w": "Hi"}]}
    journal.append(Entry(1, 1.0, "c1", "desk", "org_1", "bot.speaking", words, amends=True))
    journal.flush()
    assert len(seen) == 1
    assert [dict(e.data) for e in journal.entries()] == [words]


def test_a_call_is_one_row_that_says_how_it_ended(journal: Journal):
    parties = {"direction": "inbound", "from": "+1", "to": "+2", "channel": "phone"}
    journal.append(entry(1, type="call.started", **parties))
    journal.append(entry(2, call="c2", type="call.started", **parties))
    journal.append(entry(5, type="call.ended", reason="hangup", duration=4.0))
    journal.append(entry(7, call="c3", type="call.ringing", **parties))
    _, newest, oldest = journal.calls()
    assert (newest.call_id, newest.ended_at, newest.reason) == ("c2", None, None)
    assert (oldest.call_id, oldest.from_, oldest.to) == ("c1", "+1", "+2")
    assert (oldest.started_at, oldest.ended_at, oldest.duration_s) == (1.0, 5.0, 4.0)
    assert journal.calls(agent="other") == []
    assert len(journal.calls(limit=1)) == 1


def test_text_that_is_no_unicode_survives(journal: Journal):
    journal.append(entry(1, text="\ud800 \x00 \u202e \U0001f600"))
    assert journal.entries()[0].data["text"] == "\ud800 \x00 \u202e \U0001f600"


def test_an_entry_that_cannot_be_written_is_counted_and_the_rest_goes_on(
    journal: Journal, caplog: pytest.LogCaptureFixture
):
    journal.append(entry(1, text=object()))
    journal.flush()
    journal.append(entry(2))
    assert [e.seq for e in journal.entries()] == [2]
    assert journal.lost == 1
    assert "losing entries" in caplog.text


def test_one_entry_that_cannot_be_written_takes_no_other_along(journal: Journal):
    told: list[Entry] = []
    journal.watch(told.extend)
    journal.ask(lambda database: None)  # whatever the thread does, the three come together
    for one in (entry(1), entry(2, text=object()), entry(3)):
        journal.append(one)
    journal.flush()
    assert [e.seq for e in journal.entries()] == [e.seq for e in told] == [1, 3]
    assert journal.lost == 1


def test_who_watches_hears_of_an_entry_when_it_is_on_disk(tmp_path: Path):
    path = tmp_path / "calls.db"
    journal = Journal(path)
    found: list[int] = []

    def look(told: Sequence[Entry]) -> None:
        reader = open_to_read(path)
        found.append(reader.execute("SELECT max(seq) FROM entries").fetchone()[0] - told[-1].seq)
        reader.close()

    journal.watch(look)
    for seq in range(1, 50):
        journal.append(entry(seq))
    journal.close()
    assert found
    assert set(found) == {0}


def test_between_the_last_page_and_the_first_news_nothing_falls(journal: Journal):
    told: list[Entry] = []

    def write() -> None:
        for seq in range(1, 3_000):
            journal.append(entry(seq))

    writing = threading.Thread(target=write)
    writing.start()
    read: list[int] = []
    page = Page([], complete=False)
    while not page.complete:
        after = read[-1] if read else 0
        page = journal.page(call="c1", after=after, limit=100, watcher=told.extend).result()
        read += [one.seq for one in page.entries]
    writing.join()
    journal.flush()
    assert read + [one.seq for one in told] == list(range(1, 3_000))


def test_what_was_thrown_away_of_an_agents_log_is_remembered(tmp_path: Path):
    journal = Journal(tmp_path / "calls.db")
    for number in (1, 2):
        journal.append(entry(number * 10, call=f"c{number}", type="call.started"))
        journal.append(entry(number * 10 + 1, call=f"c{number}"))
    journal.close()
    pruned = Journal(tmp_path / "calls.db", kept_calls=1, wall=lambda: 0.0)
    page = pruned.page(agent="desk", org="org_1").result()
    assert [e.seq for e in page.entries] == [20, 21]
    assert page.pruned == 11
    assert pruned.page(agent="other").result().pruned == 0
    pruned.close()
    empty = Journal(tmp_path / "calls.db", kept_calls=0, wall=lambda: 0.0)
    assert empty.last_seq == 21
    empty.close()


@pytest.mark.parametrize("killed", [False, True])
def test_a_log_is_read_while_it_is_written_after_it_and_after_a_crash(tmp_path: Path, killed: bool):
    path = tmp_path / "calls.db"
    journal = Journal(path)
    journal.append(entry(1, type="call.started"))
    journal.flush()
    if not killed:
        journal.close()
    reader = open_to_read(path)
    assert [call.call_id for call in read_calls(reader, limit=5)] == ["c1"]
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.execute("DELETE FROM entries")
    reader.close()
    journal.close()


def test_a_file_that_is_no_log_cannot_be_read_either(tmp_path: Path):
    path = tmp_path / "calls?mode=rwc.db"
    with pytest.raises(InfrastructureError, match="call log"):
        open_to_read(path)
    path.write_text("no database")
    with pytest.raises(InfrastructureError, match="call log"):
        open_to_read(path)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_log_is_found_again_private_and_goes_on_counting(tmp_path: Path):
    path = tmp_path / "new" / "calls.db"
    first = Journal(path, wall=lambda: 100.0)
    first.append(entry(41, type="call.ringing"))
    first.flush()
    for file in path.parent.iterdir():
        assert file.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0
    first.close()
    second = Journal(path, wall=lambda: 100.0)
    assert second.last_seq == 41
    assert [e.seq for e in second.entries()] == [41]
    second.close()
    second.close()


def test_two_servers_share_a_log(tmp_path: Path):
    one, two = Journal(tmp_path / "calls.db"), Journal(tmp_path / "calls.db")
    for seq in range(1, 200, 2):
        one.append(entry(seq))
        two.append(entry(seq + 1, call="c2"))
    one.flush()
    two.flush()
    assert len(one.entries()) == 200
    assert one.lost == two.lost == 0
    one.close()
    two.close()


def test_a_page_takes_along_what_another_server_wrote_in_the_same_microsecond(journal: Journal):
    for seq, call in ((1, "c1"), (2, "c1"), (2, "c2"), (3, "c1"), (4, "c2")):
        journal.append(entry(seq, call=call))
    found: list[tuple[int, str]] = []
    pages = []
    while True:
        page = journal.page(after=found[-1][0] if found else 0, limit=2).result()
        found += [(one.seq, one.call) for one in page.entries]
        pages.append(len(page.entries))
        if page.complete:
            break
    assert found == [(1, "c1"), (2, "c1"), (2, "c2"), (3, "c1"), (4, "c2")]
    assert pages == [3, 2, 0]


def test_only_the_newest_calls_and_days_stay(tmp_path: Path):
    path = tmp_path / "calls.db"
    journal = Journal(path)
    for number in range(1, 11):
        journal.append(entry(number * 100, call=f"c{number}", type="call.started"))
        journal.append(entry(number * 100 + 1, call=f"c{number}"))
    journal.close()
    pruned = Journal(path, kept_calls=4, wall=lambda: 1000.0, kept_s=150.0)
    assert {call.call_id for call in pruned.calls()} == {"c9", "c10"}
    assert {e.call for e in pruned.entries()} == {"c9", "c10"}
    pruned.close()
    pruned = Journal(path, kept_calls=1, wall=lambda: 1000.0)
    assert {e.call for e in pruned.entries()} == {"c10"}
    pruned.close()


def test_it_is_pruned_while_it_runs():
    journal = Journal(":memory:", kept_calls=10, wall=lambda: 0.0)
    for number in range(1, 101):
        journal.append(entry(2 * number, call=f"c{number}", type="call.started"))
        journal.append(entry(2 * number + 1, call=f"c{number}", type="call.summary"))
        journal.flush()
    assert len(journal.calls(limit=1000)) == 10
    journal.close()


def test_a_file_that_is_no_log_is_an_error(tmp_path: Path):
    path = tmp_path / "calls.db"
    path.write_text("this is no database, and it is long enough to be looked at" * 50)
    with pytest.raises(InfrastructureError, match="call log"):
        Journal(path)


def test_a_closed_log_drops_and_refuses(journal: Journal):
    journal.close()
    journal.append(entry(1))
    with pytest.raises(InfrastructureError, match="closed"):
        journal.entries()


def test_a_crash_at_any_instant_loses_at_most_the_batch_being_written(tmp_path: Path):
    path = tmp_path / "calls.db"
    writer = textwrap.dedent(
        f"""
        import sys
        from pinecall_cli.server.log.journal import Journal
        from pinecall_cli.server.log.translate import Entry
        journal = Journal({str(path)!r})
        for seq in range(1, 1_000_000):
            journal.append(Entry(seq, 1e12, "c", "a", "o", "user.message", {{"text": "x" * 200}}))
            if seq % 50 == 0:
                journal.flush()
                print(seq, flush=True)
        """
    )
    with subprocess.Popen([sys.executable, "-c", writer], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        written = 0
        while written < 500:
            written = int(process.stdout.readline())
        os.kill(process.pid, signal.SIGKILL)
    database = sqlite3.connect(path)
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    seqs = [row[0] for row in database.execute("SELECT seq FROM entries ORDER BY seq")]
    database.close()
    assert seqs[: len(seqs)] == list(range(1, len(seqs) + 1))
    assert len(seqs) >= written


def test_calls_of_one_id_in_two_organisations_are_two_calls():
    journal = Journal(":memory:")
    for n, org in enumerate(("one", "two")):
        for seq, (type_, data) in enumerate(
            [("call.started", {"from": org}), ("call.ended", {"reason": org, "duration": n})]
        ):
            number = 1 + 2 * n + seq
            journal.append(Entry(number, float(number), "chat-1", "desk", org, type_, data))
    rows = {org: journal.calls(org=org, limit=5) for org in ("one", "two")}
    journal.close()
    assert {org: [row.reason for row in found] for org, found in rows.items()} == {
        "one": ["one"],
        "two": ["two"],
    }
    assert [(row.first_seq, row.last_seq) for row in (*rows["one"], *rows["two"])] == [
        (1, 2),
        (3, 4),
    ]
