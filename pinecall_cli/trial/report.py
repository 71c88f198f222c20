"""Results as people and programs read them: lines, and one document."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pinecall_cli.trial.judge import shown
from pinecall_cli.trial.result import Result

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
    """Return 1 if any spec failed, else what kept the first from being run (3, 4), else 0."""
    found = tuple(results)
    if any(result.outcome == "failed" for result in found):
        return 1
    return next((one.error.exit_code for one in found if one.error is not None), 0)


def transcript(result: Result) -> Iterator[str]:
    """Yield the conversation, a line for each thing that was said or done."""
    record = result.record
    yield from (f"agent: {text}" for text in record.opening.said)
    for index, step in enumerate(result.spec.steps):
        if (window := record.windows.get(index)) is not None:
            yield step.shown
            yield from (f"tool: {use.name} {shown(use.args)}" for use in window.tools)
            yield from (f"agent: {text}" for text in window.said)
