"""Where calls are looked up: the servers a command was led to, and this user's own call log."""

from __future__ import annotations

import asyncio
import difflib
import re
import sqlite3
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pinecall_cli.errors import (
    InfrastructureError,
    NotFoundError,
    ServerUnreachableError,
    UsageError,
)
from pinecall_cli.protocol import codec
from pinecall_cli.protocol.log import LogEntry
from pinecall_cli.sdk import discover
from pinecall_cli.sdk import log as server_log
from pinecall_cli.sdk.discover import Running
from pinecall_cli.sdk.log import LoggedCall
from pinecall_cli.sdk.rest import Rest
from pinecall_cli.server.log import log_file
from pinecall_cli.settings import Target, data_dir

T = TypeVar("T")

KEPT = 1_000
"""Calls that are looked through: as many as a local server keeps."""
PAGE = 1_000
LISTED = 5
"""Calls named in an error."""


@dataclass
class CallLog:
    """All calls that a command may read of, wherever they are kept."""

    servers: tuple[Running, ...]
    file: Path | None = None
    """This user's call log, which local servers share, and which the first of them makes; None
    where a server was named."""
    named: bool = False
    """Whether the server was named: then it has to answer."""
    newest: dict[str, int | None] = field(default_factory=dict)
    """By server: the highest ``seq`` of its log when its calls were last listed."""
    homes: dict[str, Running] = field(default_factory=dict)
    """By call: the server that knows it, the one where it is live before all others."""

    @classmethod
    async def found(cls, target: Target) -> CallLog:
        """Return what a target leads to.

        Raises:
            PinecallError: If a server was named and cannot be asked.
        """
        named = target.kind != "embedded"
        file = None if named else data_dir() / log_file.FILE
        return cls(await discover.servers(target), file, named=named)

    @property
    def stored(self) -> bool:
        """Whether there is a call log of this user's own by now."""
        return self.file is not None and self.file.exists()

    @property
    def places(self) -> str:
        """What is looked at, for people."""
        if self.servers:
            return "calls of " + ", ".join(server.url for server in self.servers)
        if self.stored:
            return f"no local server is running: reading the call log {self.file}"
        return "no local server is running, and no call log is here yet"

    async def calls(self, agent: str | None = None) -> list[LoggedCall]:
        """Return all calls there are, each once, the newest first."""
        found: dict[str, LoggedCall] = {}
        if self.stored:
            rows = self._read(lambda db: log_file.read_calls(db, agent=agent, limit=KEPT))
            found = {row.call_id: stored(row) for row in rows}
        asked = (self._ask(server, agent) for server in self.servers)
        answers = await asyncio.gather(*asked, return_exceptions=True)
        for server, answer in zip(self.servers, answers, strict=True):
            if isinstance(answer, ServerUnreachableError) and not self.named:
                continue  # it has stopped meanwhile
            if isinstance(answer, BaseException):
                raise answer
            self.newest[server.url] = answer.last_seq
            for call in answer.calls:
                known = found.get(call.call_id)
                if known is None or not known.live:
                    found[call.call_id] = call
                    self.homes[call.call_id] = server
        return sorted(found.values(), key=lambda call: call.started_at or 0.0, reverse=True)

    async def known_agent(self, agent: str) -> None:
        """Make sure that there is, or was, an agent of that name.

        Raises:
            NotFoundError: If nobody has heard of it; its fix names the closest there is.
        """
        names = {call.agent for call in await self.calls()}
        names |= {one.slug for server in self.servers for one in server.agents}
        if names and agent not in names:
            raise NotFoundError(f"no agent `{agent}`, and no call of one", fix=known(agent, names))

    async def _ask(self, server: Running, agent: str | None) -> server_log.Calls:
        async with Rest(server.url, server.key) as rest:
            return await server_log.calls(rest, agent, limit=KEPT)

    async def find(self, name: str, agent: str | None = None) -> LoggedCall:
        """Return the call of that id, or the only one whose id begins with it.

        Raises:
            NotFoundError: If there is none; its fix names the closest.
            UsageError: If there are several.
        """
        calls = await self.calls(agent)
        like = [call for call in calls if begins(call.call_id, name)]
        exact = [call for call in like if call.call_id == name]
        if len(exact or like) == 1:
            return (exact or like)[0]
        if like:
            listed = ", ".join(call.call_id for call in like[:LISTED])
            more = f" and {len(like) - LISTED} more" if len(like) > LISTED else ""
            raise UsageError(
                f"`{name}` is the beginning of several calls",
                fix=f"write more of it: {listed}{more}",
                code="ambiguous_call",
            )
        for server in self.servers:  # one that lists no calls may know it all the same
            async with Rest(server.url, server.key) as rest:
                try:
                    await rest.call_events(name)
                except NotFoundError:
                    continue
            self.homes[name] = server
            return LoggedCall(call_id=name, agent=agent or "")
        raise NotFoundError(f"no call `{name}`", fix=closest(name, calls), code="call_not_found")

    async def entries(self, call_id: str, *, after: int = 0) -> AsyncGenerator[LogEntry, None]:
        """Yield what is stored of a call, in order."""
        home = self.homes.get(call_id)
        if home is None:
            for entry in self.stored_entries(call_id, after=after):
                yield entry
            return
        async with Rest(home.url, home.key) as rest:
            async for entry in server_log.entries(rest, call_id, after=after):
                yield entry

    def newest_stored(self, agent: str | None = None) -> int:
        """Return the highest ``seq`` in this user's own call log; 0 for none."""
        if not self.stored:
            return 0
        return self._read(lambda database: log_file.highest_seq(database, agent=agent))

    def stored_entries(
        self, call_id: str | None = None, *, agent: str | None = None, after: int = 0
    ) -> list[LogEntry]:
        """Return what this user's own call log holds of a call, of an agent, or of all."""
        if not self.stored:
            return []

        def read(database: sqlite3.Connection) -> list[LogEntry]:
            found: list[LogEntry] = []
            last = after
            while page := log_file.read_entries(
                database, call=call_id, agent=agent, org=None, after=last, limit=PAGE
            ):
                last = page[-1].seq
                found += [
                    LogEntry(
                        seq=one.seq,
                        ts=one.ts,
                        type=one.type,
                        call=one.call,
                        agent=one.agent,
                        data=codec.whole(dict(one.data)),
                    )
                    for one in page
                ]
            return found

        return self._read(read)

    def _read(self, read: Callable[[sqlite3.Connection], T]) -> T:
        assert self.file is not None, "there is a file to read"
        database = log_file.open_to_read(self.file)
        try:
            return read(database)
        except sqlite3.Error as problem:
            raise InfrastructureError(
                f"cannot read the call log `{self.file}`: {problem}", code="call_log"
            ) from None
        finally:
            database.close()


def stored(row: log_file.LoggedCall) -> LoggedCall:
    """Return a call of the file as any other; by itself it is not live."""
    return LoggedCall(
        call_id=row.call_id,
        agent=row.agent,
        direction=row.direction,
        from_=row.from_,
        to=row.to,
        channel=row.channel,
        started_at=row.started_at,
        duration_s=row.duration_s,
        reason=row.reason,
        live=False,
        first_seq=row.first_seq,
        last_seq=row.last_seq,
    )


def begins(call_id: str, name: str) -> bool:
    """Tell whether an id begins with ``name``, or does so behind its kind (``chat-``)."""
    bare = re.sub(r"^[a-z]{1,5}[-_](?=.{4})", "", call_id)
    return bool(name) and (call_id.startswith(name) or bare.startswith(name))


def known(agent: str, names: Iterable[str]) -> str:
    """Return which agents there are or were, the one that was probably meant first."""
    near = difflib.get_close_matches(agent, sorted(names), 1)
    meant = f"did you mean `{near[0]}`? " if near else ""
    return f"{meant}known: {discover.listed(sorted(names))}"


def closest(name: str, calls: list[LoggedCall]) -> str:
    """Return what to do about a call that is not there."""
    ids = [call.call_id for call in calls]
    size = max(len(name), 4)
    near = difflib.get_close_matches(name, [id[:size] for id in ids], n=1, cutoff=0.5)
    if near:
        return f"did you mean `{next(id for id in ids if id.startswith(near[0]))}`?"
    if ids:
        return f"`pinecall logs` lists the calls there are; the newest is `{ids[0]}`"
    return "there is none yet: `pinecall call AGENT` makes one"
