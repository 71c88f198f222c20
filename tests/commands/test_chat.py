"""`pinecall chat` as it is run, against a server in this process."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from pinecall_cli.agent.define import Agent, tool
from pinecall_cli.sdk.rest import Rest
from pinecall_cli.settings import Secret
from tests.commands.office import PATIENCE_S, Done, desk, office, pinecall, started

FILE = """\
name: desk
voice: elevenlabs/sarah
phone_numbers: ["+13186330963"]
tools: [tools.py]
local:
  llm: script
  script:
    - {on: order, call: lookup, say: "It is {result.status}."}
    - {say: "You said: {text}"}
"""
TOOLS = """\
from pinecall_cli import tool

print("imported")

@tool
def lookup() -> dict:
    "Look up an order."
    print("looking")
    return {"status": "shipped"}
"""
TYPES = ["llm.chat.started", "llm.chat.token", "llm.chat.done"]


@tool
def lookup() -> dict[str, str]:
    """Look up an order."""
    return {"status": "shipped"}


@tool
async def stuck() -> dict[str, str]:
    """Take as long as it takes."""
    await asyncio.Event().wait()
    return {}


def hanging_up() -> Agent:
    """Return an agent that hangs up instead of running its tool."""
    agent = desk(tools=[stuck])
    agent.on("llm.tool_call", lambda event, call: call.hangup())
    return agent


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "tools.py").write_text(TOOLS, "utf-8")
    path = tmp_path / "desk.yaml"
    path.write_text(FILE, "utf-8")
    return path


def said(done: Done) -> list[str]:
    return [record["text"] for record in done.records if record["type"] == "llm.chat.done"]


def sessions(done: Done) -> list[str]:
    return list(dict.fromkeys(r["session_id"] for r in done.records if "session_id" in r))


# --- messages -----------------------------------------------------------------------------------


async def test_a_message_is_answered_and_the_conversation_alone_is_on_stdout():
    async with office(desk(tools=[lookup])) as server:
        done = await pinecall("chat", "desk", "-m", "hello", "-m", "tool lookup {}")
    assert done.code == 0
    assert done.out.splitlines() == [
        " you › hello",
        "desk › You said: hello",
        " you › tool lookup {}",
        "  ⚡ lookup()",
        *(line for line in done.out.splitlines() if line.startswith("  ✓ ")),
        'desk › {"status": "shipped"}',
    ]
    assert '✓ lookup {"status": "shipped"}' in done.out
    assert done.err == f"writing to desk on {server.url}\n"


async def test_with_json_every_frame_about_it_is_a_line():
    async with office(desk(tools=[lookup])):
        done = await pinecall("chat", "desk", "-m", "hi", "-m", "tool lookup {}", "--json", "-q")
    assert done.code == 0
    assert done.err == ""
    assert [one for one in done.types if one != "llm.chat.token"] == [
        *("llm.chat.started", "llm.chat.done"),
        *("llm.chat.tool_call", "llm.chat.tool_result", "llm.chat.done"),
    ]
    assert said(done) == ["You said: hi", '{"status": "shipped"}']
    assert len(sessions(done)) == 1
    for record in done.records:
        assert record["agent"] == "desk"
        assert record["ts"].endswith("Z")


async def test_a_slow_name_is_found_by_its_slug_and_messages_are_sent_as_they_are():
    async with office(desk("front-desk")):
        done = await pinecall("chat", "Front Desk", "-m", "/quit", "-m", " two\nlines", "--json")
    assert done.code == 0
    assert said(done) == ["You said: /quit", "You said: two\nlines"]


async def test_the_only_agent_need_not_be_named():
    async with office(desk()):
        done = await pinecall("chat", "-m", "hello")
    assert (done.code, "desk › You said: hello" in done.out) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        ((), 2, "several agents are running: `desk`, `sales`"),
        (("slaes",), 1, "did you mean `sales`?"),
        (("nobody",), 1, "connected: `desk`, `sales`"),
        (("desk", "-m", " "), 2, "`-m` has no text"),
        (("desk", "--server", "http://127.0.0.1:9", "--api-key", "k"), 3, "127.0.0.1:9"),
        (("nothing.yaml",), 2, "nothing.yaml"),
    ],
)
async def test_what_cannot_be_is_refused_with_its_exit_code(
    arguments: tuple[str, ...], code: int, told: str
):
    async with office(desk(), desk("sales")):
        done = await pinecall("chat", *arguments, "--json")
    assert done.code == code, done.err
    assert told in done.err
    assert "Traceback" not in done.err
    (record,) = done.records
    assert record["type"] == "error"
    assert set(record["error"]) >= {"code", "message", "hint"}


async def test_a_key_that_is_refused_is_exit_4():
    async with office(desk()) as server:
        done = await pinecall("chat", "desk", "--server", server.url, "--api-key", "pk_wrong")
    assert done.code == 4
    assert "pk_wrong" not in done.err + done.out


async def test_without_any_agent_the_error_says_how_to_get_one():
    done = await pinecall("chat")
    assert done.code == 1
    assert "pinecall dev FILE" in done.err


# --- turns that fail ----------------------------------------------------------------------------


async def test_a_turn_that_fails_is_exit_1_and_the_messages_after_it_are_sent():
    async with office(hanging_up()):
        done = await pinecall("chat", "desk", "-m", "tool stuck {}", "-m", "hello")
    assert done.code == 1
    assert "  ✗ the conversation has ended: hangup\n you › hello\n" in done.out
    assert done.out.endswith("desk › You said: hello\n")
    assert "desk has begun anew, and forgotten what was said before\n" in done.err
    assert "error: `desk` did not answer 1 of 2 messages: the conversation has ended" in done.err


async def test_with_json_a_failed_turn_is_its_frame_and_the_error_at_the_end():
    async with office(hanging_up()):
        done = await pinecall("chat", "desk", "-m", "tool stuck {}", "--json")
    assert done.code == 1
    assert done.types[-2:] == ["llm.chat.error", "error"]
    assert done.records[-1]["error"]["code"] == "turn_failed"


async def test_a_model_that_cannot_be_reached_is_exit_3():
    llm: dict[str, Any] = {
        "provider": "openai",
        "model": "m",
        "base_url": "http://127.0.0.1:9/v1",
        "api_key": "k",
    }
    async with office(Agent("desk", llm=llm)):
        done = await pinecall("chat", "desk", "-m", "hello")
    assert done.code == 3
    assert "the model `openai/m` cannot be reached" in done.err


# --- a file's agent -----------------------------------------------------------------------------


async def test_a_file_runs_its_agent_for_this_one_conversation(file: Path):
    done = await pinecall("chat", str(file), "-m", "where is my order?")
    assert done.code == 0
    assert done.out.endswith("desk › It is shipped.\n")
    assert "writing to desk on a local server for this conversation" in done.err
    assert "offline" not in done.err, "nobody will hear its voice"


async def test_what_its_tools_print_is_kept_out_of_the_json(file: Path):
    done = await pinecall("chat", str(file), "-m", "where is my order?", "--json")
    assert done.code == 0
    assert said(done) == ["It is shipped."]
    assert "looking\n" in done.err


async def test_a_file_whose_agent_runs_already_is_a_conflict_that_says_how_to_write_to_it(
    file: Path,
):
    async with office(desk()):
        done = await pinecall("chat", str(file), "-m", "hello")
        called = await pinecall("call", str(file), "--say", "hello")
    assert (done.code, called.code) == (6, 6)
    assert "fix: `pinecall chat desk` writes to the one that runs" in done.err
    assert "fix: `pinecall call desk` calls the one that runs" in called.err


async def test_on_a_server_that_is_named_a_files_agent_takes_no_number_from_anybody(file: Path):
    async with office(desk("other", "+13186330963")) as server:
        there = ("--server", server.url)
        done = await pinecall("chat", str(file), "-m", "hello", "--json", *there)
        assert said(done) == ["You said: hello"]
        async with Rest(server.url, Secret(server.key)) as rest:
            (left,) = await rest.agents()
        assert (left.slug, left.phones) == ("other", ("+13186330963",))


async def test_a_file_of_several_agents_is_wrong_usage(tmp_path: Path):
    several = tmp_path / "several.yaml"
    several.write_text("name: a\nllm: script\n---\nname: b\nllm: script\n", "utf-8")
    done = await pinecall("chat", str(several), "-m", "hello")
    assert done.code == 2
    assert "a, b" in done.err


async def test_a_files_agent_that_nobody_answers_for_is_refused_at_once(tmp_path: Path):
    mute = tmp_path / "mute.yaml"
    mute.write_text("name: mute\nprompt: You are kind.\n", "utf-8")
    done = await pinecall("chat", str(mute), "-m", "hello")
    assert done.code == 2
    assert "nobody would answer: without `llm`" in done.err
    assert "mute.yaml:1:1" in done.err
    assert "add `llm: " in done.err
    mute.write_text("name: mute\nprompt: You are kind.\nlocal: {llm: script}\n", "utf-8")
    assert said(await pinecall("chat", str(mute), "-m", "hello", "--json")) == ["You said: hello"]


# --- from a pipe --------------------------------------------------------------------------------


async def test_from_a_pipe_each_line_is_a_message():
    lines = b"one\r\n\n   \n two \n/unknown word\nc\xff\nlast"
    async with office(desk()):
        done = await pinecall("chat", "desk", "--json", stdin=lines)
    assert done.code == 0
    assert said(done) == [
        *("You said: one", "You said: two", "You said: /unknown word"),
        *("You said: c\ufffd", "You said: last"),
    ]


async def test_a_pipe_may_reset_and_quit():
    async with office(desk()):
        done = await pinecall("chat", "desk", "--json", stdin=b"one\n/reset\ntwo\n/quit\nthree\n")
    assert done.code == 0
    assert said(done) == ["You said: one", "You said: two"]
    assert len(sessions(done)) == 2
    assert done.types.count("llm.chat.started") == 2


async def test_a_pipe_without_a_message_is_no_error():
    async with office(desk()):
        done = await pinecall("chat", "desk")
    assert (done.code, done.out) == (0, "")


async def test_a_line_without_an_end_is_not_read_for_ever():
    async with office(desk()):
        done = await pinecall("chat", "desk", stdin=b"hello\n" + b"x" * 1_000_000)
    assert done.code == 2
    assert "longer than 256 KiB" in done.err
    assert done.out.endswith("desk › You said: hello\n")


async def test_the_key_may_come_before_the_messages():
    async with office(desk()) as server:
        there = ("--server", server.url, "--api-key", "-")
        lines = f"{server.key}\nhello\nagain\n".encode()
        done = await pinecall("chat", "desk", "--json", *there, stdin=lines)
    assert said(done) == ["You said: hello", "You said: again"]


async def test_a_server_that_goes_away_between_two_lines_is_exit_3_at_once():
    async with office(desk()) as server, asyncio.timeout(PATIENCE_S):
        process = await started("chat", "desk", "--json", stdin=asyncio.subprocess.PIPE)
        await answered(process, b"hello\n")
        await asyncio.to_thread(server.stop)
        assert process.stdout is not None
        rest = await process.stdout.read()  # its own standard input is still open
        assert await process.wait() == 3
    (error,) = map(json.loads, rest.decode().splitlines())
    assert error["error"]["code"] == "connection_lost"


async def test_a_server_that_goes_away_while_it_answers_is_exit_3():
    async with office(desk(tools=[stuck])) as server, asyncio.timeout(PATIENCE_S):
        process = await started("chat", "desk", "-m", "tool stuck {}", "--json")
        await until(process, "llm.chat.tool_call")
        await asyncio.to_thread(server.stop)
        assert await process.wait() == 3


async def answered(process: asyncio.subprocess.Process, line: bytes) -> dict[str, Any]:
    """Write a line to the program and return the end of its answer."""
    assert process.stdin is not None
    process.stdin.write(line)
    return await until(process, "llm.chat.done")


async def until(process: asyncio.subprocess.Process, type: str) -> dict[str, Any]:
    """Return the program's next record of a type."""
    assert process.stdout is not None
    while True:
        record: dict[str, Any] = json.loads(await process.stdout.readline())
        if record["type"] == type:
            return record


# --- how it ends --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
@pytest.mark.parametrize("when", ["between", "answering"])
async def test_a_signal_ends_it_and_the_conversation_with_it(
    sent: signal.Signals, code: int, when: str
):
    ended: asyncio.Queue[str] = asyncio.Queue()
    agent = desk(tools=[stuck])
    agent.on("call.ended", lambda call, reason: ended.put_nowait(call.id))
    async with office(agent), asyncio.timeout(PATIENCE_S):
        process = await started("chat", "desk", "--json", stdin=asyncio.subprocess.PIPE)
        record = await answered(process, b"hello\n")
        if when == "answering":
            assert process.stdin is not None
            process.stdin.write(b"tool stuck {}\n")
            await until(process, "llm.chat.tool_call")
        process.send_signal(sent)
        assert await process.wait() == code
        assert await ended.get() == record["session_id"]
        assert process.stderr is not None
        assert b"Traceback" not in await process.stderr.read()


async def test_a_reader_who_has_seen_enough_is_no_error():
    async with office(desk()), asyncio.timeout(PATIENCE_S):
        process = await started("chat", "desk", stdin=asyncio.subprocess.PIPE)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"hello\n")
        await process.stdout.readline()
        transport: Any = process.stdout._transport  # type: ignore[attr-defined]
        transport.close()
        # Nothing more is written to it: that nobody reads has to be noticed.
        assert await process.wait() == 0
        assert process.stderr is not None
        assert b"error" not in await process.stderr.read()
