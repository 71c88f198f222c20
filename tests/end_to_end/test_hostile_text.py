"""What callers, tools and servers say is shown, and never obeyed."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from pinecall_cli.audio.pcm import silence
from pinecall_cli.protocol import events
from pinecall_cli.protocol.frames import Received
from pinecall_cli.sdk.discover import running
from pinecall_cli.sdk.mic import MicCall
from pinecall_cli.sdk.rest import Rest
from tests.end_to_end.conftest import Open, Start
from tests.end_to_end.program import agent_file
from tests.end_to_end.stub_server import StubServer

HOSTILE = {
    "title": "\x1b]0;pwned\x07",
    "erase": "\x1b[2J\x1b[Hgone",
    "c1": "\x9b31mred\x9d0;x\x9c",
    "markup": "[bold red]loud[/bold red][/nope]",
    "link": "[link=https://evil.example]here[/link]",
    "overwrite": "safe\rrm -rf\x08\x08",
    "zero width": "a\u200bb\u2060c\ufeffd",
    "right to left": "\u202egnp.exe\u2066\u2069",
    "new line": "one\n  error: forged\n\u2028two",
}
LONG = "W" * 100_000
ALL = " ".join(HOSTILE.values())
FORBIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]"
)
"""Whatever could steer, hide or reorder: nothing of it may be left beside our own sequences."""
STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""What a terminal or a reader of lines may obey."""

TOOLS = f"""\
from pinecall_cli import tool

@tool
def read_mail() -> dict:
    "Read what a stranger has written."
    return {{"text": {ALL!r}, "long": {LONG!r}}}
"""
RULES = """\
- {on: mail, call: read_mail, say: Done.}
- {on: WWWW, say: That was long.}
- {on: ".", say: I see.}
"""


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    greeting = json.dumps(f"Welcome {ALL}")  # as YAML too: every character an escape
    return agent_file(
        tmp_path,
        f"{{name: desk, greeting: {greeting}, tools: [tools.py],"
        " local: {llm: script, script: desk.script.yaml}}",
        tools__py=TOOLS,
        desk__script__yaml=RULES,
    )


def inert(shown: str) -> None:
    """Check that nothing in ``shown`` steers, hides or reorders, and that it is all there."""
    found = FORBIDDEN.search(shown.replace("\r\n", "\n").replace("\r", ""))
    assert found is None, (
        f"{found[0]!r} in {shown[max(0, found.start() - 80) : found.end() + 40]!r}"
    )
    assert not re.search("^error: forged", shown, re.MULTILINE), "the first column is ours"
    assert "WWWWWWWWWW" in shown
    assert "W" * 1000 not in shown
    flat = "".join(shown.split())
    for visible in ("\\x1b]0;pwned", "[boldred]loud[/boldred][/nope]", "\\u202e", "\\u200b"):
        assert visible in flat


@pytest.mark.parametrize("twin", ["plain", "live"])
def test_what_a_caller_types_a_tool_returns_and_an_agent_says_is_inert(
    start: Start, open_terminal: Open, desk: Path, twin: str
) -> None:
    if twin == "plain":
        program = start("dev", desk, "--plain", "--events")
        shown: Callable[[str], str] = program.shows
        end: Callable[[], int] = program.stop
    else:
        terminal = open_terminal("dev", desk, size=(50, 120))
        shown = terminal.shows

        def end() -> int:
            terminal.type("q")
            return terminal.end()

    shown("speech engines ready")
    asyncio.run(asyncio.wait_for(talk("desk", "read my mail", ALL, LONG), 60))
    shown("That was long.")
    assert end() in (0, 143)
    inert(shown("That was long."))


async def talk(agent: str, *texts: str) -> None:
    """Call the agent and type to it, each text after the answer to the one before."""
    (server,) = await running()
    async with Rest(server.url, server.key) as rest:
        token = await rest.token("webrtc", agent)
    said = asyncio.Queue[str]()

    def hear(received: Received) -> None:
        match received.frame:
            case events.BotFinished() | events.BotInterrupted():
                said.put_nowait("")

    async def frames() -> AsyncIterator[bytes]:
        while True:
            yield silence(20, call.rate)
            await asyncio.sleep(0.02)

    async def type_all() -> None:
        await call.say_typed(texts[0])  # over the greeting, which is long: it is cut off
        await said.get()
        for text in texts[1:]:
            await said.get()
            await call.say_typed(text)
        await said.get()
        await call.hangup()

    async with await MicCall.dial(token.server, token.token, from_="+14155550100") as call:
        started = asyncio.Event()

        def hear_first(received: Received) -> None:
            hear(received)
            if isinstance(received.frame, events.BotSpeaking):
                started.set()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(call.hold(frames, play=lambda frame: None, hear=hear_first))
            await started.wait()
            await type_all()


@pytest.mark.parametrize("twin", ["plain", "live", "json"])
def test_what_a_server_says_is_inert(
    start: Start, open_terminal: Open, desk: Path, twin: str
) -> None:
    about = {"call_id": f"call{ALL}", "ts": 1_800_000_000.0}
    story: list[dict[str, object]] = [
        {"event": "error", "code": f"CODE{ALL}", "error": f"failed {ALL} {LONG}"},
        {"event": f"news{ALL}", "what": ALL, **about},
        {
            "event": "call.started",
            **{"from": ALL, "to": ALL, "direction": "inbound", "transport": ALL},
            **about,
        },
        {"event": "user.speaking", "text": ALL, "confidence": 1.0, "turn_id": 1, **about},
        {
            "event": "user.message",
            **{"message_id": f"m{ALL}", "text": f"{ALL} {LONG}", "confidence": 1.0, "turn_id": 1},
            **about,
        },
        {
            "event": "llm.tool_call",
            **{"msg_id": "t1", "tool_calls": [{"id": "c1", "name": ALL, "arguments": ALL}]},
            **about,
        },
        {"event": "bot.speaking", "message_id": f"b{ALL}", "text": ALL, **about},
        {"event": "bot.word", "message_id": f"b{ALL}", "word": LONG, "word_index": 0, **about},
        {"event": "bot.word", "message_id": f"b{ALL}", "word": ALL, "word_index": 1, **about},
        {"event": "llm.error", "error": ALL, **about},
        {"event": "call.ended", "reason": f"the end {ALL}", "duration_seconds": 1, **about},
    ]
    with ExitStack() as stack:
        server = stack.enter_context(StubServer(story))
        argv = ("dev", desk, "--server", server.url, "--api-key", "k")
        if twin == "live":
            terminal = open_terminal(*argv, size=(50, 120))
            terminal.shows("the end")
            terminal.type("q")
            assert terminal.end() == 0
            inert(terminal.text)
            return
        program = start(*argv, *(("--plain", "--events") if twin == "plain" else ("--json",)))
        program.shows("the end")
        assert program.stop() == 143
        shown = "".join([*program.out, *program.talk])
        if twin == "plain":
            inert(shown)
        else:  # a program reads this: every character is kept, and none of them steers a terminal
            assert STEERING.search(shown.replace("\n", "")) is None
            (ended,) = program.of("call.ended")
            assert ended["reason"] == f"the end {ALL}"
            assert ended["call_id"] == f"call{ALL}"


def test_what_stands_in_a_file_is_inert_in_errors(start: Start, tmp_path: Path) -> None:
    bad = agent_file(
        tmp_path, json.dumps({"name": "desk", f"{ALL}{LONG}": 1}), name="b\x1b[2Jad.yaml"
    )
    check = start("dev", bad)
    assert check.end() == 2
    assert FORBIDDEN.search("\n".join(check.talk)) is None
    assert "\\x1b[2J" in "".join(check.talk)
