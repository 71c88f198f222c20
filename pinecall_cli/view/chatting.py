"""What ``chat`` shows: answers as they are written, tools where they run; lines, or NDJSON."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable
from typing import Protocol

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from pinecall_cli.call.records import ErrorRecord
from pinecall_cli.call.reduce import reduce
from pinecall_cli.call.session import Entry, SessionState
from pinecall_cli.call.state import CallState, Line, Opened, Said
from pinecall_cli.errors import PinecallError
from pinecall_cli.protocol import events
from pinecall_cli.protocol.frames import Command, Event, Received, Unknown
from pinecall_cli.view.conversation import AGENT, CALLER, entry_rows
from pinecall_cli.view.ink import Ink
from pinecall_cli.view.ndjson import frame_line, record_line
from pinecall_cli.view.output import Output
from pinecall_cli.view.text import printable
from pinecall_cli.view.twins import can_draw, colour_forced, console_for

WHOLE = 1_000_000
"""Characters of an answer that are shown: all of it."""
LONGEST_NAME = 16
CLEAR = b"\x1b[H\x1b[2J\x1b[3J"
"""Cursor home, screen and what was scrolled off it erased."""


class ChatView(Protocol):
    """What the twins have in common."""

    def wrote(self, text: str) -> None:
        """Take a message that is being sent."""
        ...

    def show(self, received: Received) -> None:
        """Take a frame about the conversation."""
        ...

    def problem(self, error: PinecallError) -> None:
        """Take what went wrong with a message, while the conversation goes on."""
        ...

    def clear(self) -> None:
        """Empty the screen, if there is one."""
        ...

    def anew(self) -> None:
        """Take that the next message begins another conversation."""
        ...


class Ndjson:
    """Prints every frame as one JSON object a line."""

    def __init__(self, out: Output, agent: str) -> None:
        self._out, self._agent = out, agent

    def wrote(self, text: str) -> None:
        """Do nothing: who wrote it knows."""

    def show(self, received: Received) -> None:
        """Print a frame."""
        self._out.write(frame_line(received, at=time.time(), agents=[self._agent]))

    def problem(self, error: PinecallError) -> None:
        """Print what went wrong as a record of ours."""
        self._out.write(record_line(ErrorRecord.of(error, at=time.time())))

    def clear(self) -> None:
        """Do nothing: a stream has no screen."""

    def anew(self) -> None:
        """Do nothing: the session's id says so."""


class Lines:
    """Prints a conversation as lines; on a terminal each word when it comes, wrapped."""

    def __init__(
        self,
        out: Output,
        agent: str,
        *,
        encoding: str = "utf-8",
        width: int | None = None,
        colour: bool = False,
        typed: bool = False,
    ) -> None:
        """Prepare to print.

        Args:
            out: Where it goes.
            agent: Its name stands before what it says.
            encoding: How the lines are spelled.
            width: The terminal's columns; None where there is none: then answers come whole.
            colour: Whether to colour.
            typed: Whether what is sent stands on the screen already.
        """
        self._out, self._agent, self._width, self._typed = out, agent, width, typed
        self._ink = Ink(encoding)
        self._console = Console(
            file=io.StringIO(),
            width=width,
            force_terminal=colour,
            color_system="standard" if colour else None,
        )
        self._call = CallState(call_id="", agent=agent)
        self._messages = 0
        self._printed = 0
        """Lines of the call that are out."""
        self._flow: Flow | None = None
        """The answer that is being written on the screen."""
        self._streamed = ""
        """What of it is out, or on its way."""

    def wrote(self, text: str) -> None:
        """Take a message; it is printed where it does not stand on the screen already."""
        self._messages += 1
        self._fold(events.ChatMessage(text=text, message_id=f"own_{self._messages}"))

    def show(self, received: Received) -> None:
        """Print what is new."""
        self._fold(received.frame)

    def problem(self, error: PinecallError) -> None:
        """Say what went wrong, beside the conversation."""
        self._break()
        told = f"error: {printable(error.message)}"
        print(told + (f"\n  fix: {printable(error.fix)}" if error.fix else ""), file=sys.stderr)

    def clear(self) -> None:
        """Empty the screen."""
        if self._width is not None:
            self._out.write(CLEAR)

    def anew(self) -> None:
        """Begin another conversation."""
        self._call = CallState(call_id="", agent=self._agent)
        self._printed = 0

    def lead(self, name: str, style: str = "") -> Text:
        """Return what stands before what a side says."""
        shown = self._ink.safe(name, limit=LONGEST_NAME)
        width = max(len("you"), min(cell_len(self._ink.safe(self._agent)), LONGEST_NAME))
        return self._ink.text((f"{shown:>{width}}", style), (" › ", "dim"))

    # --- inside ---

    def _fold(self, frame: Event | Command | Unknown) -> None:
        self._call = reduce(self._call, frame, at=time.time())
        new = self._call.lines[self._printed :]
        self._printed = len(self._call.lines)
        for line in new:
            self._line(line)
        if self._width is not None and self._call.reply is not None and not new:
            self._stream(self._call.reply.text)

    def _line(self, line: Line) -> None:
        match line:
            case Opened():
                return
            case Said(who="caller", text=text):
                if not self._typed:
                    self._say(self.lead("you", CALLER), text)
            case Said(text=text) if self._width is not None:
                self._stream(text)
                self._break(whole=True)
            case Said(text=text):
                self._say(self.lead(self._agent, AGENT), text)
            case _:
                self._break()
                for row in entry_rows(Entry(number=0, what=line), SessionState(), self._ink):
                    self._print(row if self._width else Text.assemble(row.lead, row.body))

    def _say(self, lead: Text, text: str) -> None:
        """Print a whole text; its further lines stand behind the lead."""
        self._break()
        shown = self._ink.safe(text, lines=True, limit=WHOLE)
        self._print(Text.assemble(lead, shown.replace("\n", "\n" + " " * lead.cell_len)))

    def _stream(self, text: str) -> None:
        """Write on, up to ``text``, which is all of the answer so far."""
        new = text[len(self._streamed) :] if text.startswith(self._streamed) else text
        if not new:
            return
        written = ""
        if self._flow is None:
            assert self._width is not None
            lead = self.lead(self._agent, AGENT)
            self._flow = Flow(self._width - 1, lead.cell_len)
            written = self._drawn(lead, end="")
        self._streamed = text
        written += self._flow.feed(self._ink.safe(new, lines=True, limit=WHOLE))
        self._write(written)

    def _break(self, *, whole: bool = False) -> None:
        """End the line that is being written; ``whole``: and the answer."""
        if self._flow is not None:
            self._write(self._flow.end() + "\n")
            self._flow = None
        if whole:
            self._streamed = ""

    def _print(self, what: object) -> None:
        self._write(self._drawn(what))

    def _drawn(self, what: object, end: str = "\n") -> str:
        with self._console.capture() as captured:
            self._console.print(what, soft_wrap=self._width is None, highlight=False, end=end)
        return captured.get()

    def _write(self, text: str) -> None:
        self._out.write(text.encode(self._ink.encoding, "backslashreplace"))


class Flow:
    """Wraps text that comes in pieces: words stay whole, lines begin behind an indent."""

    def __init__(self, width: int, indent: int) -> None:
        """The cursor stands at ``indent`` of ``width`` columns."""
        self._width, self._indent = max(width, indent + 8), indent
        self._column = indent
        self._gap = ""
        self._word = ""

    def feed(self, text: str) -> str:
        """Return what can be written now: a word is held until it is known to be whole."""
        out = ""
        for char in text:
            if char == "\n":
                out += self._settle() + self._turn()
            elif char == " ":
                out += self._settle()
                self._gap += char
            else:
                self._word += char
                if cell_len(self._word) >= self._width - self._indent:
                    out += self._settle()
        return out

    def end(self) -> str:
        """Return what was held."""
        return self._settle()

    def _settle(self) -> str:
        """Place the word that is held, on the next line if it does not fit on this one."""
        word, gap = self._word, self._gap
        if not word:
            return ""
        self._word = self._gap = ""
        cells = cell_len(word)
        if self._column + len(gap) + cells > self._width and self._column > self._indent:
            placed = self._turn() + word
        else:
            self._column += len(gap)
            placed = gap + word
        self._column += cells
        return placed

    def _turn(self) -> str:
        self._column, self._gap = self._indent, ""
        return "\n" + " " * self._indent


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
    console = console_for()
    live = can_draw() and not plain
    return Lines(
        out,
        agent,
        encoding=sys.stdout.encoding or "utf-8",
        width=console.width if live else None,
        colour=colour_forced() or (live and console.color_system is not None),
        typed=typed,
    )
