"""Opus both ways and the order of packets, without a network."""

from __future__ import annotations

import random
from dataclasses import dataclass
from fractions import Fraction

import pytest
from aiortc.mediastreams import MediaStreamError
from av import CodecContext, Packet

from pinecall_cli.audio.mix import downmix
from pinecall_cli.audio.pcm import level_dbfs
from pinecall_cli.audio.resample import resample
from pinecall_cli.server.webrtc.reorder import HELD, Reorder
from pinecall_cli.server.webrtc.sound import ARRIVED, WAITING, Intake, Playout
from tests.fakes.engines import tone

FRAME = 640
WIDE = 1920
"""Bytes of 20 ms at 48 kHz."""


@dataclass
class Rtp:
    sequence_number: int
    timestamp: int = 0
    payload: bytes = b""


def packet(number: int) -> Rtp:
    return Rtp(number % 65536, number * 960, str(number).encode())


def passed(numbers: list[int]) -> list[int]:
    """Return the packets that go on, in their order."""
    buffer = Reorder()
    out = (buffer.add(packet(number))[1] for number in numbers)
    return [int(encoded.data) for encoded in out if encoded is not None]


def test_packets_in_order_go_on_at_once():
    assert passed([7, 8, 9, 10]) == [7, 8, 9, 10]


def test_packets_are_put_in_order():
    assert passed([0, 2, 1, 3, 4, 5]) == [0, 1, 2, 3, 4]
    assert passed([0, 2, 3, 1, 4, 5, 6]) == [0, 1, 2, 3, 4]


def test_a_lost_packet_is_waited_for_by_two_others_and_no_longer():
    buffer = Reorder()
    assert buffer.add(packet(0))[1] is not None
    for number in range(2, 2 + HELD):
        assert buffer.add(packet(number))[1] is None
    encoded = buffer.add(packet(2 + HELD))[1]
    assert encoded is not None
    assert (encoded.data, encoded.timestamp) == (b"2", 1920)
    assert buffer.add(packet(1))[1] is not None  # too late: the next goes on in its place


def test_numbers_start_anew_after_the_last_and_where_a_sender_does():
    assert passed([65534, 65535, 65536, 65537]) == [65534, 65535, 65536, 65537]
    assert passed([5, 6, 30_000, 30_001]) == [5, 6, 30_000, 30_001]


def test_whatever_is_lost_or_moved_what_goes_on_is_in_order_and_hardly_late():
    dice = random.Random(5)
    for _ in range(200):
        sent = [n for n in range(300) if dice.random() > 0.1]
        moved = sorted(sent, key=lambda n: n + dice.random() * 2.5)
        buffer, last = Reorder(), -1
        for number in moved:
            encoded = buffer.add(packet(number))[1]
            assert len(buffer._held) <= HELD
            if encoded is not None:
                assert int(encoded.data) > last
                last = int(encoded.data)
        assert last >= sent[-1] - 8


async def decoded(playout: Playout, count: int) -> bytes:
    """Return what a page hears of so many frames, at 16 kHz."""
    decoder = CodecContext.create("libopus", "r")
    decoder.format, decoder.layout, decoder.sample_rate = "s16", "stereo", 48_000  # type: ignore[attr-defined]
    wide = b""
    for _ in range(count):
        sent = await playout.recv()
        arrived: Packet = Packet(bytes(sent))
        arrived.pts, arrived.time_base = sent.pts, Fraction(1, 48_000)
        for frame in decoder.decode(arrived):  # type: ignore[attr-defined]
            wide += downmix(bytes(frame.planes[0])[: frame.samples * 4], 2)
    return resample(wide, 48_000, 16_000)


async def test_the_agents_voice_arrives_as_loud_and_as_long_as_it_was():
    playout, voice = Playout(), tone(600)
    for at in range(0, len(voice), FRAME):
        playout.push(voice[at : at + FRAME])
    heard = await decoded(playout, 30)
    assert len(heard) == len(voice)
    assert level_dbfs(heard[3200:]) == pytest.approx(level_dbfs(voice), abs=1)


async def test_every_frame_stands_where_it_was_pushed_also_after_a_hole():
    playout = Playout()
    for _ in range(WAITING + 10):
        playout.push(bytes(FRAME))
    times = [(await playout.recv()).pts for _ in range(WAITING)]
    assert times == [960 * n for n in range(10, WAITING + 10)]
    playout.stop()
    with pytest.raises(MediaStreamError):
        await playout.recv()


@pytest.mark.parametrize("samples", [120, 480, 960, 1920, 2880])
def test_packets_of_any_length_become_frames_of_20_ms(samples: int):
    intake, sound = Intake(), resample(tone(600), 16_000, 48_000)
    heard = []
    for at in range(0, len(sound), samples * 2):
        intake.take(sound[at : at + samples * 2], at // 2)
        heard += intake.frames()
    assert {len(frame) for frame in heard} == {FRAME}
    assert len(heard) == 29  # the last waits for the filter's few samples more
    assert level_dbfs(b"".join(heard)) == pytest.approx(level_dbfs(tone(600)), abs=0.5)


def test_what_was_lost_is_silence_as_long_as_it_was():
    intake = Intake()
    loud = resample(tone(40), 16_000, 48_000)
    intake.take(loud, 0)
    intake.take(loud, 1920 + 960)  # 20 ms are missing
    intake.take(bytes(WIDE), 4800)
    frames = intake.frames()
    assert len(frames) == 5
    assert level_dbfs(frames[2]) < level_dbfs(frames[1]) - 10


def test_a_long_absence_is_left_to_the_calls_clock():
    intake = Intake()
    intake.take(bytes(WIDE), 0)
    intake.take(bytes(WIDE), 48_000)
    intake.take(bytes(WIDE), 48_960)
    assert len(intake.frames()) == 2


def test_of_a_burst_that_nobody_can_have_spoken_the_newest_is_kept():
    intake = Intake()
    intake.take(bytes(WIDE) * (ARRIVED + 50), None)
    assert len(intake.frames()) == ARRIVED
    assert intake.frames() == []


def test_both_channels_of_a_stereo_microphone_are_heard():
    left, right = (1000).to_bytes(2, "little"), (3000).to_bytes(2, "little")
    assert downmix((left + right) * 4, 2) == (2000).to_bytes(2, "little") * 4
    assert downmix(left * 4, 1) == left * 4
    assert downmix((left + left) * 4, 2) == left * 4
