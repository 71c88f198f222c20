"""Voice activity: people are heard, noise and silence are not, and calls do not mix."""

from __future__ import annotations

from hashlib import sha256

import numpy as np
import pytest

from pinecall_cli.audio.pcm import AudioFormatError, frames
from pinecall_cli.audio.wav import read_wav
from pinecall_cli.engines import silero
from tests.audio_clips.wer import clips
from tests.engines.loaded import engines

FRAME_MS = 32


def probabilities(pcm: bytes) -> list[float]:
    vad = engines().vad()
    return [vad.probability(frame) for frame in frames(pcm, 16000, FRAME_MS)]


def share(pcm: bytes) -> float:
    heard = probabilities(pcm)
    return sum(value >= 0.5 for value in heard) / len(heard)


def test_the_model_is_the_file_it_should_be():
    assert sha256(silero.MODEL.read_bytes()).hexdigest() == silero.SHA256
    assert (silero.MODEL.parent / "LICENSE.silero-vad").is_file()


@pytest.mark.parametrize("clip", clips(), ids=lambda clip: clip.path.stem)
def test_speech_is_heard(clip):
    assert share(read_wav(clip.path)[0]) > 0.5


@pytest.mark.parametrize("level", [0, 30, 300, 3000])
def test_silence_and_noise_are_not_speech(level: int):
    noise = np.random.default_rng(1).normal(0, level, 32000).astype("<i2").tobytes()
    assert share(noise) < 0.05


def test_speech_after_silence_is_heard_within_150_ms_and_is_over_at_its_end():
    sound = read_wav(next(c.path for c in clips() if c.path.stem == "dickens_01"))[0]
    # The clip has 200 ms of room before its first word and 220 ms after its last.
    heard = [value >= 0.5 for value in probabilities(bytes(32000) + sound + bytes(32000))]
    first = heard.index(True) * FRAME_MS
    last = (len(heard) - heard[::-1].index(True)) * FRAME_MS
    assert 1000 <= first <= 1350
    assert last <= 1000 + len(sound) / 32 + 80


def test_two_calls_at_once_hear_as_one_alone():
    one, other = (read_wav(clip.path)[0] for clip in clips()[:2])
    first, second = engines().vad(), engines().vad()
    pairs = list(zip(frames(one, 16000, FRAME_MS), frames(other, 16000, FRAME_MS), strict=False))
    mixed = [(first.probability(a), second.probability(b)) for a, b in pairs]
    assert [a for a, _ in mixed] == probabilities(one)[: len(pairs)]
    assert [b for _, b in mixed] == probabilities(other)[: len(pairs)]


def test_a_detector_that_was_reset_hears_as_a_new_one():
    sound = read_wav(clips()[0].path)[0]
    vad = silero.Silero().open()
    heard = []
    for _ in range(2):
        heard.append([vad.probability(frame) for frame in frames(sound, 16000, FRAME_MS)])
        vad.reset()
    assert heard[0] == heard[1]


@pytest.mark.parametrize("size", [0, 640, 1022, 1025])
def test_a_frame_of_another_length_is_refused(size: int):
    with pytest.raises(AudioFormatError):
        engines().vad().probability(bytes(size))
