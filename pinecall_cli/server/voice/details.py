"""Who calls whom, and how: what is said of a call when it begins and when it is over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec import UNSET, structs

from pinecall_cli.protocol import events
from pinecall_cli.protocol.events import LineEntry


@dataclass(frozen=True, slots=True)
class OverLine:
    """What a phone line has to do with a call (protocol: events.md §4.1)."""

    extension: str | None = None
    """What the caller keyed in before the call began."""
    routed_from: str | None = None
    """The line, once it has handed the call to an agent."""
    transcript: tuple[LineEntry, ...] = ()
    """What was said on the line, for the agent that has the call now."""


@dataclass(frozen=True, slots=True)
class CallDetails:
    """Who calls whom, and how."""

    call_id: str
    from_: str
    to: str
    direction: str
    transport: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    language: str = "en"
    started_at: float = 0.0
    """Epoch seconds."""
    line: OverLine | None = None
    """None for a call that no phone line ever had."""
    sealed: Mapping[str, Any] = field(default_factory=dict)
    """Of the metadata, what a key's holder said; the rest is a caller's word for it."""

    @property
    def contact(self) -> str:
        """Return who is at the other end, by number or by the name that a token sealed."""
        if self.transport == "phone":
            return self.from_ if self.direction == "inbound" else self.to
        user = self.sealed.get("userId")
        return user if isinstance(user, str) else ""

    def started(self) -> events.CallStarted:
        """Return what announces the call to its owner."""
        started = events.CallStarted(
            from_=self.from_,
            to=self.to,
            direction=self.direction,
            transport=self.transport,
            metadata=dict(self.metadata),
            language=self.language,
        )
        if self.line is None:
            return started
        over: dict[str, Any] = {"extension": self.line.extension, "owner": "line"}
        if self.line.routed_from is not None:
            over |= {"owner": "agent", "routed_from": self.line.routed_from}
            over["line_transcript"] = self.line.transcript
        return structs.replace(started, **over)

    def ended(
        self,
        reason: str,
        wall: float,
        *,
        seconds: float = 0,
        messages: Sequence[Mapping[str, Any]] | None = None,
    ) -> events.CallEnded:
        """Return the call's end, ``seconds`` after its beginning.

        Args:
            reason: Why.
            wall: Epoch seconds.
            seconds: How long it was held; 0 for one that was not answered.
            messages: Its whole history; None for a call that had none.
        """
        return events.CallEnded(
            reason=reason,
            direction=self.direction,
            from_=self.from_,
            to=self.to,
            metadata=dict(self.metadata),
            language=self.language,
            duration_seconds=seconds,
            started_at=self.started_at,
            ended_at=wall,
            messages=UNSET if messages is None else [dict(message) for message in messages],
        )
