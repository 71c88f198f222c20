"""Results as GitHub shows them: annotations at the lines of specs, and the page of a run."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pinecall_cli.errors import PinecallError, Where
from pinecall_cli.trial.report import total
from pinecall_cli.trial.result import Failure, Result


def workflow_commands(results: Iterable[Result]) -> Iterator[str]:
    """Yield a GitHub workflow command for each failure, at its line."""
    for result in results:
        for failure in result.failures:
            yield annotation(failure.where, result.spec.title, _whole(failure))
        if result.error is not None:
            yield annotation(Where(result.spec.shown, 1), result.spec.title, result.error.message)


def workflow_commands_of(error: PinecallError) -> Iterator[str]:
    """Yield a GitHub workflow command for each thing that is wrong with the files."""
    for one in error.each():
        message = one.message + (f"\nfix: {one.fix}" if one.fix else "")
        yield annotation(one.where or Where(""), "pinecall test", message)


def annotation(where: Where, title: str, message: str) -> str:
    """Return a GitHub workflow command that shows a message at a place."""
    fields = {"file": in_repository(where.file), "line": where.line, "col": where.column}
    given = [(key, str(value)) for key, value in {**fields, "title": title}.items() if value]
    listed = ",".join(f"{key}={_escaped(value, ':,')}" for key, value in given)
    return f"::error {listed}::{_escaped(message)}"


def in_repository(file: str) -> str:
    """Return a path as GitHub wants it: from the root of the repository."""
    root = os.environ.get("GITHUB_WORKSPACE")
    if not root or not file:
        return file
    path = Path(os.path.abspath(file))
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else file


def _whole(failure: Failure) -> str:
    return "\n".join((failure.message, *failure.found))


def _escaped(text: str, more: str = "") -> str:
    """Return text with what would end or split a workflow command spelt out."""
    for char in "%\r\n" + more:
        text = text.replace(char, f"%{ord(char):02X}")
    return text


def summary(results: Sequence[Result], seconds: float) -> str:
    """Return the results as Markdown, for GitHub's page of the run."""
    rows = [f"### pinecall test: {total(results, seconds)}", "", "| | spec | |", "|---|---|---|"]
    for result in results:
        mark = "✅" if result.passed else "❌"
        first = result.failures[0].message if result.failures else ""
        why = result.error.message if result.error is not None else first
        rows.append(f"| {mark} | {_cell(result.spec.shown)} | {_cell(why)} |")
    return "\n".join(rows) + "\n"


def _cell(text: str) -> str:
    """Return text that Markdown takes for nothing but text, in one cell."""
    flat = " ".join(text.split())
    return re.sub(r"([\\`*_{}\[\]<>#|!~&])", r"\\\1", flat)
