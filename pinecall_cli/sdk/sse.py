"""Server-sent events as an ASGI endpoint, and what its readers have in common (sessions.md §5)."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping
from types import MappingProxyType

from pinecall_cli.sdk.asgi import Receive, Scope, Send, answer, first_of, left, lifespan, start
from pinecall_cli.sdk.reader import Reader, SlowReaderError
from pinecall_cli.sdk.streamed import StreamEvent
from pinecall_cli.settings.logger import logger

HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "Content-Type": "text/event-stream",
        "Cache-Control": "no-cache",
        "Connection": "keep-alive",
        "X-Accel-Buffering": "no",
    }
)
PING = b":ping\n\n"
GOODBYE_S = 1.0
"""Seconds that a reader who was dropped has to take the reason; after that it is cut off."""


class EventSource(ABC):
    """An ASGI endpoint whose answer is a stream of events; each request is a reader of its own.

    It answers GET and HEAD, with 405 to anything else.
    """

    ping_s: float
    """Seconds between two comments that keep the connection open."""
    headers = HEADERS
    """Of the response, for frameworks that make it themselves of `body`."""

    @abstractmethod
    def open(self, asked: Scope | None = None) -> tuple[Reader, list[StreamEvent]]:
        """Return a new reader, and what it is told before anything else."""

    @abstractmethod
    def close(self, reader: Reader) -> None:
        """Forget a reader."""

    def body(self) -> AsyncGenerator[bytes, None]:
        """Return the body of one response, for frameworks that make the response themselves.

        FastAPI, for one: ``StreamingResponse(stream.body(), headers=stream.headers)``.
        """
        return self._body(*self.open())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, as ASGI has it."""
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            await answer(send, 405, {"detail": "only GET"}, {"Allow": "GET, HEAD"})
            return
        if scope["method"] == "HEAD":
            await start(send, 200, self.headers)
            await send({"type": "http.response.body", "body": b""})
            return
        reader, first = self.open(scope)
        body = self._body(reader, first)

        async def write() -> None:
            await start(send, 200, self.headers)
            async for chunk in body:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})

        try:
            await first_of(write(), left(receive), too_late(reader))
        except OSError:
            return  # they have left: servers say so when we send
        finally:
            await body.aclose()
            self.close(reader)

    async def _body(self, reader: Reader, first: list[StreamEvent]) -> AsyncGenerator[bytes, None]:
        """Yield what is sent: events as they come, and a comment whenever it is time for one."""
        loop = asyncio.get_running_loop()
        ping_at = loop.time() + self.ping_s
        try:
            yield b"".join(event.sse for event in first)
            while True:
                chunk = b""
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(ping_at):
                        taken = await reader.take()
                        if not taken:
                            return
                        chunk = b"".join(event.sse for event in taken)
                if (now := loop.time()) >= ping_at:
                    ping_at += self.ping_s * ((now - ping_at) // self.ping_s + 1)
                    chunk += PING
                yield chunk
        except SlowReaderError as problem:
            yield goodbye(problem).sse
        finally:
            self.close(reader)


def goodbye(problem: SlowReaderError) -> StreamEvent:
    """Return the event by which a reader is told why it was dropped."""
    logger.warning("a reader of events was %s", problem)
    return StreamEvent("error", {"reason": problem.code, "message": problem.message})


async def too_late(reader: Reader) -> None:
    """Return when a reader was dropped, and has not even taken the reason."""
    await reader.dropped.wait()
    await asyncio.sleep(GOODBYE_S)
