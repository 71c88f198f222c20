"""The call log from a server: what there was, what happens, and nothing lost or twice between.

A reader keeps a cursor, the ``seq`` of the last stored entry it has had. Whenever its connection
is lost it comes back with that cursor, to the same server or to the one started in its place.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any

from pinecall_cli.errors import (
    InfrastructureError,
    NotAuthorisedError,
    NotFoundError,
    ServerUnreachableError,
)
from pinecall_cli.protocol.backoff import backoff
from pinecall_cli.protocol.log import MARKER_TYPES, LogEntry, decode_entry, of_call
from pinecall_cli.protocol.urls import attach_url
from pinecall_cli.sdk.rest import CallRows, Rest
from pinecall_cli.sdk.socket import Socket, SocketClosedError
from pinecall_cli.settings import Secret

ALL = "*"
"""Instead of an agent: all of them in one log. Our server has that; the hosted one does not."""
FACTOR = 1.5
CAP_S = 10.0
"""Delays of reconnecting: 1 s, half as long again each time, up to this. Somebody is watching."""
REFUSALS = 5
"""How often in a row a server that we were connected to may refuse us: one that is starting again
has not said yet what its new key is."""

Told = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedCall:
    """One call of the log, as it is listed; None where that is not known (yet)."""

    call_id: str
    agent: str
    direction: str | None = None
    from_: str | None = None
    to: str | None = None
    channel: str | None = None
    started_at: float | None = None
    """Epoch seconds."""
    duration_s: float | None = None
    reason: str | None = None
    live: bool | None = None
    first_seq: int | None = None
    last_seq: int | None = None


def logged_call(row: Mapping[str, Any]) -> LoggedCall:
    """Return a row of a server's list of calls; what is nonsense in it is not known."""

    def text(name: str) -> str | None:
        value = row.get(name)
        return value if isinstance(value, str) else None

    def number(name: str) -> float | None:
        value = row.get(name)
        return float(value) if isinstance(value, int | float) else None

    first, last, live = (row.get(name) for name in ("first_seq", "last_seq", "live"))
    return LoggedCall(
        call_id=text("call_id") or "",
        agent=text("agent") or "",
        direction=text("direction"),
        from_=text("from"),
        to=text("to"),
        channel=text("channel"),
        started_at=number("started_at"),
        duration_s=number("duration_s"),
        reason=text("reason"),
        live=live if isinstance(live, bool) else None,
        first_seq=first if isinstance(first, int) else None,
        last_seq=last if isinstance(last, int) else None,
    )


@dataclass(frozen=True, slots=True)
class Calls:
    """The calls a server knows of, the newest first."""

    calls: tuple[LoggedCall, ...]
    last_seq: int | None = None
    """The highest ``seq`` of its log at that moment; None where it does not say."""


async def calls(rest: Rest, agent: str | None = None, *, limit: int) -> Calls:
    """Return the newest calls of an agent, or of all.

    A server that does not list the calls of all its agents is asked for those of each.
    """
    answers: list[CallRows] = []
    try:
        answers.append(await rest.calls(agent, limit=limit))
    except NotFoundError:
        if agent is not None:
            return Calls(())
        for one in await rest.agents():
            with suppress(NotFoundError):  # it has left meanwhile
                answers.append(await rest.calls(one.slug, limit=limit))
    found = [call for one in answers for row in one.rows if (call := logged_call(row)).call_id]
    found.sort(key=lambda call: call.started_at or 0.0, reverse=True)
    known = [one.last_seq for one in answers if one.last_seq is not None]
    return Calls(tuple(found[:limit]), max(known, default=None))


async def entries(rest: Rest, call_id: str, *, after: int = 0) -> AsyncGenerator[LogEntry, None]:
    """Yield what is stored of a call.

    Raises:
        NotFoundError: If the server knows no such call.
    """
    while True:
        page = await rest.call_events(call_id, after=after)
        for entry in page.read():
            yield entry
        if not page.has_more or page.last_seq <= after:
            return
        after = page.last_seq


class LogStream:
    """The log of one call or agent on one server, entry by entry, for as long as it goes on."""

    def __init__(
        self,
        url: str,
        key: Callable[[], Secret | None],
        *,
        call: str | None = None,
        agent: str = ALL,
        after: int = 0,
        first_try: bool = True,
        patience_s: float | None = None,
        on_lost: Told = lambda why: None,
        on_back: Callable[[], None] = lambda: None,
        jitter: Callable[[], float] = random.random,
        provider: Callable[[], Awaitable[str]] | None = None,
    ) -> None:
        """Say what is to be followed; nothing happens before `entries`.

        Args:
            url: The server.
            key: Returns the key it takes: another one, if it was started again with another.
            call: The call, if it is to be one.
            agent: The agent it belongs to, or whose calls are to be followed.
            after: The ``seq`` behind which to begin.
            first_try: Whether a server that cannot be reached at first is an error.
            patience_s: How long a lost server may stay away; None for any time.
            on_lost: Told why the connection was lost, once each time.
            on_back: Called when it is there again.
            jitter: Returns 0 to 1.
            provider: Returns a token for what is followed, where there is no key to mint one.
        """
        self.cursor = after
        """The ``seq`` of the last stored entry that was yielded."""
        self._there: set[str | None] = set()
        """The calls whose entry of that ``seq`` was yielded: two servers that share a log may have
        given out one in the same microsecond."""
        self._url, self._key = url, key
        self._call, self._agent = call, agent
        self._first_try, self._connected = first_try, False
        self._patience, self._jitter = patience_s, jitter
        self._provider = provider
        self._on_lost, self._on_back = on_lost, on_back
        self._token: str | None = None
        self._over = False

    async def entries(self) -> AsyncGenerator[LogEntry, None]:
        """Yield the entries in order, each once; ephemeral ones and markers in between.

        It ends when the call does; an agent's log has no end. Every entry names its call.

        Raises:
            ServerUnreachableError: If nobody is there at first, or not within the patience.
            NotAuthorisedError: If the key is refused.
            NotFoundError: If there is no such call.
        """
        loop = asyncio.get_running_loop()
        delays = backoff(self._jitter, factor=FACTOR, cap=CAP_S)
        lost_at: float | None = None
        told = False
        while True:
            try:
                async with aclosing(self._attached()) as attached:
                    async for entry in attached:
                        if lost_at is not None:
                            lost_at = None
                            delays = backoff(self._jitter, factor=FACTOR, cap=CAP_S)
                            if told:
                                self._on_back()
                        yield entry
                return
            except (ServerUnreachableError, SocketClosedError) as problem:
                if self._over:
                    return
                if self._first_try and not self._connected:
                    raise unreachable(problem) from None
                if lost_at is None:
                    lost_at = loop.time()
                    told = self._connected
                    if told:
                        self._on_lost(str(problem))
                elif self._patience is not None and loop.time() - lost_at > self._patience:
                    raise unreachable(problem) from None
            await asyncio.sleep(next(delays))

    @property
    def _shared(self) -> bool:
        """Whether several servers may have written the log."""
        return self._call is None and self._agent == ALL

    async def _attached(self) -> AsyncGenerator[LogEntry, None]:
        """Yield what comes over one connection."""
        async with await self._open() as socket:
            while True:
                try:
                    message = await socket.receive()
                except SocketClosedError as closed:
                    if closed.code == 1000 and self._call is not None:
                        return
                    raise
                entry = decode_entry(message)
                if not isinstance(entry, LogEntry):
                    continue  # an answer to an action, or what a newer server says
                if entry.type in MARKER_TYPES or entry.ephemeral:
                    yield of_call(entry)
                    continue
                entry = of_call(entry)
                if entry.seq > self.cursor:
                    self.cursor = entry.seq
                    self._there.clear()
                elif entry.seq < self.cursor or not self._shared or entry.call in self._there:
                    continue
                self._there.add(entry.call)
                self._over = self._call is not None and entry.type == "call.summary"
                yield entry

    async def _open(self) -> Socket:
        """Return a socket that was let in: by the key itself, else by a token minted for it."""
        refusals = 0
        while True:
            key = self._key()
            if self._token is None and self._provider is not None:
                self._token = await self._provider()
            try:
                socket = await self._knock(key)
            except NotAuthorisedError:
                refusals += 1
                if refusals > (REFUSALS if self._connected else 1):
                    raise
                if self._token is not None:
                    self._token = None  # it died with its server, or of old age
                elif not await self._minted(key):
                    if not self._connected:
                        raise
                    await asyncio.sleep(1.0)
                continue
            self._connected = True
            return socket

    async def _knock(self, key: Secret | None) -> Socket:
        headers = {}
        if self._token is None and key is not None:
            headers["Authorization"] = f"Bearer {key.reveal()}"
        agent = self._agent if self._call is None else None
        after = self.cursor - 1 if self._there and self._shared else self.cursor
        where = attach_url(self._url, call=self._call, agent=agent, after=after, token=self._token)
        return await Socket.open(where, headers=headers)

    async def _minted(self, key: Secret | None) -> bool:
        """Get a token for what is followed; False if there can be none."""
        if key is None or self._agent == ALL:
            return False
        try:
            async with Rest(self._url, key) as rest:
                token = await rest.token("stream", self._agent, scope="observe", call_id=self._call)
        except (NotAuthorisedError, NotFoundError):
            return False
        self._token = token.token
        return True


def unreachable(problem: Exception) -> InfrastructureError:
    """Return the error for a server that is not there (any more)."""
    if isinstance(problem, ServerUnreachableError):
        return problem
    return ServerUnreachableError(
        f"the connection is lost: {problem}", fix="see whether the server still runs"
    )
