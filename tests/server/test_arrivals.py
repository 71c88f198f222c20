"""The caller's frames on the call's clock: late, early, in bursts, or not at all."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from pinecall_cli.server.voice.arrivals import GAP_MS, LEAD_MS, LIMIT_MS, PATIENCE, Arrivals
from pinecall_cli.server.voice.speaking import FRAME_BYTES, FRAME_MS, SILENCE


def spoken(number: int) -> bytes:
    """Return a loud frame that can be told from all others."""
    return (8000 + number).to_bytes(2, "little") * (FRAME_BYTES // 2)


class Call:
    """Steps through a call and keeps what was heard."""

    def __init__(self, *, voiced: bool = False) -> None:
        self.arrivals, self.voiced = Arrivals(), voiced
        self.heard: list[bytes] = []
        self.clock = 0

    @property
    def position(self) -> int:
        return FRAME_MS * len(self.heard)

    def step(self, *arrived: bytes) -> list[bytes]:
        frames = self.arrivals.lay(
            arrived, clock=self.clock, position=self.position, voiced=self.voiced
        )
        self.heard += frames
        self.clock += FRAME_MS
        return frames

    def steps(self, counts: Sequence[int]) -> list[bytes]:
        """Take ``counts[n]`` spoken frames in step n; return all that were sent."""
        sent: list[bytes] = []
        for count in counts:
            frames = [spoken(len(sent) + n) for n in range(count)]
            sent += frames
            self.step(*frames)
        return sent


def test_frames_in_time_are_heard_as_they_come():
    call = Call()
    assert call.steps([1] * 100) == call.heard


def test_a_caller_whose_sound_lags_loses_nothing_to_uneven_arrival():
    call = Call(voiced=True)
    sent = call.steps([0] * 9 + [1, 1, 0, 0, 3, 0, 1, 2, 0, 0, 0, 4] * 20)
    assert call.heard == sent


def test_a_burst_is_heard_whole():
    call = Call()
    assert call.steps([0, 0, 30] + [1] * 50) == call.heard


def test_a_caller_who_sends_nothing_is_silent_after_the_gap():
    call = Call()
    call.steps([1] * 50)
    before = len(call.heard)
    call.steps([0] * 50)
    assert call.heard[before:] == [SILENCE] * (50 - GAP_MS // FRAME_MS)


def test_a_caller_who_begins_late_stands_where_they_began():
    call = Call()
    call.steps([0] * 40)
    begun = call.clock
    call.step(spoken(1))
    assert call.heard.index(spoken(1)) * FRAME_MS == begun - FRAME_MS


def test_what_was_only_held_up_fills_its_own_gap():
    call = Call()
    call.steps([1] * 10)
    call.steps([0] * 15)
    call.step(*[spoken(500 + n) for n in range(16)])
    assert [frame for frame in call.heard if frame != SILENCE][10:] == [
        spoken(500 + n) for n in range(16)
    ]
    assert call.heard.count(SILENCE) <= 15 - GAP_MS // FRAME_MS


def test_sound_that_leads_is_given_back_in_a_pause():
    call = Call()
    call.steps([1] * 10)
    call.step(*[spoken(500 + n) for n in range(40)])
    assert call.position - call.clock > 700
    for _ in range(40 + PATIENCE):
        call.step(SILENCE)
    assert call.position - call.clock <= LEAD_MS


def test_after_the_server_was_held_up_every_frame_stands_where_it_was_sent():
    call = Call()
    sent = [SILENCE] * 10
    for frame in sent:
        call.step(frame)
    burst = [SILENCE] * 20 + [spoken(1)]  # 400 ms of the caller's at once
    call.step(*burst)
    for _ in burst[1:]:  # the clock catches up, faster than frames come
        call.step()
    call.step(spoken(2))
    assert call.heard == [*sent, *burst, spoken(2)]


def test_sound_that_lags_is_made_up_for_in_a_pause():
    call = Call(voiced=True)
    call.steps([1] * 10 + [0, 1] * 30)
    assert SILENCE not in call.heard
    call.voiced = False
    call.step(spoken(0))
    assert call.position == call.clock - FRAME_MS
    assert call.heard[-1] == spoken(0)


ARRIVING = st.lists(st.integers(0, 60), max_size=200)


@given(ARRIVING, st.lists(st.booleans(), min_size=200, max_size=200))
def test_whatever_arrives_the_order_stays_and_the_clock_is_kept(
    counts: list[int], voiced: list[bool]
) -> None:
    call = Call()
    sent: list[bytes] = []
    for count, speaking in zip(counts, voiced, strict=False):
        call.voiced = speaking
        frames = [spoken(len(sent) + n) for n in range(count)]
        sent += frames
        call.step(*frames)
        lag = call.clock - FRAME_MS - call.position
        assert -LIMIT_MS - FRAME_MS <= lag <= LIMIT_MS + GAP_MS + FRAME_MS
    kept = [frame for frame in call.heard if frame != SILENCE]
    assert kept == sorted(kept, key=lambda frame: int.from_bytes(frame[:2], "little"))


@given(st.lists(st.integers(0, 3), max_size=200))
def test_nothing_is_lost_or_put_in_while_the_caller_is_about_in_time(counts: list[int]) -> None:
    call = Call(voiced=True)
    sent: list[bytes] = []
    quiet = 0
    for count in counts:
        ahead = call.position - call.clock
        count = 0 if ahead >= LEAD_MS else count
        if quiet * FRAME_MS >= GAP_MS or ahead <= -LIMIT_MS:
            count = max(count, 1 + (ahead <= -LIMIT_MS))
        quiet = 0 if count else quiet + 1
        frames = [spoken(len(sent) + n) for n in range(count)]
        sent += frames
        call.step(*frames)
    assert call.heard == sent
