"""Whether what happened is what was expected, and what is told of it."""

from __future__ import annotations

from typing import Any

import pytest

from pinecall_cli.errors import Where
from pinecall_cli.trial.judge import MOST, Verdict, expected, fits, judge, kind, not_reached
from pinecall_cli.trial.record import Record, Window
from pinecall_cli.trial.spec import CallsTool, Expectation, Happens, Says, Within
from tests.trial.specs import heard

HERE = Where("a.spec.yaml", 5, 7)


def says(pattern: str, wanted: bool = True) -> Says:
    return Says(pattern, wanted, HERE)


def tool(name: str, args: Any = None, wanted: bool = True) -> CallsTool:
    return CallsTool(name, args, wanted, HERE)


def event(name: str, wanted: bool = True, **fields: Any) -> Happens:
    return Happens(name, fields, wanted, HERE)


def within(**limits: float) -> Within:
    return Within(limits, HERE)


@pytest.fixture
def window() -> Window:
    """Return a window in which an order is looked up, and the answer is interrupted."""
    record = Record()
    heard(record, "user.message", message_id="u", text="Where is order 7?", turn_id=1)
    arguments = '{"number": "7", "urgent": true, "tags": ["a", "b"], "size": 2}'
    calls = [{"id": "t", "name": "lookup", "arguments": arguments}]
    heard(record, "llm.tool_call", msg_id="m", tool_calls=calls)
    heard(record, "turn.latency", turn_id=1, e2e=700, vad=300)
    heard(record, "turn.latency", turn_id=2, e2e=900)
    heard(record, "message.confirmed", message_id="a", text="One moment.")
    heard(record, "message.confirmed", message_id="b", text="Order 7 is sent.")
    heard(record, "bot.interrupted", message_id="b", reason="user_spoke", words_spoken=4)
    return record.whole()


PASSES: list[Expectation] = [
    says("Order 7"),
    says("(?i)ONE MOMENT"),
    says("^Order 7 is sent.$"),
    says(r"moment\. Order"),
    says("refund", False),
    tool("lookup"),
    tool("lookup", {"number": "7"}),
    tool("lookup", {"number": "/^(7|seven)$/", "urgent": True}),
    tool("lookup", {"tags": ["a", "/./"], "size": 2.0}),
    tool("lookup", {"number": "8"}, False),
    tool("refund", wanted=False),
    event("bot.interrupted"),
    event("bot.interrupted", reason="user_spoke", words_spoken=4),
    event("bot.interrupted", reason="/^user_/"),
    event("bot.interrupted", False, reason="cancelled"),
    event("llm.error", False),
    within(first_audio=900),
    within(first_audio=1000, vad=300),
]
FAILS: list[Expectation] = [
    says("Order 8"),
    says("order 7"),
    says("One moment.", False),
    tool("refund"),
    tool("lookup", {"number": 7}),
    tool("lookup", {"urgent": 1}),
    tool("lookup", {"size": True}),
    tool("lookup", {"tags": ["a"]}),
    tool("lookup", {"tags": {"a": "b"}}),
    tool("lookup", {"color": "red"}),
    tool("lookup", wanted=False),
    event("bot.finished"),
    event("bot.interrupted", reason="cancelled"),
    event("bot.interrupted", False),
    within(first_audio=899),
    within(first_audio=900, llm_ttft=10_000),
]


@pytest.mark.parametrize("expectation", PASSES, ids=expected)
def test_what_is_as_expected_passes(window: Window, expectation: Expectation):
    assert judge(expectation, window).passed


@pytest.mark.parametrize("expectation", FAILS, ids=expected)
def test_what_is_not_as_expected_fails_and_what_there_was_is_told(
    window: Window, expectation: Expectation
):
    verdict = judge(expectation, window)
    assert not verdict.passed
    assert verdict.found


@pytest.mark.parametrize(
    "wanted", [says("."), tool("lookup"), event("bot.word"), within(first_audio=9999)]
)
def test_nothing_at_all_is_never_what_was_wanted(wanted: Expectation):
    assert not judge(wanted, Window()).passed


@pytest.mark.parametrize(
    "unwanted", [says(".", False), tool("lookup", wanted=False), event("llm.error", False)]
)
def test_nothing_at_all_is_never_what_was_not_wanted(unwanted: Expectation):
    assert judge(unwanted, Window()).passed


def test_what_there_was_is_told_for_people(window: Window):
    assert judge(says("x"), window).found == (
        'said: "One moment."',
        'said: "Order 7 is sent."',
        'heard: "Where is order 7?"',
    )
    assert judge(tool("x"), window).found[0] == (
        'called: lookup {"number": "7", "urgent": true, "tags": ["a", "b"], "size": 2}'
    )
    assert judge(event("bot.interrupted", reason="x", colour="red"), window).found == (
        'came: {"reason": "user_spoke"}',
    )
    assert judge(within(first_audio=1, asr=2), window).found == (
        "first_audio: 700 ms, 900 ms",
        "asr: nothing was timed",
    )


def test_nothing_is_told_as_nothing():
    empty = Window()
    assert judge(says("x"), empty).found == ("said: nothing",)
    assert judge(tool("x"), empty).found == ("called: no tool",)
    assert judge(event("x.y"), empty).found == ("came: nothing",)


def test_of_other_events_the_names_are_told_without_those_that_come_all_the_time():
    record = Record()
    for n in range(3):
        heard(record, "bot.word", message_id="a", word="a", word_index=n)
        heard(record, "turn.end", turn_id=n, text="a", probability=1.0, latency_ms=0)
    heard(record, "weather.changed")
    assert judge(event("x.y"), record.whole()).found == ("came: turn.end, weather.changed",)


def test_of_many_events_the_first_are_told():
    record = Record()
    for n in range(MOST + 7):
        heard(record, "bot.word", message_id="a", word="a", word_index=n)
    found = judge(event("bot.word", word_index=-1), record.whole()).found
    assert found[0] == 'came: {"word_index": 0}'
    assert found[MOST:] == ("and 7 more",)


@pytest.mark.parametrize(
    ("expectation", "line", "key"),
    [
        (says("a b"), "says `a b`", "says"),
        (says("a", False), "never says `a`", "not_says"),
        (tool("look", {"n": "ü"}), 'a call of `look` with {"n": "ü"}', "tool"),
        (tool("look", wanted=False), "no call of `look`", "not_tool"),
        (event("a.b", x=1), 'the event `a.b` with {"x": 1}', "event"),
        (event("a.b", False), "no event `a.b`", "not_event"),
        (within(reply=2000, vad=1.5), "reply within 2000 ms, vad within 1.5 ms", "within_ms"),
    ],
)
def test_an_expectation_is_told_as_one_line(expectation: Expectation, line: str, key: str):
    assert (expected(expectation), kind(expectation)) == (line, key)


def test_what_was_not_reached_did_not_pass():
    assert not_reached(says("a", False), "the call ended") == Verdict(
        says("a", False), False, ("the call ended",)
    )


@pytest.mark.parametrize(
    ("wanted", "there", "fit"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, True),
        ({"a": 1, "b": 2}, {"a": 1}, False),
        ({"a": None}, {}, False),
        ({"a": None}, {"a": None}, True),
        ({}, {}, True),
        ({}, [], False),
        ([1, 2], [1, 2], True),
        ([1], [1, 2], False),
        ([], {}, False),
        ({"a": [{"b": "/x/"}]}, {"a": [{"b": "axa", "c": 1}]}, True),
        (True, 1, False),
        (1, True, False),
        (0, False, False),
        (1, 1.0, True),
        (1, "1", False),
        ("7", 7, False),
        ("/7/", 7, True),
        ("/^true$/", True, True),
        ('/"b": 1/', {"b": 1}, True),
        ("/", "/", True),
        ("//", "//", True),
        ("//", "anything", False),
        ("/a", "a", False),
        ("/[[]a/", "[a", True),
    ],
)
def test_a_value_fits_or_does_not(wanted: Any, there: Any, fit: bool):
    assert fits(wanted, there) is fit
