"""Events in the life of a call: ringing to ended, its controls, its limits, its human takeover."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from pinecall_cli.protocol.frames import (
    Event,
    Frame,
    JsonObject,
    MaybeFloat,
    MaybeInt,
    MaybeNumber,
    MaybeObject,
    MaybeObjects,
    MaybeStr,
)


class LineEntry(Frame):
    """One utterance on a phone line before the call was routed to an agent."""

    who: str
    """``caller`` or ``line``."""
    text: str
    at: MaybeNumber = UNSET
    """Epoch *milliseconds*: the one exception on this wire."""


class CallStarted(Event, tag="call.started"):
    """A voice call is up; the first event of a call but for ringing and dialing."""

    from_: str = msgspec.field(name="from")
    """Caller: E.164, or ``webrtc``."""
    to: str
    direction: str = "inbound"
    """``inbound`` or ``outbound``."""
    transport: str = "unknown"
    """``phone``, ``webrtc`` or another."""
    metadata: JsonObject | UnsetType | None = UNSET
    """Sealed token metadata, or what was given with the dial."""
    language: MaybeStr = UNSET
    """The session's language as it was resolved."""
    extension: str | UnsetType | None = UNSET
    """What the caller keyed in on a phone line."""
    owner: MaybeStr = UNSET
    """``line`` or ``agent``."""
    routed_from: MaybeStr = UNSET
    """``line:<number>`` for a call that a line handed over."""
    line_transcript: tuple[LineEntry, ...] | UnsetType = UNSET


class CallEnded(Event, tag="call.ended"):
    """A call is over; the last event of a call, sent exactly once."""

    reason: str = "unknown"
    duration_seconds: MaybeNumber = UNSET
    started_at: MaybeFloat = UNSET
    """Epoch seconds."""
    ended_at: MaybeFloat = UNSET
    """Epoch seconds."""
    messages: MaybeObjects = UNSET
    """The whole history, OpenAI's message shape, without the system prompt."""
    direction: MaybeStr = UNSET
    from_: MaybeStr = msgspec.field(default=UNSET, name="from")
    to: MaybeStr = UNSET
    metadata: JsonObject | UnsetType | None = UNSET
    language: MaybeStr = UNSET


class CallDialing(Event, tag="call.dialing"):
    """A ``call.dial`` was accepted and the number rings."""

    from_: str = msgspec.field(name="from")
    to: str
    direction: MaybeStr = UNSET


class CallError(Event, tag="call.error"):
    """A dial or bridge was refused before anything rang."""

    error: str
    code: MaybeStr = UNSET


class CallRinging(Event, tag="call.ringing"):
    """A call waits to be accepted; after the server's time limit (5 s) it is."""

    from_: str = msgspec.field(name="from")
    to: str
    direction: str = "inbound"


class AnswerReady(Event, tag="answer.ready"):
    """Ours: calls to this number ring here from now on (the microphone socket)."""

    number: str
    """E.164."""


class CallRejected(Event, tag="call.rejected"):
    """A ringing call was turned away."""

    reason: str = "busy"
    """``busy`` or ``rejected``."""


class CallUpdated(Event, tag="call.updated"):
    """The session's language changed in mid-call."""

    language: str


class CallForwarded(Event, tag="call.forwarded"):
    """The call goes on at another number."""

    to: str


class CallDtmfSent(Event, tag="call.dtmf_sent"):
    """Key tones were played to the other side."""

    digits: str


class CallDtmfReceived(Event, tag="call.dtmf_received"):
    """The caller pressed one key; phone calls only."""

    digit: str
    digits: str = ""
    """All keys of this call so far."""


class CallHeld(Event, tag="call.held"):
    """The caller hears hold music and is not heard."""


class CallUnheld(Event, tag="call.unheld"):
    """The hold is over."""


class CallMuted(Event, tag="call.muted"):
    """The caller's microphone no longer makes turns."""


class CallUnmuted(Event, tag="call.unmuted"):
    """The caller is heard again."""

    muted_transcript: str | UnsetType | None = UNSET
    """What was said meanwhile."""


class CallRecording(Event, tag="call.recording"):
    """The recording of a call, sent just before ``call.ended``."""

    audio: str
    """Base64 of a WAV file."""
    duration_ms: MaybeNumber = UNSET
    format: MaybeStr = UNSET
    sample_rate: MaybeInt = UNSET
    """Hz."""


class CallRouted(Event, tag="call.routed"):
    """A phone line has handed a call to an agent."""

    agent: str


class CallRouteFailed(Event, tag="call.route_failed"):
    """A hand-over failed; the line keeps the call."""

    agent: str
    reason: str
    """``offline``, ``unknown``, ``no_phone_config``, ``capacity`` or ``swap_failed``."""


class SessionConfigured(Event, tag="session.configured"):
    """A ``session.configure`` was applied."""


class SessionIdleWarning(Event, tag="session.idle_warning"):
    """The caller has been silent; the call ends in ``remaining_seconds`` unless they speak."""

    remaining_seconds: MaybeNumber = UNSET
    idle_timeout_seconds: MaybeNumber = UNSET


class SessionTimeout(Event, tag="session.timeout"):
    """A session limit was reached; ``call.ended`` follows."""

    reason: str
    """``max_duration`` or ``idle_timeout``."""


class SessionPaused(Event, tag="session.paused"):
    """A human has taken over a session, a contact, or (neither named) the whole agent."""

    contact: MaybeStr = UNSET


class SessionResumed(Event, tag="session.resumed"):
    """The agent answers again."""

    contact: MaybeStr = UNSET


class SessionSent(Event, tag="session.sent"):
    """A human's message went out through the channel."""

    contact: MaybeStr = UNSET


class CreditsRejected(Event, tag="credits.rejected"):
    """A call was not taken because the account has no credit."""


class CreditsExhausted(Event, tag="credits.exhausted"):
    """The account ran out of credit in a call."""


class HistoryData(Event, tag="history.data"):
    """The history of a session, in answer to ``history.get``."""

    messages: list[JsonObject] = msgspec.field(default_factory=list)
    """OpenAI's message shape, without the system prompt."""
    request_id: MaybeStr = UNSET
    error: MaybeStr = UNSET
    """Set when the request was refused."""


class HistoryUpdated(Event, tag="history.updated"):
    """A change of history, prompt, variables or context was applied."""

    count: MaybeInt = UNSET
    """Messages in the server's history now."""
    request_id: MaybeStr = UNSET
    error: MaybeStr = UNSET
    """Set when the request was refused."""


class MemoryOps(Event, tag="memory.ops"):
    """Facts about a contact were added, changed or forgotten."""

    contact: MaybeStr = UNSET
    turn: MaybeInt = UNSET
    final: bool | UnsetType = UNSET
    ops: MaybeObjects = UNSET
    memory: MaybeObject = UNSET
    """``revision`` and ``path``."""
    model: MaybeStr = UNSET
    latency_ms: MaybeNumber = UNSET


class DocsSources(Event, tag="docs.sources"):
    """The documents that an answer draws on."""

    sources: list[Any] = msgspec.field(default_factory=list)
    message_id: MaybeStr = UNSET
