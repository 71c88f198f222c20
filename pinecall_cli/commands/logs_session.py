"""What ``logs`` wires together: call logs, the fold of a call, a view, a file."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sys
import time
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from pinecall_cli.commands.call_log import CallLog
from pinecall_cli.commands.logs_export import FORMATS, export
from pinecall_cli.commands.logs_follow import Following
from pinecall_cli.errors import UsageError
from pinecall_cli.protocol.ids import slugify
from pinecall_cli.protocol.log import LogEntry
from pinecall_cli.sdk.log import LoggedCall
from pinecall_cli.settings import Settings, Target
from pinecall_cli.view.conversation import seconds
from pinecall_cli.view.ndjson import entry_line, iso
from pinecall_cli.view.output import Output
from pinecall_cli.view.tables import print_table
from pinecall_cli.view.text import short_id
from pinecall_cli.view.transcript import LogView, day_and_clock
from pinecall_cli.view.twins import can_draw, console_for

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


@dataclass(frozen=True, slots=True, kw_only=True)
class LogsOptions:
    """What the command line of ``logs`` said."""

    call_id: str | None = None
    agent: str | None = None
    since: str | None = None
    limit: int = 20
    follow: bool = False
    events: tuple[str, ...] = ()
    grep: str | None = None
    export: str | None = None
    output: Path | None = None
    json: bool = False
    plain: bool = False
    quiet: bool = False
    verbose: int = 0


def run(options: LogsOptions, settings: Settings) -> int:
    """Do what was asked; return the exit code.

    Raises:
        PinecallError: If there is no such call, or no server where one was named.
    """
    level = [logging.WARNING, logging.INFO, logging.DEBUG][min(options.verbose, 2)]
    logging.basicConfig(
        level=logging.ERROR if options.quiet else level, format="%(message)s", stream=sys.stderr
    )
    refuse_what_does_not_go_together(options)
    filters = Filters.of(options)
    target = settings.target()
    if options.follow:
        return Following(target, Printer(options, filters), options, since=oldest(options)).run()
    return asyncio.run(read(options, filters, target))


def refuse_what_does_not_go_together(options: LogsOptions) -> None:
    """Make sure that the options make sense together.

    Raises:
        UsageError: If they do not.
    """
    if options.export is not None:
        if options.export not in FORMATS:
            raise UsageError(
                f"`--export {options.export}` is no format", fix=f"one of {', '.join(FORMATS)}"
            )
        if options.call_id is None:
            raise UsageError("`--export` needs a call", fix="`pinecall logs CALL_ID --export …`")
        if options.follow:
            raise UsageError("`--export` and `--follow` do not go together")
        if options.events or options.grep is not None:
            raise UsageError("`--export` is of a whole call", fix="leave the filter out")
    elif options.output is not None:
        raise UsageError("`-o` says where `--export` writes to", fix="add `--export txt`")
    if options.call_id is None and not options.follow and (options.events or options.grep):
        raise UsageError(
            "a list of calls has no entries to filter", fix="name a call, or add `--follow`"
        )


def oldest(options: LogsOptions) -> float | None:
    """Return when the time that ``--since`` names began, in epoch seconds; None for any time.

    Raises:
        UsageError: If it is no time.
    """
    if options.since is None:
        return None
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhdw])\s*", options.since)
    if found is None:
        raise UsageError(
            f"`--since {options.since}` is no length of time", fix="write it like 30s, 10m, 2h, 7d"
        )
    return time.time() - float(found[1]) * UNITS[found[2]]


@dataclass(frozen=True, slots=True)
class Filters:
    """Which entries are wanted."""

    events: tuple[str, ...]
    grep: re.Pattern[str] | None

    @classmethod
    def of(cls, options: LogsOptions) -> Filters:
        """Return the filters that a command line asks for.

        Raises:
            UsageError: If ``--grep`` is no regular expression.
        """
        try:
            return cls(options.events, None if options.grep is None else re.compile(options.grep))
        except re.error as problem:
            raise UsageError(
                f"`--grep {options.grep}` is no regular expression: {problem}"
            ) from None

    def wants(self, entry: LogEntry) -> bool:
        """Tell whether an entry is of a type that is wanted."""
        return not self.events or any(fnmatchcase(entry.type, glob) for glob in self.events)

    def finds(self, entry: LogEntry) -> bool:
        """Tell whether the text searched for is in an entry."""
        if self.grep is None:
            return True
        return bool(self.grep.search(f"{entry.type} {json.dumps(entry.data, ensure_ascii=False)}"))


class Printer:
    """Prints entries to standard output: as they are for programs, as a transcript for people."""

    def __init__(self, options: LogsOptions, filters: Filters) -> None:
        self.out = Output(sys.stdout.buffer)
        self._json, self._filters = options.json, filters
        drawn = can_draw() and not options.plain
        self._view = LogView(
            encoding=sys.stdout.encoding or "utf-8",
            colour=True if drawn else None,
            width=console_for().width if drawn else None,
            one_call=options.call_id is not None,
            entries=bool(filters.events),
            grep=filters.grep,
        )

    def show(self, entry: LogEntry) -> None:
        """Print an entry, or what it adds to its call's transcript."""
        self._view.began(entry)
        if self._json:
            wanted = not entry.ephemeral and self._filters.wants(entry)
            text = entry_line(entry) if wanted and self._filters.finds(entry) else b""
        elif self._filters.events and (entry.ephemeral or not self._filters.wants(entry)):
            return
        else:
            text = self._view.lines(entry)
        if text:
            self.out.write(text)


async def read(options: LogsOptions, filters: Filters, target: Target) -> int:
    """List calls, or print or export one; return the exit code."""
    since = oldest(options)
    found = await CallLog.found(target)
    if not options.quiet:
        sys.stderr.write(f"{found.places}\n")
    agent = None if options.agent is None else slugify(options.agent)
    if options.call_id is None:
        calls = await found.calls(agent)
        if agent is not None and not calls:
            await found.known_agent(agent)
        chosen = [c for c in calls if c.live or since is None or (c.started_at or 0.0) >= since]
        live = [call for call in chosen[options.limit :] if call.live]
        print_calls([*chosen[: options.limit], *live], options)
        return 0
    call = await found.find(options.call_id, agent)
    entries = [entry async for entry in found.entries(call.call_id)]
    if options.export is not None:
        export(call, entries, options.export, options.output, quiet=options.quiet)
        return 0
    printer = Printer(options, filters)
    for entry in entries:
        printer.show(entry)
    if call.reason is None and not call.live and not (options.json or options.quiet):
        sys.stderr.write("the log breaks off here: the server was gone\n")
    return 0


# --- the list -------------------------------------------------------------------------------


def document(call: LoggedCall) -> dict[str, object]:
    """Return a call as ``--json`` lists it."""
    return {
        "call_id": call.call_id,
        "agent": call.agent,
        "direction": call.direction,
        "from": call.from_,
        "to": call.to,
        "started_at": None if call.started_at is None else iso(call.started_at),
        "duration_s": call.duration_s,
        "reason": call.reason,
        "live": call.live,
    }


def print_calls(calls: list[LoggedCall], options: LogsOptions) -> None:
    """Print calls: one document for programs, one a row for people."""
    if options.json:
        line = json.dumps({"calls": [document(call) for call in calls]})
        sys.stdout.write(line + "\n")
        return
    if not calls:
        if not options.quiet:
            sys.stderr.write("no calls; `pinecall call AGENT` makes one\n")
        return
    columns = ["call", "agent", "with", "started", "length", "ended"]
    drawn = can_draw() and not options.plain
    names = shortened([call.call_id for call in calls]) if drawn else {}
    rows = []
    for call in calls:
        outbound = call.direction == "outbound"
        peer = f"to {call.to or '?'}" if outbound else f"from {call.from_ or '?'}"
        length = "-" if call.duration_s is None else seconds(call.duration_s)
        how = "live" if call.live else call.reason or "cut off"
        begun = day_and_clock(call.started_at)
        rows.append([names.get(call.call_id, call.call_id), call.agent, peer, begun, length, how])
    print_table(console_for(), columns, rows, plain=options.plain)


def shortened(ids: list[str]) -> dict[str, str]:
    """Return for each id what is enough of it to tell it from the others; it can be asked for."""
    short = {id: short_id(id) for id in ids}
    taken = list(short.values())
    return {id: name if taken.count(name) == 1 else id for id, name in short.items()}
