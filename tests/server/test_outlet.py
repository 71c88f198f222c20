from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from pinecall_cli.protocol import events
from pinecall_cli.server.agents.organisation import Organisation
from pinecall_cli.server.agents.outlet import Outlet, Stamps
from pinecall_cli.server.agents.registry import Connection, RegisteredAgent
from pinecall_cli.server.log.translate import Entry

STARTED = events.CallStarted(from_="webrtc", to="webrtc", direction="inbound", transport="webrtc")
ORG = Organisation("org_1", "pk_one")


class Kept(list[Entry]):
    """A call log in a list; `append` is all an outlet asks of one."""


def outlet(frames: list[str], log: Kept | None = None, *, online: bool = True) -> Outlet:
    stamps = Stamps(wall=lambda: 12.5)
    owner = Connection(
        id="conn_1",
        org=ORG,
        client=None,
        stamps=stamps,
        post=frames.append,
        close=lambda code, reason: None,
    )
    agent = RegisteredAgent(ORG, "desk", "Desk", owner if online else None, {}, (), 0.0)
    log = Kept() if log is None else log
    return Outlet(agent=agent, call_id="c1", stamps=stamps, log=log)


def test_an_event_leaves_stamped_to_its_owner_and_to_those_who_listen():
    frames: list[str] = []
    heard: list[str] = []
    way = outlet(frames)
    way.subscribe(heard.append)
    way.emit(STARTED)
    way.emit(events.UserMessage(message_id="u1", text="hi"))
    assert frames == heard
    first, second = map(json.loads, frames)
    for frame in (first, second):
        assert frame["agent_id"] == "desk"
        assert frame["call_id"] == frame["session_id"] == "c1"
        assert frame["ts"] == 12.5
    assert first["seq"] < second["seq"]


def test_who_stops_listening_hears_no_more():
    heard: list[str] = []
    way = outlet([])
    stop = way.subscribe(heard.append)
    way.emit(STARTED)
    stop()
    stop()
    way.emit(events.SpeechEnded())
    assert len(heard) == 1


def test_a_listener_may_leave_while_it_listens():
    heard: list[str] = []
    way = outlet([])
    stops = []

    def once(text: str) -> None:
        heard.append(text)
        stops[0]()

    stops.append(way.subscribe(once))
    way.subscribe(heard.append)
    way.emit(STARTED)
    assert len(heard) == 2


def test_nothing_passes_after_the_end():
    frames: list[str] = []
    log = Kept()
    way = outlet(frames, log)
    way.emit(STARTED)
    way.emit(events.CallEnded(reason="hangup"))
    assert way.closed
    way.emit(events.CallEnded(reason="hangup"))
    way.emit(events.BotFinished())
    assert [json.loads(frame)["event"] for frame in frames] == ["call.started", "call.ended"]
    assert log[-1].type == "call.summary"


def test_a_call_whose_owner_is_away_goes_on_being_told_to_the_others():
    frames: list[str] = []
    log = Kept()
    way = outlet(frames, log, online=False)
    way.emit(STARTED)
    assert frames == []
    assert [entry.type for entry in log] == ["call.started"]


@given(st.lists(st.floats(0, 2_000_000_000), min_size=1), st.integers(0, 2**50))
def test_numbers_rise_whatever_the_clock_does_and_are_never_behind_it(
    times: list[float], after: int
):
    clock = iter(times)
    stamps = Stamps(wall=lambda: next(clock), after=after)
    given_out = [stamps.next() for _ in times]
    seqs = [seq for seq, _ in given_out]
    assert seqs == sorted(set(seqs))
    assert seqs[0] > after
    assert all(seq >= int(ts * 1_000_000) for seq, ts in given_out)
