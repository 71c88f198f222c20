from __future__ import annotations

import io
import json
import re
from textwrap import dedent
from typing import Any

import pytest

from pinecall_cli.errors import ServerUnreachableError
from pinecall_cli.protocol.frames import Received
from pinecall_cli.view.chatting import Lines, Ndjson
from pinecall_cli.view.output import Output
from tests.call.conversations import received

ERASE = "\r\x1b[K"
TOOL = {"id": "t1", "name": "lookup", "arguments": '{"order": 7}'}
HOSTILE = "\x1b]0;pwned\x07 \x9b31m [bold]loud[/bold] \u202egnp \u200b one\n  error: forged\r\nlast"
FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e]")


def tokens(text: str, *, id: str = "m1", so_far: str = "") -> list[Received]:
    """Return an answer word by word, as the server sends it."""
    frames = []
    for piece in re.findall(r"\S+\s*", text):
        so_far += piece
        frames.append(received("llm.chat.token", message_id=id, token=piece, text=so_far))
    return frames


def done(text: str, id: str = "m1") -> Received:
    return received("llm.chat.done", message_id=id, text=text)


def answer(text: str, id: str = "m1") -> list[Received]:
    return [*tokens(text, id=id), done(text, id)]


CALLED = received("llm.chat.tool_call", 1.0, tool_calls=[TOOL], msg_id="r1")
ANSWERED = received("llm.chat.tool_result", 1.09, tool_call_id="t1", result={"status": "shipped"})
STARTED = received("llm.chat.started", model="script")


class Screen:
    """A view and what it has printed; ``columns`` is None for a pipe."""

    def __init__(self, columns: int | None = None, **options: Any) -> None:
        self.columns = columns
        self.stream = io.BytesIO()
        width = None if columns is None else lambda: self.columns or 80
        options = {"typed": columns is not None} | options
        self.view = Lines(Output(self.stream), "front-desk", columns=width, **options)

    def turn(self, text: str, *frames: Received) -> Screen:
        self.view.wrote(text)
        for frame in frames:
            self.view.show(frame)
        return self

    @property
    def shown(self) -> str:
        return self.stream.getvalue().decode()


BOTH = pytest.mark.parametrize("columns", [None, 60], ids=["pipe", "terminal"])


# --- what is said -------------------------------------------------------------------------------


def test_a_pipe_gets_both_sides_of_the_conversation():
    text = "We open at nine,\nand close at six."
    assert Screen().turn("When do you open?", STARTED, *answer(text)).shown == dedent("""\
               you › When do you open?
        front-desk › We open at nine,
                     and close at six.
        """)


def test_a_terminal_gets_each_word_when_it_comes_and_not_what_was_typed_there():
    screen = Screen(40)
    screen.view.wrote("When do you open?")
    seen = []
    for frame in answer("We open at nine, and close at six."):
        screen.view.show(frame)
        seen.append(screen.shown)
    assert seen[1] == "front-desk › We open"
    assert screen.shown == dedent("""\
        front-desk › We open at nine, and close
                     at six.
        """)


@BOTH
def test_an_answer_that_comes_whole_is_shown_as_well(columns: int | None):
    assert Screen(columns).turn("Hi", done("Hello.")).shown.endswith("front-desk › Hello.\n")


@BOTH
def test_the_same_answer_twice_is_shown_twice(columns: int | None):
    screen = Screen(columns).turn("Hi", *answer("Hello.", "m1")).turn("Hi", *answer("Hello.", "m2"))
    assert screen.shown.count("front-desk › Hello.\n") == 2


@BOTH
@pytest.mark.parametrize("last", ["Hello there.", "Hello there.\n", "Hello", "", " Hello there."])
def test_an_end_that_is_trimmed_or_repeats_nothing_adds_nothing(columns: int | None, last: str):
    streamed = tokens("Hello there. ")
    assert "Hello there. Hello" not in Screen(columns).turn("Hi", *streamed, done(last)).shown
    if last != " Hello there.":
        shown = Screen(columns).turn("Hi", *streamed, done(last)).shown
        assert shown.count("Hello") == 1


@BOTH
def test_a_server_that_thinks_better_of_it_is_shown_doing_so(columns: int | None):
    shown = Screen(columns).turn("Hi", *tokens("Go away "), done("Welcome.")).shown
    assert shown.endswith("front-desk › Go away\nfront-desk › Welcome.\n")


@BOTH
def test_tokens_without_ids_or_totals_are_added_up(columns: int | None):
    pieces = [received("llm.chat.token", token=piece) for piece in ("Hel", "lo ", "there")]
    shown = Screen(columns).turn("Hi", *pieces, done("Hello there")).shown
    assert shown.endswith("front-desk › Hello there\n")
    assert shown.count("there") == 1


@BOTH
def test_what_is_said_before_a_tool_stands_before_it(columns: int | None):
    text = "Let me look. It has shipped."
    first = tokens("Let me look. ")
    rest = tokens("It has shipped.", so_far="Let me look. ")
    shown = Screen(columns).turn("Where?", *first, CALLED, ANSWERED, *rest, done(text)).shown
    assert shown.endswith(
        dedent("""\
        front-desk › Let me look.
          ⚡ lookup(order=7)
          ✓ lookup {"status": "shipped"} · 90 ms
        front-desk › It has shipped.
        """)
    )


@BOTH
def test_what_the_agent_says_beside_its_answer_is_a_line_of_its_own(columns: int | None):
    aside = received("chat.response", message_id="m9", text="One moment.")
    before, after = tokens("We open"), tokens("at nine.", so_far="We open ")
    shown = Screen(columns).turn("When?", *before, aside, *after, done("We open at nine.")).shown
    assert shown.endswith("front-desk › We open\nfront-desk › One moment.\nfront-desk › at nine.\n")


@BOTH
def test_two_messages_at_once_are_not_mixed_up(columns: int | None):
    one, two = tokens("one two", id="a"), tokens("eins zwei", id="b")
    mixed = [frame for pair in zip(one, two, strict=True) for frame in pair]
    shown = Screen(columns).turn("Hi", *mixed, done("one two", "a"), done("eins zwei", "b")).shown
    assert [line.partition(" › ")[2] for line in shown.splitlines() if "front" in line] == [
        *("one", "eins", "two", "zwei")
    ]


@BOTH
def test_a_turn_that_fails_says_why_and_the_next_goes_on(columns: int | None):
    failed = received("llm.chat.error", error="the model is gone")
    shown = Screen(columns).turn("Hi", *tokens("We"), failed).turn("Hi", *answer("Yes.")).shown
    assert "front-desk › We\n  ✗ the model is gone\n" in shown
    assert shown.endswith("front-desk › Yes.\n")


@BOTH
def test_an_answer_of_nothing_is_seen_to_be_one(columns: int | None):
    assert Screen(columns).turn("Hi", done("")).shown.endswith("front-desk › (says nothing)\n")


@BOTH
def test_a_long_result_is_laid_out_behind_its_tool(columns: int | None):
    result = {"found": True, "message": "It left our warehouse this morning and arrives tomorrow."}
    answered = received("llm.chat.tool_result", tool_call_id="t1", result=result)
    shown = Screen(columns).turn("Where?", CALLED, answered).shown
    lines = shown.partition("✓")[2].splitlines()[1:]
    assert lines
    assert all(line.startswith("    ") for line in lines)


@BOTH
def test_nothing_of_it_is_obeyed_and_the_first_column_is_ours(columns: int | None):
    hostile_tool = {"id": "t1", "name": HOSTILE, "arguments": HOSTILE}
    screen = Screen(columns, typed=False).turn(
        HOSTILE,
        received("llm.chat.tool_call", tool_calls=[hostile_tool]),
        received("llm.chat.tool_result", tool_call_id="t1", result=HOSTILE),
        *[received("llm.chat.token", token=char) for char in HOSTILE],
        done(HOSTILE),
        received("chat.response", text=HOSTILE),
        received("llm.chat.error", error=HOSTILE),
    )
    assert FORBIDDEN.search(screen.shown) is None
    assert "\n  error: forged" not in screen.shown
    assert "[bold]loud[/bold]" in screen.shown
    begins = {line.lstrip()[:1] for line in screen.shown.splitlines() if line[:4] != "    "}
    assert begins <= {"f", "⚡", "✓", "✗"}


def test_a_long_word_is_clipped_however_it_comes():
    letters = [received("llm.chat.token", token="W") for _ in range(1000)]
    shown = Screen(60).turn("Hi", *letters, done("W" * 1000)).shown
    assert "(+800)" in shown.replace("\n", "").replace(" ", "")


# --- the terminal -------------------------------------------------------------------------------


def test_a_slow_answer_is_seen_to_be_awaited_until_it_comes():
    screen = Screen(60)
    screen.view.wrote("Hi")
    screen.view.waiting()
    assert screen.shown == "front-desk › …"
    screen.view.show(tokens("Hello. ")[0])
    assert screen.shown == f"front-desk › …{ERASE}front-desk › Hello."
    screen.view.waiting()
    screen.view.show(done("Hello."))
    assert screen.shown.endswith("front-desk › Hello.\n")


def test_leaving_while_an_answer_is_awaited_leaves_an_empty_line():
    screen = Screen(60)
    screen.view.wrote("Hi")
    screen.view.waiting()
    screen.view.close()
    screen.view.close()
    assert screen.shown.endswith(ERASE)


def test_nothing_is_awaited_in_a_pipe():
    screen = Screen()
    screen.view.wrote("Hi")
    screen.view.waiting()
    assert "…" not in screen.shown


def test_leaving_in_the_middle_of_an_answer_ends_its_line():
    screen = Screen(60).turn("Hi", *tokens("We open at "))
    screen.view.close()
    assert screen.shown == "front-desk › We open at\n"


def test_another_width_counts_from_the_next_answer_on():
    screen = Screen(60).turn("Hi", *answer("one two three four five"))
    screen.columns = 30
    screen.turn("Hi", *answer("one two three four five", "m2"))
    assert screen.shown == dedent("""\
        front-desk › one two three four five
        front-desk › one two three
                     four five
        """)


def test_clearing_is_for_terminals():
    for columns, erased in ((60, True), (None, False)):
        screen = Screen(columns)
        screen.view.clear()
        assert ("\x1b[2J" in screen.shown) is erased


def test_the_prompt_tells_readline_where_its_colours_are():
    assert Screen(60).view.prompt == "       you › "
    coloured = Screen(60, colour=True).view.prompt
    assert re.fullmatch("(\001\x1b\\[[0-9;]*m\002|[^\x1b])+", coloured)
    assert re.sub("\001.*?\002", "", coloured) == "       you › "


def test_a_long_name_is_cut():
    view = Lines(Output(io.BytesIO()), "dev-somebody-front-desk", columns=lambda: 60)
    assert view.prompt == "             you › "


def test_without_unicode_everything_is_spelled_in_ascii():
    screen = Screen(encoding="ascii").turn("Où?", CALLED, ANSWERED, *answer("Voilà – ☎"))
    assert screen.stream.getvalue().isascii()
    assert "front-desk > Voil\\xe0 \\u2013 #" in screen.shown


def test_what_goes_wrong_beside_it_is_said_on_stderr(capsys: pytest.CaptureFixture[str]):
    screen = Screen(60).turn("Hi", *tokens("We "))
    screen.view.problem(ServerUnreachableError("gone\x1b[2J", fix="wait"))
    screen.view.notice("a new conversation\x07")
    assert screen.shown == "front-desk › We\n"
    assert capsys.readouterr().err == (
        "error: gone\\x1b[2J\n  fix: wait\na new conversation\\x07\n"
    )


# --- NDJSON -------------------------------------------------------------------------------------


def test_a_program_gets_every_frame_as_it_came_one_a_line(capsys: pytest.CaptureFixture[str]):
    stream = io.BytesIO()
    view = Ndjson(Output(stream), "front-desk")
    view.wrote("Where?")
    view.waiting()
    frames = [STARTED, CALLED, ANSWERED, *answer(HOSTILE)]
    for frame in frames:
        view.show(frame)
    view.problem(ServerUnreachableError("gone", fix="wait"))
    view.clear()
    view.notice("beside")
    view.close()
    raw = stream.getvalue().decode()
    assert re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]", raw) is None
    records = [json.loads(line) for line in raw.splitlines()]
    assert len(records) == len(frames) + 1
    assert records[0]["type"] == "llm.chat.started"
    assert {record["agent"] for record in records} == {"front-desk"}
    assert records[-2]["text"] == HOSTILE
    assert records[-1]["type"] == "error"
    assert records[-1]["error"]["code"] == "server_unreachable"
    assert capsys.readouterr().err == "beside\n"
