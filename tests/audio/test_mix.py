"""Two sides at once, and uneven sound played evenly."""

from __future__ import annotations

from array import array
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from pinecall_cli.audio.mix import JitterBuffer, mix
from pinecall_cli.audio.pcm import samples

RATE = 16_000
FRAME = 640


def pcm(*values: int) -> bytes:
    return array("h", values).tobytes()


def steady(ms: int, value: int = 1000) -> bytes:
    return pcm(*[value] * (RATE * ms // 1000))


def test_both_sides_are_heard():
    assert mix(pcm(1, 2, 3), pcm(10, 20, 30)) == pcm(11, 22, 33)


def test_what_is_too_loud_is_clipped_and_does_not_wrap():
    assert mix(pcm(30_000, -30_000), pcm(30_000, -30_000)) == pcm(32_767, -32_768)


def test_the_shorter_side_counts_as_silent_afterwards():
    assert mix(pcm(5), pcm(1, 2)) == pcm(6, 2)
    assert mix(pcm(0), pcm(1, 2)) == pcm(1, 2)
    assert mix(pcm(1, 2), b"") == pcm(1, 2)


def test_nothing_is_played_before_enough_waits():
    buffer = JitterBuffer(RATE, target_ms=100)
    buffer.push(steady(80))
    assert not any(buffer.pop())
    buffer.push(steady(40))
    assert any(buffer.pop())


def test_steady_sound_comes_out_as_it_went_in():
    buffer = JitterBuffer(RATE, target_ms=100)
    buffer.push(steady(200))
    out = b"".join(buffer.pop() for _ in range(10))
    assert set(samples(out)[RATE // 100 :]) == {1000}
    assert buffer.gaps == 0


def test_a_gap_fades_out_and_in():
    buffer = JitterBuffer(RATE, target_ms=100)
    buffer.push(steady(110, 20_000))
    out = b"".join(buffer.pop() for _ in range(8))
    buffer.push(steady(200, 20_000))
    out += b"".join(buffer.pop() for _ in range(8))
    values = samples(out)
    assert buffer.gaps == 1
    assert max(abs(b - a) for a, b in pairwise(values)) < 1000


def test_a_sender_whose_clock_runs_fast_is_caught_up_with():
    buffer = JitterBuffer(RATE, target_ms=100, limit_ms=300)
    buffer.push(steady(1000))
    assert buffer.skipped_ms == 900
    out = b"".join(buffer.pop() for _ in range(5))
    assert len(out) == 5 * FRAME


def test_what_is_left_when_the_call_ends_can_still_be_had():
    buffer = JitterBuffer(RATE)
    buffer.push(steady(50))
    assert buffer.drain() == steady(50)
    assert buffer.drain() == b""


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("push"), st.integers(0, 300)), st.tuples(st.just("pop"), st.just(0))
        ),
        max_size=60,
    )
)
def test_however_sound_comes_every_frame_is_whole(steps):
    buffer = JitterBuffer(RATE, target_ms=60, limit_ms=200)
    pushed = popped = 0
    for step, ms in steps:
        if step == "push":
            buffer.push(steady(ms))
            pushed += ms
        else:
            frame = buffer.pop()
            assert len(frame) == FRAME
            popped += any(frame)
    assert popped * 20 <= pushed + 20
