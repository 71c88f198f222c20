"""Frames whole, repeated, reordered and nonsensical: the state never raises, repeats do nothing."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from pinecall_cli.call.reduce import reduce
from pinecall_cli.call.session import ENDED_KEPT, FEED_KEPT, SessionState, advance
from pinecall_cli.call.state import CallState, Said
from pinecall_cli.protocol.codec import decode_event
from pinecall_cli.protocol.events import EVENTS
from tests.call.conversations import Frame, folded

IDS = st.sampled_from(["", "a", "b", "c"])
TEXTS = st.sampled_from(["", "Hi.", "one two three", "[bold]\x1b[31m", "\u202e", "x" * 5000])
NUMBERS = st.one_of(st.integers(-3, 3), st.floats(allow_nan=False, allow_infinity=False))
TOOLS = st.lists(st.fixed_dictionaries({"id": IDS, "name": TEXTS, "arguments": TEXTS}), max_size=3)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "message_id": IDS,
    "msg_id": IDS,
    "tool_call_id": IDS,
    "text": TEXTS,
    "word": TEXTS,
    "word_index": st.integers(-2, 5),
    "words_spoken": st.integers(-2, 5),
    "turn_id": st.integers(0, 3),
    "reason": st.sampled_from(["user_spoke", "continuation", "hangup", "routed"]),
    "tool_calls": TOOLS,
    "result": st.one_of(TEXTS, st.none(), st.just({"error": "x"})),
    "results": st.lists(st.fixed_dictionaries({"tool_call_id": IDS}), max_size=2),
    "from": IDS,
    "to": IDS,
    "e2e": st.integers(0, 2000),
    "error": TEXTS,
    "ts": st.one_of(NUMBERS, st.just(1e308)),
    "duration_seconds": NUMBERS,
    "language": TEXTS,
    "direction": st.sampled_from(["inbound", "outbound"]),
    "transport": st.sampled_from(["phone", "chat", "webrtc"]),
    "digit": st.sampled_from(["1", "#"]),
    "token": TEXTS,
    "agent": IDS,
    "agent_id": st.sampled_from(["front-desk", "org:front-desk", "other"]),
    "code": st.sampled_from(["AGENT_CONFLICT", "REGISTRATION_ERROR", "X"]),
}


@st.composite
def raw_frames(draw: st.DrawFn, *, calls: tuple[str, ...] = ("c1",)) -> dict[str, Any]:
    """Return the fields of some frame: of any event, with any of the fields that frames have."""
    name = draw(st.sampled_from(sorted(EVENTS)))
    names = draw(st.sets(st.sampled_from(sorted(FIELDS))))
    wanted = {field for field in EVENTS[name].__struct_fields__ if field in FIELDS}
    fields = {field: draw(FIELDS[field]) for field in sorted(names | wanted)}
    return {"event": name, "call_id": draw(st.sampled_from(calls)), **fields}


def decoded(raw: dict[str, Any]) -> Frame:
    return decode_event(json.dumps(raw)).frame


STREAMS = st.lists(raw_frames(), max_size=30)


@given(STREAMS)
def test_nothing_that_comes_raises_and_lines_only_grow(stream: list[dict[str, Any]]):
    call = CallState(call_id="c1")
    for raw in stream:
        after = reduce(call, decoded(raw), at=1.0)
        assert after.lines[: len(call.lines)] == call.lines
        call = after


@given(STREAMS)
def test_a_numbered_frame_that_comes_twice_counts_once(stream: list[dict[str, Any]]):
    frames = [decoded(raw | {"seq": count}) for count, raw in enumerate(stream)]
    once = folded(frames)
    twice = folded(frame for frame in frames for _ in range(2))
    assert twice == once
    assert folded(frames, once) == once


IDEMPOTENT = ["user.message", "bot.word", "bot.finished", "message.confirmed", "turn.latency"]


@given(STREAMS, raw_frames(), st.sampled_from(IDEMPOTENT), st.sampled_from(["a", "b"]))
def test_a_frame_without_a_number_is_told_by_its_message_id(
    stream: list[dict[str, Any]], last: dict[str, Any], event: str, id: str
):
    known = {field: value for field, value in last.items() if field != "ts"}
    again = {"word": "w", "word_index": 0, "turn_id": 1, "text": "Hi."} | known
    call = folded(decoded(raw) for raw in stream)
    frame = decoded(again | {"event": event, "message_id": id})
    once = folded([frame], call)
    assert folded([frame], once) == once


@given(st.permutations([(index, f"w{index}") for index in range(12)]))
def test_words_in_any_order_are_the_same_reply(words: list[tuple[int, str]]):
    frames = [
        decoded(
            {"event": "bot.word", "call_id": "c1", "seq": index, "message_id": "m"}
            | {"word": word, "word_index": index}
        )
        for index, word in words
    ]
    call = folded(frames)
    assert call.reply is not None
    assert call.reply.heard == " ".join(f"w{index}" for index in range(12))


@given(STREAMS, st.data())
def test_no_final_transcript_is_ever_lost(stream: list[dict[str, Any]], data: st.DataObject):
    alive = [raw for raw in stream if not raw["event"].startswith(("call.", "llm.chat."))]
    finals = [
        {
            "event": "user.message",
            "call_id": "c1",
            "message_id": f"u{count}",
            "text": f"said {count}",
        }
        for count in range(3)
    ]
    mixed = data.draw(st.permutations([*alive, *finals]))
    call = folded(decoded(raw) for raw in mixed)
    said = {line.text for line in call.lines if isinstance(line, Said) and line.who == "caller"}
    assert {"said 0", "said 1", "said 2"} <= said


@given(st.lists(raw_frames(calls=("c1", "c2", "")), max_size=30))
@settings(max_examples=50)
def test_a_session_is_the_sum_of_its_calls(stream: list[dict[str, Any]]):
    session = SessionState()
    for raw in stream:
        before = session.fed
        session = advance(session, decoded(raw), at=1.0)
        assert [entry.number for entry in session.since(before)] == list(
            range(before + 1, session.fed + 1)
        )
    for call in session.calls:
        lines = [entry.what for entry in session.feed if entry.call_id == call.call_id]
        assert lines == list(call.lines)


def test_a_session_forgets_the_oldest_ended_calls_and_the_oldest_of_its_feed():
    session = SessionState()
    for count in range(ENDED_KEPT + 20):
        for event in ("call.held", "call.unheld") * 10:
            session = advance(session, decoded({"event": event, "call_id": f"c{count}"}))
        if count != 3:
            ended = {"event": "call.ended", "call_id": f"c{count}", "reason": "hangup"}
            session = advance(session, decoded(ended))
    assert sum(call.ended for call in session.calls) == ENDED_KEPT
    assert [call.call_id for call in session.live] == ["c3"]
    assert session.calls[0].call_id == "c3"
    assert len(session.feed) == FEED_KEPT
    assert session.feed[-1].number == session.fed
    assert session.since(session.fed) == ()
    assert replace(session).call("c0") is None
