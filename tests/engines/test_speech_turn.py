"""End of turn: the features by their definition, and what the model makes of people."""

from __future__ import annotations

import math
from hashlib import sha256

import numpy as np
import pytest

from pinecall_cli.audio.wav import read_wav
from pinecall_cli.engines import mel, smart_turn
from tests.audio_clips.wer import clips
from tests.engines.loaded import engines


def test_the_model_is_the_file_it_should_be():
    assert sha256(smart_turn.MODEL.read_bytes()).hexdigest() == smart_turn.SHA256
    assert (smart_turn.MODEL.parent / "LICENSE.smart-turn").is_file()


def test_the_mel_scale_is_slaneys():
    assert mel.mel_of_hz(1000) == 15
    assert mel.mel_of_hz(6400) == pytest.approx(42)
    assert mel.hz_of_mel(np.array([0.0, 7.5, 15.0, 42.0])) == pytest.approx([0, 500, 1000, 6400])


def test_every_band_is_a_triangle_and_they_follow_each_other():
    weights = mel.bands()
    assert weights.shape == (80, 201)
    assert (weights >= 0).all()
    peaks = weights.argmax(axis=1)
    assert (np.diff(peaks) >= 0).all()
    # Wide triangles are sampled often enough for their area, 1 / (bin width), to be visible.
    assert weights[60:].sum(axis=1) * 40 == pytest.approx(np.ones(20), rel=0.05)


def test_the_features_are_those_of_the_formula():
    """One frame by hand: Hann window, Fourier sum, triangles, logarithm, range, scale."""
    rng = np.random.default_rng(3)
    audio = (rng.normal(0, 0.1, mel.SAMPLES) * np.linspace(0, 1, mel.SAMPLES)).astype(np.float32)
    made = mel.log_mel(audio)
    assert made.shape == (80, 800)
    level = (audio - audio.mean()) / np.sqrt(audio.var() + 1e-7)
    decades = {}
    for step in (400, 799):
        centre = step * 160
        window = [math.sin(math.pi * n / 400) ** 2 for n in range(400)]
        # Past its end the sound is mirrored.
        last = len(level) - 1
        places = [last - abs(last - (centre - 200 + n)) for n in range(400)]
        frame = np.array([level[at] * weight for at, weight in zip(places, window, strict=True)])
        bins = np.arange(201)[:, None] * np.arange(400)[None] * (2 * math.pi / 400)
        power = (np.cos(bins) @ frame) ** 2 + (np.sin(bins) @ frame) ** 2
        decades[step] = np.log10(np.maximum(mel.bands() @ power, 1e-10))
    for step, column in decades.items():
        floor = made.min()
        expected = np.maximum((column + 4) / 4, floor)
        assert made[:, step] == pytest.approx(expected, abs=2e-4)
    assert made.max() - made.min() <= 2 + 1e-6  # 8 decades, a quarter each


def test_digital_silence_has_features_too():
    assert np.isfinite(mel.log_mel(np.zeros(mel.SAMPLES, np.float32))).all()


async def test_finished_sentences_are_told_from_broken_off_ones():
    sentences = [c for c in clips() if c.text[-1] in ".?" and len(c.text.split()) > 4]
    judge, pause = engines().end_of_turn, bytes(32 * 200)
    finished, broken = [], []
    for clip in sentences:
        pcm = read_wav(clip.path)[0]
        finished.append(await judge.probability(pcm + pause))
        broken.append(await judge.probability(pcm[: int(len(pcm) * 0.45) // 2 * 2] + pause))
    # A hint, not a judge: two in three is what it manages on read speech.
    assert sum(p > 0.5 for p in finished) >= 0.6 * len(finished)
    assert sum(finished) > sum(broken) + 0.15 * len(finished)


@pytest.mark.parametrize("samples", [0, 1, 100, 8 * 16000, 30 * 16000])
async def test_a_turn_of_any_length_gets_a_probability(samples: int):
    assert 0 <= await engines().end_of_turn.probability(bytes(2 * samples)) <= 1
