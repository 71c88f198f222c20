"""Calls that agents of this client make: what was dialled, and what becomes of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import UNSET

from pinecall_cli.errors import CallFailedError, UsageError
from pinecall_cli.protocol import commands, events
from pinecall_cli.protocol.frames import Event
from pinecall_cli.sdk.answers import Answer, Key
from pinecall_cli.sdk.call import Call
from pinecall_cli.sdk.office import Office
from pinecall_cli.sdk.registration import same_number

DIAL_TIMEOUT = 30.0
"""Seconds for somebody to answer (protocol: README §9)."""
DIALLED = "call.dial"
AGENT = "agent:"
"""In the key of a dial: it is another agent that is called."""


class DialError(CallFailedError):
    """Nobody took the call. ``reason`` is busy, no-answer, rejected, failed, canceled…"""

    def __init__(self, reason: str, message: str | None = None) -> None:
        super().__init__(message or f"the call was not connected: {reason}", code=reason)
        self.reason = reason


class Dials:
    """The dials of one office that are under way. Lives on the client's loop."""

    def __init__(self, office: Office) -> None:
        self._office = office
        office.answers.late[DIALLED] = lambda: DialError("timeout")
        self._ringing: dict[str, Key] = {}
        """By call id, as the server gave it to a dial."""

    def heard(self, event: Event) -> None:
        """Take an event after everybody else has: a dial may have come to something."""
        answers = self._office.answers
        match event:
            case events.CallDialing(call_id=str(id)):
                key = self._waiting(event.agent_id, event.to)
                if key is not None:
                    self._ringing[id] = key
            case events.CallStarted(call_id=str(id)):
                call = self._office.calls.get(id)
                key = self._ringing.pop(id, None)
                if key is None and event.direction == "outbound":
                    key = self._waiting(event.agent_id, event.to)  # servers that told of no dialing
                if key is not None and call is not None:
                    answers.settle(key, call)
            case events.CallEnded(call_id=str(id)) if id in self._ringing:
                answers.refuse(self._ringing.pop(id), DialError(event.reason))
            case events.CallEnded(direction="outbound", to=str(to)):
                key = self._waiting(event.agent_id, to)
                if key is not None and key not in self._ringing.values():
                    answers.refuse(key, DialError(event.reason))
            case events.CallError():
                key = self._ringing.pop(str(event.call_id), None)
                key = key or self._waiting(event.agent_id, None)
                if key is not None:
                    answers.refuse(key, DialError("failed", event.error))

    def _waiting(self, agent_id: object, to: str | None) -> Key | None:
        """Return the oldest dial of an agent to a number, or to any, that waits."""
        name = self._office.local_id(agent_id)
        if name is None:
            return None
        number = None if to is None else same_number(to)
        keys = self._office.answers.waiting(kind=DIALLED, about=name)
        named = (key for key in keys if number in (None, key[2]))
        # How a server names the other side of a bridge is its own affair (commands.md §9.3).
        return next(named, None) or next((key for key in keys if key[2].startswith(AGENT)), None)


def dial(
    office: Office,
    name: str,
    to: str,
    *,
    from_: str | None = None,
    greeting: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    detect_turn_end: bool = False,
) -> Answer[Call]:
    """Have an agent call a number; awaited, it is over when somebody has answered.

    Raises:
        UsageError: If ``from_`` is left out, and the agent has no number or several.
    """
    frame = commands.CallDial(
        agent_id=name,
        to=to,
        from_=from_ or only_number(office, name),
        greeting=greeting or UNSET,
        metadata=dict(metadata) if metadata else UNSET,
        config=dict(config) if config else UNSET,
        detect_turn_end=True if detect_turn_end else UNSET,
    )
    return office.ask(name, frame, (DIALLED, name, same_number(to)), timeout=DIAL_TIMEOUT)


def bridge(
    office: Office,
    name: str,
    target: str,
    *,
    greeting: str | None = None,
    config: Mapping[str, Any] | None = None,
    media: Mapping[str, bool] | None = None,
    metadata: Mapping[str, Any] | None = None,
    detect_turn_end: bool = True,
) -> Answer[Call]:
    """Have an agent call another; awaited, it is over when both are connected."""
    frame = commands.CallBridge(
        agent_id=name,
        target=target,
        greeting=greeting or UNSET,
        config=dict(config) if config else UNSET,
        media=commands.Media(**media) if media else UNSET,
        metadata=dict(metadata) if metadata else UNSET,
        detect_turn_end=detect_turn_end,
    )
    return office.ask(name, frame, (DIALLED, name, AGENT + target), timeout=DIAL_TIMEOUT)


def only_number(office: Office, name: str) -> str:
    """Return an agent's only phone number.

    Raises:
        UsageError: If it has none, or several.
    """
    channels = office.registrations[name].channels
    numbers = [str(channel["ref"]) for channel in channels if channel["type"] == "phone"]
    if len(numbers) == 1:
        return numbers[0]
    has = f"has {len(numbers)}: {', '.join(numbers)}" if numbers else "has no phone number"
    raise UsageError(f"`{name}` {has}", fix="say which number it calls from")
