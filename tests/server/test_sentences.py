from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinecall_cli.server.voice.sentences import HARD, LONG, Sentences, looks_whole


def split(text: str) -> list[str]:
    sentences = Sentences()
    return [*sentences.push(text), *sentences.flush()]


@pytest.mark.parametrize(
    "sentences",
    [
        ["Hi.", "How can I help?", "Tell me!"],
        ["Dr. Smith and Mrs. Jones are in.", "Who do you want?"],
        ["It costs 3.50 dollars, or 1,000.25 in all.", "Fine?"],
        ["See https://example.com/a.b?c=d. for more.", "Or write to a.b@example.com."],
        ["Order ORD-12345.6 has shipped.", "It comes on 3.4.2027."],
        ["Well... maybe not.", "Wait...", "Yes."],
        ["That is No. 5.", "No.", "Not today."],
        ["J. R. Smith works for the U.S. Mail.", "So do I.", "Good."],
        ["We close at 5 p.m. today.", "Come at 9 a.m.", "Thanks."],
        ['"Really?" he said.', '"Yes."', "Then he left."],
        ["1. Take the key.", "2. Turn it."],
        ["First line", "second line", "third."],
        ["e.g. apples, i.e. fruit.", "Good!"],
        ["Really?!", "Yes!!", "(It is.)", "So there."],
        ["I have 3.", "You have 4."],
    ],
)
def test_a_text_is_cut_where_its_sentences_end(sentences: list[str]) -> None:
    joint = "\n" if sentences[0] == "First line" else " "
    assert split(joint.join(sentences)) == sentences


def test_chinese_and_japanese_sentences_need_no_spaces() -> None:
    assert split("你好。请问有什么可以帮您？「好的。」谢谢！") == [
        "你好。",
        "请问有什么可以帮您？",
        "「好的。」",
        "谢谢！",
    ]


def test_a_sentence_is_given_out_as_soon_as_it_is_sure_to_be_over() -> None:
    sentences = Sentences()
    assert sentences.push("Hi there") == []
    assert sentences.push("! How") == ["Hi there!"]
    assert sentences.push(" are you, Dr. ") == []
    assert sentences.push("Smith. ") == []
    assert sentences.push("Well") == ["How are you, Dr. Smith."]
    assert sentences.flush() == ["Well"]
    assert sentences.flush() == []


def test_a_long_sentence_is_cut_at_its_last_comma_before_the_limit() -> None:
    first, second = "word " * 20 + "word,", "word " * 10 + "word,"
    text = f"{first} {second} {'word ' * 40}end."
    cut = split(text)
    assert cut[0] == f"{first} {second}"
    assert all(len(piece) <= HARD for piece in cut)


def test_a_sentence_a_little_over_the_limit_without_a_comma_stays_whole() -> None:
    sentence = "word " * ((LONG + 20) // 5) + "end."
    assert split(f"{sentence} Next one.") == [sentence, "Next one."]


def test_a_word_longer_than_any_sentence_is_cut_all_the_same() -> None:
    word = "x" * 100_000
    pieces = split(word)
    assert "".join(pieces) == word
    assert max(map(len, pieces)) == HARD


TEXT = st.text(alphabet=st.sampled_from("ab Z.,!?…。、」\"'\n\t19I-x "), max_size=1200) | st.text()


@given(TEXT)
def test_nothing_is_lost_and_nothing_changes_its_place(text: str) -> None:
    assert "".join("".join(split(text)).split()) == "".join(text.split())


@given(TEXT, st.lists(st.integers(0, 1200), max_size=8))
def test_it_does_not_matter_in_which_pieces_a_text_comes(text: str, cuts: list[int]) -> None:
    sentences = Sentences()
    got: list[str] = []
    edges = [0, *sorted(cuts), len(text)]
    for start, end in itertools.pairwise(edges):
        got += sentences.push(text[start:end])
    assert [*got, *sentences.flush()] == split(text)


@given(st.text(alphabet="a .,", min_size=0, max_size=2000))
def test_no_piece_is_longer_than_the_hard_limit(text: str) -> None:
    assert all(0 < len(piece) <= HARD for piece in split(text))


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("One moment.", True),
        ("One moment. ", True),
        ("Really?! ", True),
        ('He said "no." ', True),
        ("少々お待ちください。", True),
        ("One moment", False),
        ("One moment, ", False),
        ("Your order is number 12. ", True),
        ("Shall I take 5?", True),
        ("Well. The rest is easy. ", True),
        ("It costs 3.", False),
        ("at 9 a.", False),
        ("see www.", False),
        ("write to foo@bar.", False),
        ("First this. 2. ", False),
        ("1. ", False),
        ("Ask Dr. ", False),
        ("J. ", False),
        ("", False),
    ],
)
def test_a_text_looks_whole_where_it_ends_as_a_sentence_does(text: str, whole: bool) -> None:
    assert looks_whole(text) is whole
