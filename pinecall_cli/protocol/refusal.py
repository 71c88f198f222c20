"""Why a configuration is refused, and what each error code of a registration means."""

from __future__ import annotations

from enum import Enum

from pinecall_cli.errors import PinecallError
from pinecall_cli.protocol.events import Error


class ConfigRefused(PinecallError):
    """A value that the protocol or a house rule does not allow. Exit code 2."""

    exit_code = 2

    def __init__(self, code: str, message: str, fix: str | None = None) -> None:
        super().__init__(message, fix=fix, code=code)


class Outcome(Enum):
    """What a client does about an ``error`` frame."""

    PHONE_IN_USE = "phone_in_use"
    """Warn and forget that channel."""
    CONFLICT = "conflict"
    """Retry with ``ConflictRetry``."""
    CONFLICT_FATAL = "conflict_fatal"
    """Give the agent up: a live process holds its name."""
    CAPACITY = "capacity"
    """Give the agent up: the server is full."""
    REFUSED = "refused"
    """Give the agent up: its registration is invalid."""
    UNAUTHORISED = "unauthorised"
    """The key was refused."""
    OTHER = "other"
    """Tell the application."""


BY_CODE = {
    "PHONE_IN_USE": Outcome.PHONE_IN_USE,
    "AGENT_IN_USE": Outcome.CONFLICT,
    "AGENT_CONFLICT": Outcome.CONFLICT,
    "AGENT_CONFLICT_FATAL": Outcome.CONFLICT_FATAL,
    "SERVER_AT_CAPACITY": Outcome.CAPACITY,
    "REGISTRATION_ERROR": Outcome.REFUSED,
    "INVALID_KEY": Outcome.UNAUTHORISED,
    "UNAUTHORIZED": Outcome.UNAUTHORISED,
}


def outcome_of(error: Error) -> Outcome:
    """Return what to do about an ``error`` frame: by its code, else by the words in its text."""
    code = error.code if isinstance(error.code, str) else ""
    if code in BY_CODE:
        known = BY_CODE[code]
        fatal = known is Outcome.CONFLICT_FATAL and not isinstance(error.agent_id, str)
        return Outcome.OTHER if fatal else known  # fatal for whom? README §8.3: a plain error
    if "PHONE_IN_USE" in error.error:
        return Outcome.PHONE_IN_USE
    if "AGENT_IN_USE" in error.error:
        return Outcome.CONFLICT
    if error.error.startswith("SERVER_AT_CAPACITY:"):
        return Outcome.CAPACITY
    return Outcome.OTHER
