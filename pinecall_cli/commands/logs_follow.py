"""``logs --follow``: every entry once and in order, through lost connections and new servers.

Where no server is named, all local ones are followed: those that run, and those that come. They
share a call log, and what one that is gone had no time to tell is read there; the highest ``seq``
of each call that was printed decides what is new.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import aclosing
from types import FrameType
from typing import Protocol

from pinecall_cli.commands.call_log import CallLog
from pinecall_cli.errors import (
    InfrastructureError,
    NotAuthorisedError,
    PinecallError,
    ServerUnreachableError,
    leaf,
)
from pinecall_cli.protocol.ids import slugify
from pinecall_cli.protocol.log import MARKER_TYPES, LogEntry
from pinecall_cli.sdk import discover
from pinecall_cli.sdk.discover import Running
from pinecall_cli.sdk.log import ALL, LoggedCall, LogStream
from pinecall_cli.sdk.rest import Rest
from pinecall_cli.settings import Secret, Target
from pinecall_cli.settings.endings import ending_signals
from pinecall_cli.view.output import Output

SEQS_PER_S = 1_000_000
"""A local server's ``seq`` is never behind its clock in microseconds: what one that comes later
has to tell of the time since we began has a higher one than the time we began at."""
LOOK_S = 0.5
"""Between two looks for new local servers, and for what none of them has told: reading a folder
and the call log's last line, nobody is asked."""
LATE_S = 10.0
"""How much later than it was stamped an entry may be written, by a server that is very busy."""
AGENTS_S = 5.0
"""Between two looks for new agents, where each has to be followed by itself."""
PATIENCE_S = 300.0
"""How long a server that was named may stay away before it counts as lost for good."""
RESTART_S = 5.0
"""How long a local one may: when it is started again after that, it is found again."""


class Shows(Protocol):
    """What prints entries."""

    out: Output

    def show(self, entry: LogEntry) -> None:
        """Print an entry."""
        ...


class Asked(Protocol):
    """What of the command line matters here."""

    @property
    def call_id(self) -> str | None:
        """The call, if it is one."""

    @property
    def agent(self) -> str | None:
        """The agent, if it is one."""

    @property
    def quiet(self) -> bool:
        """Whether to say less on stderr."""


class Unread:
    """Notices entries of the call log that no server tells, from one look to the next."""

    def __init__(self) -> None:
        self._newest = 0
        self._problem: InfrastructureError | None = None

    def stays(self, found: CallLog, agent: str | None, *, above: int) -> bool:
        """Tell whether the newest entry is the one of the last look, and has not come.

        Raises:
            InfrastructureError: If the log could not be read at the last look either; the first
                time it may just be being made.
        """
        before = self._newest
        try:
            self._newest = found.newest_stored(agent)
        except InfrastructureError as problem:
            if self._problem is not None:
                raise
            self._problem = problem
            return False
        self._problem = None
        return above < self._newest == before


class Following:
    """One run of ``logs --follow``."""

    def __init__(
        self, target: Target, printer: Shows, asked: Asked, *, since: float | None
    ) -> None:
        """Say what is to be followed; nothing happens before `run`.

        Args:
            target: The server, or what leads to the local ones.
            printer: Prints what comes.
            asked: The command line.
            since: From when on, in epoch seconds; None for live calls and what comes.
        """
        self._target, self._printer, self._since = target, printer, since
        self._call_id, self._quiet = asked.call_id, asked.quiet
        self._agent = ALL if asked.agent is None else slugify(asked.agent)
        self._begun = time.time()
        self._absent = ""
        """That the agent that was named is not there yet, where that is so."""
        self._seen: dict[str | None, int] = {}
        """By call: the highest ``seq`` that was printed."""
        self._following: asyncio.Task[None] | None = None
        self._writing = False
        self._not_before = 0.0
        """Entries before it are not shown, in epoch seconds."""
        self._highest = 0
        """The highest ``seq`` of all that came."""
        self._filed = 0
        """Up to where the call log was read, and nothing earlier can still be written."""

    def run(self) -> int:
        """Follow until interrupted, or until the call is over; return the exit code.

        Raises:
            PinecallError: If there is no such call, or the server is lost for good.
        """
        return asyncio.run(self._until_told())

    async def _until_told(self) -> int:
        loop = asyncio.get_running_loop()
        following = self._following = loop.create_task(self._follow(), name="follow")
        received: list[int] = []

        def asked(number: int, frame: FrameType | None) -> None:
            if received or self._writing:  # nobody takes what we print: there is no way but this
                os._exit(128 + number)
            received.append(number)
            loop.call_soon_threadsafe(following.cancel)

        before = {number: signal.signal(number, asked) for number in ending_signals()}
        try:
            await following
        except asyncio.CancelledError:
            if not received and not self._printer.out.closed:
                raise
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        return 128 + received[0] if received else 0

    async def _follow(self) -> None:
        found = await CallLog.found(self._target)
        if self._call_id is None and (agent := self._named_agent) is not None:
            there = [one.slug for server in found.servers for one in server.agents]
            if agent not in there:
                self._absent = f"no agent `{agent}` yet; {discover.others(agent, there)}"
        if self._call_id is not None:
            await self._one_call(found, await found.find(self._call_id, self._named_agent))
        elif self._target.kind == "embedded":
            await self._local_servers(found)
        else:
            await self._server(found, found.servers[0])

    @property
    def _named_agent(self) -> str | None:
        return None if self._agent == ALL else self._agent

    # --- one call ---

    async def _one_call(self, found: CallLog, call: LoggedCall) -> None:
        """Print a call from its beginning to its end."""
        home = found.homes.get(call.call_id)
        if home is None or call.live is False:
            self._say(found.places)
            async for entry in found.entries(call.call_id):
                self._take(entry)
            return
        self._say(f"call {call.call_id} on {home.url}")
        stream = LogStream(
            home.url,
            self._key_of(home),
            call=call.call_id,
            agent=call.agent,
            patience_s=PATIENCE_S if home.local is None else RESTART_S,
            on_lost=self._lost(home.url),
            on_back=self._back(home.url),
        )
        try:
            await self._print(stream)
        except ServerUnreachableError:
            # It ended with its server; what was written down of it may be more than we were told.
            for entry in found.stored_entries(call.call_id, after=stream.cursor):
                self._take(entry)
            raise

    # --- one server ---

    async def _server(self, found: CallLog, server: Running) -> None:
        """Follow the server that was named."""
        calls = await found.calls(self._named_agent)
        newest = found.newest.get(server.url)
        self._say_following(server.url)
        after = self._after(calls, newest)
        if newest is None and self._since is None:
            self._not_before = self._begun
        try:
            await self._print(self._stream(server, self._agent, after, first_try=True))
        except NotAuthorisedError:
            if self._agent != ALL:
                raise
            await self._each_agent(server)

    async def _each_agent(self, server: Running) -> None:
        """Follow the agents of a server one by one: it has no log of them all."""
        followed: set[str] = set()
        try:
            async with asyncio.TaskGroup() as group, Rest(server.url, server.key) as rest:
                while True:
                    for agent in await rest.agents():
                        if agent.slug not in followed:
                            followed.add(agent.slug)
                            stream = self._stream(server, agent.slug, 0, first_try=True)
                            group.create_task(self._print(stream))
                    await asyncio.sleep(AGENTS_S)
        except ExceptionGroup as problems:
            raise leaf(problems) from None

    # --- all local servers ---

    async def _local_servers(self, found: CallLog) -> None:
        """Follow the local servers that run, and those that come."""
        calls = await found.calls(self._named_agent)
        starts = {
            server.url: self._after(
                [call for call in calls if found.homes.get(call.call_id) is server],
                found.newest.get(server.url),
            )
            for server in found.servers
        }
        self._say_following(", ".join(server.url for server in found.servers))
        self._filed = min(starts.values(), default=int(self._begun * SEQS_PER_S))
        unread = Unread()
        try:
            await self._watch_servers(found, starts, unread)
        except ExceptionGroup as problems:
            raise leaf(problems) from None

    async def _watch_servers(
        self, found: CallLog, starts: Mapping[str, int], unread: Unread
    ) -> None:
        """Follow each server from the moment when it is there; nothing but an error ends it."""
        streams: dict[str, asyncio.Task[None]] = {}
        refused: set[tuple[str, Secret]] = set()
        async with asyncio.TaskGroup() as group:
            while True:
                for server in discover.runtime_files():
                    going = streams.get(server.url)
                    if (server.url, server.key) in refused or (going and not going.done()):
                        continue
                    after = starts.get(server.url, int(self._begun * SEQS_PER_S))
                    running = Running(server.url, server.key, (), server)
                    if server.url not in starts and server.url not in streams:
                        self._say(f"following {server.url}")
                    work = self._local_server(found, running, after, refused)
                    streams[server.url] = group.create_task(work)
                if unread.stays(found, self._named_agent, above=max(self._highest, self._filed)):
                    self._read_on(found)
                await asyncio.sleep(LOOK_S)

    def _read_on(self, found: CallLog) -> None:
        """Print what the call log holds and no server has told: of one that is gone."""
        entries = found.stored_entries(agent=self._named_agent, after=self._filed)
        for entry in entries:
            self._take(entry)
        if entries:
            self._filed = max(self._filed, entries[-1].seq - int(LATE_S * SEQS_PER_S))

    async def _local_server(
        self, found: CallLog, server: Running, after: int, refused: set[tuple[str, Secret]]
    ) -> None:
        stream = self._stream(
            server, self._agent, after, first_try=False, lost=lambda: self._read_on(found)
        )
        try:
            await self._print(stream)
        except ServerUnreachableError:
            if server.local is None or await discover.ask(server.local) is None:
                self._say(f"{server.url} has stopped")
        except PinecallError:
            refused.add((server.url, server.key))  # another program is at that address by now

    # --- what they have in common ---

    def _say_following(self, places: str) -> None:
        """Say what is followed, once it is known from where on: what comes now is not missed."""
        if self._absent:
            self._say(self._absent)
        self._say(
            f"following {places}" if places else "no local server is running: waiting for one"
        )

    def _after(self, calls: list[LoggedCall], newest: int | None) -> int:
        """Return the ``seq`` behind which to begin: before the calls that are to be shown whole."""
        wanted = [
            call.first_seq
            for call in calls
            if call.first_seq is not None
            and (call.live or (self._since is not None and (call.started_at or 0.0) >= self._since))
        ]
        return min(wanted) - 1 if wanted else newest or 0

    def _stream(
        self,
        server: Running,
        agent: str,
        after: int,
        *,
        first_try: bool,
        lost: Callable[[], None] = lambda: None,
    ) -> LogStream:
        return LogStream(
            server.url,
            self._key_of(server),
            agent=agent,
            after=after,
            first_try=first_try,
            patience_s=PATIENCE_S if first_try else RESTART_S,
            on_lost=self._lost(server.url, lost),
            on_back=self._back(server.url),
        )

    def _key_of(self, server: Running) -> Callable[[], Secret | None]:
        """Return what tells the server's key: a local one that is started again has a new one."""
        if self._target.key is not None:
            return lambda: server.key
        return lambda: discover.key_of(server.url) or server.key

    async def _print(self, stream: LogStream) -> None:
        async with aclosing(stream.entries()) as entries:
            async for entry in entries:
                self._take(entry)

    def _take(self, entry: LogEntry) -> None:
        """Print an entry that was not printed yet."""
        if entry.type in MARKER_TYPES:
            if entry.type == "log.gap":
                first, last = entry.data.get("from"), entry.data.get("resume_from")
                self._say(f"entries from {first} to {last} are kept no more")
            return
        if not entry.ephemeral:
            if entry.seq <= self._seen.get(entry.call, 0):
                return
            self._seen[entry.call] = entry.seq
            self._highest = max(self._highest, entry.seq)
        if entry.ts < self._not_before:
            return
        self._writing = True
        self._printer.show(entry)
        self._writing = False
        if self._printer.out.closed and self._following is not None:
            self._following.cancel()  # whoever read us has gone; that is no error

    def _say(self, text: str) -> None:
        if not self._quiet:
            sys.stderr.write(f"{text}\n")

    def _lost(self, url: str, then: Callable[[], None] = lambda: None) -> Callable[[str], None]:
        def lost(why: str) -> None:
            self._say(f"lost {url} ({why}); trying to come back")
            then()

        return lost

    def _back(self, url: str) -> Callable[[], None]:
        return lambda: self._say(f"{url} is back, nothing is missing")
