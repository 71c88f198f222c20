"""The plain twin of the live view: the same words, a line each, with ``t+`` in front."""

from __future__ import annotations

import io

from rich.console import Console
from rich.text import Text

from pinecall_cli.call.records import Record
from pinecall_cli.call.session import Entry, SessionState
from pinecall_cli.protocol.frames import Received
from pinecall_cli.view.conversation import entry_rows, event_row, event_words
from pinecall_cli.view.ink import Ink
from pinecall_cli.view.output import Output
from pinecall_cli.view.rows import Row

INDENT = 8
"""Columns before the further lines of a text, so that none looks like a line of ours."""


class PlainView:
    """Prints every final line of the session; for pipes, ``--plain`` and dumb terminals."""

    def __init__(
        self,
        out: Output,
        *,
        encoding: str = "utf-8",
        events: bool = False,
        colour: bool = False,
    ) -> None:
        """Prepare to print.

        Args:
            out: Where the lines go.
            encoding: How they are spelled; what it lacks is spelled in ASCII.
            events: Whether every frame is printed too.
            colour: Whether to colour them, as ``CLICOLOR_FORCE`` wants it.
        """
        self.events = events
        self._console = (
            Console(file=io.StringIO(), force_terminal=True, color_system="standard")
            if colour
            else None
        )
        self.out = out
        self._ink = Ink(encoding)
        self._shown = 0

    def show(
        self, session: SessionState, happened: Received | Record | None = None, *, at: float
    ) -> None:
        """Print what is new in ``session``; ``at`` is the time of what carries none."""
        lines = []
        if self.events and isinstance(happened, Received):
            lines.append(self._event(happened, session, at))
        for entry in session.since(self._shown):
            for line in entry_lines(entry, session, self._ink, at=at):
                lines.append(self._spelled(line))
        self._shown = session.fed
        if lines:
            text = "\n".join((*lines, ""))
            self.out.add(text.encode(self._ink.encoding, "backslashreplace"))

    def close(self) -> None:
        """Write what is owed."""
        self.out.finish()

    def _event(self, received: Received, session: SessionState, at: float) -> str:
        if self._console is not None:
            return self._spelled(stamped(event_row(received, self._ink), session, at))
        # As above, without the detour by Rich: these may come by the thousand.
        name, said = event_words(received, self._ink)
        return f"{stamp(session, at)}  {name} {said}".rstrip()

    def _spelled(self, line: Text) -> str:
        if self._console is None:
            return line.plain
        with self._console.capture() as captured:
            self._console.print(line, soft_wrap=True, highlight=False)
        return captured.get().removesuffix("\n")


def entry_lines(entry: Entry, session: SessionState, ink: Ink, *, at: float) -> list[Text]:
    """Return the lines of one entry; a line break in them is one of the text's, indented."""
    when = entry.what.at if entry.what.at is not None else at
    return [stamped(row, session, when) for row in entry_rows(entry, session, ink)]


def stamped(row: Row, session: SessionState, at: float) -> Text:
    """Return ``row`` unwrapped, with the seconds since the session began in front."""
    line = Text.assemble((stamp(session, at), "dim"), row.lead, row.body)
    line.rstrip()
    return Text("\n" + " " * INDENT).join(line.split("\n"))


def stamp(session: SessionState, at: float) -> str:
    """Return how long after the session's beginning ``at`` was."""
    since = max(0.0, at - session.started_at) if session.started_at is not None else 0.0
    return f"t+{since:.1f}s "
