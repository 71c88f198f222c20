"""What the routes of the audio API share: who asks, how much at once, and how they are refused.

Whoever asks has a key, and it is checked before a byte of the body is read. Each organisation has
so many requests of a kind at once; one more is turned away, not queued, so that nothing piles up
in memory. What the engines do for a request waits for what they do for calls (`unhurried`).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import JSONResponse, Response

from pinecall_cli.errors import EngineError
from pinecall_cli.protocol.ids import mint
from pinecall_cli.server import bodies
from pinecall_cli.server.agents.organisation import Organisation
from pinecall_cli.server.app import VoiceServer

T = TypeVar("T")

UPLOAD_S = 120.0
"""For a body to arrive."""
READABLE = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "X-Sample-Rate, X-Channels, X-Bit-Depth, "
    "X-Pinecall-Request-Id, X-Pinecall-Characters, X-Pinecall-Audio-Ms",
}
"""Any page may read what it brings a key or token for: browsers never add one by themselves."""
MAY_ASK = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Accept",
    "Access-Control-Max-Age": "600",
}


class ApiError(Exception):
    """A request is refused; what the answer says (rest.md §5.1)."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message

    def response(self) -> Response:
        """Return the answer."""
        headers = READABLE | ({"Retry-After": "1"} if self.status == 429 else {})
        return JSONResponse({"error": self.message, "code": self.code}, self.status, headers)


class Gone(Exception):
    """Whoever asked has left: there is nobody to answer."""


def upstream(problem: EngineError) -> ApiError:
    """Return how a request is answered whose engine is missing, or broke."""
    fix = f"; {problem.fix}" if problem.fix else ""
    return ApiError(502, "UPSTREAM_ERROR", f"{problem.message}{fix}")


Answer = Callable[[Request], Awaitable[Response]]


def answering(answer: Answer) -> Answer:
    """Return a route whose refusals are told as the audio API does; preflights are answered."""

    async def answered(request: Request) -> Response:
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=MAY_ASK)
        try:
            return await answer(request)
        except ApiError as refused:
            return refused.response()
        except EngineError as problem:
            return upstream(problem).response()
        except (Gone, ClientDisconnect):
            return Response(status_code=499)  # reaches nobody

    return answered


def organisation_of(
    server: VoiceServer, asking: HTTPConnection, *, in_query: str | None = None
) -> Organisation:
    """Return whose key was sent: in ``Authorization``, or as a parameter where that may be.

    Raises:
        ApiError: If there is none, or it is not known.
    """
    header = asking.headers.get("authorization")
    given = asking.query_params.get(in_query) if in_query and header is None else None
    if header is None and given is None:
        raise ApiError(401, "MISSING_KEY", "an API key is needed: `Authorization: Bearer <key>`")
    found = (
        server.organisations.of_header(header)
        if given is None
        else server.organisations.of_key(given)
    )
    if found is None:
        raise ApiError(401, "INVALID_KEY", "the API key is not known here")
    return found


class Admission:
    """Counts the requests of one kind that are being answered, by organisation."""

    def __init__(self, most: int) -> None:
        """``most`` is how many one organisation may have at once."""
        self.most = most
        self._busy: Counter[str] = Counter()

    def enter(self, org: Organisation) -> Callable[[], None]:
        """Let a request in; returns how to say that it is over, once or more often.

        Raises:
            ApiError: If the organisation has as many as it may have.
        """
        if self._busy[org.id] >= self.most:
            message = f"{self.most} requests at once are the limit: wait for one to end"
            raise ApiError(429, "RATE_LIMITED", message)
        self._busy[org.id] += 1
        inside = True

        def leave() -> None:
            nonlocal inside
            if inside:
                inside = False
                self._busy[org.id] -= 1

        return leave

    @contextmanager
    def held(self, org: Organisation) -> Iterator[None]:
        """Let a request in for as long as the block lasts; raises as `enter` does."""
        leave = self.enter(org)
        try:
            yield
        finally:
            leave()


async def read_body(request: Request, largest: int, too_large: ApiError) -> bytes:
    """Return a request's body.

    Raises:
        ApiError: ``too_large`` if it has more than ``largest`` bytes; 408 if it never gets whole.
    """
    try:
        return await bodies.read(request, largest=largest, within_s=UPLOAD_S)
    except bodies.BodyTooLargeError:
        raise too_large from None
    except bodies.BodyIncompleteError:
        raise ApiError(408, "BAD_REQUEST", "the body did not arrive") from None


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Return what ``work`` returns; if whoever asked leaves meanwhile, it is cancelled.

    Raises:
        Gone: If they left.
    """
    loop = asyncio.get_running_loop()
    working = loop.create_task(work, name="audio request")
    leaving = loop.create_task(left(request), name="audio request, waiting")
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise Gone
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def left(request: Request) -> None:
    """Return when whoever asked has left; the body has been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def request_id() -> str:
    """Return a new id for a request to the audio API."""
    return "req_" + mint(16)
