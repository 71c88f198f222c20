"""The picture in README: a short call as the live view shows it, drawn by the live view's code.

``python -m pinecall_cli.view.picture .github/live-view.svg``
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.text import Text

from pinecall_cli.call.records import AgentEntry, DevReady, DevReloaded, Record
from pinecall_cli.call.session import SessionState, advance
from pinecall_cli.protocol import events
from pinecall_cli.protocol.frames import Event
from pinecall_cli.view.conversation import entry_rows
from pinecall_cli.view.ink import Ink
from pinecall_cli.view.region import Ui, render

WIDTH = 96
CALL, AGENT = "2f8c41d6", "front-desk"


def picture(path: Path) -> None:
    """Write the picture to ``path`` as SVG; the same one every time."""
    console = Console(
        file=io.StringIO(),
        record=True,
        width=WIDTH,
        force_terminal=True,
        color_system="standard",
        legacy_windows=False,
    )
    session = SessionState()
    for happened in story():
        session = advance(session, happened)
    ink = Ink.of(console)
    console.print(Text("$ pinecall dev agents/front_desk.yaml", "bold"))
    for entry in session.feed:
        for row in entry_rows(entry, session, ink):
            console.print(row, highlight=False)
    console.print(render(session, Ui(microphone=-22.0)), highlight=False)
    svg = console.export_svg(title="pinecall dev", unique_id="pinecall")
    # A picture in a page loads no fonts from elsewhere; and some viewers trim a span's spaces.
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    path.write_text(svg.replace("<svg ", '<svg xml:space="preserve" ', 1), encoding="utf-8")


def story() -> Iterator[Event | Record]:
    """Yield what happens in the picture: a question, a tool, a reload, an interruption."""
    yield DevReady(
        at=0.0,
        agents=(AgentEntry(agent=AGENT, file="agents/front_desk.yaml", phones=()),),
        server="http://127.0.0.1:52110",
        local=True,
    )
    yield events.CallStarted(
        call_id=CALL, agent_id=AGENT, ts=1.0, from_="webrtc", to="webrtc", transport="webrtc"
    )
    yield from _reply("m1", "Hi, Acme front desk. How can I help?", 2.0)
    yield from _asked("u1", "Are you open on Sunday?", 1, 6.0)
    tool = events.ToolCall(id="t1", name="opening_hours", arguments='{"day": "Sunday"}')
    yield events.LlmToolCall(call_id=CALL, ts=6.5, msg_id="r1", tool_calls=(tool,))
    said = "We are closed on Sunday."
    result = {"open": False, "message": said}
    yield events.LlmToolResult(call_id=CALL, ts=6.501, tool_call_id="t1", result=result)
    yield _latency("m2", 1, tools=5, llm_ttft=2, e2e=431)
    yield from _reply("m2", said, 7.0)
    yield DevReloaded(
        at=12.0,
        agent=AGENT,
        files=("prompts/front_desk.md",),
        changed=("prompt",),
        calls=(CALL,),
        applied_ms=61,
        prompt_diff="−friendly. +cheerful.",
    )
    yield from _asked("u2", "Tell me about the company.", 2, 14.0)
    yield _latency("m3", 2, tools=0, llm_ttft=2, e2e=418)
    whole = "Gladly. Acme began with a single lamp, built on a"
    yield from _words("m3", whole, 15.0, heard=8)
    yield events.BotInterrupted(
        call_id=CALL, ts=17.6, message_id="m3", words_spoken=8, reason="user_spoke"
    )
    yield events.UserSpeaking(call_id=CALL, ts=18.0, text="Wait, where is order")


def _asked(id: str, text: str, turn: int, at: float) -> Iterator[Event]:
    yield events.UserMessage(call_id=CALL, ts=at, message_id=id, text=text, turn_id=turn)
    yield events.TurnEnd(call_id=CALL, ts=at + 0.1, turn_id=turn)


def _latency(id: str, turn: int, *, tools: int, llm_ttft: int, e2e: int) -> Event:
    rest = e2e - tools - llm_ttft - 288
    return events.TurnLatency(
        call_id=CALL,
        turn_id=turn,
        message_id=id,
        vad=192,
        asr=48,
        eou=48,
        tools=tools,
        llm_ttft=llm_ttft,
        tts_ttfb=rest,
        playout=0,
        other=0,
        e2e=e2e,
    )


def _words(id: str, text: str, at: float, *, heard: int | None = None) -> Iterator[Event]:
    yield events.BotSpeaking(call_id=CALL, ts=at, message_id=id, text=text)
    for index, word in enumerate(text.split()[:heard]):
        yield events.BotWord(
            call_id=CALL, ts=at + 0.3 * index, message_id=id, word=word, word_index=index
        )


def _reply(id: str, text: str, at: float) -> Iterator[Event]:
    yield from _words(id, text, at)
    yield events.BotFinished(call_id=CALL, ts=at + 3.0, message_id=id)


if __name__ == "__main__":
    picture(Path(sys.argv[1]))
