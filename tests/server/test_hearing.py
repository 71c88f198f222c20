"""Where a voice begins and ends in the caller's audio, by a detector that does as it is told."""

from __future__ import annotations

from array import array

from pinecall_cli.audio.pcm import from_samples, level_dbfs, silence
from pinecall_cli.server.voice.activity import Activity, VoiceStarted, VoiceStopped
from pinecall_cli.server.voice.hearing import RATE, Clear, Hearing
from tests.fakes.engines import tone


class TailedVad:
    """Hears voice in what is loud, and for ``tail`` frames after it, as a real detector does."""

    frame_samples = 512

    def __init__(self, tail: int, bound: float = -40) -> None:
        self.tail, self.bound, self.left = tail, bound, 0

    def probability(self, frame: bytes) -> float:
        if level_dbfs(frame) > self.bound:
            self.left = self.tail
            return 0.9
        self.left -= 1
        return 0.9 if self.left >= 0 else 0.1


def edges_of(pcm: bytes, vad: TailedVad) -> list[VoiceStarted | VoiceStopped]:
    found: list[VoiceStarted | VoiceStopped] = []
    hearing = Hearing(vad, edge=lambda edge, now: found.append(edge))
    for at in range(0, len(pcm), 640):
        hearing.push(pcm[at : at + 640])
    return found


def test_a_voice_ends_with_its_sound_and_not_with_the_detectors_memory_of_it():
    speech = silence(96, RATE) + tone(320) + silence(600, RATE)
    for tail in range(4):
        started, stopped = edges_of(speech, TailedVad(tail))
        assert isinstance(started, VoiceStarted)
        assert isinstance(stopped, VoiceStopped)
        assert stopped.last == 416


def test_in_a_room_that_hisses_a_voice_ends_where_the_detector_says():
    hiss = from_samples(array("h", [200, -200])) * (96 * RATE // 2000)  # −44 dBFS
    speech = hiss + tone(320) + hiss * 6
    _, stopped = edges_of(speech, TailedVad(2))
    assert isinstance(stopped, VoiceStopped)
    assert stopped.last == 416 + 2 * 32


def faint(hearing: Hearing, pcm: bytes) -> list[int]:
    """Return how much of the voice was not clear, frame by frame."""
    found = []
    for at in range(0, len(pcm), 1024):
        hearing.push(pcm[at : at + 1024])
        found.append(hearing.faint_ms)
    return found


def test_a_soft_voice_counts_as_faint_until_it_is_over():
    soft, loud = tone(320, amplitude=600), tone(320, amplitude=12_000)
    hearing = Hearing(TailedVad(0, bound=-60), edge=lambda edge, now: None)
    hearing.clear = Clear(dbfs=-30)
    counted = faint(hearing, silence(96, RATE) + soft + loud + silence(320, RATE) + loud)
    assert counted[:3] == [0, 0, 0]
    assert counted[3:13] == list(range(32, 321, 32))
    assert counted[13:23] == [320] * 10
    assert counted[25:] == [0] * (len(counted) - 25)


def test_a_doubtful_voice_counts_as_faint():
    hearing = Hearing(TailedVad(0), edge=lambda edge, now: None)
    hearing.clear = Clear(confidence=0.95)
    assert faint(hearing, tone(320))[-1] == 320
    hearing.clear = Clear(confidence=0.9)
    assert faint(hearing, silence(320, RATE) + tone(320))[-1] == 0


def test_a_whisper_that_only_the_detector_hears_ends_where_it_says():
    speech = silence(96, RATE) + tone(320, amplitude=60) + silence(600, RATE)
    _, stopped = edges_of(speech, TailedVad(1, bound=-70))
    assert isinstance(stopped, VoiceStopped)
    assert stopped.last == 448


def test_one_frame_of_voice_stirs_and_two_are_a_voice():
    activity = Activity()
    assert not activity.stirring
    assert activity.push(32, 0.9) is None
    assert activity.stirring
    assert activity.push(64, 0.1) is None
    assert not activity.stirring
    activity.push(96, 0.9)
    assert activity.push(128, 0.9) == VoiceStarted(64, 0.9)
    assert not activity.stirring
