"""Frames cut short, mutated, repeated and made up: decoding never raises, and is a function."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pinecall_cli.protocol.chat import decode_browser
from pinecall_cli.protocol.codec import decode_command, decode_event, encode
from pinecall_cli.protocol.commands import COMMANDS
from pinecall_cli.protocol.events import EVENTS
from pinecall_cli.protocol.frames import Frame, Received, Unknown
from pinecall_cli.protocol.log import LogEntry, decode_entry
from pinecall_cli.protocol.mic import decode_mic

FRAMES = Path(__file__).parent.parent / "frames"
SAMPLES = [json.loads(path.read_text("utf-8")) for path in sorted(FRAMES.glob("*/*.json"))]
NAMES = sorted({*EVENTS, *COMMANDS, "start", "answer", "message", "set_context"})
ACTIONS = ["mute", "configure", "inject_text", "set_context", "dtmf", "hangup", "reject"]

finite = st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


def received_of(raw: bytes | str) -> list[Received]:
    return [decode_event(raw), decode_command(raw)]


def hold(raw: bytes | str) -> None:
    """Whatever was sent: no exception, the same answer twice, and a frame that goes on its way."""
    assert received_of(raw) == received_of(raw)
    for received in received_of(raw):
        assert isinstance(received.raw, bytes)
        if isinstance(received.frame, Unknown):
            assert received.fields() == received.frame.fields
        else:
            again = encode(received.frame)
            assert received.fields()["event"] == json.loads(again)["event"]
            assert encode(again_decoded(received.frame, again)) == again
    for other in (decode_mic(raw), decode_browser(raw), decode_entry(raw)):
        assert isinstance(other, Frame | Unknown)


def again_decoded(frame: Frame, text: str) -> Frame:
    decode = decode_event if type(frame) in EVENTS.values() else decode_command
    decoded = decode(text).frame
    assert isinstance(decoded, Frame)
    return decoded


@given(st.binary(max_size=80))
def test_bytes_of_any_kind_never_raise(raw: bytes):
    hold(raw)


@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=80))
def test_text_of_any_kind_never_raises(raw: str):
    hold(raw)


@given(values)
def test_json_of_any_kind_never_raises(value: Any):
    hold(json.dumps(value))


@given(st.sampled_from(SAMPLES), st.data())
def test_a_frame_cut_short_never_raises(sample: dict[str, Any], data: st.DataObject):
    raw = json.dumps(sample).encode()
    hold(raw[: data.draw(st.integers(0, len(raw)))])


@given(st.sampled_from(SAMPLES), st.data())
def test_a_frame_with_foreign_bytes_in_it_never_raises(sample: dict[str, Any], data: st.DataObject):
    raw = bytearray(json.dumps(sample).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    hold(bytes(raw))


@settings(max_examples=300)
@given(st.sampled_from(SAMPLES), st.data())
def test_a_frame_with_values_exchanged_never_raises(sample: dict[str, Any], data: st.DataObject):
    keys = st.sampled_from(sorted(sample))
    changed = sample | data.draw(st.dictionaries(keys, values, min_size=1, max_size=3))
    hold(json.dumps(changed))


@given(st.sampled_from(SAMPLES), st.data())
def test_a_frame_without_some_of_its_fields_never_raises(
    sample: dict[str, Any], data: st.DataObject
):
    dropped = data.draw(st.sets(st.sampled_from(sorted(sample))))
    hold(json.dumps({key: value for key, value in sample.items() if key not in dropped}))


@given(st.sampled_from(NAMES), st.dictionaries(st.text(max_size=8), values, max_size=4))
def test_a_frame_of_made_up_fields_never_raises(name: str, fields: dict[str, Any]):
    hold(json.dumps({**fields, "event": name}))


@given(st.sampled_from(ACTIONS), st.dictionaries(st.text(max_size=8), values, max_size=4))
def test_an_action_of_made_up_fields_never_raises(name: str, fields: dict[str, Any]):
    hold(json.dumps({**fields, "action": name}))


@given(st.sampled_from(SAMPLES), st.sampled_from(SAMPLES))
def test_two_frames_in_one_message_are_none(first: dict[str, Any], second: dict[str, Any]):
    raw = json.dumps(first) + json.dumps(second)
    assert all(isinstance(received.frame, Unknown) for received in received_of(raw))


@given(
    st.builds(
        LogEntry,
        seq=st.integers(0, 2**53),
        ts=st.floats(0, 1e11),
        type=st.text(max_size=12),
        call=st.none() | st.text(max_size=8),
        agent=st.none() | st.text(max_size=8),
        ephemeral=st.booleans(),
        data=st.dictionaries(st.text(max_size=5), values, max_size=3),
    )
)
def test_a_log_entry_survives(entry: LogEntry):
    assert decode_entry(encode(entry)) == entry
