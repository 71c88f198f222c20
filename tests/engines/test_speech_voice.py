"""Text to speech: it is understood, its words lie where they sound, and any text survives."""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pinecall_cli.audio.pcm import frames, level_dbfs
from pinecall_cli.audio.resample import resample
from pinecall_cli.engines import hibari
from pinecall_cli.engines.types import Speech
from tests.audio_clips.wer import word_error_rate
from tests.engines.loaded import engines

SENTENCES = [
    "Hello, this is the front desk. How can I help you?",
    "Your order has shipped, and it should arrive on Thursday.",
    "I can change the address if you tell me the new one.",
    "That will be forty two dollars and fifty cents.",
    "We are open from nine in the morning until six in the evening.",
    "Sorry, I did not find an order with that number.",
]


async def speak(text: str) -> Speech:
    return await engines().synthesiser.synthesise(text)


async def heard(speech: Speech) -> str:
    return await engines().recogniser.transcribe(resample(speech.pcm, speech.rate, 16000))


def seconds(speech: Speech) -> float:
    return len(speech.pcm) / 2 / speech.rate


def assert_sound(speech: Speech, text: str) -> None:
    """Hold every promise about words: as written, in order, inside the audio."""
    assert [word.text for word in speech.words] == re.findall(r"\S+", text)
    times = [time for word in speech.words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert not times or 0 <= times[0] <= times[-1] <= seconds(speech)


async def test_what_is_said_is_understood():
    pairs = [(text, await heard(await speak(text))) for text in SENTENCES]
    assert word_error_rate(pairs) <= 0.05


async def test_numbers_are_read_and_belong_to_the_word_that_is_written():
    text = "Order ORD-12345 is $42.50, due Jan. 5th at 9:30 am."
    speech = await speak(text)
    assert_sound(speech, text)
    lasts = {word.text: word.end - word.start for word in speech.words}
    # "ORD one two three four five", "forty-two dollars and fifty cents".
    assert lasts["ORD-12345"] > 1.2
    assert lasts["$42.50,"] > 1.2
    assert lasts["is"] < 0.4
    assert "12345" in (await heard(speech)).replace(" ", "").replace(",", "")


async def test_a_word_is_heard_in_its_own_time():
    text = "Please say the magic word, elephant, and then wait."
    speech = await speak(text)
    (word,) = [word for word in speech.words if word.text == "elephant,"]
    margin = 0.08
    cut = slice(*(2 * int(speech.rate * at) for at in (word.start - margin, word.end + margin)))
    alone = Speech(bytes(24000) + speech.pcm[cut] + bytes(24000), speech.rate, ())
    assert "elephant" in (await heard(alone)).lower()


async def test_the_edges_are_trimmed_to_20_ms():
    for text in SENTENCES:
        speech = await speak(text)
        levels = [level_dbfs(frame) for frame in frames(speech.pcm, speech.rate, 10)]
        audible = [at for at, level in enumerate(levels) if level > -60]
        assert audible[0] <= 3
        assert len(levels) - audible[-1] <= 4
        assert speech.words[0].start == pytest.approx(0.02, abs=0.001)
        assert speech.words[-1].end == pytest.approx(seconds(speech) - 0.02, abs=0.03)


async def test_the_same_text_always_sounds_the_same():
    assert await speak(SENTENCES[0]) == await speak(SENTENCES[0])


async def test_two_sentences_have_a_pause_between_them():
    speech = await speak("This is one. This is two.")
    one, two = speech.words[2], speech.words[3]
    assert (one.text, two.text) == ("one.", "This")
    assert 0.25 <= two.start - one.end <= 0.4


@pytest.mark.parametrize(
    "text", ["", " ", "...", "?!", "— —", "😀 🎉", "\x00\x1b", "** **", "中文"]
)
async def test_nothing_to_say_is_no_sound_and_all_words_at_once(text: str):
    speech = await speak(text)
    assert_sound(speech, text)
    assert speech.pcm == b""
    assert all(word.start == word.end == 0 for word in speech.words)


@pytest.mark.parametrize(
    "text",
    [
        "x" * 100_000,
        "Fine. " + "<a" * 50_000,
        "9" * 40 + " 1," + "000," * 19 + "000 dollars",
        "**Bold** [link](https://example.com) <b>tag</b> `code` and 😀",
        "\ud800 lone \udfff surrogates",
        "a\x00b\x07c \u202eabc\u202c \u200b\ufeff",
    ],
)
async def test_awkward_text_is_spoken_all_the_same(text: str):
    speech = await speak(text)
    assert_sound(speech, text)
    assert 0 < seconds(speech) < 60


PIECES = ["$", "5", "1,000", ".", "½", "➃", "٣", "-", "/", ":", "am", "th", "Jan.", "IV", "£3", "%"]
PIECES += ["word", "'s", "I'd", "[", "](", ")", "*", "_", "<b>", "é", "\n", " ", " ", "°C", "km"]


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(PIECES), max_size=8).map("".join) | st.text(max_size=30))
def test_any_text_can_be_spoken(text: str):
    voice = engines().synthesiser
    assert isinstance(voice, hibari.Hibari)
    assert_sound(voice.speak(text), text)


def test_the_model_is_the_file_whose_durations_are_known():
    assert sha256(hibari.MODEL.read_bytes()).hexdigest() == hibari.SHA256
    assert hibari.Hibari().exact


async def test_with_another_model_file_words_are_spread_evenly(tmp_path: Path):
    other = tmp_path / "hibari.onnx"
    # The same model with a comment in it (ModelProto field 6): another hash, the same sound.
    other.write_bytes(hibari.MODEL.read_bytes() + b"\x32\x04note")
    guessing = hibari.Hibari(other)
    assert not guessing.exact
    guessed, measured = await guessing.synthesise(SENTENCES[1]), await speak(SENTENCES[1])
    assert guessed.pcm == measured.pcm
    assert_sound(guessed, SENTENCES[1])
    apart = [abs(a.start - b.start) for a, b in zip(guessed.words, measured.words, strict=True)]
    assert 0 < np.mean(apart) < 0.3
