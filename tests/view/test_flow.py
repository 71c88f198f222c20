from __future__ import annotations

from itertools import pairwise
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from pinecall_cli.view.flow import Flow
from pinecall_cli.view.text import printable

STORY = "Acme began with a single lamp, built on a kitchen table.\n\nThe neighbours wanted one."


def flowed(*pieces: str, width: int = 30, indent: int = 6) -> str:
    flow = Flow(width, indent, printable)
    return "agent " + "".join(flow.feed(piece) for piece in pieces) + flow.end()


def test_words_stay_whole_and_lines_begin_behind_the_indent():
    assert flowed(STORY) == dedent("""\
        agent Acme began with a single
              lamp, built on a kitchen
              table.

              The neighbours wanted
              one.""")


def test_a_word_is_written_when_it_is_whole():
    flow = Flow(30, 6, printable)
    assert [flow.feed(piece) for piece in ("Ac", "me ", "be", "gan\n", "w")] == [
        "",
        "Acme",
        "",
        " began",
        "",
    ]
    assert flow.end() == "\n      w"


@pytest.mark.parametrize("text", ["x" * 100, "y" * 24 + "z"])
def test_a_word_longer_than_a_line_is_cut(text: str):
    lines = flowed(text).split("\n")
    assert "".join(line.strip() for line in lines).removeprefix("agent ") == text
    assert {len(line) for line in lines[:-1]} == {30}


def test_a_script_without_spaces_comes_as_it_is_written():
    flow = Flow(12, 2, printable)
    assert flow.feed("営業時間は") == "営業時間は"
    assert flow.feed("九時から") == "\n  九時から"


def test_spaces_that_are_kept_are_those_within_a_line():
    assert flowed("  a  =  1", width=40) == "agent   a  =  1"
    assert flowed("a\n    indented", width=40) == "agent a\n          indented"
    assert flowed("a\r\nb\tc\u00a0d", width=40) == "agent a\n      b c d"


def test_many_empty_lines_are_one():
    assert flowed("a" + "\n" * 500 + "b") == "agent a\n\n      b"


def test_ends_of_lines_are_not_spaces():
    assert flowed("a  \n", " b  \n \n") == "agent a\n       b"


TEXTS = st.text(st.sampled_from("ab \n\t\r\u0301営\x1b\u202e\U0001f600-"), max_size=80)


@given(TEXTS, st.lists(st.integers(0, 80), max_size=6), st.integers(10, 40), st.integers(0, 12))
def test_however_the_text_is_cut_the_same_is_shown(
    text: str, cuts: list[int], width: int, indent: int
):
    edges = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]
    pieces = [text[start:end] for start, end in pairwise(edges)]
    shown = flowed(*pieces, width=width, indent=indent)
    assert shown == flowed(text, width=width, indent=indent)
    first, *others = shown.removeprefix("agent ").split("\n")
    assert indent + cell_len(first) <= max(width, indent + 8)
    for line in others:
        assert cell_len(line) <= max(width, indent + 8)
        assert not line or line.startswith(" " * indent)
    assert all(char.isprintable() or char == "\n" for char in shown)
