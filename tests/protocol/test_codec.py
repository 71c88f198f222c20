"""The codec with what peers send when they are unlike the pages, broken or hostile."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import UNSET

from pinecall_cli.protocol import commands, events
from pinecall_cli.protocol.codec import decode_command, decode_event, encode
from pinecall_cli.protocol.frames import Unknown

DEEP = 200_000


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"ping",
        b"{",
        b"[]",
        b"null",
        b"7",
        b'"x"',
        b"[" * DEEP,
        b'{"event":"ping","a":' + b"[" * DEEP + b"]" * DEEP + b"}",
        b'{"event":"ping","a":' * DEEP,
        b'{"event":"ping","a":NaN}',
        b'{"event":"ping","a":Infinity}',
        b'{"event":"ping","ts":1e999}',
        b'{"event":"ping","seq":' + b"9" * 5000 + b"}",
        b'{"event":"ping","x":' + b"9" * 5000 + b',"seq":"x"}',
        b'{"event":"ping"} x',
        b'\xef\xbb\xbf{"event":"ping"}',
        b'{"event":"ping","a":"\xff"}',
        b'\xff\xfe{\x00"\x00',
        b'{"event":"ping","a":"\\ud800"}',
        b'{"event":"ping","a":"\x00"}',
    ],
    ids=lambda raw: raw[:24].decode("latin-1"),
)
def test_what_is_no_json_object_is_unknown_with_its_problem(raw: bytes):
    for decode in (decode_event, decode_command):
        received = decode(raw)
        assert isinstance(received.frame, Unknown | events.Ping | commands.Ping)
        assert received.raw == raw
        if isinstance(received.frame, Unknown):
            assert received.frame.problem
            assert received.fields() == received.frame.fields


def test_an_event_nobody_knows_is_kept_whole_and_has_no_problem():
    received = decode_event('{"event":"moon.rise","height":{"deg":12},"call_id":"c"}')
    assert received.frame == Unknown(
        "moon.rise", {"event": "moon.rise", "height": {"deg": 12}, "call_id": "c"}
    )


def test_an_unknown_event_leaves_as_it_came():
    raw = '{"event":"moon.rise","height":{"deg":12}}'
    assert encode(decode_event(raw).frame) == raw


@pytest.mark.parametrize("fields", [{}, {"event": None}, {"event": 7}, {"event": ["ping"]}])
def test_without_a_name_a_frame_is_unknown(fields: dict[str, Any]):
    assert decode_event(json.dumps(fields)).frame == Unknown("", fields, "no `event` to go by")


def test_a_known_event_with_a_wrong_type_says_where():
    fields = {"event": "bot.word", "message_id": "m", "word": 5, "word_index": 0, "agent_id": "a"}
    frame = decode_event(json.dumps(fields)).frame
    assert frame == Unknown("bot.word", fields, "Expected `str`, got `int` - at `$.word`")


def test_a_missing_required_field_is_named():
    frame = decode_command('{"event":"bot.reply","call_id":"c"}').frame
    assert isinstance(frame, Unknown)
    assert frame.problem == "Object missing required field `message_id`"


def test_a_command_is_no_event_and_an_event_no_command():
    assert isinstance(decode_event('{"event":"bot.clear","call_id":"c"}').frame, Unknown)
    assert isinstance(decode_command('{"event":"call.held"}').frame, Unknown)


def test_text_with_half_a_surrogate_pair_is_taken_without_it():
    received = decode_event('{"event":"ping","x":"\ud800"}')
    assert received.frame == events.Ping()
    assert received.raw == b'{"event":"ping","x":"?"}'


def test_a_null_where_none_is_meant_counts_as_absent():
    raw = '{"event":"call.ended","reason":"hangup","metadata":null,"messages":null}'
    assert decode_event(raw).frame == events.CallEnded(reason="hangup", metadata=None)


def test_a_whole_float_will_do_for_an_integer_and_a_fraction_will_not():
    word = '{"event":"bot.word","message_id":"m","word":"w","word_index":%s}'
    assert decode_event(word % "3.0").frame == events.BotWord(
        message_id="m", word="w", word_index=3
    )
    assert isinstance(decode_event(word % "3.5").frame, Unknown)
    assert isinstance(decode_event(word % "1e300").frame, Unknown)


def test_durations_keep_the_form_they_came_in():
    raw = '{"event":"bot.finished","duration_ms":%s}'
    assert encode(decode_event(raw % "164").frame) == raw % "164"
    assert encode(decode_event(raw % "164.5").frame) == raw % "164.5"


@pytest.mark.parametrize(
    "call",
    [
        {"id": "c1", "name": "look_up", "arguments": '{"a":1}'},
        {"id": "c1", "name": "look_up", "arguments": {"a": 1}},
        {"id": "c1", "type": "function", "function": {"name": "look_up", "arguments": '{"a":1}'}},
    ],
)
@pytest.mark.parametrize("key", ["msg_id", "message_id"])
def test_tool_calls_come_in_several_shapes_and_leave_in_one(call: dict[str, Any], key: str):
    raw = json.dumps({"event": "llm.tool_call", "call_id": "c", key: "m", "tool_calls": [call]})
    assert decode_event(raw).frame == events.LlmToolCall(
        call_id="c",
        msg_id="m",
        tool_calls=(events.ToolCall(id="c1", name="look_up", arguments='{"a":1}'),),
    )


def test_a_tool_call_without_arguments_has_none():
    raw = '{"event":"llm.chat.tool_call","tool_calls":[{"id":"c","name":"n","arguments":null}]}'
    frame = decode_event(raw).frame
    assert frame == events.LlmChatToolCall(tool_calls=(events.ToolCall(id="c", name="n"),))


@pytest.mark.parametrize("calls", [7, [7], [{"id": 1}], [{"function": 3}]])
def test_tool_calls_that_are_none_are_unknown(calls: Any):
    raw = json.dumps({"event": "llm.tool_call", "msg_id": "m", "tool_calls": calls})
    assert isinstance(decode_event(raw).frame, Unknown)


@pytest.mark.parametrize(
    ("fields", "text", "code"),
    [
        ({"message": "no"}, "no", UNSET),
        ({"error": {"message": "no"}, "code": 401}, "no", "401"),
        ({"error": 5, "code": None}, "5", UNSET),
        ({}, "", UNSET),
    ],
)
def test_an_error_is_read_however_it_is_written(fields: dict[str, Any], text: str, code: Any):
    frame = decode_event(json.dumps({"event": "error", **fields})).frame
    assert frame == events.Error(error=text, code=code)


def test_a_call_that_does_not_say_who_calls_is_a_call():
    frame = decode_event('{"event":"call.started","call_id":"c","to":"webrtc"}').frame
    assert frame == events.CallStarted(call_id="c", from_="", to="webrtc")


def test_a_huge_integer_survives():
    raw = '{"event":"llm.tool_result","result":123456789012345678901234567890}'
    assert encode(decode_event(raw).frame) == raw


def test_half_a_surrogate_pair_leaves_as_a_question_mark():
    frame = commands.LlmToolResult(
        call_id="c",
        msg_id="m",
        results=(commands.ToolResult(tool_call_id="t", result={"\udcff": ["a\ud800", 1, None]}),),
    )
    assert json.loads(encode(frame))["results"][0]["result"] == {"?": ["a?", 1, None]}


def test_not_a_number_leaves_as_null():
    assert encode(events.Pong(timestamp=float("nan"))) == '{"event":"pong","timestamp":null}'


def test_what_json_has_no_form_for_is_an_error_of_ours():
    with pytest.raises(TypeError):
        encode(commands.SetContext(call_id="c", key="k", value=object()))


class Accessor(str):
    """A text as LangChain's messages have it."""

    __slots__ = ()

    def __str__(self) -> str:
        return "something else"


@pytest.mark.parametrize("text", ["Sure", "Sure \ud83d"])
def test_a_text_of_a_class_of_its_own_is_sent_as_the_text_that_it_is(text: str):
    frame = commands.BotReply(call_id="c1", message_id="m1", text=Accessor(text), in_reply_to="")
    assert json.loads(encode(frame))["text"] == text.replace("\ud83d", "?")
    with pytest.raises(TypeError, match="objects of type object is unsupported"):
        encode(commands.BotReply(call_id="c", message_id="m", text=object(), in_reply_to=""))  # type: ignore[arg-type]
