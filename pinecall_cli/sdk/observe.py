"""`create_event_stream`: calls as the server's log tells them, for programs that have no agent."""

from __future__ import annotations

import inspect
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TypeAlias

from pinecall_cli.errors import NotAuthorisedError, UsageError
from pinecall_cli.protocol.log import LogEntry
from pinecall_cli.protocol.tokens import Token
from pinecall_cli.sdk.client import DEFAULT_URL
from pinecall_cli.sdk.log import ALL, LogStream
from pinecall_cli.settings import KEY_VARIABLE, URL_VARIABLE, Secret

Given: TypeAlias = str | Token
TokenSource: TypeAlias = Given | Callable[[], Given | Awaitable[Given]]
PATIENCE_S = 105.0
"""The time of ten attempts, each half as long again after the one before, up to 30 s."""


class CallLogStream:
    """The log of a call or an agent: iterate over it; `cursor` says how far it was read."""

    def __init__(self, log: LogStream) -> None:
        self._log = log

    @property
    def cursor(self) -> int:
        """The ``seq`` of the last entry that was read; keep it to go on from there (``after``)."""
        return self._log.cursor

    def __aiter__(self) -> AsyncGenerator[LogEntry, None]:
        """Return the entries in order, each once.

        Among them, as they come, are two markers that are part of no call: ``log.caught_up`` (what
        was is told; from here on it is live) and ``log.gap`` (entries are lost: ``data`` has
        ``from`` and ``resume_from``). The log of one call ends with the call; an agent's does not.

        Raises:
            NotAuthorisedError: If key or token is refused.
            NotFoundError: If there is no such call or agent.
            ServerUnreachableError: If nobody is there at first, or the server stays away too long.
        """
        return self._log.entries()


def create_event_stream(
    *,
    agent: str | None = None,
    call: str | None = None,
    after: int = 0,
    token: TokenSource | None = None,
    api_key: str | Secret | None = None,
    api_url: str | None = None,
    patience_s: float | None = PATIENCE_S,
) -> CallLogStream:
    """Follow an agent's calls, or one call, from anywhere; nothing is lost or told twice.

    A connection that is lost is made again, and goes on behind the last entry. What a dashboard
    shows, an export writes or a supervisor watches comes from here; in the agent's own process
    `Pinecall.stream` is nearer.

    Args:
        agent: The agent whose calls are followed.
        call: One call; it is enough, and with a key's minted token needs ``agent`` too.
        after: The ``seq`` behind which to begin: a `CallLogStream.cursor` of before; 0 for the
            beginning.
        token: A ``stream`` token, or a function, sync or async, that returns a new one; it is
            asked again when one has expired.
        api_key: In its place the key; ``PINECALL_API_KEY`` of the environment, if both are left
            out.
        api_url: The server; ``PINECALL_URL`` of the environment, else the hosted one.
        patience_s: Seconds that a lost server may stay away; None for any time.

    Raises:
        UsageError: If neither an agent nor a call is named.
        NotAuthorisedError: If there is neither a token nor a key.

    Example:
        ``async for entry in create_event_stream(agent="front-desk"): print(entry.type)``
    """
    if agent is None and call is None:
        raise UsageError("`create_event_stream` follows an agent or a call: name one")
    key = Secret("")
    if token is None:
        given = api_key if api_key is not None else os.environ.get(KEY_VARIABLE, "")
        key = Secret(given) if isinstance(given, str) else given
        if not key:
            raise NotAuthorisedError(
                "neither a token nor an API key", fix=f"give one, or set `{KEY_VARIABLE}`"
            )

    async def provide() -> str:
        said = token() if callable(token) else token
        if inspect.isawaitable(said):
            said = await said
        return said.token if isinstance(said, Token) else str(said)

    return CallLogStream(
        LogStream(
            api_url or os.environ.get(URL_VARIABLE) or DEFAULT_URL,
            lambda: key or None,
            call=call,
            agent=agent or ALL,
            after=after,
            patience_s=patience_s,
            provider=None if token is None else provide,
        )
    )
