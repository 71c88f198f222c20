import io
import json
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinecall_cli.call.records import DevReconnected, DevStopped, EngineNotice
from pinecall_cli.call.session import AgentState, SessionState
from pinecall_cli.protocol.codec import decode_event
from pinecall_cli.view.ndjson import NdjsonView, frame_line, iso, record_line
from pinecall_cli.view.output import Output
from tests.call.conversations import START, received
from tests.view.sessions import READY


def line_of(raw: str | bytes, at: float = START, **known: object) -> dict[str, object]:
    line = frame_line(decode_event(raw), at=at, **known)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    found = json.loads(line)
    assert isinstance(found, dict)
    return found


def test_a_frame_keeps_all_its_fields_under_our_envelope():
    raw = (
        '{"event":"channel.added","agent_id":"org:front-desk","ts":1787352106.144,"type":"phone",'
        '"agent":"x","seq":7,"extra":{"deep":[1.50,1e400,12345678901234567890]}}'
    )
    line = frame_line(decode_event(raw), at=0, agents=["front-desk"])
    assert line == (
        b'{"type":"channel.added","ts":"2026-08-21T22:41:46.144Z","agent":"front-desk",'
        b'"agent_id":"org:front-desk","wire_type":"phone","wire_agent":"x","seq":7,'
        b'"extra":{"deep":[1.50,1e400,12345678901234567890]}}\n'
    )


def test_a_frame_without_a_time_has_ours():
    for raw in ('{"event":"pong"}', '{"event":"x","ts":"soon"}', '{"event":"x","ts":1e300}'):
        assert line_of(raw, at=START)["ts"] == "2026-08-21T22:41:40.000Z"


def test_a_frame_of_no_agent_says_null():
    assert line_of('{"event":"connected"}')["agent"] is None
    assert line_of('{"event":"x","agent_id":7}')["agent"] is None
    assert line_of('{"event":"x","agent_id":"sales"}')["agent"] == "sales"


def test_unknown_events_and_no_events_come_out_as_they_are():
    found = line_of('{"event":"brand.new","call_id":"c1","x":null}')
    assert (found["type"], found["call_id"], found["x"]) == ("brand.new", "c1", None)
    assert line_of('{"a":1}') == {"type": None, "ts": iso(START), "agent": None, "a": 1}


@pytest.mark.parametrize("raw", [b"", b"{torn", b"[1]", b'"x"', b"\xff\xfe", b"[" * 5000])
def test_what_is_no_object_is_kept_as_text(raw: bytes):
    found = line_of(raw)
    assert found["type"] == "unknown"
    assert found["agent"] is None


def test_a_line_is_one_line_and_steers_no_terminal():
    raw = '{\n "event": "x",\r\n "text": "a\u2028b\u2029c\u009bd\x7fe\u0085"\n}'
    line = frame_line(decode_event(raw), at=START)
    assert len(line.decode().splitlines()) == 1
    assert line.isascii()
    assert json.loads(line)["text"] == "a\u2028b\u2029c\u009bd\x7fe\u0085"


def test_records_of_ours_have_the_same_envelope():
    found = json.loads(record_line(READY))
    assert list(found) == ["type", "ts", "agent", "agents", "server", "local"]
    assert (found["type"], found["ts"], found["agent"]) == ("dev.ready", iso(START), None)
    assert found["agents"][0] == {
        "agent": "front-desk",
        "file": "agents/front_desk.yaml",
        "phones": ["+13186330963"],
    }


def test_file_names_that_are_no_utf_8_are_still_json():
    line = record_line(DevStopped(at=START, reason="caf\udce9"))
    assert json.loads(line)["reason"] == "caf\udce9"


def test_the_view_prints_everything_but_heartbeats_and_what_is_for_the_eye():
    out = io.BytesIO()
    view = NdjsonView(Output(out))
    session = SessionState(agents=(AgentState(slug="front-desk"),))
    happened = [
        received("ping"),
        received("pong"),
        EngineNotice(at=START, text="loading", loading=True),
        None,
        received("call.held", 1.0),
        DevReconnected(at=START),
    ]
    for one in happened:
        view.show(session, one, at=START)
    view.close()
    types = [json.loads(line)["type"] for line in out.getvalue().splitlines()]
    assert types == ["call.held", "dev.reconnected"]


@given(st.floats(0, 4e9))
def test_times_are_iso_8601_in_utc_with_milliseconds(at: float):
    text = iso(at)
    assert len(text) == len("2026-08-21T22:41:40.000Z")
    assert abs(datetime.fromisoformat(text).timestamp() - at) <= 0.001


@pytest.mark.parametrize("at", [1e300, float("inf"), float("nan")])
def test_times_that_no_calendar_has_are_refused(at: float):
    with pytest.raises(ValueError, match=r"time|NaN"):
        iso(at)
