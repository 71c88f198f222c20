"""Every frame: its class, its sample, what survives the codec."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from pinecall_cli.protocol import events
from pinecall_cli.protocol.codec import decode_command, decode_event, encode
from pinecall_cli.protocol.commands import COMMANDS
from pinecall_cli.protocol.events import EVENTS
from pinecall_cli.protocol.frames import Event, Frame, Received, Unknown, wire_name

FRAMES = Path(__file__).parent.parent / "frames"
BOTH = {"events": EVENTS, "commands": COMMANDS}
DECODE = {"events": decode_event, "commands": decode_command}
CLASSES = [pytest.param(cls, id=f"{way}/{name}") for way in BOTH for name, cls in BOTH[way].items()]
SAMPLES = sorted(FRAMES.glob("*/*.json"))


def direction_of(sample: Path) -> str:
    return sample.parent.name


def sample_id(sample: Path) -> str:
    return f"{direction_of(sample)}/{sample.stem}"


@pytest.mark.parametrize("direction", BOTH)
def test_every_class_has_a_sample_and_every_sample_a_class(direction: str):
    samples = {path.stem for path in (FRAMES / direction).glob("*.json")}
    assert samples == BOTH[direction].keys()


@pytest.mark.parametrize("sample", SAMPLES, ids=sample_id)
def test_a_sample_survives_decoding_and_encoding(sample: Path):
    text = sample.read_text("utf-8")
    frame = DECODE[direction_of(sample)](text).frame
    assert isinstance(frame, BOTH[direction_of(sample)][sample.stem])
    assert json.loads(encode(frame)) == json.loads(text)
    assert DECODE[direction_of(sample)](encode(frame)).frame == frame


@pytest.mark.parametrize("sample", SAMPLES, ids=sample_id)
def test_a_sample_shows_every_field_of_its_class(sample: Path):
    shown = json.loads(sample.read_text("utf-8"))
    fields = msgspec.structs.fields(BOTH[direction_of(sample)][sample.stem])
    stamps = {field.encode_name for field in msgspec.structs.fields(Event)}
    own = {field.encode_name for field in fields} - stamps
    if sample.stem in ("agent.configure", "channel.add", "channel.configure", "session.configure"):
        own -= {field.encode_name for field in msgspec.structs.fields(COMMANDS["agent.create"])}
    assert own <= shown.keys()


@pytest.mark.parametrize("sample", SAMPLES, ids=sample_id)
def test_fields_that_no_class_declares_are_kept_in_the_bytes(sample: Path):
    fields = json.loads(sample.read_text("utf-8")) | {"brand_new": [1, {"a": None}]}
    received = DECODE[direction_of(sample)](json.dumps(fields))
    assert not isinstance(received.frame, Unknown)
    assert received.fields() == fields


@pytest.mark.parametrize("frame", CLASSES)
def test_a_class_is_named_after_its_wire_name_and_says_what_it_is(frame: type[Frame]):
    assert frame.__name__ == "".join(
        part.capitalize() for part in re.split(r"[._]", wire_name(frame))
    )
    assert frame.__doc__
    assert frame.__doc__.strip()


@pytest.mark.parametrize("frame", CLASSES)
def test_frames_are_frozen_and_keyword_only(frame: type[Frame]):
    assert frame.__struct_config__.frozen
    with pytest.raises(TypeError):
        frame("positional")


@pytest.mark.parametrize("direction", BOTH)
def test_every_class_has_a_json_schema(direction: str):
    frames = BOTH[direction].values()
    _, schemas = msgspec.json.schema_components(frames)
    assert {frame.__name__ for frame in frames} <= schemas.keys()


def test_a_part_of_a_frame_has_no_wire_name():
    assert wire_name(events.ToolCall) == ""


def test_every_exported_name_is_there():
    assert {EVENTS[name].__name__ for name in EVENTS} <= set(events.__all__)
    assert all(hasattr(events, name) for name in events.__all__)


def test_an_integer_will_do_for_a_time():
    frame = decode_event('{"event":"pong","ts":5,"timestamp":6}').frame
    assert frame == events.Pong(ts=5.0, timestamp=6.0)


def test_absent_null_and_false_are_three_things():
    def extension(fields: dict[str, Any]) -> Any:
        raw = json.dumps({"event": "call.started", "from": "a", "to": "b", **fields})
        frame = decode_event(raw).frame
        assert isinstance(frame, events.CallStarted)
        return frame.extension

    assert extension({}) is UNSET
    assert extension({"extension": None}) is None
    assert extension({"extension": ""}) == ""


def test_what_is_absent_stays_absent_on_the_way_out():
    assert json.loads(encode(COMMANDS["agent.configure"](agent_id="a", flash=False))) == {
        "event": "agent.configure",
        "agent_id": "a",
        "flash": False,
    }


def test_the_agent_s_payload_leaves_in_the_wire_s_order():
    text = (FRAMES / "commands" / "agent.create.json").read_text("utf-8")
    sent = encode(decode_command(text).frame)
    assert list(json.loads(sent)) == list(json.loads(text))


def test_a_received_frame_keeps_its_bytes():
    raw = b'{"event": "bot.word", "message_id":"m", "word":"a", "word_index":0, "x": 1}'
    received = decode_event(raw)
    assert received == Received(events.BotWord(message_id="m", word="a", word_index=0), raw)
