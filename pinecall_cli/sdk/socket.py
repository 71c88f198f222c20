"""One WebSocket, as the rest of us wants it: open, send, receive, and why it ended.

The only module that knows websockets.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from types import TracebackType

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from pinecall_cli import __version__
from pinecall_cli.errors import NotAuthorisedError, NotFoundError, ServerUnreachableError
from pinecall_cli.sdk.absence import remedy
from pinecall_cli.settings import is_loopback

logger = logging.getLogger("pinecall.websockets")
logger.setLevel(logging.INFO)  # below, each request is written down with its tokens and its key
OPEN_TIMEOUT = 10.0
"""Seconds until an opening is given up (protocol: README §4)."""
MAX_FRAME = 16 * 1024 * 1024
"""Bytes of one incoming frame; `call.ended` carries a whole history."""
CLIENT_CLOSE = (1000, "client_disconnect")
CONNECTION_LOST = "connection_lost"


class SocketClosedError(Exception):
    """The socket is closed. ``reason`` is the peer's text, or `CONNECTION_LOST`."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code} {reason}")
        self.code = code
        self.reason = reason


class Socket:
    """An open WebSocket. Close it, or use it as an async context manager."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float = OPEN_TIMEOUT,
    ) -> Socket:
        """Return a socket that is open.

        To this machine it goes straight (no proxy, no compression); elsewhere the
        environment's proxy is used.

        Raises:
            ServerUnreachableError: If nobody answers within ``timeout`` seconds, or not as a
                WebSocket server would.
            NotAuthorisedError: If the server refuses with 401 or 403.
            NotFoundError: If it says that what the URL names is not there.
        """
        near = is_loopback(url)
        shown = url.partition("?")[0]  # a query may hold a token
        try:
            connection = await connect(
                url,
                additional_headers=dict(headers or {}),
                user_agent_header=f"pinecall-cli/{__version__}",
                proxy=None if near else True,
                compression=None if near else "deflate",
                open_timeout=timeout,
                close_timeout=1.0,  # a peer that does not close back must not hold up Ctrl-C
                max_size=MAX_FRAME,
                logger=logger,
            )
        except InvalidStatus as problem:
            status, detail = problem.response.status_code, detail_of(problem.response.body)
            if status in {401, 403}:
                raise NotAuthorisedError(detail or f"{shown} refuses: HTTP {status}") from None
            if status == 404 and detail:
                raise NotFoundError(detail) from None
            raise ServerUnreachableError(
                f"{shown} answers HTTP {status}, not as a voice server",
                fix="check `--server`",
            ) from None
        except TimeoutError:
            raise ServerUnreachableError(
                f"{shown} does not answer within {timeout:g} s",
                fix=remedy(url),
            ) from None
        except (OSError, InvalidHandshake, InvalidURI, ValueError) as problem:
            raise ServerUnreachableError(
                f"cannot reach {shown}: {describe(problem)}",
                fix=remedy(url),
            ) from None
        return cls(connection)

    async def send(self, message: str | bytes) -> None:
        """Send one frame: text for ``str``, binary for ``bytes``.

        Raises:
            SocketClosedError: If the socket is closed.
        """
        try:
            await self._connection.send(message)
        except ConnectionClosed as closed:
            raise ended(closed) from None

    async def receive(self) -> str | bytes:
        """Return the next frame: ``str`` for text, ``bytes`` for binary.

        Raises:
            SocketClosedError: When the socket closes; every frame before that was returned.
        """
        try:
            return await self._connection.recv()
        except ConnectionClosed as closed:
            raise ended(closed) from None

    async def receive_bytes(self) -> bytes:
        """Return the bytes of the next frame, text or binary: whoever decodes JSON wants those.

        Raises:
            SocketClosedError: When the socket closes; every frame before that was returned.
        """
        try:
            return await self._connection.recv(decode=False)
        except ConnectionClosed as closed:
            raise ended(closed) from None

    async def close(self, code: int = CLIENT_CLOSE[0], reason: str = CLIENT_CLOSE[1]) -> None:
        """Close the socket; a second time does nothing."""
        await self._connection.close(code, reason)

    async def __aenter__(self) -> Socket:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


def ended(closed: ConnectionClosed) -> SocketClosedError:
    """Return our word for how a connection ended."""
    if closed.rcvd is None:
        return SocketClosedError(1006, CONNECTION_LOST)
    return SocketClosedError(closed.rcvd.code, closed.rcvd.reason or CONNECTION_LOST)


def detail_of(body: bytes | bytearray | None) -> str | None:
    """Return what a server of ours says about a refusal: the ``detail`` of its JSON body."""
    try:
        detail = json.loads(body or b"")["detail"]
    except (ValueError, KeyError, TypeError):
        return None
    return detail[:300] if isinstance(detail, str) else None


def describe(problem: Exception) -> str:
    """Return a connection problem in a few words."""
    if isinstance(problem, ConnectionRefusedError):
        return "connection refused"
    if isinstance(problem, asyncio.IncompleteReadError | EOFError):
        return "the connection was closed"
    text = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
    return text[:200]
