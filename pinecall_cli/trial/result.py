"""How a spec went, as a value: what was done, said and judged, and what to tell of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from pinecall_cli.errors import PinecallError, Where
from pinecall_cli.trial.judge import Verdict, expected, judge, kind, not_reached
from pinecall_cli.trial.record import Record, Window
from pinecall_cli.trial.spec import Spec, SpecStep

Outcome = Literal["passed", "failed", "error"]


@dataclass(frozen=True, slots=True)
class Failure:
    """Something that went wrong at one place of a spec."""

    where: Where
    message: str
    found: tuple[str, ...] = ()
    """What there was instead, a line each."""


@dataclass(frozen=True, slots=True)
class Result:
    """How one spec went."""

    spec: Spec
    agent: str
    """The slug of its agent."""
    record: Record
    duration_s: float
    verdicts: tuple[tuple[Verdict, ...], ...] = ()
    """Of each step's expectations, and last of the spec's own."""
    failures: tuple[Failure, ...] = ()
    error: PinecallError | None = None
    """Why it could not be run: no fault of the agent's."""
    notes: tuple[str, ...] = field(default=())
    """What else was complained of on the way."""

    @property
    def outcome(self) -> Outcome:
        """How it went, as one word."""
        if self.error is not None:
            return "error"
        return "failed" if self.failures else "passed"

    @property
    def passed(self) -> bool:
        """Whether everything was as expected."""
        return self.outcome == "passed"

    def as_json(self) -> dict[str, Any]:
        """Return the result as ``test --json`` prints it."""
        spec = self.spec
        steps = [
            _step_json(step, self.record.windows.get(index), verdicts)
            for index, (step, verdicts) in enumerate(
                zip(spec.steps, self.verdicts or ((),) * len(spec.steps), strict=False)
            )
        ]
        return {
            "file": spec.shown,
            "agent": self.agent,
            "description": spec.description,
            "mode": spec.mode,
            "passed": self.passed,
            "duration_s": round(self.duration_s, 3),
            "opening": _window_json(self.record.opening),
            "steps": steps,
            "expect": [_verdict_json(one) for one in self.verdicts[-1]] if self.verdicts else [],
            "failures": [
                {
                    "file": failure.where.file,
                    "line": failure.where.line,
                    "column": failure.where.column,
                    "message": failure.message,
                    "found": list(failure.found),
                }
                for failure in self.failures
            ],
            "notes": list(self.notes),
            "error": None if self.error is None else self.error.as_json(),
        }


def judged(
    spec: Spec,
    agent: str,
    record: Record,
    *,
    duration_s: float,
    broke: Failure | None = None,
    error: PinecallError | None = None,
    notes: Iterable[str] = (),
) -> Result:
    """Return how a spec went, from what happened.

    ``broke`` is what ended the conversation before its time; ``error`` is why it could not be had.
    """
    if error is not None:
        return Result(spec, agent, record, duration_s, error=error, notes=tuple(notes))
    verdicts = (*_of_steps(spec, record, broke), _of_all(spec, record))
    failures = [] if broke is None else [broke]
    failures += _failed(verdicts, but_not="the conversation broke off" if broke else None)
    undone = None if broke or failures else _undone(spec, record)
    failures += [] if undone is None else [undone]
    seen = (*record.problems, *notes)
    return Result(spec, agent, record, duration_s, verdicts, tuple(failures), notes=seen)


def _of_steps(spec: Spec, record: Record, broke: Failure | None) -> Iterator[tuple[Verdict, ...]]:
    window: Window | None = record.opening
    for index, step in enumerate(spec.steps):
        if step.acts:
            window = record.windows.get(index)
        if window is not None:
            yield tuple(judge(one, window) for one in step.expect)
        else:
            why = "the conversation broke off" if broke else "the call ended before this step"
            yield tuple(not_reached(one, why) for one in step.expect)


def _of_all(spec: Spec, record: Record) -> tuple[Verdict, ...]:
    whole = record.whole()
    return tuple(judge(one, whole) for one in spec.expect)


def _failed(verdicts: Iterable[Iterable[Verdict]], *, but_not: str | None) -> Iterator[Failure]:
    for verdict in (one for some in verdicts for one in some):
        if not verdict.passed and verdict.found != (but_not,):
            said = f"expected {expected(verdict.expectation)}"
            yield Failure(verdict.expectation.where, said, verdict.found)


def _undone(spec: Spec, record: Record) -> Failure | None:
    """Return the first step that the end of the call left undone; hanging up needs no doing."""
    for index, step in enumerate(spec.steps):
        if step.acts and step.verb != "hangup" and index not in record.windows:
            return Failure(step.where, f"the call ended before `{step.shown}`")
    return None


def _step_json(
    step: SpecStep, window: Window | None, verdicts: tuple[Verdict, ...]
) -> dict[str, Any]:
    return {
        "line": step.where.line,
        "column": step.where.column,
        "step": step.shown,
        **_window_json(window or Window()),
        "expect": [_verdict_json(one) for one in verdicts],
    }


def _window_json(window: Window) -> dict[str, Any]:
    return {
        "heard": " ".join(text for text in window.understood.values() if text) or None,
        "said": window.said,
        "tools": [
            {"name": use.name, "args": use.args, "result": use.result} for use in window.tools
        ],
        "latency_ms": [dict(times) for times in window.times],
    }


def _verdict_json(verdict: Verdict) -> dict[str, Any]:
    where = verdict.expectation.where
    return {
        "line": where.line,
        "column": where.column,
        "kind": kind(verdict.expectation),
        "expected": expected(verdict.expectation),
        "passed": verdict.passed,
        "found": list(verdict.found),
    }
