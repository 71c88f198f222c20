from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from starlette.requests import Request

from pinecall_cli.server import bodies


class Sender:
    """Whoever sends a body, piece by piece; `asked` is how often they were asked for more."""

    def __init__(self, pieces: Iterable[dict[str, Any]], **headers: str) -> None:
        self._pieces: Iterator[dict[str, Any]] = iter(pieces)
        self.asked = 0
        named = [(name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()]
        self.request = Request({"type": "http", "method": "POST", "headers": named}, self.send)

    async def send(self) -> dict[str, Any]:
        self.asked += 1
        for piece in self._pieces:
            return piece
        await asyncio.Event().wait()  # nothing more comes, and the connection stays
        raise AssertionError


def piece(body: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


async def test_a_body_is_put_together_from_its_pieces_up_to_the_last_byte_allowed():
    sender = Sender([piece(b"ab"), piece(b""), piece(b"cd", more=False)])
    assert await bodies.read(sender.request, largest=4, within_s=60) == b"abcd"


async def test_one_byte_too_many_is_refused_and_the_rest_is_not_waited_for():
    sender = Sender([piece(b"ab"), piece(b"cde"), piece(b"f", more=False)])
    with pytest.raises(bodies.BodyTooLargeError):
        await bodies.read(sender.request, largest=4, within_s=60)
    assert sender.asked == 2


@pytest.mark.parametrize("length", ["5", "9" * 5_000])
async def test_a_body_announced_as_too_large_is_refused_before_a_byte_is_read(length: str):
    sender = Sender([piece(b"abcde", more=False)], content_length=length)
    with pytest.raises(bodies.BodyTooLargeError):
        await bodies.read(sender.request, largest=4, within_s=60)
    assert sender.asked == 0


async def test_what_is_announced_as_small_is_measured_all_the_same():
    sender = Sender([piece(b"abcde", more=False)], content_length="1")
    with pytest.raises(bodies.BodyTooLargeError):
        await bodies.read(sender.request, largest=4, within_s=60)


async def test_a_body_that_stops_coming_is_given_up():
    sender = Sender([piece(b"ab")])
    with pytest.raises(bodies.BodyIncompleteError):
        await bodies.read(sender.request, largest=4, within_s=0.01)


async def test_a_sender_who_leaves_has_sent_no_body():
    sender = Sender([piece(b"ab"), {"type": "http.disconnect"}])
    with pytest.raises(bodies.BodyIncompleteError):
        await bodies.read(sender.request, largest=4, within_s=60)
