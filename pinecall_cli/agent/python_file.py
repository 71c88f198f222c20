"""Importing a user's Python file while the program runs: bounded, caught, and fresh each time."""

from __future__ import annotations

import ctypes
import linecache
import os
import sys
import threading
import time
import traceback
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from pinecall_cli.agent.capture import captured_output
from pinecall_cli.agent.define import Agent, Collected, collecting
from pinecall_cli.agent.fresh import FreshModules
from pinecall_cli.agent.problems import AgentFileProblems, Problem, shown_path
from pinecall_cli.agent.tools import Tool, describe, tool
from pinecall_cli.errors import AgentFileError, Where

IMPORT_LIMIT = 5.0
"""Seconds a file may take (cli.md "Agent files")."""
MAX_PYTHON_BYTES = 4 * 1024 * 1024

_one_at_a_time = threading.Lock()
"""Imports share ``sys.modules`` and the standard streams."""


@dataclass(frozen=True, slots=True)
class Imported:
    """A file as it was imported: its names, what it defined, what it printed."""

    file: Path
    namespace: dict[str, Any]
    collected: Collected
    watched: frozenset[Path]
    """The file, and the modules of its folder that it imported."""
    notices: tuple[str, ...] = ()
    """What it printed while it was imported, line by line."""

    def agents(self) -> list[Agent]:
        """Return the agents that belong to this file, in the order in which they were made.

        Those are the ones defined in it, at module level or through `Pinecall()`, and any other
        that one of its names holds.
        """
        own = os.path.abspath(self.file)
        named = {id(v) for v in self.namespace.values() if isinstance(v, Agent)}
        # By place: a module beside it that imports this file defines its agents once more.
        found = {
            (agent.where, agent.name): agent
            for agent in self.collected.agents
            if os.path.abspath(agent.where.file) == own or id(agent) in named
        }
        return list(found.values())

    def tools(self, name: str | None, where: Where) -> list[Tool]:
        """Return the tool of this name, or every `@tool` the file defines.

        Raises:
            AgentFileError: If there is none; ``where`` is where it was asked for.
        """
        shown = shown_path(self.file)
        if name is None:
            module = self.namespace["__name__"]
            found = {
                id(value): value
                for value in self.namespace.values()
                if isinstance(value, Tool) and value.function.__module__ == module
            }
            if not found:
                raise no_tools_in(shown, where)
            return list(found.values())
        value = self.namespace.get(name)
        if isinstance(value, Tool):
            return [value]
        if isinstance(value, types.FunctionType):
            return [tool(value)]
        raise no_such_tool(name, shown, self._tool_names(), where)

    def _tool_names(self) -> list[str]:
        return [
            key
            for key, value in self.namespace.items()
            if isinstance(value, Tool)
            or (isinstance(value, types.FunctionType) and value.__globals__ is self.namespace)
        ]


def no_tools_in(shown: str, where: Where) -> AgentFileError:
    """Return the error for a file, named as a whole, that has no tools."""
    return AgentFileError(
        f"`{shown}` has no `@tool`",
        where=where,
        fix="put `@tool` above the functions the model may call",
        code="no_tools",
    )


def no_such_tool(name: str, shown: str, known: list[str], where: Where) -> AgentFileError:
    """Return the error for a function that a tool file does not have."""
    listed = ", ".join(f"`{other}`" for other in sorted(known)[:8])
    return AgentFileError(
        f"`{shown}` has no function `{name}`",
        where=where,
        fix=f"it has {listed}" if listed else "it defines no function",
        code="unknown_tool",
    )


def import_file(file: Path, *, limit: float = IMPORT_LIMIT) -> Imported:
    """Import a Python file in a thread of its own and return what came of it.

    Its namespace is new, and so are the modules of its folder that it imports. A file that hangs
    is given up after ``limit`` seconds; its thread is asked to stop and otherwise left behind.

    Raises:
        AgentFileProblems: If the file is not there, is not Python, raises, exits or hangs.
    """
    path = Path(os.path.abspath(file))
    source = _source(path)
    fresh = FreshModules.of(path.parent)
    job = _Job(path, source, fresh)
    thread = threading.Thread(target=job.run, name=f"import {path.name}", daemon=True)
    with _one_at_a_time, captured_output() as output:
        thread.start()
        thread.join(limit)
        hanging = thread.is_alive()
        where = _running_line(thread, path) if hanging else None
        watched = frozenset({path, *fresh.files})
    if hanging:
        fresh.abandon()
        _ask_to_stop(thread)
        _fail(
            "import_timeout",
            f"`{shown_path(path)}` is still being imported after {limit:g} s",
            where or Where(shown_path(path)),
            "move slow or endless work into a function, or under `if __name__ == '__main__':`",
            watched,
        )
    if job.problem is not None:
        _raise_theirs(job.problem, path, watched)
    return Imported(path, job.namespace, job.collected, watched, tuple(output.lines()))


class _Job:
    """The import itself, on its thread."""

    def __init__(self, path: Path, source: bytes, fresh: FreshModules) -> None:
        self.path, self.source, self.fresh = path, source, fresh
        self.problem: BaseException | None = None
        self.namespace: dict[str, Any] = {}
        self.collected = Collected()

    def run(self) -> None:
        """Compile and run the file, keeping whatever it raises."""
        try:
            with collecting() as self.collected, self.fresh.importing():
                code = compile(self.source, str(self.path), "exec", dont_inherit=True)
                linecache.checkcache(str(self.path))  # tracebacks quote the file as it is now
                module = self.fresh.new_module(self.path)
                self.namespace = vars(module)
                exec(code, self.namespace)
        except BaseException as problem:
            self.problem = problem


def _source(path: Path) -> bytes:
    """Return a file's bytes, telling "no such file" from everything that comes later."""
    shown = shown_path(path)
    watched = frozenset({path})
    try:
        if not path.is_file():
            kind = "is no file" if path.exists() else "is not there"
            _fail("missing_file", f"`{shown}` {kind}", Where(shown), None, watched)
        if path.stat().st_size > MAX_PYTHON_BYTES:
            _fail("too_long", f"`{shown}` is larger than 4 MiB", Where(shown), None, watched)
        source = path.read_bytes()
        if b"\0" in source:
            message = "this is a binary file, not Python"
            _fail("binary_file", message, Where(shown, 1, 1), None, watched)
        return source
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        _fail("unreadable_file", f"cannot read `{shown}`: {reason}", Where(shown), None, watched)


def _fail(
    code: str, message: str, where: Where, hint: str | None, watched: frozenset[Path]
) -> NoReturn:
    problem = Problem(where.file, where.line, where.column, "error", code, message, hint)
    raise AgentFileProblems([problem], watched)


def _raise_theirs(problem: BaseException, path: Path, watched: frozenset[Path]) -> NoReturn:
    """Raise what the user's file raised, at the line of theirs that did it."""
    if isinstance(problem, AgentFileProblems):
        raise AgentFileProblems(problem.problems, watched | problem.watched)
    where = _their_line(problem, path)
    match problem:
        case SyntaxError() if problem.filename and not isinstance(problem.__cause__, ImportError):
            where = Where(shown_path(Path(problem.filename)), problem.lineno, problem.offset)
            _fail("python_syntax", f"this is not Python: {problem.msg}", where, None, watched)
        case AgentFileError():
            at = problem.where or where
            at = Where(shown_path(Path(at.file)), at.line, at.column)
            _fail(problem.code, problem.message, at, problem.fix, watched)
        case SystemExit():
            _fail(
                "python_exit",
                f"your file ended the program (`SystemExit: {problem.code}`)",
                where,
                "keep `sys.exit` under `if __name__ == '__main__':`",
                watched,
            )
        case ModuleNotFoundError() if problem.name:
            hint = f"install `{problem.name.partition('.')[0]}`, or put the module beside the file"
            _fail("python_import", f"your file raised {describe(problem)}", where, hint, watched)
    _fail("python_raised", f"your file raised {describe(problem)}", where, None, watched)


def _their_line(problem: BaseException, path: Path) -> Where:
    """Return the innermost line of the traceback that lies in the user's folder."""
    folder = str(path.parent) + os.sep
    found = Where(shown_path(path))
    for frame in traceback.extract_tb(problem.__traceback__):
        if frame.filename.startswith(folder) and _is_theirs(frame.filename):
            found = Where(shown_path(Path(frame.filename)), frame.lineno)
    return found


def _is_theirs(filename: str) -> bool:
    return "site-packages" not in filename and not filename.startswith(
        (str(Path(__file__).parents[1]) + os.sep, sys.base_prefix + os.sep)
    )


def _running_line(thread: threading.Thread, path: Path) -> Where | None:
    """Return the line of the file that a hanging import stands at."""
    frame = sys._current_frames().get(thread.ident or 0)
    while frame is not None:
        if frame.f_code.co_filename == str(path):
            return Where(shown_path(path), frame.f_lineno)
        frame = frame.f_back
    return None


def _ask_to_stop(thread: threading.Thread) -> None:
    """End a busy loop with a SystemExit: it would else burn a core, one more at each save.

    Only a thread that runs is asked. In one that waits inside C the exception would stay pending,
    and while one is, CPython 3.11 checks for it at every turn of every thread's loops; under a
    tracer it then stands still (seen with coverage).
    """
    if _is_busy(thread):
        set_exception: Callable[..., int] = ctypes.pythonapi.PyThreadState_SetAsyncExc
        set_exception(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit))


def _is_busy(thread: threading.Thread) -> bool:
    """Tell whether a thread uses the processor; only Linux says so."""
    before = _ticks(thread)
    for _ in range(5):
        time.sleep(0.05)
        if _ticks(thread) > before:
            return True
    return False


def _ticks(thread: threading.Thread) -> int:
    """Return the processor time a thread has used, in hundredths of a second."""
    try:
        stat = Path(f"/proc/self/task/{thread.native_id}/stat").read_text()
    except OSError:
        return 0
    fields = stat.rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])  # utime and stime, proc(5)
