"""One call as a value: who talks to whom, what was said, what is happening right now.

``lines`` only ever grows at its end, so whoever has printed n of them prints the rest and is
up to date. What may still change (the caller's partial, the words of the running reply) is kept
beside it, in ``draft`` and ``reply``.
"""

from __future__ import annotations

from typing import Any, Literal, dataclass_transform

import msgspec

from pinecall_cli.protocol.frames import FrameMeta

Phase = Literal["ringing", "listening", "thinking", "speaking", "pause", "ended"]
Who = Literal["caller", "agent"]
Level = Literal["info", "warning", "error"]

TEXT_TRANSPORTS = frozenset({"chat", "whatsapp"})
"""Transports without audio: a message is a whole turn, a reply is read and not heard."""

CONNECTION_LOST = "connection_lost"
"""Why a call is over for us when the server can no longer be reached; it may come back."""


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class Value(msgspec.Struct, frozen=True, metaclass=FrameMeta):
    """A part of the state: frozen, keyword-only, made anew by `msgspec.structs.replace`.

    A data class would read the same; its ``replace`` of a `CallState` takes 4.6 µs, this one 0.1
    (Python 3.11), and an event needs three.
    """


class Opened(Value):
    """The call rang, was dialled or began; the first line of every call that was announced."""

    at: float | None = None
    """Seconds since the epoch, as the event was stamped; None when it was not."""
    direction: str
    peer: str
    transport: str
    ringing: bool = False
    """The phone rings and nobody has answered yet."""


class Said(Value):
    """Something a side has said, final. The agent's text is what was heard, not what was meant."""

    at: float | None = None
    who: Who
    text: str
    id: str = ""
    turn: int | None = None
    cut: str | None = None
    """Why the agent stopped (``user_spoke``, ``continuation``, ``cancelled``); None: it ended."""
    rest: str = ""
    """What the agent would have gone on to say, where the whole text was known."""


class ToolCalled(Value):
    """The model called a tool; ``arguments`` is JSON as it was sent."""

    at: float | None = None
    id: str
    round: str = ""
    name: str
    arguments: str


class ToolAnswered(Value):
    """A tool has answered. ``result`` is any JSON value."""

    at: float | None = None
    id: str
    round: str = ""
    name: str
    result: Any = None
    ms: int | None = None
    """Milliseconds since it was called; None when either end is unknown."""

    @property
    def failed(self) -> bool:
        """Whether the result says that the tool failed: ``{"error": …}``, as the wire has it."""
        return isinstance(self.result, dict) and bool(self.result.get("error"))


class TurnLatency(Value):
    """Where the time of one turn went, in whole ms on the call's audio clock; None: not told."""

    at: float | None = None
    turn: int | None = None
    id: str = ""
    vad: int | None = None
    asr: int | None = None
    eou: int | None = None
    tools: int | None = None
    llm_ttft: int | None = None
    tts_ttfb: int | None = None
    playout: int | None = None
    other: int | None = None
    e2e: int | None = None


class Notice(Value):
    """Something that happened to the call and that neither side said."""

    at: float | None = None
    text: str
    level: Level = "info"


class Closed(Value):
    """The call is over; its last line."""

    at: float | None = None
    reason: str
    duration_s: float | None = None


Line = Opened | Said | ToolCalled | ToolAnswered | TurnLatency | Notice | Closed


class Reply(Value):
    """The reply that is being spoken: its words so far, in the order of their index."""

    id: str
    text: str = ""
    """The whole text, where it was sent at the start; empty for a streamed reply."""
    words: tuple[tuple[int, str], ...] = ()
    confirmed: str | None = None
    """What entered the conversation, once the server has said so."""

    @property
    def heard(self) -> str:
        """The words that have been played, joined by one space."""
        return " ".join(word for _, word in self.words)


class CallState(Value):
    """A call or chat as it stands. Build one with its id and let ``reduce`` do the rest."""

    call_id: str
    agent: str = ""
    direction: str = "inbound"
    transport: str = ""
    caller: str = ""
    callee: str = ""
    language: str = ""
    phase: Phase = "listening"
    lines: tuple[Line, ...] = ()
    draft: str = ""
    """The caller's partial transcript: said, not final."""
    reply: Reply | None = None
    announced: bool = False
    muted: bool = False
    held: bool = False
    digits: str = ""
    reason: str | None = None
    started_at: float | None = None
    last_at: float | None = None
    """When the newest event happened, in seconds since the epoch."""
    duration_s: float | None = None
    """Seconds from start to end; None before the end, or when neither is known."""
    turn: int | None = None
    ended_turns: frozenset[int] = frozenset()
    latencies: tuple[TurnLatency, ...] = ()
    owed: tuple[TurnLatency, ...] = ()
    """Latencies whose line waits for their reply to have been heard."""
    open_tools: tuple[ToolCalled, ...] = ()
    """Tools that were called and have not answered."""
    seen: frozenset[tuple[str, str]] = frozenset()
    """What was applied once and is not applied again: (event, message_id)."""
    answer: str | None = None
    """Text of the chat answer just shown; its twin of the other chat family is not shown too."""
    last_seq: int = -1
    recent: int = 0
    """Bit k: the frame with seq ``last_seq - k`` was applied."""

    @property
    def peer(self) -> str:
        """Who is at the other end, seen from the agent."""
        return self.caller if self.direction == "inbound" else self.callee

    @property
    def is_text(self) -> bool:
        """Whether the session is written, not spoken."""
        return self.transport in TEXT_TRANSPORTS

    @property
    def ended(self) -> bool:
        """Whether the call is over."""
        return self.phase == "ended"

    @property
    def elapsed_s(self) -> float | None:
        """Seconds from the call's start to its newest event; None when it carries no times."""
        if self.duration_s is not None:
            return self.duration_s
        if self.started_at is None or self.last_at is None:
            return None
        return max(0.0, self.last_at - self.started_at)
