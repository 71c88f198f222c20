"""Calls from the log as text: one call's transcript, or the lines of many as they come."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable
from datetime import datetime

from rich.console import Console
from rich.text import Text

from pinecall_cli.call.fold_log import reduce_entry
from pinecall_cli.call.session import Entry, SessionState
from pinecall_cli.call.state import CallState, Line
from pinecall_cli.protocol.log import LogEntry
from pinecall_cli.view.conversation import entry_rows
from pinecall_cli.view.ink import Ink
from pinecall_cli.view.plain import INDENT
from pinecall_cli.view.rows import Row
from pinecall_cli.view.text import short_id
from pinecall_cli.view.twins import colour_forced

DATA_CHARS = 300
"""Characters of an entry's data that are shown on its line."""


class LogView:
    """Folds the entries of calls and returns the lines that each of them adds, as bytes.

    A call is named in front of its lines unless the view is of that one call; times are seconds
    of the call then, and the clock's else.
    """

    def __init__(
        self,
        *,
        encoding: str = "utf-8",
        colour: bool | None = None,
        width: int | None = None,
        one_call: bool = False,
        entries: bool = False,
        grep: re.Pattern[str] | None = None,
    ) -> None:
        """Prepare to show.

        Args:
            encoding: How lines are spelled; what it lacks is spelled in ASCII.
            colour: Whether to colour them; None for as the environment says.
            width: Columns to wrap at; None for no wrapping.
            one_call: Whether all entries are of one call.
            entries: Whether each entry is shown as it is, and not what it adds to a transcript.
            grep: What a line must hold to be shown.
        """
        coloured = colour_forced() if colour is None else colour
        self._console = Console(
            file=io.StringIO(),
            force_terminal=coloured,
            color_system="standard" if coloured else None,
            width=width or 1_000_000,
            highlight=False,
        )
        self._ink = Ink(encoding)
        self._wrap, self._one_call = width is not None, one_call
        self._entries, self._grep = entries, grep
        self._calls: dict[str, CallState] = {}
        self._begun: float | None = None
        """When the one call began."""

    def lines(self, entry: LogEntry) -> bytes:
        """Return what an entry adds; empty for nothing."""
        self.began(entry)
        rows = [self._plainly(entry)] if self._entries else self._folded(entry)
        shown = [row for row in rows if self._matches(row)]
        if not shown:
            return b""
        with self._console.capture() as captured:
            for row in shown:
                self._print(row)
        return captured.get().encode(self._ink.encoding, "backslashreplace")

    def began(self, entry: LogEntry) -> None:
        """Note when the call began, by an entry that is not to be shown."""
        if self._begun is None or entry.type == "call.started":
            self._begun = entry.ts

    def _print(self, row: Row) -> None:
        if self._wrap:
            self._console.print(row)
            return
        line = Text.assemble(row.lead, row.body)
        line.rstrip()
        self._console.print(Text("\n" + " " * INDENT).join(line.split("\n")), soft_wrap=True)

    def _matches(self, row: Row) -> bool:
        return self._grep is None or bool(self._grep.search(row.lead.plain + row.body.plain))

    def _folded(self, entry: LogEntry) -> Iterable[Row]:
        call_id = entry.call or ""
        before = self._calls.get(call_id) or CallState(call_id=call_id)
        after = reduce_entry(before, entry)
        self._calls[call_id] = after
        for line in after.lines[len(before.lines) :]:
            yield from self._rows(line, after, entry.ts)
        if entry.type == "call.summary" and not self._one_call:
            del self._calls[call_id]  # nothing comes after it

    def _rows(self, line: Line, call: CallState, at: float) -> list[Row]:
        session = SessionState(calls=(call,), started_at=call.started_at)
        rows = entry_rows(Entry(number=1, what=line, call_id=call.call_id), session, self._ink)
        when = at if line.at is None else line.at
        lead = self._lead(when, call.call_id, call.agent)
        return [Row(lead + row.lead, row.body) for row in rows]

    def _plainly(self, entry: LogEntry) -> Row:
        try:
            said = json.dumps(entry.data, ensure_ascii=False, default=str)
        except (ValueError, RecursionError):
            said = "(nested too deep to show)"
        lead = self._lead(entry.ts, entry.call or "", entry.agent or "")
        lead.append(self._ink.safe(entry.type) + " ", "bold")
        return Row(lead, Text(self._ink.safe(said, limit=DATA_CHARS), "dim"))

    def _lead(self, at: float, call_id: str, agent: str) -> Text:
        if self._one_call:
            since = 0.0 if self._begun is None else max(0.0, at - self._begun)
            return Text(f"t+{since:.1f}s ", "dim")
        name = self._ink.safe(agent or "?", limit=24)
        return Text(f"{clock(at)} {name} {self._ink.safe(short_id(call_id))} ", "dim")


def clock(at: float) -> str:
    """Return a time of day for people, in their time zone."""
    try:
        return datetime.fromtimestamp(at).astimezone().strftime("%H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return "--:--:--"


def day_and_clock(at: float | None) -> str:
    """Return a day and time for people, in their time zone; a dash for none."""
    if at is None:
        return "-"
    try:
        return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return "-"
