"""Conversations as lists of frames, for the tests of the folds and of the views."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import reduce as fold
from typing import Any

from pinecall_cli.call.reduce import reduce
from pinecall_cli.call.state import CallState
from pinecall_cli.protocol.codec import decode_event
from pinecall_cli.protocol.frames import Command, Event, Received, Unknown

START = 1787352100.0
"""When the calls of the tests begin, in seconds since the epoch."""

Frame = Event | Command | Unknown


def received(event: str, at: float | None = None, /, **fields: Any) -> Received:
    """Return a frame of call ``c1`` as it comes from the socket, ``at`` seconds into the call."""
    stamps: dict[str, Any] = {"agent_id": "front-desk", "call_id": "c1", "session_id": "c1"}
    if at is not None:
        stamps |= {"seq": round(at * 10_000), "ts": START + at}
    caller = fields.pop("from_", None)
    if caller is not None:
        fields["from"] = caller
    found = decode_event(json.dumps({"event": event, **stamps, **fields}))
    assert not isinstance(found.frame, Unknown) or found.frame.problem is None, found.frame
    return found


def frame(event: str, at: float | None = None, /, **fields: Any) -> Frame:
    """Return such a frame without its bytes."""
    return received(event, at, **fields).frame


def folded(frames: Iterable[Frame], call: CallState | None = None) -> CallState:
    """Return the call after ``frames``."""
    return fold(reduce, frames, call or CallState(call_id="c1", agent="front-desk"))


def told(call: CallState) -> list[str]:
    """Return what the two sides said: ``caller: …``, ``agent: …``, with ``|`` where it was cut."""
    return [
        f"{line.who}: {line.text}{'|' if line.cut else ''}"
        for line in call.lines
        if type(line).__name__ == "Said"
    ]


def order_call() -> list[Received]:
    """Return a whole call: a greeting that is cut, a question, a tool, an answer, a hang-up."""
    return [
        received("call.started", 0.1, from_="webrtc", to="webrtc", transport="webrtc"),
        received("bot.speaking", 0.2, message_id="m1", text="Hi, Acme front desk."),
        received("bot.word", 0.3, message_id="m1", word="Hi,", word_index=0),
        received("bot.word", 0.4, message_id="m1", word="Acme", word_index=1),
        received("speech.started", 0.45, turn_id=1, confidence=0.8),
        received("bot.interrupted", 0.5, message_id="m1", words_spoken=2, reason="user_spoke"),
        received("message.confirmed", 0.5001, message_id="m1", text="Hi, Acme"),
        received("user.speaking", 0.6, text="Where is", turn_id=1),
        received("user.message", 0.7, message_id="u1", text="Where is my order?", turn_id=1),
        received("speech.ended", 0.75, turn_id=1, duration_ms=300),
        received("turn.end", 0.8, turn_id=1, probability=0.97, latency_ms=332),
        received(
            "llm.tool_call",
            0.9,
            msg_id="r1",
            tool_calls=[{"id": "t1", "name": "lookup_order", "arguments": '{"id": "ORD-1"}'}],
        ),
        received("llm.tool_result", 0.95, tool_call_id="t1", result={"status": "shipped"}),
        received("bot.speaking", 1.0, message_id="m2", text=""),
        received(
            "turn.latency",
            1.01,
            turn_id=1,
            message_id="m2",
            vad=192,
            asr=40,
            eou=100,
            tools=50,
            llm_ttft=1,
            tts_ttfb=90,
            playout=20,
            other=0,
            e2e=493,
        ),
        received("bot.word", 1.1, message_id="m2", word="It", word_index=0),
        received("bot.word", 1.2, message_id="m2", word="shipped.", word_index=1),
        received("message.confirmed", 1.3, message_id="m2", text="It shipped."),
        received("bot.finished", 1.3001, message_id="m2", duration_ms=600),
        received("call.ended", 2.3, reason="hangup", duration_seconds=2.2, direction="inbound"),
    ]
