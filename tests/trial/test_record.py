"""What happened in a conversation, cut into windows."""

from __future__ import annotations

import pytest

from pinecall_cli.trial.record import Record, ToolUse
from tests.trial.specs import heard


@pytest.fixture
def record() -> Record:
    return Record()


def test_what_happens_belongs_to_the_step_that_was_done_last(record: Record):
    heard(record, "bot.speaking", message_id="a", text="Hello.")
    record.begin(0)
    heard(record, "bot.speaking", message_id="b", text="It is sent.")
    heard(record, "turn.latency", turn_id=1, e2e=700, vad=300, asr="?")
    record.begin(2)
    record.begin(2)
    heard(record, "bot.speaking", message_id="c", text="Goodbye.")
    assert record.opening.said == ["Hello."]
    assert {step: window.said for step, window in record.windows.items()} == {
        0: ["It is sent."],
        2: ["Goodbye."],
    }
    assert record.whole().said == ["Hello.", "It is sent.", "Goodbye."]
    assert [frame["event"] for frame in record.whole().events].count("bot.speaking") == 3


def test_a_latency_is_told_by_the_names_of_specs(record: Record):
    heard(record, "turn.latency", turn_id=1, vad=300, eou=20, e2e=700, other=1)
    record.timed({"reply": 12.5})
    assert record.opening.times == [{"vad": 300, "eou": 20, "first_audio": 700}, {"reply": 12.5}]


def test_the_end_of_a_reply_stays_with_its_beginning(record: Record):
    record.begin(0)
    heard(record, "bot.speaking", message_id="a", text="Acme began with a single lamp.")
    for n, word in enumerate(["Acme", "began"]):
        heard(record, "bot.word", message_id="a", word=word, word_index=n)
    record.begin(1)
    heard(record, "bot.word", message_id="a", word="with", word_index=2)
    heard(record, "bot.interrupted", message_id="a", reason="user_spoke")
    assert record.windows[0].said == ["Acme began with"]
    assert record.windows[1].said == []
    assert [frame["event"] for frame in record.windows[1].events][-1] == "bot.interrupted"


def test_what_was_heard_is_what_was_confirmed(record: Record):
    heard(record, "bot.speaking", message_id="a", text="One two three.")
    heard(record, "bot.word", message_id="a", word="One", word_index=0)
    assert record.opening.said == ["One"]
    heard(record, "message.confirmed", message_id="a", text="One two.")
    assert record.opening.said == ["One two."]


def test_a_reply_that_was_cut_before_its_first_word_was_not_said(record: Record):
    heard(record, "bot.speaking", message_id="a", text="Never heard.")
    heard(record, "bot.interrupted", message_id="a")
    assert record.opening.said == []


def test_an_interruption_of_no_message_in_particular_changes_nothing(record: Record):
    heard(record, "bot.speaking", message_id="a", text="Hello.")
    heard(record, "bot.interrupted")
    assert record.opening.said == ["Hello."]


def test_an_answer_by_text_is_said_once_though_two_frames_bring_it(record: Record):
    heard(record, "chat.response", text="Sent.", message_id="a")
    heard(record, "llm.chat.done", text="Sent.", message_id="a")
    heard(record, "llm.chat.done", text="", message_id="b")
    assert record.opening.said == ["Sent."]


def test_a_tool_keeps_its_arguments_and_its_result(record: Record):
    calls = [
        {"id": "1", "name": "lookup", "arguments": '{"number": 7}'},
        {"id": "2", "name": "hours", "arguments": ""},
        {"id": "3", "name": "odd", "arguments": "{not json"},
        {"id": "4", "name": "deep", "arguments": "[" * 100_000},
    ]
    heard(record, "llm.tool_call", msg_id="m", tool_calls=calls)
    record.begin(0)
    results = [{"tool_call_id": "1", "result": {"status": "sent"}}, {"tool_call_id": "9"}]
    heard(record, "llm.tool_result", msg_id="m", results=results)
    heard(record, "llm.tool_result", msg_id="m", tool_call_id="2", result=None)
    lookup, hours, odd, deep = record.opening.tools
    assert lookup == ToolUse("lookup", {"number": 7}, {"status": "sent"}, answered=True)
    assert hours == ToolUse("hours", {}, None, answered=True)
    assert odd == ToolUse("odd", "{not json")
    assert deep.args == "[" * 100_000


def test_what_the_caller_was_understood_to_say_is_the_last_of_each_turn(record: Record):
    for turn, text in ((1, "Where is"), (1, "Where is it?"), (2, "Thanks.")):
        heard(record, "user.message", message_id="u", text=text, turn_id=turn)
    assert record.opening.understood == {1: "Where is it?", 2: "Thanks."}


def test_complaints_of_the_model_are_kept_once_each(record: Record):
    for error in ("no such field", "no such field", "too slow"):
        heard(record, "llm.error", error=error)
    heard(record, "llm.chat.error", error="too slow")
    assert record.problems == ["no such field", "too slow"]


def test_an_event_that_nobody_knows_is_kept_with_its_fields(record: Record):
    heard(record, "weather.changed", to="rain")
    assert record.opening.events == [{"event": "weather.changed", "call_id": "c", "to": "rain"}]
