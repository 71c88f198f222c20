"""How a call ended, as the error that its exit code comes from; None for a call that went well."""

from __future__ import annotations

from pinecall_cli.errors import (
    CallFailedError,
    InfrastructureError,
    NotFoundError,
    PinecallError,
    UsageError,
)
from pinecall_cli.protocol import events

ENDED_WELL = frozenset({"hangup", "client_hangup", "disconnected", "max_duration", "idle_timeout"})
UNANSWERED = {
    "busy": "{to} is busy",
    "no-answer": "{to} does not answer",
    "rejected": "{to} rejected the call",
    "failed": "{to} cannot be reached",
    "canceled": "the call to {to} was given up",
}
REFUSALS: dict[str, type[PinecallError]] = {
    "ENGINE_UNAVAILABLE": InfrastructureError,
    "SERVER_DRAINING": InfrastructureError,
    "NOT_SUPPORTED": InfrastructureError,
    "AGENT_NOT_FOUND": NotFoundError,
    "INVALID_NUMBER": UsageError,
    "NUMBER_NOT_OWNED": UsageError,
}


def connected(reason: str) -> CallFailedError | None:
    """Return what to say of a call that was on, and ended for this reason."""
    if reason in ENDED_WELL:
        return None
    return CallFailedError(f"the call ended with `{reason}`", code="call_failed")


def unanswered(reason: str, to: str) -> CallFailedError:
    """Return what to say of a call to ``to`` that nobody took."""
    text = UNANSWERED.get(reason, "the call to {to} was not connected: " + reason)
    return CallFailedError(text.format(to=to), code=reason)


def refusal(event: events.CallError) -> PinecallError:
    """Return a dial's refusal as one of our errors."""
    code = event.code if isinstance(event.code, str) else ""
    kind = REFUSALS.get(code, CallFailedError)
    return kind(event.error or "the dial was refused", code=code.lower() or None)
