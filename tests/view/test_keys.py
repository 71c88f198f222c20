import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinecall_cli.view.keys import KeyDecoder, LineEditor


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"q", ["q"]),
        (b"ab", ["a", "b"]),
        (b"\x1b[A\x1bOB\x1b[C\x1b[D", ["up", "down", "right", "left"]),
        (b"\x1b", ["escape"]),
        (b"\r\n\x7f\x08", ["enter", "enter", "backspace", "backspace"]),
        (b"\x15\x17\x03\x04", ["ctrl-u", "ctrl-w", "ctrl-c", "ctrl-d"]),
        (b"\x1b[3~\x1b[1;5C\x00\x01", []),
        ("é日".encode(), ["é", "日"]),
        (b"\xff", ["\ufffd"]),
    ],
)
def test_keys_have_names(data: bytes, keys: list[str]):
    assert KeyDecoder().feed(data) == keys


def test_a_character_may_come_in_pieces():
    decoder = KeyDecoder()
    assert decoder.feed("é".encode()[:1]) == []
    assert decoder.feed("é".encode()[1:]) == ["é"]


@given(st.lists(st.binary()))
def test_no_bytes_upset_the_decoder(pieces: list[bytes]):
    decoder = KeyDecoder()
    for piece in pieces:
        for key in decoder.feed(piece):
            assert key


def typed(*keys: str) -> LineEditor:
    line = LineEditor()
    for key in keys:
        line = line.press(key)
    return line


def test_a_line_is_typed_mended_and_sent():
    assert typed(*"helo", "backspace", *"lo") == LineEditor(text="hello")
    assert typed(*"two words", "ctrl-w").text == "two "
    assert typed(*"away", "ctrl-u").text == ""
    assert typed(*"hi", "up", "enter") == LineEditor(text="hi", done="sent")


@pytest.mark.parametrize("keys", [["enter"], [" ", "enter"], ["a", "escape"], ["ctrl-d"]])
def test_a_line_is_closed_by_escape_or_by_sending_nothing(keys: list[str]):
    assert typed(*keys).done == "closed"
