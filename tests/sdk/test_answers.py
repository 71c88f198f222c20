"""Requests and answers: who is answered, what is refused, and what nobody listened to."""

from __future__ import annotations

import asyncio
import gc
import logging

import pytest

from pinecall_cli.errors import ServerUnreachableError
from pinecall_cli.sdk.answers import Answer, Answers, RequestRejectedError, RequestTimeoutError
from tests.sdk.jumping import BACKEND


@pytest.fixture
def anyio_backend() -> object:
    return BACKEND


def asked(answers: Answers, *key: str, timeout: float | None = None) -> Answer[object]:
    future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    answers.expect(key, future, timeout)
    return Answer(future, key[0])


async def test_the_oldest_request_of_a_key_is_answered_first() -> None:
    answers = Answers()
    first, second = asked(answers, "a", "x"), asked(answers, "a", "x")
    assert answers.settle(("a", "x"), 1)
    assert answers.settle(("a", "x"), 2)
    assert not answers.settle(("a", "x"), 3)
    assert (await first, await second) == (1, 2)


async def test_an_answer_may_be_awaited_again_and_by_several() -> None:
    answers = Answers()
    answer = asked(answers, "a", "x")
    waiting = asyncio.gather(wait(answer), wait(answer))
    await asyncio.sleep(0)
    answers.settle(("a", "x"), "yes")
    assert await waiting == ["yes", "yes"]
    assert await answer == "yes"
    assert answer.done


async def wait(answer: Answer[object]) -> object:
    return await answer


async def test_who_stops_waiting_does_not_take_the_answer_from_others() -> None:
    answers = Answers()
    answer = asked(answers, "a", "x")
    impatient = asyncio.ensure_future(wait(answer))
    await asyncio.sleep(0)
    impatient.cancel()
    await asyncio.wait({impatient})
    answers.settle(("a", "x"), 1)
    assert await answer == 1


async def test_a_request_that_is_not_answered_fails_after_its_time() -> None:
    answers = Answers()
    answer = asked(answers, "agent.configured", "fd", timeout=10)
    with pytest.raises(RequestTimeoutError, match=r"no `agent\.configured` .* within 10 s"):
        await answer
    assert asyncio.get_running_loop().time() == pytest.approx(10)
    assert not answers.waiting()


async def test_refusing_everything_leaves_nothing_waiting() -> None:
    answers = Answers()
    both = [asked(answers, "a", "x", timeout=10), asked(answers, "b", "y")]
    answers.refuse_all(ServerUnreachableError("gone"))
    for answer in both:
        with pytest.raises(ServerUnreachableError, match="gone"):
            await answer
    await asyncio.sleep(0)
    assert not answers.waiting()


async def test_waiting_keys_are_found_by_kind_and_by_what_they_are_about() -> None:
    answers = Answers()
    keep = [asked(answers, "a", "x"), asked(answers, "b", "x"), asked(answers, "a", "y")]
    assert answers.waiting(about="x") == [("a", "x"), ("b", "x")]
    assert answers.waiting(kind="a") == [("a", "x"), ("a", "y")]
    assert len(answers.waiting()) == len(keep)


@pytest.mark.parametrize("kept", [True, False])
async def test_a_failure_that_nobody_awaits_is_logged(
    kept: bool, caplog: pytest.LogCaptureFixture
) -> None:
    answers = Answers()
    held = [asked(answers, "history", "c1")]
    if not kept:
        held.clear()
    answers.refuse(("history", "c1"), RequestRejectedError("no such call"))
    await asyncio.sleep(0)
    held.clear()
    gc.collect()
    assert [r.getMessage() for r in caplog.records] == ["history failed: no such call"]


async def test_a_failure_that_was_awaited_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    answers = Answers()
    answer = asked(answers, "history", "c1")
    answers.refuse(("history", "c1"), RequestRejectedError("no such call"))
    await asyncio.sleep(0)
    with pytest.raises(RequestRejectedError):
        await answer
    del answer
    gc.collect()
    assert not caplog.records


async def test_what_went_well_may_be_ignored(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    answers = Answers()
    asked(answers, "a", "x")
    answers.settle(("a", "x"), None)
    await asyncio.sleep(0)
    gc.collect()
    assert not [record for record in caplog.records if record.name.startswith("pinecall")]
