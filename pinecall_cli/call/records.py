"""Our own records in an event stream: what ``dev`` and ``call`` say beside the wire's frames.

Every record has ``type``, ``at`` and ``agent``; ``fields()`` is the rest of its JSON object.
Shapes and keys are a contract: scripts read them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from pinecall_cli.call.state import CallState
from pinecall_cli.errors import PinecallError


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A record of ours; ``at`` is in seconds since the epoch."""

    type: ClassVar[str]
    at: float
    agent: str | None = None

    def fields(self) -> dict[str, Any]:
        """Return what the JSON object holds beside ``type``, ``ts`` and ``agent``."""
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentEntry:
    """One agent of ``dev.ready``."""

    agent: str
    file: str
    phones: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DevReady(Record):
    """All agents are registered."""

    type: ClassVar[str] = "dev.ready"
    agents: tuple[AgentEntry, ...]
    server: str
    local: bool
    joined: bool = False
    """Whether the server ran before; a local one is the embedded one otherwise."""

    def fields(self) -> dict[str, Any]:
        """Return the agents, the server's address and whether it is a local one."""
        agents = [
            {"agent": entry.agent, "file": entry.file, "phones": list(entry.phones)}
            for entry in self.agents
        ]
        return {"agents": agents, "server": self.server, "local": self.local}


@dataclass(frozen=True, slots=True, kw_only=True)
class DevReloaded(Record):
    """The receipt of a reload: what changed, which calls took it, how long it took."""

    type: ClassVar[str] = "dev.reloaded"
    files: tuple[str, ...]
    changed: tuple[str, ...]
    calls: tuple[str, ...] = ()
    applied_ms: int
    prompt_diff: str | None = None
    """What the prompt lost and gained, in words; None when it is the same."""
    notes: tuple[str, ...] = ()
    """What did not take effect at once, and when it will."""

    def fields(self) -> dict[str, Any]:
        """Return files, changed keys, calls, milliseconds, and the extras where there are any."""
        body: dict[str, Any] = {
            "files": list(self.files),
            "changed": list(self.changed),
            "calls": list(self.calls),
            "applied_ms": self.applied_ms,
        }
        if self.prompt_diff is not None:
            body["prompt_diff"] = self.prompt_diff
        if self.notes:
            body["notes"] = list(self.notes)
        return body


@dataclass(frozen=True, slots=True, kw_only=True)
class FileProblem:
    """One thing wrong with an agent file; lines and columns count from 1."""

    code: str
    message: str
    line: int | None = None
    column: int | None = None
    hint: str | None = None
    file: str | None = None
    """Where it is another file than the agent's (a prompt, a tool module)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DevReloadFailed(Record):
    """A file that was saved does not load; the last good version goes on running."""

    type: ClassVar[str] = "dev.reload_failed"
    file: str
    errors: tuple[FileProblem, ...]

    def fields(self) -> dict[str, Any]:
        """Return the file and its errors."""
        errors = []
        for problem in self.errors:
            body: dict[str, Any] = {
                "code": problem.code,
                "message": problem.message,
                "line": problem.line,
                "column": problem.column,
                "hint": problem.hint,
            }
            if problem.file is not None and problem.file != self.file:
                body["file"] = problem.file
            errors.append(body)
        return {"file": self.file, "errors": errors}


@dataclass(frozen=True, slots=True, kw_only=True)
class DevReconnecting(Record):
    """The connection is lost; the next attempt comes in ``delay_ms``."""

    type: ClassVar[str] = "dev.reconnecting"
    attempt: int
    delay_ms: int

    def fields(self) -> dict[str, Any]:
        """Return the attempt's number and the wait before it."""
        return {"attempt": self.attempt, "delay_ms": self.delay_ms}


@dataclass(frozen=True, slots=True, kw_only=True)
class DevReconnected(Record):
    """The connection is back and the agents are registered again."""

    type: ClassVar[str] = "dev.reconnected"


@dataclass(frozen=True, slots=True, kw_only=True)
class DevStopped(Record):
    """``dev`` has ended; the last record."""

    type: ClassVar[str] = "dev.stopped"
    reason: str

    def fields(self) -> dict[str, Any]:
        """Return why."""
        return {"reason": self.reason}


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineNotice(Record):
    """What an engine has to say: still loading, ready, or standing in for another. Not on NDJSON's
    list of records, so it goes to the eye alone (live and plain view, stderr under ``--json``).
    """

    type: ClassVar[str] = "engine.notice"
    text: str
    loading: bool = False
    """Whether the engines are still loading; a call rings meanwhile."""

    def fields(self) -> dict[str, Any]:
        """Return the text and whether something still loads."""
        return {"text": self.text, "loading": self.loading}


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorRecord(Record):
    """Something went wrong, in the form of every error object."""

    type: ClassVar[str] = "error"
    code: str
    message: str
    hint: str | None = None
    where: str | None = None

    @classmethod
    def of(cls, error: PinecallError, *, at: float, agent: str | None = None) -> ErrorRecord:
        """Return the record of ``error``."""
        where = None if error.where is None else str(error.where)
        return cls(
            at=at, agent=agent, code=error.code, message=error.message, hint=error.fix, where=where
        )

    def fields(self) -> dict[str, Any]:
        """Return the error object."""
        error: dict[str, Any] = {"code": self.code, "message": self.message, "hint": self.hint}
        if self.where is not None:
            error["where"] = self.where
        return {"error": error}


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencySpread:
    """Latencies of a call's turns, in ms: nearest-rank percentiles over ``n`` turns."""

    p50: int
    p95: int
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSummary(Record):
    """How a call went; the last record about it."""

    type: ClassVar[str] = "call.summary"
    call_id: str
    reason: str
    duration_s: float | None
    turns: int
    latency_ms: LatencySpread | None
    """None when no turn has a latency."""

    def fields(self) -> dict[str, Any]:
        """Return the call, why it ended, its length, its turns and their latency."""
        spread = self.latency_ms
        return {
            "call_id": self.call_id,
            "reason": self.reason,
            "duration_s": self.duration_s,
            "turns": self.turns,
            "latency_ms": None
            if spread is None
            else {"p50": spread.p50, "p95": spread.p95, "n": spread.n},
        }


def summary(call: CallState, *, at: float) -> CallSummary:
    """Return the summary of ``call`` as it stands; ``at`` stamps the record."""
    elapsed = call.elapsed_s
    return CallSummary(
        at=at,
        agent=call.agent or None,
        call_id=call.call_id,
        reason=call.reason or "unknown",
        duration_s=None if elapsed is None else round(elapsed, 3),
        turns=len(call.ended_turns),
        latency_ms=spread([turn.e2e for turn in call.latencies if turn.e2e is not None]),
    )


def spread(values: Sequence[int]) -> LatencySpread | None:
    """Return the median and 95th percentile of ``values``, or None when there are none.

    Nearest rank: each is a latency that was measured, and of fewer than 20 turns the 95th
    percentile is the slowest.
    """
    if not values:
        return None
    ordered = sorted(values)

    def rank(share: float) -> int:
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)]

    return LatencySpread(p50=rank(0.5), p95=rank(0.95), n=len(ordered))
