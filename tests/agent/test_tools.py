"""One call of a tool: arguments in, JSON out, and an error the model can read for all else."""

from __future__ import annotations

import asyncio
import contextvars
import math
import sys
import threading
from dataclasses import dataclass
from typing import Any

import pytest

from pinecall_cli.agent.tools import Tool, describe, in_daemon_thread, tool


@dataclass
class Guest:
    name: str
    age: int = 18


class Here:
    """A call, as far as a tool can tell."""


Here.__name__, Here.__module__ = "Call", "pinecall_cli.sdk.call"


async def test_arguments_arrive_in_the_functions_own_types():
    seen: list[Any] = []

    @tool
    def book(guest: Guest, nights: int, note: str | None, breakfast: bool = True) -> str:
        seen.append((guest, nights, note, breakfast))
        return "ok"

    assert await book.run('{"guest": {"name": "Ana"}, "nights": "3"}') == "ok"
    assert seen == [(Guest("Ana"), 3, None, True)]


async def test_every_wrong_argument_is_told_at_once():
    @tool
    def book(guest: Guest, nights: int) -> None: ...

    result = await book.run('{"guest": {"name": 5}, "room": 7}')
    assert result == {
        "error": "unknown argument `room`; `guest`: Expected `str`, got `int` - at `$.name`; "
        "`nights` is missing"
    }


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ("{", "arguments are not JSON"),
        ("[1]", "arguments must be a JSON object"),
        ('{"a": "\\ud800"}', "arguments are not JSON"),
    ],
)
async def test_what_is_no_json_object_is_told(arguments: str, error: str):
    @tool
    def f(a: str) -> None: ...

    assert error in (await f.run(arguments))["error"]


async def test_no_arguments_at_all_are_none():
    @tool
    def f() -> str:
        return "ran"

    assert await f.run("") == "ran"
    assert await f.run(" {} ") == "ran"


async def test_the_call_is_handed_in():
    call = Here()

    @tool
    async def f(call: Here, word: str) -> list[Any]:
        return [call is not None, word]

    assert await f.run('{"word": "x"}', call) == [True, "x"]
    assert "unknown argument `call`" in (await f.run('{"word": "x", "call": 1}', call))["error"]


async def test_a_schema_of_ones_own_takes_arguments_as_they_come():
    @tool(parameters={"type": "object"})
    def f(call: Here, a: threading.Thread, **rest: Any) -> list[Any]:
        return [type(call).__name__, a, rest]

    assert await f.run('{"a": [1], "b": 2}', Here()) == ["Call", [1], {"b": 2}]
    assert f.parameters == {"type": "object"}
    assert (await f.run("{}"))["error"].startswith("TypeError")


async def test_results_become_json():
    @tool
    def f() -> dict[Any, Any]:
        return {1: Guest("Ana"), "set": {3}, "nan": math.nan, "bytes": b"x"}

    assert await f.run("{}") == {
        "1": {"name": "Ana", "age": 18},
        "set": [3],
        "nan": None,
        "bytes": "eA==",
    }


@pytest.mark.parametrize("value", [object(), "\ud800", 1j])
async def test_a_result_json_cannot_hold_is_told(value: Any):
    @tool
    def f() -> Any:
        return value

    assert (await f.run("{}"))["error"].split(":")[0] in {"TypeError", "UnicodeEncodeError"}


async def test_a_result_that_holds_itself_is_told():
    @tool
    def f() -> Any:
        loop: list[Any] = []
        loop.append(loop)
        return loop

    assert (await f.run("{}"))["error"].startswith("RecursionError")


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    ("problem", "error"),
    [
        (ValueError("no such order\nTraceback: secrets"), "ValueError: no such order"),
        (KeyError(), "KeyError"),
        (RuntimeError("x" * 500), "RuntimeError: " + "x" * 185 + "…"),
        (TimeoutError("theirs"), "TimeoutError: theirs"),
    ],
)
async def test_what_a_tool_raises_reaches_the_model_as_its_first_line(
    problem: Exception, error: str, is_async: bool
):
    def sync() -> None:
        raise problem

    async def coroutine() -> None:
        raise problem

    result = await tool(coroutine if is_async else sync).run("{}")
    assert result == {"error": error}
    assert len(result["error"]) <= 200


@pytest.mark.parametrize("is_async", [False, True])
async def test_what_a_tool_raises_is_logged_from_the_users_own_frame_on(
    is_async: bool, caplog: pytest.LogCaptureFixture
):
    def lookup() -> None:
        raise LookupError("with pk_local_0123456789 in it")

    async def coroutine() -> None:
        lookup()

    await tool(name="order")(coroutine if is_async else lookup).run("{}")
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("pinecall", "ERROR")
    assert record.getMessage() == "tool `order` raised"
    assert record.exc_text is not None
    frames = [line for line in record.exc_text.splitlines() if line.startswith("  File ")]
    assert all(__file__ in line for line in frames)
    assert "in lookup" in frames[-1]
    assert record.exc_text.endswith("LookupError: with *** in it")


async def test_a_tool_that_is_too_slow_or_called_wrongly_is_in_the_log(
    caplog: pytest.LogCaptureFixture,
):
    @tool(timeout=0.01)
    async def slow() -> None:
        await asyncio.Event().wait()

    caplog.set_level("INFO")
    await slow.run("{}")
    await slow.run('{"x": 1}')
    assert [(one.levelname, one.getMessage()) for one in caplog.records] == [
        ("ERROR", "tool `slow` took longer than 0.01 s"),
        ("INFO", "tool `slow`: the model called it wrongly: unknown argument `x`"),
    ]


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_tool_cannot_end_the_program(is_async: bool):
    def sync() -> None:
        sys.exit(3)

    async def coroutine() -> None:
        sys.exit(3)

    result = await tool(coroutine if is_async else sync).run("{}")
    assert "SystemExit: 3" in result["error"]


async def test_a_generators_end_is_an_ordinary_error():
    def stops() -> None:
        raise StopIteration

    assert (await tool(stops).run("{}"))["error"] == "RuntimeError: StopIteration"


async def test_a_sync_tool_runs_beside_the_loop_in_the_callers_context():
    word = contextvars.ContextVar("word", default="none")
    loop_thread = threading.get_ident()
    seen: list[Any] = []

    @tool
    def f() -> None:
        seen.append((threading.get_ident() != loop_thread, threading.current_thread().daemon))
        seen.append(word.get())

    word.set("here")
    await f.run("{}")
    assert seen == [(True, True), "here"]


async def test_a_sync_function_may_hand_back_something_to_await():
    async def later() -> str:
        return "later"

    def f() -> Any:
        return later()

    assert await tool(f).run("{}") == "later"


async def test_a_tool_that_takes_too_long_is_told_and_left_behind():
    release = threading.Event()

    @tool(timeout=0.01)
    def slow() -> None:
        release.wait()

    assert await slow.run("{}") == {"error": "TimeoutError: `slow` took longer than 0.01 s"}
    release.set()


async def test_an_async_tool_that_takes_too_long_is_cancelled():
    cancelled: list[bool] = []

    @tool(timeout=0.01)
    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    assert "took longer" in (await slow.run("{}"))["error"]
    assert cancelled == [True]


async def test_a_cancelled_run_is_cancelled_and_not_an_error_result():
    started = asyncio.Event()

    @tool
    async def slow() -> None:
        started.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(slow.run("{}"))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_thread_that_outlives_its_loop_does_no_harm():
    release, done = threading.Event(), threading.Event()

    def work() -> None:
        release.wait()
        done.set()

    async def give_up() -> None:
        async with asyncio.timeout(0):
            await in_daemon_thread(work)

    with pytest.raises(TimeoutError):
        asyncio.run(give_up())
    release.set()
    assert done.wait(10)


def test_options_are_kept_and_a_tool_can_still_be_called():
    @tool(name="ping", description="Pings.", ephemeral=True, no_followup=True, timeout=5)
    def f(a: int) -> int:
        return a + 1

    assert (f.name, f.description, f.ephemeral, f.no_followup, f.timeout) == (
        *("ping", "Pings.", True, True),
        5,
    )
    assert f(1) == 2
    assert isinstance(f, Tool)


def test_an_exception_without_words_is_its_type():
    assert describe(ValueError("")) == "ValueError"


async def test_a_tool_made_by_hand_takes_arguments_as_they_come():
    made = Tool("echo", "Echoes.", {}, lambda **given: given)
    assert await made.run('{"a": 1}') == {"a": 1}
