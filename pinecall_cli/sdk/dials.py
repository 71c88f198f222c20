"""Calls that agents of this client make: what was dialled, and what becomes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from msgspec import UNSET

from pinecall_cli.errors import CallFailedError, UsageError
from pinecall_cli.protocol import commands, events
from pinecall_cli.protocol.frames import Event
from pinecall_cli.sdk.answers import Answer
from pinecall_cli.sdk.call import Call
from pinecall_cli.sdk.office import Office
from pinecall_cli.sdk.payloads import payload_of
from pinecall_cli.sdk.registration import same_number

Dialled = asyncio.Future[Any]
"""What will come of one dial."""
DIAL_TIMEOUT = 30.0
"""Seconds for somebody to answer (protocol: README §9)."""
DIALLED = "call.dial"
TELLING = (events.CallDialing, events.CallStarted, events.CallEnded, events.CallError)
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
        self._ringing: dict[str, Dialled] = {}
        """By call id, as the server gave it to a dial."""

    def heard(self, event: Event) -> None:
        """Take an event after everybody else has: a dial may have come to something."""
        if not isinstance(event, TELLING):
            return
        match event:
            case events.CallDialing(call_id=str(id)):
                dialled = self._next(event.agent_id, event.to)
                if dialled is not None:
                    self._ringing[id] = dialled
            case events.CallStarted(call_id=str(id)):
                dialled = self._ringing.pop(id, None)
                if dialled is None and event.direction == "outbound":
                    dialled = self._next(event.agent_id, event.to)  # some tell of no dialing
                call = self._office.calls.get(id)
                if dialled is not None and call is not None and not dialled.done():
                    dialled.set_result(call)
            case events.CallEnded(call_id=str(id)) if id in self._ringing:
                refuse(self._ringing.pop(id), DialError(event.reason))
            case events.CallEnded(direction="outbound", to=str(to)):
                refuse(self._next(event.agent_id, to), DialError(event.reason))
            case events.CallError(call_id=str(id)) if id in self._ringing:
                refuse(self._ringing.pop(id), DialError("failed", event.error))
            case events.CallError():
                refuse(self._next(event.agent_id, None), DialError("failed", event.error))

    def lost(self) -> None:
        """Forget all of it: the connection is gone, and the dials have failed with it."""
        self._ringing.clear()

    def _next(self, agent_id: object, to: str | None) -> Dialled | None:
        """Return the oldest dial of an agent to a number, or to any, that has no call yet."""
        name = self._office.local_id(agent_id)
        if name is None:
            return None
        answers, taken = self._office.answers, list(self._ringing.values())
        number = None if to is None else same_number(to)
        keys = answers.waiting(kind=DIALLED, about=name)
        named = [key for key in keys if number in (None, key[2])]
        # How a server names the other side of a bridge is its own affair (commands.md §9.3).
        keys = named or [key for key in keys if key[2].startswith(AGENT)][:1]
        dialled = (one for key in keys for one in answers.pending(key))
        return next((one for one in dialled if one not in taken), None)


def refuse(dialled: Dialled | None, problem: DialError) -> None:
    """Fail a dial, if there is one and it waits still."""
    if dialled is not None and not dialled.done():
        dialled.set_exception(problem)


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
        config=payload_of(config) if config else UNSET,
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
        config=payload_of(config) if config else UNSET,
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
