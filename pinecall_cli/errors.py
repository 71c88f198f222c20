"""Every error a user can cause: what happened, where, what to do, and the exit code.

Nothing here imports anything of ours, and nothing here prints: ``app.main`` draws.
Exit codes: 1 the thing asked about failed, 2 usage or an invalid file, 3 infrastructure,
4 not authorised, 5 nothing ran, 6 conflict or undecided.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

E = TypeVar("E", bound=BaseException)


@dataclass(frozen=True, slots=True)
class Where:
    """A place in a file; lines and columns count from 1."""

    file: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        parts = [self.file, *(str(n) for n in (self.line, self.column) if n is not None)]
        return ":".join(parts)


class PinecallError(Exception):
    """An error to show as one sentence, a place and a fix; never as a traceback."""

    code = "error"
    exit_code = 1
    told = False
    """Whether a stream of JSON has said it already, where something else comes last."""

    def __init__(
        self,
        message: str,
        *,
        where: Where | None = None,
        fix: str | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.fix = fix
        if code is not None:
            self.code = code

    def each(self) -> tuple[PinecallError, ...]:
        """Return the errors this one stands for: itself, unless it collects several."""
        return (self,)

    def as_json(self) -> dict[str, Any]:
        """Return the error object of ``--json``: code, message, hint, and where if known."""
        body: dict[str, Any] = {"code": self.code, "message": self.message, "hint": self.fix}
        if self.where is not None:
            body["where"] = str(self.where)
        return body


class CallFailedError(PinecallError):
    """A call was busy, unanswered, refused or broke off. Exit code 1."""

    code = "call_failed"


class NotFoundError(PinecallError):
    """The agent or call that was named is not there. Exit code 1."""

    code = "not_found"


class DeclinedError(PinecallError):
    """The person at the terminal was asked, and said no. Exit code 1."""

    code = "declined"


class UsageError(PinecallError):
    """The command was used wrongly. Exit code 2."""

    code = "usage"
    exit_code = 2


class AgentFileError(PinecallError):
    """An agent, prompt, tool, script or caller file is invalid. Exit code 2."""

    code = "invalid_agent"
    exit_code = 2


class InfrastructureError(PinecallError):
    """A server, engine, model endpoint or audio device is missing or broke. Exit code 3."""

    code = "infrastructure"
    exit_code = 3


class ServerUnreachableError(InfrastructureError):
    """Nobody answers at the server's address, or the connection is lost for good."""

    code = "server_unreachable"


class AudioDeviceError(InfrastructureError):
    """PortAudio or an audio device is missing, refused or gone."""

    code = "audio_device"


class EngineError(InfrastructureError):
    """A speech engine or model endpoint is missing or failed."""

    code = "engine"


class NotAuthorisedError(PinecallError):
    """A key, token or origin was refused. Exit code 4."""

    code = "not_authorised"
    exit_code = 4


class NothingRanError(PinecallError):
    """There was nothing to run, which is never a success. Exit code 5."""

    code = "nothing_ran"
    exit_code = 5


class ConflictError(PinecallError):
    """The agent's name is held by another live process. Exit code 6."""

    code = "agent_conflict"
    exit_code = 6


def leaf(problems: BaseExceptionGroup[E]) -> E:
    """Return the first problem of tasks side by side, out of however many groups."""
    problem: E | BaseExceptionGroup[E] = problems
    while isinstance(problem, BaseExceptionGroup):
        problem = problem.exceptions[0]
    return problem
