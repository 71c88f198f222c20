"""The transcript's words: each entry of the feed as rows, the same for the eye and for a pipe."""

from __future__ import annotations

import json
from typing import Any

from rich.cells import cell_len
from rich.text import Text

from pinecall_cli.call.session import Entry, SessionState
from pinecall_cli.call.state import (
    CallState,
    Closed,
    Notice,
    Opened,
    Said,
    ToolAnswered,
    ToolCalled,
    TurnLatency,
)
from pinecall_cli.protocol.frames import Received
from pinecall_cli.view.ink import Ink
from pinecall_cli.view.receipts import record_rows
from pinecall_cli.view.rows import Row
from pinecall_cli.view.text import head, short_id

LONGEST_NAME = 24
"""Cells of the name before what is said: a phone line's, `line:` and its number, fits."""
ONE_LINE = 72
"""A tool's result of at most so many characters stands on one line; a longer one is laid out."""
RESULT_LINES = 12
EVENT_CHARS = 110
"""Characters of a frame's fields that ``--events`` shows."""

CUTS = {"user_spoke": "caller cut in", "continuation": "caller went on", "cancelled": "stopped"}
GLYPHS = {"info": ("·", "dim"), "warning": ("!", "yellow"), "error": ("✗", "red")}
CALLER, AGENT = "cyan", "magenta"


def entry_rows(entry: Entry, session: SessionState, ink: Ink, *, latency: bool = True) -> list[Row]:
    """Return the rows of one entry of the feed; of some there is nothing to show."""
    call = session.call(entry.call_id) if entry.call_id is not None else None
    if call is None:
        call = CallState(call_id=entry.call_id or "")
    crowded = any(other.call_id != call.call_id for other in session.live)
    tag = f"[{short_id(call.call_id)}] " if crowded and entry.call_id else ""
    rows = _rows(entry, call, session, ink, latency=latency)
    if not tag:
        return rows
    return [Row(Text(ink.safe(tag), "dim") + row.lead, row.body) for row in rows]


def _rows(
    entry: Entry, call: CallState, session: SessionState, ink: Ink, *, latency: bool
) -> list[Row]:
    match entry.what:
        case Opened() as opened:
            return [Row(ink.text(("☎ ", "bold")), _opened(opened, ink))]
        case Said() as said:
            return [_said(said, call, ink)]
        case ToolCalled(name=name, arguments=arguments):
            called = ink.text((ink.safe(name), "bold"))
            called.append(f"({_arguments(arguments, ink)})")
            return [Row(ink.text(("  ⚡ ", "yellow")), called)]
        case ToolAnswered() as answered:
            return [_answered(answered, ink)]
        case TurnLatency() as turn:
            return [Row(ink.text(("  ↳ ", "dim")), _latency(turn, ink))] if latency else []
        case Notice(text=text, level=level):
            glyph, style = GLYPHS[level]
            return [Row(ink.text((f"  {glyph} ", style)), Text(ink.safe(text), style))]
        case Closed() as closed:
            return [Row(ink.text(("☎ ", "bold")), _closed(closed, call, ink))]
        case record:
            return record_rows(record, session, ink)


def event_row(received: Received, ink: Ink) -> Row:
    """Return the row that ``--events`` prints of a frame: its name and what it says."""
    name, said = event_words(received, ink)
    return Row(Text(f"  {name} ", "dim"), Text(said, "dim"))


def event_words(received: Received, ink: Ink) -> tuple[str, str]:
    """Return a frame's name and what it says, both harmless."""
    fields = received.fields()
    name = str(fields.pop("event", "?"))
    for stamp in ("agent_id", "call_id", "session_id", "seq", "ts"):
        fields.pop(stamp, None)
    return ink.safe(name), ink.safe(_compact(fields), limit=EVENT_CHARS)


def label(who: str, call: CallState, ink: Ink) -> Text:
    """Return the lead of what a side says: ``caller › `` or the agent's name."""
    agent = head(ink.safe(call.agent or "agent"), LONGEST_NAME)
    width = max(len("caller"), cell_len(agent))
    name, style = ("caller", CALLER) if who == "caller" else (agent, AGENT)
    return ink.text((" " * (width - cell_len(name)) + name, style), (" › ", "dim"))


def seconds(value: float) -> str:
    """Return a duration for people: ``13.2 s`` or ``2:05``."""
    if value < 60:
        return f"{value:.1f} s"
    minutes, left = divmod(int(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def _opened(opened: Opened, ink: Ink) -> Text:
    if opened.transport == "chat":
        return ink.text(("chat", "bold"))
    way = "outgoing" if opened.direction == "outbound" else "incoming"
    rings = " rings" if opened.ringing else ""
    peer = ink.safe(opened.peer or "?")
    line = ink.text((f"{way} call{rings}", "bold"), (f" — {peer}", ""))
    if opened.transport and opened.transport != opened.peer:
        line.append(ink.own(f" · {ink.safe(opened.transport)}"), "dim")
    return line


def _closed(closed: Closed, call: CallState, ink: Ink) -> Text:
    kind = "chat" if call.is_text else "call"
    line = ink.text((f"{kind} ended", "bold"), (f" — {ink.safe(closed.reason)}", ""))
    if closed.duration_s is not None:
        line.append(f" ({seconds(closed.duration_s)})", "dim")
    return line


def _said(said: Said, call: CallState, ink: Ink) -> Row:
    body = Text(ink.safe(said.text, lines=True))
    if said.cut:
        mark = CUTS.get(said.cut, ink.safe(said.cut))
        heard = "" if said.text else "nothing heard"
        body.append(heard, "dim")
        body.append(ink.own(f" ⏏ {mark}"), "bold yellow")
        if said.rest:
            body.append(ink.own(" · unsaid: ") + ink.safe(said.rest, limit=ONE_LINE), "dim")
    return Row(label(said.who, call, ink), body)


def _arguments(arguments: str, ink: Ink) -> str:
    """Return a tool's arguments as ``name=value, …``, or as sent where they are no object."""
    try:
        given = json.loads(arguments)
    except (ValueError, RecursionError):
        return ink.safe(arguments, limit=4 * ONE_LINE)
    if not isinstance(given, dict):
        return ink.safe(arguments, limit=4 * ONE_LINE)
    told = ", ".join(f"{key}={_compact(value)}" for key, value in given.items())
    return ink.safe(told, limit=4 * ONE_LINE)


def _answered(answered: ToolAnswered, ink: Ink) -> Row:
    glyph, style = ("✗", "red") if answered.failed else ("✓", "green")
    text = _compact(answered.result)
    if len(text) > ONE_LINE:
        text = _laid_out(answered.result, text)
    body = Text.assemble((ink.safe(answered.name), "bold"), " ", ink.safe(text, lines=True))
    if answered.ms is not None:
        body.append(ink.own(f" · {answered.ms} ms"), "dim")
    return Row(ink.text((f"  {glyph} ", style)), body)


def _compact(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except (ValueError, RecursionError):
        return "(nested too deep to show)"


def _laid_out(value: Any, text: str) -> str:
    """Return a long result over several lines, and how many there are beyond the first 12."""
    if isinstance(value, (dict, list)):
        text = json.dumps(value, ensure_ascii=False, default=str, indent=2)
    lines = text.split("\n")
    more = len(lines) - RESULT_LINES
    if more <= 1:
        return text
    return "\n".join([*lines[:RESULT_LINES], f"… (+{more} lines)"])


def _latency(turn: TurnLatency, ink: Ink) -> Text:
    """Return where a turn's time went: each step in ms after the one before, then the whole."""
    audio = None
    if turn.tts_ttfb is not None or turn.playout is not None:
        audio = (turn.tts_ttfb or 0) + (turn.playout or 0)
    steps = [
        ("heard", turn.vad),
        ("text", turn.asr),
        ("decided", turn.eou),
        ("tools", turn.tools or None),
        ("first word", turn.llm_ttft),
        ("first audio", audio),
    ]
    known = [(name, ms) for name, ms in steps if ms is not None]
    told = [f"{name} {'+' if count else ''}{ms}" for count, (name, ms) in enumerate(known)]
    line = Text(ink.own(" → ").join(told), "dim")
    if turn.other:
        line.append(f", other {turn.other:+}", "dim")
    if turn.e2e is not None:
        line.append(" = " if told else "", "dim")
        line.append(f"{turn.e2e} ms", "bold red" if turn.e2e > 1000 else "bold")
    return line
