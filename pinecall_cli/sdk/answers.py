"""Requests and their answers: what was asked, what will settle it, and for how long to wait."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from pinecall_cli.errors import InfrastructureError, PinecallError
from pinecall_cli.settings.logger import logger

T = TypeVar("T")
Key = tuple[str, ...]
"""What an answer is recognised by, such as ``("agent.configured", "front-desk")``."""

REQUEST_TIMEOUT = 10.0
"""Seconds a server has to answer a request (protocol: commands.md §7)."""


class RequestTimeoutError(InfrastructureError):
    """The server did not answer a request in time."""

    code = "request_timeout"


class RequestRejectedError(PinecallError):
    """The server refused a request; the message is its own."""

    code = "request_rejected"


class Answer(Generic[T]):
    """What will come of a command. Await it, or let it go: the command is sent either way.

    A command that fails and that nobody ever awaits is logged as a warning.
    """

    def __init__(self, future: asyncio.Future[T], what: str) -> None:
        self._future = future
        self._what = what
        self._watch = Watch()
        future.add_done_callback(partial(settled, weakref.ref(self), self._watch, what))

    def __await__(self) -> Generator[Any, None, T]:
        self._watch.awaited = True
        # Shielded: whoever stops waiting must not undo it for the others who wait.
        return asyncio.shield(self._future).__await__()

    @property
    def done(self) -> bool:
        """Whether the answer is there."""
        return self._future.done()

    def __del__(self) -> None:
        if self._future.done():
            settled(None, self._watch, self._what, self._future)


@dataclass(slots=True)
class Watch:
    """Whether anybody has ever awaited an answer; outlives the `Answer` itself."""

    awaited: bool = False


def settled(
    answer: Callable[[], object] | None, watch: Watch, what: str, future: asyncio.Future[Any]
) -> None:
    """Log a failure that nobody awaited, once nobody can any more."""
    problem = None if future.cancelled() else future.exception()
    if problem is not None and not watch.awaited and (answer is None or answer() is None):
        watch.awaited = True
        logger.warning("%s failed: %s", what, problem)


class Answers:
    """The requests of one client that wait for an answer. Lives on the client's loop."""

    def __init__(self) -> None:
        self._waiting: dict[Key, list[asyncio.Future[Any]]] = {}
        self.late: dict[str, Callable[[], Exception]] = {}
        """By kind of request, what to say of one that is not answered in time, where that is
        something of its own."""

    def expect(self, key: Key, future: asyncio.Future[Any], timeout: float | None) -> None:
        """Let ``future`` be settled by the next answer of that key; None waits for ever."""
        self._waiting.setdefault(key, []).append(future)
        if timeout is not None:
            loop = future.get_loop()
            timer = loop.call_later(timeout, self._too_late, key, future, timeout)
            future.add_done_callback(lambda _: timer.cancel())
        future.add_done_callback(lambda _: self._forget(key, future))

    def settle(self, key: Key, value: object) -> bool:
        """Answer the oldest request of that key; False if there is none."""
        future = self._oldest(key)
        if future is not None:
            future.set_result(value)
        return future is not None

    def refuse(self, key: Key, problem: Exception) -> bool:
        """Fail the oldest request of that key; False if there is none."""
        future = self._oldest(key)
        if future is not None:
            future.set_exception(problem)
        return future is not None

    def refuse_all(self, problem: Exception) -> None:
        """Fail every request."""
        for key in tuple(self._waiting):
            while self.refuse(key, problem):
                pass

    def waiting(self, *, kind: str | None = None, about: str | None = None) -> list[Key]:
        """Return the keys that wait, oldest first: of one kind, about one agent or call, or all.

        A key's first word is its kind, its second what it is about.
        """
        return [
            key
            for key, futures in self._waiting.items()
            if kind in (None, key[0]) and about in (None, key[1])
            if any(not future.done() for future in futures)
        ]

    def pending(self, key: Key) -> list[asyncio.Future[Any]]:
        """Return the requests of a key that wait, oldest first."""
        return [future for future in self._waiting.get(key, ()) if not future.done()]

    def _oldest(self, key: Key) -> asyncio.Future[Any] | None:
        return next(iter(self.pending(key)), None)

    def _too_late(self, key: Key, future: asyncio.Future[Any], timeout: float) -> None:
        if not future.done():
            usual = RequestTimeoutError(f"no `{key[0]}` from the server within {timeout:g} s")
            make = self.late.get(key[0])
            future.set_exception(usual if make is None else make())

    def _forget(self, key: Key, future: asyncio.Future[Any]) -> None:
        futures = self._waiting.get(key, [])
        if future in futures:
            futures.remove(future)
        if not futures:
            self._waiting.pop(key, None)
