"""What ``chat`` shows: answers as they are written, tools where they run; lines, or NDJSON."""

from __future__ import annotations

import io
import re
import sys
import time
from collections.abc import Callable
from typing import Protocol

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from pinecall_cli.call.optional import given
from pinecall_cli.call.records import ErrorRecord
from pinecall_cli.call.reduce import reduce
from pinecall_cli.call.session import Entry, SessionState
from pinecall_cli.call.state import CallState
from pinecall_cli.errors import PinecallError
from pinecall_cli.protocol import events
from pinecall_cli.protocol.frames import Event, Received
from pinecall_cli.view.console import can_draw, colour_forced, console_for
from pinecall_cli.view.conversation import AGENT, CALLER, entry_rows
from pinecall_cli.view.flow import Flow
from pinecall_cli.view.ink import Ink
from pinecall_cli.view.ndjson import frame_line, record_line
from pinecall_cli.view.output import Output
from pinecall_cli.view.rows import Row
from pinecall_cli.view.text import head, printable

WHOLE = 1_000_000
"""Characters of an answer that are shown: all of it. A frame has no more bytes."""
LONGEST_NAME = 16
"""Cells of an agent's name; the rest of the line is for what it says."""
CLEAR = b"\x1b[H\x1b[2J\x1b[3J"
"""Cursor home, screen and what was scrolled off it erased."""
ERASE_LINE = "\r\x1b[K"
COLOURS = re.compile("\x1b\\[[0-9;]*m")


class ChatView(Protocol):
    """What the twins have in common."""

    @property
    def out(self) -> Output:
        """Where it goes."""
        ...

    @property
    def prompt(self) -> str:
        r"""What stands before a line that is typed; ``\001`` and ``\002`` enclose colours."""
        ...

    def wrote(self, text: str) -> None:
        """Take a message that is being sent."""
        ...

    def waiting(self) -> None:
        """Show that the answer is still to come, if nothing of it is there."""
        ...

    def show(self, received: Received) -> None:
        """Take a frame about the conversation."""
        ...

    def notice(self, text: str) -> None:
        """Say something beside the conversation, on stderr."""
        ...

    def problem(self, error: PinecallError) -> None:
        """Take what went wrong with a message, while the conversation goes on."""
        ...

    def clear(self) -> None:
        """Empty the screen, if there is one."""
        ...

    def close(self) -> None:
        """End the line that is being written. May be called twice."""
        ...


class Ndjson:
    """Prints every frame as one JSON object a line."""

    prompt = ""

    def __init__(self, out: Output, agent: str) -> None:
        self.out, self._agent = out, agent

    def wrote(self, text: str) -> None:
        """Do nothing: who wrote it knows."""

    def waiting(self) -> None:
        """Do nothing: silence says it."""

    def show(self, received: Received) -> None:
        """Print a frame."""
        self.out.write(frame_line(received, at=time.time(), agents=[self._agent]))

    def notice(self, text: str) -> None:
        """Say something on stderr."""
        print(printable(text), file=sys.stderr)

    def problem(self, error: PinecallError) -> None:
        """Print what went wrong as a record of ours."""
        self.out.write(record_line(ErrorRecord.of(error, at=time.time(), agent=self._agent)))

    def clear(self) -> None:
        """Do nothing: a stream has no screen."""

    def close(self) -> None:
        """Do nothing: every line is out."""


class Lines:
    """Prints a conversation as lines; on a terminal each word when it comes, wrapped."""

    def __init__(
        self,
        out: Output,
        agent: str,
        *,
        encoding: str = "utf-8",
        columns: Callable[[], int] | None = None,
        colour: bool = False,
        typed: bool = False,
    ) -> None:
        """Prepare to print.

        Args:
            out: Where it goes.
            agent: Its name stands before what it says.
            encoding: How the lines are spelled.
            columns: How wide the terminal is now; None where there is none: then answers come
                whole, or up to where a tool is called.
            colour: Whether to colour.
            typed: Whether what is sent stands on the screen already.
        """
        self.out, self._agent, self._columns, self._typed = out, agent, columns, typed
        self._ink = Ink(encoding)
        self._console = Console(
            file=io.StringIO(),
            force_terminal=colour,
            color_system="standard" if colour else None,
        )
        self._tools = CallState(call_id="", agent=agent)
        """The turn's tools and failures; what is said is followed here."""
        self._told: dict[str, str] = {}
        """By message id: what is out of the answers that are being written."""
        self._speaking = ""
        """The message that the open line belongs to."""
        self._flow: Flow | None = None
        """The open line of a terminal."""
        self._held = ""
        """Without a terminal: what the open line will say."""
        self._hinted = False

    @property
    def prompt(self) -> str:
        """What stands before a line that is typed."""
        return COLOURS.sub("\001\\g<0>\002", self._drawn(self._lead("you", CALLER), end=""))

    def wrote(self, text: str) -> None:
        """Take a message; it is printed where it does not stand on the screen already."""
        self._tools = CallState(call_id="", agent=self._agent)
        self._told.clear()
        self._break()
        if not self._typed:
            self._say(self._lead("you", CALLER), text)

    def waiting(self) -> None:
        """Show the agent's name already, if nothing of its answer is there."""
        if self._columns is not None and not (self._told or self._tools.lines or self._hinted):
            lead = self._lead(self._agent, AGENT)
            self._write(self._drawn(lead.append(self._ink.own("…"), "dim"), end=""))
            self._hinted = True

    def show(self, received: Received) -> None:
        """Print what is new."""
        match received.frame:
            case events.LlmChatToken() as token:
                id = given(token.message_id, "")
                self._write_on(
                    id, given(token.text, self._told.get(id, "") + given(token.token, ""))
                )
            case events.LlmChatDone() as done:
                self._finish(given(done.message_id, ""), done.text)
            case events.ChatResponse(text=text):
                self._say(self._lead(self._agent, AGENT), text)
            case events.LlmChatStarted():
                pass
            case Event() as event:
                self._fold(event)

    def notice(self, text: str) -> None:
        """Say something beside the conversation."""
        self._break()
        print(printable(text), file=sys.stderr)

    def problem(self, error: PinecallError) -> None:
        """Say what went wrong, beside the conversation."""
        self._break()
        told = f"error: {printable(error.message)}"
        print(told + (f"\n  fix: {printable(error.fix)}" if error.fix else ""), file=sys.stderr)

    def clear(self) -> None:
        """Empty the screen."""
        if self._columns is not None:
            self.out.write(CLEAR)

    def close(self) -> None:
        """End the line that is being written."""
        self._break()

    # --- what is said ---

    def _write_on(self, id: str, text: str) -> None:
        """Write a message on, up to ``text``, which is all of it so far."""
        told = self._told.get(id, "")
        if told.rstrip().startswith(text.rstrip()):
            return
        if id != self._speaking or not text.startswith(told):  # or the server thought better
            self._break()
        new = text.removeprefix(told)
        self._told[id], self._speaking = text, id
        if self._columns is None:
            self._held += new
            return
        if self._flow is None:
            new = new.lstrip()
            if not new:
                return
            lead = self._lead(self._agent, AGENT)
            self._write(self._drawn(lead, end=""))
            self._flow = Flow(self._columns() - 1, lead.cell_len, self._safe)
        self._write(self._flow.feed(new))

    def _finish(self, id: str, text: str) -> None:
        """End a message that says ``text`` in all."""
        if id not in self._told:  # servers differ in where they put ids
            id = next((known for known in ("", *self._told) if known in self._told), id)
        if not text.strip() and not self._told.get(id, "").strip():
            self._break()
            self._print(self._lead(self._agent, AGENT).append("(says nothing)", "dim"))
        self._write_on(id, text)
        self._told.pop(id, None)
        self._break()

    def _say(self, lead: Text, text: str) -> None:
        """Print a whole text."""
        self._break()
        if self._columns is None:
            self._print(hanging(lead, Text(self._ink.safe(text.strip(), lines=True, limit=WHOLE))))
            return
        flow = Flow(self._columns() - 1, lead.cell_len, self._safe)
        body = flow.feed(text.strip()) + flow.end()
        self._write(self._drawn(lead, end="") + body + "\n")

    def _break(self) -> None:
        """End the line that is being written."""
        if self._flow is not None:
            flow, self._flow = self._flow, None
            self._write(flow.end() + "\n")
        held, self._held = self._held, ""
        if held.strip():
            self._say(self._lead(self._agent, AGENT), held)
        self._unhint()

    # --- what else happens ---

    def _fold(self, event: Event) -> None:
        """Print tools that are called or answer, and a turn that fails."""
        printed = len(self._tools.lines)
        self._tools = reduce(self._tools, event, at=time.time())
        for line in self._tools.lines[printed:]:
            self._break()
            for row in entry_rows(Entry(number=0, what=line), SessionState(), self._ink):
                self._print(row if self._columns is not None else hanging(row.lead, row.body))

    # --- the way out ---

    def _lead(self, name: str, style: str) -> Text:
        """Return what stands before what a side says."""
        agent, shown = (
            self._ink.own(head(self._ink.safe(one), LONGEST_NAME)) for one in (self._agent, name)
        )
        width = max(len("you"), cell_len(agent))
        lead = " " * (width - cell_len(shown)) + shown
        return self._ink.text((lead, style), (" › ", "dim"))

    def _safe(self, word: str) -> str:
        return self._ink.safe(word, limit=WHOLE)

    def _print(self, what: Text | Row) -> None:
        self._write(self._drawn(what))

    def _drawn(self, what: Text | Row, end: str = "\n") -> str:
        if self._columns is not None:
            self._console.width = self._columns()
        with self._console.capture() as captured:
            self._console.print(what, soft_wrap=self._columns is None, highlight=False, end=end)
        return captured.get()

    def _write(self, text: str) -> None:
        self._unhint()
        if text:
            self.out.write(text.encode(self._ink.encoding, "backslashreplace"))

    def _unhint(self) -> None:
        if self._hinted:
            self._hinted = False
            self.out.write(ERASE_LINE.encode())


def hanging(lead: Text, body: Text) -> Text:
    """Return ``lead`` and ``body``; the body's further lines stand behind the lead."""
    first, *others = body.split("\n") or [Text()]
    lines = [Text.assemble(lead, first)]
    lines += [Text.assemble(" " * lead.cell_len, line) for line in others]
    for line in lines:
        line.rstrip()
    return Text("\n").join(lines)


def open_chat_view(
    agent: str,
    *,
    json: bool,
    plain: bool,
    typed: bool,
    on_closed: Callable[[], None],
) -> ChatView:
    """Return the view for standard output.

    Args:
        agent: Its name.
        json: ``--json``.
        plain: ``--plain``.
        typed: Whether messages are typed at the terminal that stdout is.
        on_closed: Called once when nobody reads our output any more; it is no error.
    """
    out = Output(sys.stdout.buffer, on_closed=on_closed)
    if json:
        return Ndjson(out, agent)
    live = can_draw() and not plain
    colour = colour_forced() or (live and console_for().color_system is not None)
    return Lines(
        out,
        agent,
        encoding=sys.stdout.encoding or "utf-8",
        columns=(lambda: console_for().width) if live else None,
        colour=colour,
        typed=typed,
    )
