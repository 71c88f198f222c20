import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from pinecall_cli.view.ink import Ink
from pinecall_cli.view.text import encodable, head, printable, tail


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text", "plain text"),
        ("[bold]not bold[/bold]", "[bold]not bold[/bold]"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x9b2J", "\\x9b2J"),
        ("a\x00b\x7f", "a\\x00b\\x7f"),
        ("safe\u202egnp.exe", "safe\\u202egnp.exe"),
        ("a\u200bb\ufeffc", "a\\u200bb\\ufeffc"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
        ("a\u3164b", "a\\u3164b"),
        ("one\ntwo\r\nthree", "one ⏎ two ⏎ three"),
        ("back\rover", "back\\x0dover"),
        ("a\tb\u00a0c", "a b c"),
        ("Grüße, 日本, مرحبا", "Grüße, 日本, مرحبا"),
        ("\u2764\ufe0f", "\u2764"),
        ("👩\u200d👧", "👩👧"),
        ("a\u200db", "a\\u200db"),
        ("e" + "\u0301" * 6, "e" + "\u0301" * 4 + "\\u0301\\u0301"),
    ],
)
def test_text_from_outside_is_shown_and_never_obeyed(text: str, shown: str):
    assert printable(text) == shown


def test_line_breaks_stay_where_they_may():
    assert printable("one\ntwo", lines=True) == "one\ntwo"


def test_a_word_of_100_kilobytes_says_how_much_of_it_is_missing():
    shown = printable("look: " + "x" * 100_000)
    assert len(shown) < 300
    assert shown.endswith("…(+3,794)… (+96,006 characters)")


@pytest.mark.parametrize(
    "sentence", ["営業時間は午前九時から午後六時までです。", "ร้านเปิดเก้าโมงเช้าถึงหกโมงเย็น"]
)
def test_a_script_without_spaces_is_not_clipped_like_one_long_word(sentence: str):
    assert printable(sentence * 20) == sentence * 20


def test_a_long_text_of_short_words_is_clipped_too():
    assert printable("ab " * 100, limit=10) == "ab ab ab a… (+290 characters)"


@given(st.text())
def test_nothing_that_is_shown_steers_a_terminal(text: str):
    for char in printable(text):
        assert char.isprintable()
        assert unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Zl", "Zp"}


@given(st.text(), st.integers(0, 30))
def test_text_is_cut_to_its_cells_from_either_end(text: str, width: int):
    text = printable(text)
    for cut in (head(text, width), tail(text, width)):
        assert cell_len(cut) <= width
    if cell_len(text) <= width:
        assert head(text, width) == tail(text, width) == text


def test_cutting_keeps_the_end_or_the_beginning():
    assert tail("where is my order", 9) == "…my order"
    assert head("where is my order", 9) == "where is…"
    assert tail("日本語", 4) == "…語"


def test_what_an_encoding_lacks_is_spelled_out():
    assert encodable("é→", "latin-1") == "é\\u2192"
    assert Ink("latin-1").own("→ ●") == "-> *"
    assert Ink("ascii").safe("é… ›") == "\\xe9... >"
    assert Ink("UTF-8").safe("é… ›") == "é… ›"
