"""Speech to text: people are understood, noise says nothing, long turns are cut."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinecall_cli.audio import mulaw
from pinecall_cli.audio.resample import resample
from pinecall_cli.audio.wav import read_wav
from pinecall_cli.engines.cuts import LONGEST_S, SHORTEST_S, cut
from pinecall_cli.engines.moonshine import Moonshine, find_models, read_tokens
from pinecall_cli.errors import EngineError
from tests.audio_clips.wer import clips, errors, word_error_rate, words
from tests.engines.loaded import engines


def sound(name: str) -> bytes:
    return read_wav(next(clip.path for clip in clips() if clip.path.stem == name))[0]


async def heard(pcm: bytes) -> str:
    return await engines().recogniser.transcribe(pcm)


def test_there_are_enough_recordings_of_people():
    assert len(clips()) >= 20
    assert sum(clip.people for clip in clips()) >= 10
    for clip in clips():
        pcm, rate = read_wav(clip.path)
        assert rate == 16000
        assert 1 <= len(pcm) / 32000 <= 8


async def test_callers_are_understood_with_fewer_than_15_in_100_words_wrong():
    pairs = [(clip.text, await heard(read_wav(clip.path)[0])) for clip in clips()]
    assert word_error_rate(pairs) <= 0.15
    people = [pair for pair, clip in zip(pairs, clips(), strict=True) if clip.people]
    assert word_error_rate(people) <= 0.15


async def test_callers_are_understood_over_the_telephone():
    pairs = []
    for clip in clips():
        narrow = mulaw.decode(mulaw.encode(resample(read_wav(clip.path)[0], 16000, 8000)))
        pairs.append((clip.text, await heard(resample(narrow, 8000, 16000))))
    assert word_error_rate(pairs) <= 0.15


async def test_nothing_is_heard_in_nothing():
    assert await heard(b"") == ""
    assert await heard(bytes(3200)) == ""
    assert await heard(bytes(64000)) == ""


@pytest.mark.parametrize("kind", ["white", "brown", "hum", "clicks"])
@pytest.mark.parametrize("level", [50, 500, 5000])
@pytest.mark.parametrize("seconds", [0.3, 1, 3])
async def test_no_words_are_made_up_from_noise(kind: str, level: int, seconds: float):
    rng, length = np.random.default_rng(5), int(seconds * 16000)
    noise = rng.normal(0, 1, length)
    if kind == "brown":
        noise = np.cumsum(noise) / length**0.5
    elif kind == "hum":
        noise = np.sign(np.sin(np.arange(length) * (100 * np.pi / 16000)))
    elif kind == "clicks":
        noise = 8.0 * (rng.random(length) > 0.9995)
    pcm = np.clip(noise * level, -32768, 32767).astype("<i2").tobytes()
    assert await heard(pcm) == ""


async def test_an_utterance_is_understood_the_same_with_silence_around_it():
    pcm = sound("caller_05")
    assert words(await heard(bytes(16000) + pcm + bytes(16000))) == words(await heard(pcm))


async def test_a_long_reading_is_cut_and_understood():
    reading = [clip for clip in clips() if clip.path.stem.startswith("dickens")]
    pcm = b"".join(read_wav(clip.path)[0] for clip in reading)
    assert len(pcm) / 32000 > 2 * LONGEST_S
    wrong, said = errors(" ".join(clip.text for clip in reading), await heard(pcm))
    assert wrong / said <= 0.15


async def test_cancelling_leaves_the_recogniser_working():
    job = asyncio.ensure_future(heard(sound("dickens_01") * 8))
    await asyncio.sleep(0)
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    assert words(await heard(sound("cmu_goforward"))) == words("go forward 10 meters")


def test_pieces_are_all_of_the_turn_and_of_the_right_length():
    pcm = np.random.default_rng(0).integers(-99, 99, 16000 * 47).astype("<i2").tobytes()
    pieces = list(cut(pcm))
    assert b"".join(pieces) == pcm
    assert all(SHORTEST_S <= len(piece) / 32000 <= LONGEST_S for piece in pieces[:-1])
    assert len(pieces[-1]) / 32000 <= LONGEST_S


def test_a_turn_is_cut_in_its_pause():
    speech = np.random.default_rng(0).normal(0, 3000, 16000 * 14)
    speech[16000 * 9 : 16000 * 9 + 8000] = 0
    first = next(cut(speech.astype("<i2").tobytes()))
    assert 9.05 <= len(first) / 32000 <= 9.45


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 47 * 16000))
def test_a_growing_turn_keeps_its_cuts(samples: int):
    pcm = np.random.default_rng(2).integers(-999, 999, 47 * 16000).astype("<i2").tobytes()
    earlier, whole = list(cut(pcm[: 2 * samples])), list(cut(pcm))
    assert earlier[:-1] == whole[: len(earlier) - 1]


def test_tokens_are_read_from_their_lengths():
    long = b"x" * 200
    data = b"\x05<unk>" + b"\x04\xe2\x96\x81a" + b"\x06<0x0A>" + bytes([200 & 127 | 128, 1]) + long
    assert read_tokens(data) == [b"", b" a", b"\n", long]


def test_a_folder_of_ones_own_is_used_or_refused(tmp_path: Path):
    shipped = find_models({})
    (tmp_path / "tiny-en").symlink_to(shipped)
    assert find_models({"PINECALL_MODELS": str(tmp_path)}) == tmp_path / "tiny-en"
    assert find_models({"PINECALL_MODELS": str(shipped)}) == shipped
    with pytest.raises(EngineError, match="PINECALL_MODELS"):
        find_models({"PINECALL_MODELS": str(tmp_path / "none")})


def test_a_damaged_model_is_one_clear_sentence(tmp_path: Path):
    for file in find_models({}).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes()[:1000])
    with pytest.raises(EngineError, match="encoder_model"):
        Moonshine(folder=tmp_path)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Thirty-three, four six", "33 46"),
        ("It's at ten o'clock.", "it's at 10 o'clock"),
        ("Order 12,345", "order one two three four five"),
        ("Mr. Smith, the U.S. office", "mister smith the us office"),
        ("twenty five", "25"),
        ("twenty, five hundred", "20 5 hundred"),
    ],
)
def test_word_errors_do_not_count_spelling(one: str, other: str):
    assert words(one) == words(other)


def test_word_errors_count_wrong_missing_and_added_words():
    assert errors("where is my order", "where is the order now") == (2, 4)
    assert errors("where is my order", "") == (4, 4)
