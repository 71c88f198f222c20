"""Handlers and the background work they leave: kept in order, kept apart."""

from __future__ import annotations

import asyncio

import pytest

from pinecall_cli.sdk.crew import Crew
from pinecall_cli.sdk.handlers import Handlers
from tests.sdk.jumping import BACKEND


@pytest.fixture
def anyio_backend() -> object:
    return BACKEND


def test_handlers_are_given_in_the_order_they_came() -> None:
    handlers = Handlers()
    first = handlers.on("a", lambda: 1)
    second = handlers.on("a", lambda: 2)
    assert handlers.take("a") == (first, second)
    assert handlers.take("b") == ()


def test_on_and_once_are_decorators_too() -> None:
    handlers = Handlers()

    @handlers.on("a")
    def always() -> None: ...

    @handlers.once("a")
    def first() -> None: ...

    assert handlers.take("a") == (always, first)
    assert handlers.take("a") == (always,)


def test_off_forgets_one_or_all() -> None:
    handlers = Handlers()
    one, two = handlers.on("a", lambda: 1), handlers.on("a", lambda: 2)
    handlers.off("a", one)
    assert handlers.take("a") == (two,)
    handlers.off("a")
    handlers.off("never heard of")
    assert handlers.take("a") == ()


class Watched(Crew):
    def __init__(self) -> None:
        super().__init__(lambda problem, name: self.failures.append((problem, name)))
        self.failures: list[tuple[Exception, str]] = []


async def test_a_handler_that_raises_keeps_no_other_from_running() -> None:
    crew, ran = Watched(), []

    def broken(n: int) -> None:
        raise ValueError(n)

    async def broken_later(n: int) -> None:
        raise KeyError(n)

    async def fine(n: int) -> None:
        ran.append(n)

    tasks = crew.call([broken, broken_later, fine, ran.append], 7)
    await asyncio.wait(tasks)
    assert ran == [7, 7]
    assert [type(problem) for problem, _ in crew.failures] == [ValueError, KeyError]
    assert "broken_later" in crew.failures[1][1]


async def test_anything_awaitable_is_awaited() -> None:
    crew = Watched()
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    (task,) = crew.call([lambda: future])
    await asyncio.sleep(1)
    assert not task.done()
    future.set_result(None)
    await task


async def test_finishing_waits_a_while_and_then_cancels() -> None:
    crew, ended = Watched(), []

    async def handler(seconds: float) -> None:
        try:
            await asyncio.sleep(seconds)
            ended.append("done")
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    crew.call([lambda: handler(0.5), lambda: handler(50)])
    await crew.finish(1)
    assert ended == ["done", "cancelled"]
    assert asyncio.get_running_loop().time() <= 2
    await crew.finish(1)


async def test_finishing_from_a_handler_does_not_wait_for_itself() -> None:
    crew = Watched()
    (task,) = crew.call([lambda: crew.finish(1)])
    await task
    assert asyncio.get_running_loop().time() < 0.5
