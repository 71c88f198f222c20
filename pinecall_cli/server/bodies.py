"""The one reader of request bodies: bounded in size and in time, whatever the client announces."""

from __future__ import annotations

import asyncio

from starlette.requests import ClientDisconnect, Request


class BodyTooLargeError(Exception):
    """A request's body has more bytes than its route takes."""


class BodyIncompleteError(Exception):
    """A request's body did not arrive in time, or its sender left."""


async def read(request: Request, *, largest: int, within_s: float) -> bytes:
    """Return a request's body, of ``largest`` bytes at most.

    Raises:
        BodyTooLargeError: As soon as that is known: announced, or come.
        BodyIncompleteError: If it is not whole ``within_s`` seconds after the call.
    """
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:19]) > largest:
        raise BodyTooLargeError
    body = bytearray()
    try:
        async with asyncio.timeout(within_s):
            async for piece in request.stream():
                body += piece
                if len(body) > largest:
                    raise BodyTooLargeError
    except (TimeoutError, ClientDisconnect):
        raise BodyIncompleteError from None
    return bytes(body)
