"""Tools: Python functions that a model may call, and how one call of them is run."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import os
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, overload

import msgspec

from pinecall_cli.agent.config import ToolSpec
from pinecall_cli.agent.fingerprint import fingerprint
from pinecall_cli.agent.signature import (
    Parameter,
    Signature,
    ToolDefinitionError,
    place_of,
    read_signature,
)
from pinecall_cli.protocol.codec import ENCODER
from pinecall_cli.settings.logger import logger

DEFAULT_TIMEOUT = 30.0
"""Seconds; a server gives a tool call that long (open-questions 35)."""
MAX_ERROR_LENGTH = 200
"""Characters of an exception that a model gets to read (design.md §11)."""
TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
"""What providers take for a function's name."""

PACKAGE = str(Path(__file__).parents[1]) + os.sep
"""Frames below this folder are ours; the first one outside is the user's."""

Function = Callable[..., Any]


@dataclass(frozen=True, slots=True, eq=False)
class Tool:
    """A function offered to the model. Calling it calls the function."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    """JSON Schema of the arguments."""
    function: Function
    ephemeral: bool = False
    """Whether the result leaves the history after the turn."""
    no_followup: bool = False
    """Whether the model says nothing about the result."""
    timeout: float = DEFAULT_TIMEOUT
    """Seconds."""
    signature: Signature | None = field(default=None, repr=False)
    """How arguments are converted."""
    converts: bool = True
    """False passes arguments on as they come: the schema is not the signature's."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function, as if it were no tool."""
        return self.function(*args, **kwargs)

    @property
    def spec(self) -> ToolSpec:
        """The tool as the wire and the diff see it, with a fingerprint of its code as it is now."""
        return ToolSpec(self.name, self.description, self.parameters, fingerprint(self.function))

    async def run(self, arguments: str, call: object | None = None) -> Any:
        """Return the result as JSON-able data; an ``{"error": …}`` for whatever goes wrong.

        The model reads the error in one line; the log has it with the traceback.

        Args:
            arguments: A JSON object as the model wrote it; nothing at all means ``{}``.
            call: Given to the parameter annotated `Call`.
        """
        try:
            given = self._arguments(arguments, call)
        except _BadArgumentsError as problem:
            logger.info("tool `%s`: the model called it wrongly: %s", self.name, problem)
            return {"error": _shortened(str(problem))}
        try:
            async with asyncio.timeout(self.timeout) as limit:
                if inspect.iscoroutinefunction(inspect.unwrap(self.function)):
                    result = await self.function(**given)
                else:
                    result = await in_daemon_thread(lambda: self.function(**given))
                    if inspect.isawaitable(result):
                        result = await result
            return msgspec.json.decode(ENCODER.encode(result))
        except asyncio.CancelledError:
            raise
        except (Exception, SystemExit) as problem:  # user code may raise anything
            if isinstance(problem, TimeoutError) and limit.expired():
                late = f"`{self.name}` took longer than {self.timeout:g} s"
                logger.error("tool %s", late)
                return {"error": f"TimeoutError: {late}"}
            logger.error("tool `%s` raised", self.name, exc_info=from_user_code(problem))
            return {"error": describe(problem)}

    def _arguments(self, text: str, call: object | None) -> dict[str, Any]:
        try:
            given = msgspec.json.decode(text) if text.strip() else {}
        except (msgspec.DecodeError, UnicodeError) as problem:
            raise _BadArgumentsError(f"arguments are not JSON: {problem}") from None
        if not isinstance(given, dict):
            raise _BadArgumentsError("arguments must be a JSON object")
        if self.signature is None:
            return given
        values = _converted(self.signature, given) if self.converts else given
        return values | dict.fromkeys(self.signature.call_names, call)


class _BadArgumentsError(Exception):
    """The model's arguments do not fit."""


def _converted(signature: Signature, given: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments in the function's own types; every misfit is told at once."""
    known = {parameter.name for parameter in signature.parameters}
    problems = [f"unknown argument `{name}`" for name in given if name not in known]
    values: dict[str, Any] = {}
    for parameter in signature.parameters:
        if parameter.name in given:
            try:
                values[parameter.name] = _convert(given[parameter.name], parameter)
            except (msgspec.ValidationError, ValueError, TypeError) as problem:
                problems.append(f"`{parameter.name}`: {problem}")
        elif parameter.required:
            problems.append(f"`{parameter.name}` is missing")
        elif parameter.gives_none:
            values[parameter.name] = None
    if problems:
        raise _BadArgumentsError("; ".join(problems))
    return values


def _convert(value: Any, parameter: Parameter) -> Any:
    # Not strict: models write "4" for 4, and the meaning is plain.
    return msgspec.convert(value, parameter.type, strict=False)


def describe(problem: BaseException) -> str:
    """Return an exception as ``TypeName: first line``, in 200 characters at most."""
    lines = str(problem).strip().splitlines()
    name = type(problem).__name__
    return _shortened(f"{name}: {lines[0]}" if lines else name)


def from_user_code(
    problem: BaseException,
) -> tuple[type[BaseException], BaseException, TracebackType | None]:
    """Return an exception for the log, with the frames before the user's own left out."""
    trace = problem.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(PACKAGE):
        trace = trace.tb_next
    return type(problem), problem, trace or problem.__traceback__


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_ERROR_LENGTH else text[: MAX_ERROR_LENGTH - 1] + "…"


async def in_daemon_thread(work: Callable[[], Any]) -> Any:
    """Run ``work`` in a thread of its own and return what it returns.

    Not the loop's executor: `asyncio.run` waits for that one at the end, and a tool that hangs
    must not keep the program from ending. A thread that is given up runs on, unheard.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()
    context = contextvars.copy_context()

    def settle(result: Any, problem: BaseException | None) -> None:
        if done.done():  # timed out or cancelled meanwhile
            return
        if problem is None:
            done.set_result(result)
        elif isinstance(problem, Exception) and not isinstance(problem, StopIteration):
            done.set_exception(problem)
        else:  # a Future takes no StopIteration, and SystemExit would end the loop
            told = RuntimeError(describe(problem))
            told.__cause__ = problem
            done.set_exception(told)

    def body() -> None:
        result, problem = None, None
        try:
            result = context.run(work)
        except BaseException as raised:
            problem = raised
        with contextlib.suppress(RuntimeError):  # the loop may be closed by now: nobody waits
            loop.call_soon_threadsafe(settle, result, problem)

    threading.Thread(target=body, name="pinecall-tool", daemon=True).start()
    return await done


@overload
def tool(function: Function, /) -> Tool: ...


@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    ephemeral: bool = False,
    no_followup: bool = False,
    timeout: float = DEFAULT_TIMEOUT,
) -> Callable[[Function], Tool]: ...


def tool(
    function: Function | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    ephemeral: bool = False,
    no_followup: bool = False,
    timeout: float = DEFAULT_TIMEOUT,
) -> Tool | Callable[[Function], Tool]:
    """Make a function a tool; usable bare and with options.

    Args:
        function: The function; its annotations and docstring tell the model how to call it.
        name: What the model calls it; the function's name if left out.
        description: In place of the docstring's first paragraph.
        parameters: A JSON Schema in place of the one made from the annotations; the arguments
            then arrive as they come.
        ephemeral: The result leaves the history after the turn.
        no_followup: The model says nothing about the result.
        timeout: Seconds until the model is told that the tool took too long.

    Raises:
        ToolDefinitionError: If the function cannot be a tool.
    """

    def make(function: Function) -> Tool:
        called = name or str(getattr(function, "__name__", type(function).__name__))
        if not TOOL_NAME.fullmatch(called):
            raise ToolDefinitionError(
                f"`{called}` is no name for a tool",
                where=place_of(function),
                fix="letters, digits, `_` and `-`, at most 64",
            )
        signature = read_signature(function, schema_given=parameters is not None)
        return Tool(
            name=called,
            description=description if description is not None else signature.description,
            parameters=parameters if parameters is not None else signature.schema,
            function=function,
            ephemeral=ephemeral,
            no_followup=no_followup,
            timeout=timeout,
            signature=signature,
            converts=parameters is None,
        )

    return make if function is None else make(function)
