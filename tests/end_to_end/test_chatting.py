"""`pinecall chat` on a terminal: typed, edited, interrupted, with servers that come and go."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import struct
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.end_to_end.conftest import Open, Start
from tests.end_to_end.program import COMMAND, Record, agent_file, opened
from tests.end_to_end.terminal import Terminal
from tests.end_to_end.test_hostile_text import ALL, FORBIDDEN, LONG, TOOLS

CTRL_C, CTRL_D, CTRL_U, UP = "\x03", "\x04", "\x15", "\x1b[A"
PASTE_ON, PASTE_OFF = b"\x1b[?2004h", b"\x1b[?2004l"
WITHIN_S = 6.0
"""The contract says 2, on a machine that does not run other tests; what hangs here does for 60."""
RULES = """\
- {on: mail, call: read_mail, say: "It says: {result.text}"}
- {on: slow, first_token_ms: 300, tokens_per_s: 20, say: One two three four five six seven.}
- {on: stuck, call: stuck, say: done}
- {on: order, call: lookup, say: "It is {result.status}."}
- say: "You said: {text}"
"""
MORE_TOOLS = """
@tool
def lookup(order_id: str = "7") -> dict:
    "Look up an order."
    return {"status": "shipped"}

@tool
async def stuck() -> dict:
    "Take as long as it takes."
    import asyncio
    open("begun", "w").close()
    await asyncio.Event().wait()
    return {}
"""


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    return agent_file(
        tmp_path,
        "{name: desk, llm: openai/gpt-5, tools: [tools.py],"
        " local: {llm: script, script: desk.script.yaml}}",
        tools__py=TOOLS + MORE_TOOLS,
        desk__script__yaml=RULES,
    )


@pytest.fixture
def chat(open_terminal: Open, desk: Path) -> Terminal:
    """Return a terminal that waits for the first line."""
    return at_the_prompt(open_terminal("chat", desk))


def at_the_prompt(terminal: Terminal, times: int = 1) -> Terminal:
    terminal.shows_times(" you › ", times)
    return terminal


def ask(terminal: Terminal, text: str, answer: str) -> None:
    """Type a line, and wait for its answer and the prompt behind it."""
    prompts = terminal.text.count(" you › ")
    terminal.type(f"{text}\r")
    terminal.shows(answer)
    at_the_prompt(terminal, prompts + 1)


def left_tidy(terminal: Terminal, code: int) -> None:
    """Check that the program ends in time, with this code, and leaves the terminal as it was."""
    assert terminal.end(within=WITHIN_S) == code, terminal.text
    assert terminal.after == terminal.before
    assert terminal.drawn.rfind(PASTE_OFF) >= terminal.drawn.rfind(PASTE_ON)
    assert terminal.text.rstrip("\r").endswith("\n"), "the shell's prompt begins a line"
    assert "Traceback" not in terminal.text


# --- typing -------------------------------------------------------------------------------------


def test_a_conversation_with_tools_reads_like_one(chat: Terminal) -> None:
    ask(chat, "where is my order?", "desk › It is shipped.")
    ask(chat, "thanks", "desk › You said: thanks")
    chat.type(CTRL_D)
    left_tidy(chat, 0)
    lines = [line.rstrip() for line in chat.text.replace("\r", "").splitlines()]
    assert lines[0] == "writing to desk on a local server for this conversation; /help for more"
    assert re.fullmatch(r'  ✓ lookup \{"status": "shipped"\} · \d+ ms', lines[3])
    assert [*lines[1:3], *lines[4:]] == [
        " you › where is my order?",
        "  ⚡ lookup()",
        "desk › It is shipped.",
        " you › thanks",
        "desk › You said: thanks",
        " you ›",
    ]


def test_lines_can_be_edited_and_earlier_ones_are_behind_the_up_arrow(chat: Terminal) -> None:
    ask(chat, f"nonsense{CTRL_U}hello", "You said: hello\r\n")
    ask(chat, f"{UP} again", "You said: hello again\r\n")
    assert not (Path(os.environ["HOME"]) / ".python_history").exists()
    assert [name for name in os.listdir(os.environ["HOME"]) if "history" in name] == []


def test_what_is_pasted_together_is_one_message(chat: Terminal) -> None:
    ask(chat, "\x1b[200~one\ntwo\x1b[201~", "You said: one\r\n")
    chat.shows("\n       two")
    assert chat.text.count("You said") == 1


def test_what_is_typed_while_the_agent_answers_waits_for_the_next_prompt(chat: Terminal) -> None:
    chat.type("be slow\r")
    chat.shows("One two")
    chat.type("typed ahead")
    chat.shows("six seven.\r\n")
    chat.shows("you › typed ahead")
    assert "typed" not in chat.text.partition("One two")[2].partition("seven.")[0]
    chat.type("\r")
    chat.shows("You said: typed ahead")


def test_the_commands_do_what_help_says(chat: Terminal) -> None:
    ask(chat, "/help", "/reset   begin a new conversation")
    ask(chat, "/rest", "no command `/rest`: there are /reset, /clear, /quit, /help")
    ask(chat, " /rest", "You said: /rest")
    ask(chat, "/etc/hosts is a file", "You said: /etc/hosts is a file")
    assert b"\x1b[2J" not in chat.drawn
    ask(chat, "/cl\t", "/clear")
    assert b"\x1b[2J" in chat.drawn
    chat.type("/quit\r")
    left_tidy(chat, 0)


def test_a_reset_leaves_the_model_with_no_history(
    start: Start, open_terminal: Open, tmp_path: Path
) -> None:
    stub = start(command=(sys.executable, Path(__file__).with_name("stub_model.py")))
    port = stub.wait("listening")["port"]
    shop = agent_file(
        tmp_path / "files",
        "{name: shop, prompt: I am the tea shop., raw_prompt: true,"
        " local: {llm: openai/stub-model}}",
    )
    model = {"OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1", "OPENAI_API_KEY": "sk-of-the-stub"}
    chat = at_the_prompt(open_terminal("chat", shop, env=model))

    def asked(text: str) -> Record:
        return stub.wait("asked", where=lambda r: r["messages"][-1]["content"] == text)

    def history(text: str) -> list[str]:
        return [m["content"] for m in asked(text)["messages"] if m["role"] == "user"]

    prompts = 1
    for line in ("first", "second", "/reset", "third"):
        chat.type(f"{line}\r")
        prompts += 1
        at_the_prompt(chat, prompts)
    assert history("second") == ["first", "second"]
    assert history("third") == ["third"]
    assert "a new conversation with shop" in chat.text
    chat.type(CTRL_D)
    left_tidy(chat, 0)


def test_answers_are_as_wide_as_the_terminal_is_when_they_come(
    open_terminal: Open, desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)  # it would go before the terminal's own width
    chat = at_the_prompt(open_terminal("chat", desk, size=(24, 40)))
    ask(chat, "one two three four five six seven", "       five six seven\r\n")
    fcntl.ioctl(chat.master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 30, 0, 0))
    ask(chat, "eight nine ten", "       ten\r\n")
    answers = [line.rstrip() for line in chat.text.splitlines() if line[:7] in ("desk › ", " " * 7)]
    assert answers == [
        *("desk › You said: one two three four", "       five six seven"),
        *("desk › You said: eight nine", "       ten"),
    ]


@pytest.mark.parametrize("way", ["--plain", "dumb"])
def test_without_drawing_lines_are_read_as_the_terminal_gives_them(
    open_terminal: Open, desk: Path, way: str
) -> None:
    words = ("chat", desk, "--plain") if way == "--plain" else ("chat", desk)
    env = {"TERM": "dumb"} if way == "dumb" else {}
    chat = at_the_prompt(open_terminal(*words, env=env))
    assert chat.modes() == chat.before
    ask(chat, "hello", "desk › You said: hello\r\n")
    assert b"\x1b" not in chat.drawn
    chat.type(CTRL_D)
    left_tidy(chat, 0)


def test_with_json_what_is_typed_is_answered_in_json(open_terminal: Open, desk: Path) -> None:
    chat = open_terminal("chat", desk, "--json", "-q")
    chat.type("hello\r")
    chat.shows('"llm.chat.done"')
    chat.type(CTRL_D)
    left_tidy(chat, 0)
    records = [json.loads(line) for line in chat.text.splitlines() if line.startswith("{")]
    assert records[-1]["text"] == "You said: hello"


# --- leaving ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("leave", "code"),
    [
        (lambda chat: chat.type(CTRL_C), 130),
        (lambda chat: chat.type("half a sen" + CTRL_C), 130),
        (lambda chat: chat.signal(signal.SIGTERM), 143),
        (lambda chat: chat.signal(signal.SIGHUP), 129),
        (lambda chat: chat.type(CTRL_D), 0),
        (lambda chat: chat.type("/q\r"), 0),
    ],
    ids=["ctrl-c", "typing", "sigterm", "sighup", "ctrl-d", "quit"],
)
def test_the_terminal_is_left_as_it_was(
    chat: Terminal, leave: Callable[[Terminal], None], code: int
) -> None:
    ask(chat, "hello", "You said: hello")
    assert chat.raw
    leave(chat)
    left_tidy(chat, code)


@pytest.mark.parametrize("message", ["be slow", "get stuck"])
def test_ctrl_c_while_the_agent_answers(chat: Terminal, desk: Path, message: str) -> None:
    os.mkfifo(desk.parent / "begun")
    chat.type(f"{message}\r")
    if message == "be slow":
        chat.shows("One two")
    else:
        opened(desk.parent / "begun")
    chat.type(CTRL_C)
    left_tidy(chat, 130)


def test_one_shots_can_be_interrupted_too(open_terminal: Open, desk: Path) -> None:
    os.mkfifo(desk.parent / "begun")
    chat = open_terminal("chat", desk, "-m", "get stuck")
    opened(desk.parent / "begun")
    chat.type(CTRL_C)
    assert chat.end(within=WITHIN_S) == 130
    assert chat.after == chat.before


def test_ctrl_z_gives_the_terminal_back_and_what_was_typed_is_there_again(chat: Terminal) -> None:
    chat.type("half a sen")
    chat.shows("half a sen")
    os.kill(chat.process.pid, signal.SIGTSTP)
    _, status = os.waitpid(chat.process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    assert chat.modes() == chat.before
    chat.signal(signal.SIGCONT)
    chat.shows_times("half a sen", 2)
    assert chat.raw
    ask(chat, "tence", "You said: half a sentence")
    chat.type(CTRL_D)
    left_tidy(chat, 0)


# --- the other side -----------------------------------------------------------------------------


def test_what_agent_and_tools_say_is_inert(chat: Terminal) -> None:
    ask(chat, "read my mail", "two\r\n")
    chat.type(CTRL_D)
    left_tidy(chat, 0)
    shown = chat.text.replace("\r\n", "\n").replace("\r", "")
    assert FORBIDDEN.search(shown) is None
    assert not re.search("^error: forged", shown, re.MULTILINE), "the first column is ours"
    assert LONG[:1000] not in "".join(shown.split())
    flat = "".join(shown.split())
    for visible in (
        *("\\u001b]0;pwned", "[bold red]loud[/bold red][/nope]"),  # by the tool, in JSON
        *("\\x1b]0;pwned", "\\u202e", "\\u200b"),  # by the agent
    ):
        assert "".join(visible.split()) in flat
    assert ALL not in shown


SAYING = """\
import asyncio
from pinecall_cli import Agent

desk = Agent("desk", llm="openai/gpt-5", local={"llm": "script", "script": [{"say": "Sure."}]})

@desk.on("chat.response")
async def later(event, call):
    while not __import__("os").path.exists("now"):
        await asyncio.sleep(0.02)
    call.say("By the way: we close at six.")
"""


@pytest.mark.parametrize("typed", ["", "half a sen"])
def test_what_the_agent_says_unasked_stands_above_the_line_or_comes_after_it(
    open_terminal: Open, tmp_path: Path, typed: str
) -> None:
    file = tmp_path / "desk.py"
    file.write_text(SAYING, "utf-8")
    chat = at_the_prompt(open_terminal("chat", file))
    ask(chat, "hello", "desk › Sure.")
    chat.type(typed)
    chat.shows(f"you › {typed}")
    (tmp_path / "now").touch()
    if typed:
        chat.type("tence\r")
    chat.shows("desk › By the way: we close at six.\r\n")
    at_the_prompt(chat, 3)
    chat.type(CTRL_D)
    left_tidy(chat, 0)


def test_a_dev_that_is_stopped_and_started_again_is_found_again(
    start: Start, open_terminal: Open, desk: Path
) -> None:
    dev = start("dev", desk, "--json")
    dev.wait("dev.ready")
    chat = at_the_prompt(open_terminal("chat"))
    ask(chat, "hello", "You said: hello\r\n")
    assert dev.wait("chat.message")["text"] == "hello"

    dev.stop()
    chat.shows("the connection was lost: server_shutdown; your next message looks for desk again")
    ask(chat, "anybody?", "no agent `desk`: no local server is running")

    dev = start("dev", desk, "--json")
    dev.wait("dev.ready")
    ask(chat, "still there?", "You said: still there?\r\n")
    assert "a new conversation with desk on http://127.0.0.1:" in chat.text

    dev.kill()
    chat.shows_times("your next message looks for desk again", 2)
    chat.type(CTRL_D)
    left_tidy(chat, 0)


def test_a_dev_that_dies_while_it_answers_is_said_and_the_chat_goes_on(
    start: Start, open_terminal: Open, desk: Path
) -> None:
    os.mkfifo(desk.parent / "begun")
    dev = start("dev", desk, "--json")
    dev.wait("dev.ready")
    chat = at_the_prompt(open_terminal("chat", "desk"))
    chat.type("get stuck\r")
    opened(desk.parent / "begun")
    dev.kill()
    chat.shows("error: the connection was lost")
    at_the_prompt(chat, 2)
    assert chat.raw
    chat.type("/quit\r")
    left_tidy(chat, 0)


def test_piped_messages_to_a_terminal_are_shown_with_their_answers(
    open_terminal: Open, desk: Path, tmp_path: Path
) -> None:
    lines = tmp_path / "lines.txt"
    lines.write_text("where is my order?\nthanks\n", "utf-8")
    shell = f'exec "$0" chat "{desk}" < "{lines}"'
    chat = open_terminal("-c", shell, COMMAND, command="/bin/sh")
    assert chat.end() == 0
    assert " you › where is my order?\r\n" in chat.text
    assert "desk › It is shipped.\r\n you › thanks\r\ndesk › You said: thanks\r\n" in chat.text
