"""Results as people and CI systems read them: lines, JUnit XML, GitHub annotations."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from pinecall_cli.errors import PinecallError, Where
from pinecall_cli.trial.result import Failure, Result

WORDS = {"passed": "PASS", "failed": "FAIL", "error": "ERROR"}


def lines(result: Result) -> Iterator[str]:
    """Yield what is told of one spec: a line, and where it failed, each failure with its place."""
    spec = result.spec
    about = f"{spec.mode}, {result.duration_s:.1f} s"
    described = f" · {spec.description}" if spec.description else ""
    yield f"{WORDS[result.outcome]} {spec.shown}{described} ({about})"
    for failure in result.failures:
        yield f"  {failure.where}: {failure.message}"
        yield from (f"    {found}" for found in failure.found)
    if result.error is not None:
        yield f"  {result.error.message}"
        if result.error.fix:
            yield f"    fix: {result.error.fix}"
    if not result.passed:
        yield from (f"  note: {note}" for note in result.notes)


def total(results: Sequence[Result], seconds: float) -> str:
    """Return what all of it comes to, as one line."""
    counts = {word: sum(one.outcome == word for one in results) for word in WORDS}
    parts = [f"{counts['passed']} passed"]
    parts += [f"{counts['failed']} failed"] if counts["failed"] else []
    parts += [f"{counts['error']} could not be run"] if counts["error"] else []
    return f"{', '.join(parts)} in {seconds:.1f} s"


def document(results: Sequence[Result], seconds: float) -> dict[str, Any]:
    """Return the document of ``test --json``."""
    passed = sum(result.passed for result in results)
    return {
        "passed": passed,
        "failed": len(results) - passed,
        "duration_s": round(seconds, 3),
        "results": [result.as_json() for result in results],
    }


def exit_code(results: Iterable[Result]) -> int:
    """Return 1 if any spec failed, else 3 if any could not be run, else 0."""
    outcomes = {result.outcome for result in results}
    return 1 if "failed" in outcomes else 3 if "error" in outcomes else 0


# --- JUnit ----------------------------------------------------------------------------------


def junit(results: Sequence[Result], seconds: float) -> bytes:
    """Return the results as a JUnit XML document."""
    outcomes = [result.outcome for result in results]
    counts = {
        "tests": str(len(results)),
        "failures": str(outcomes.count("failed")),
        "errors": str(outcomes.count("error")),
        "time": f"{seconds:.3f}",
    }
    root = ElementTree.Element("testsuites", counts)
    suite = ElementTree.SubElement(root, "testsuite", {"name": "pinecall", **counts})
    for result in results:
        suite.append(_case(result))
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'.encode()


def _case(result: Result) -> ElementTree.Element:
    spec = result.spec
    case = ElementTree.Element(
        "testcase",
        {
            "classname": inert(spec.shown),
            "name": inert(spec.title),
            "file": inert(spec.shown),
            "time": f"{result.duration_s:.3f}",
        },
    )
    if result.outcome != "passed":
        first, *rest = lines(result)
        message = result.failures[0].message if result.failures else first
        message = result.error.message if result.error is not None else message
        tag = "error" if result.outcome == "error" else "failure"
        problem = ElementTree.SubElement(case, tag, {"message": inert(message)})
        problem.text = inert("\n".join(rest))
    ElementTree.SubElement(case, "system-out").text = inert("\n".join(transcript(result)))
    return case


def transcript(result: Result) -> Iterator[str]:
    """Yield the conversation, a line for each thing that was said or done."""
    record = result.record
    yield from (f"agent: {text}" for text in record.opening.said)
    for index, step in enumerate(result.spec.steps):
        if (window := record.windows.get(index)) is not None:
            yield step.shown
            yield from (f"tool: {use.name} {use.args}" for use in window.tools)
            yield from (f"agent: {text}" for text in window.said)


NOT_XML = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold, escaped or not."""


def inert(text: str) -> str:
    """Return text as XML can hold it."""
    return NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)


# --- GitHub ---------------------------------------------------------------------------------


def annotations(results: Iterable[Result]) -> Iterator[str]:
    """Yield a GitHub workflow command for each failure, at its line."""
    for result in results:
        for failure in result.failures:
            yield annotation(failure.where, result.spec.title, _whole(failure))
        if result.error is not None:
            yield annotation(Where(result.spec.shown, 1), result.spec.title, result.error.message)


def annotations_of(error: PinecallError) -> Iterator[str]:
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
