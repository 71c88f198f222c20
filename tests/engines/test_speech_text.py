"""Text before it is spoken: what is left out, how words are read, and that none gets lost."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinecall_cli.engines.onnx_graph import with_output
from pinecall_cli.engines.reading import Read, chunks, owners, read, sentences
from pinecall_cli.engines.speakable import LONGEST_TEXT, LONGEST_WORD, Word, speakable


def spoken(text: str) -> str:
    return " ".join(word.spoken for word in speakable(text) if word.spoken)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Plain words, as they are.", "Plain words, as they are."),
        ("**Bold**, _slanted_ and `code`", "Bold, slanted and code"),
        ("# Heading\n- one\n* two\n> three", "Heading one two three"),
        ("See [our page](https://example.com/a_b) now", "See our page now"),
        ("![a cat](cat.png) here", "a cat here"),
        ("<speak>Hi <break time='1s'/> there</speak>", "Hi there"),
        ("3 < 4 and 2*3", "3 < 4 and 2*3"),
        ("call lookup_order", "call lookup order"),
        ("Done 🎉 👨‍👩‍👧 ok", "Done ok"),
        ("bell\a and \x1b[31mred\x1b[0m", "bell and 31mred 0m"),
        ("zero\u200bwidth \u202eright\u202c", "zerowidth right"),
        ("𝐇𝐞𝐥𝐥𝐨 ｗｏｒｌｄ café", "Hello world café"),
        ("z̷̧a̶l̸g̵o", "zalgo"),
        ("Add 5½ cups", "Add 5 1/2 cups"),
        ("٣ ➂", "3 3"),
        ("+13186330963", "+1 3 1 8 6 3 3 0 9 6 3"),
        ("1,234,567 is a number", "1,234,567 is a number"),
        ("!!!!!!!!", "!!!"),
        ("", ""),
    ],
)
def test_what_a_voice_should_read(text: str, says: str):
    assert spoken(text) == says


@given(st.text(max_size=300))
def test_every_written_word_stays_as_it_was_written(text: str):
    words = speakable(text)
    assert "".join(word.written for word in words) == "".join(text.split())
    assert all(len(word.spoken) <= 5 * LONGEST_WORD for word in words)


@pytest.mark.parametrize("unit", ["x", "9", "<a", "](", "[", "*", "`", "_", "a_", "½", "é", "ﷺ"])
def test_100_kilobytes_in_one_word_are_cut_short(unit: str):
    (word,) = speakable(unit * (100_000 // len(unit)))
    assert len(word.written) > 99_000
    assert len(word.spoken) <= 5 * LONGEST_WORD


def test_a_text_without_end_is_spoken_to_a_point():
    words = speakable("word " * 100_000)
    assert len(words) == 100_000
    assert sum(bool(word.spoken) for word in words) == LONGEST_TEXT // 5


@pytest.mark.parametrize(
    ("written", "read", "whose"),
    [
        ("at 9:30 am now", "at nine thirty A.M. now", [0, 1, 1, 2, 3]),
        ("$3.2 billion more", "3.2 billion dollars more", [0, 1, 1, 2]),
        ("5 km", "5 kilometers", [0, 1]),
        ("#7", "number 7", [0, 0]),
        ("a b", "a b c", [0, 1, 1]),
        ("x y", "y", [1]),
    ],
)
def test_words_that_are_read_out_belong_to_the_written_one(
    written: str, read: str, whose: list[int]
):
    assert owners(written.split(), read.split()) == whose


@given(st.lists(st.sampled_from("abcd"), min_size=1), st.lists(st.sampled_from("abcde")))
def test_owners_never_run_backwards(written: list[str], read: list[str]):
    whose = owners(written, read)
    assert len(whose) == len(read)
    assert whose == sorted(whose)
    assert all(0 <= place < len(written) for place in whose)


def test_sentences_are_split_by_the_rule_and_silent_words_left_out():
    words = [Word(w, w.strip("*")) for w in ["One", "two.", "*", "Three", "4", "5.", "**"]]
    found = sentences(words, lambda text: text.replace(". ", ".\n").split("\n"))
    assert list(found) == [[0, 1], [3, 4, 5]]


class Stumbling:
    """A voice's reading rules that fail over one word, wherever it stands."""

    def tokenize(self, text: str) -> str:
        return text

    def phonemize_tokens(self, text: str) -> list[SimpleNamespace]:
        if "bad" in text:
            raise IndexError
        return [SimpleNamespace(phonemes=text.replace(" ", ""), whitespace="")]


@pytest.mark.parametrize("bad", range(4))
def test_a_word_that_cannot_be_read_spoils_no_other(bad: int):
    written = ["bad" if at == bad else "abcd"[at] for at in range(4)]
    words = [Word(text, text) for text in written]
    reading = read(words, range(4), Stumbling())
    assert "".join(part.phonemes for part in reading) == "abcd".replace("abcd"[bad], "")


def test_a_sentence_without_end_is_cut():
    words = [Word("a", "a")] * 1000
    lengths = [len(part) for part in sentences(words, lambda text: [text])]
    assert sum(lengths) == 1000
    assert max(lengths) == 80


@given(st.lists(st.text("abˈ,. ", max_size=30), max_size=30), st.integers(5, 40))
def test_chunks_are_short_and_whole(sounds: list[str], longest: int):
    reading = [Read(at, sound) for at, sound in enumerate(sounds)]
    parts = list(chunks(reading, longest))
    assert "".join(word.phonemes for part in parts for word in part) == "".join(sounds)
    for part in parts:
        assert len(" ".join(word.phonemes for word in part)) <= longest


def test_chunks_end_at_a_pause_if_there_is_one():
    reading = [Read(0, "aaaa"), Read(1, "bbb,"), Read(2, "cccc"), Read(3, "dddd")]
    assert [[w.word for w in part] for part in chunks(reading, 15)] == [[0, 1], [2, 3]]


def test_an_output_is_added_to_the_graph_and_all_else_kept():
    graph = b"\x0a\x02ab"
    model = b"\x08\x07" + b"\x3a\x04" + graph + b"\x15abcd" + b"\x19abcdefgh" + b"\x12\x01x"
    made = with_output(model, "n")
    added = graph + b"\x62\x03\x0a\x01n"
    assert made == model.replace(b"\x3a\x04" + graph, b"\x3a\x09" + added)


@pytest.mark.parametrize("model", [b"", b"\x08\x07", b"\x3a", b"\x3b\x00", b"\x15ab", b"\xff" * 12])
def test_what_is_no_model_is_refused(model: bytes):
    with pytest.raises(ValueError, match="model"):
        with_output(model, "n")
