"""What applications show of calls: which events, under which names, with which fields. Pure.

The form is the one that all clients of this protocol write (sessions.md §5.1): keys in camelCase,
the call reduced to who, whither and how it ended.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any

import msgspec
from msgspec import UNSET

from pinecall_cli.protocol import events
from pinecall_cli.protocol.codec import encode
from pinecall_cli.protocol.frames import Event, Unknown, wire_name
from pinecall_cli.sdk.call import Call

CALL_EVENTS = (
    events.SpeechStarted,
    events.SpeechEnded,
    events.UserSpeaking,
    events.UserMessage,
    events.EagerTurn,
    events.TurnPause,
    events.TurnEnd,
    events.TurnResumed,
    events.TurnContinued,
    events.BotSpeaking,
    events.BotWord,
    events.BotFinished,
    events.BotInterrupted,
    events.MessageConfirmed,
    events.ReplyRejected,
    events.AudioMetrics,
    events.CallDtmfReceived,
    events.SkillLoaded,
    events.SkillUnloaded,
    events.WhatsappMessage,
    events.WhatsappResponse,
    events.WhatsappStatus,
    events.SessionPaused,
    events.SessionResumed,
)
STARTED, ENDED = "call.started", "call.ended"
TOOL_CALL, TOOL_RESULT = "llm.toolCall", "llm.tool_result"
NAMES: Mapping[type[Event], str] = MappingProxyType(
    {kind: wire_name(kind) for kind in CALL_EVENTS}
    | {
        events.CallStarted: STARTED,
        events.CallEnded: ENDED,
        events.LlmChatEnded: ENDED,
        events.LlmChatError: ENDED,
        events.LlmToolCall: TOOL_CALL,
        events.LlmToolResult: TOOL_RESULT,
        events.WhatsappSessionStarted: "whatsapp.sessionStarted",
        events.WhatsappSessionEnded: "whatsapp.sessionEnded",
    }
)
"""The name under which each event is streamed; those that are not here are not."""
REDUCED = frozenset((STARTED, ENDED))
"""Of these the call says everything; the frames hold whole conversations."""
UNTOLD = frozenset(("agent_id", "call_id", "messages"))
"""Fields that are told otherwise, or that no page should have: what tools gave to the model."""
PARTS = frozenset(("bot.word", "user.speaking"))
"""Events of which many belong to one message, each of them new."""
SAID = ("text", "status", "probability")
"""What may be new about a message that was told of already: its text, how it fares, a verdict."""
REMEMBERED = 1_000
"""Messages of which one reader's repetitions are known: far more than are under way at once."""


@dataclass(frozen=True)
class StreamEvent:
    """One event of a stream."""

    name: str
    """``call.started``, ``user.message``, ``bot.word``…"""
    data: Mapping[str, Any] = field(repr=False)
    """Its fields as they are sent: keys in camelCase, with ``callId`` and ``agent``."""
    secret: str = field(default="", repr=False, compare=False)
    """What must not be in it, whoever has said it."""

    @property
    def agent(self) -> str | None:
        """The name of the agent it is of."""
        return self.data.get("agent")

    @property
    def call_id(self) -> str | None:
        """The id of the call it is of, if it is of one."""
        return self.data.get("callId")

    @cached_property
    def sse(self) -> bytes:
        """The event as server-sent events have it."""
        return f"event: {self.name}\ndata: {self._json(self.data)}\n\n".encode()

    @cached_property
    def message(self) -> str:
        """The event as a WebSocket has it."""
        return self._json({"event": self.name, **self.data})

    def _json(self, value: Mapping[str, Any]) -> str:
        text = encode(Unknown("", dict(value)))
        return text.replace(self.secret, "***") if self.secret else text


def told(event: Event, call: Call | None, agent: str, secret: str = "") -> StreamEvent | None:
    """Return an event as it is streamed; None for one that is not."""
    name = NAMES.get(type(event))
    if name is None:
        return None
    if name == ENDED and call is not None and call.transport == "whatsapp":
        name = "whatsapp.sessionEnded"  # the connection was lost, and with it the session
    data = {} if call is None else reduced(call)
    if name not in REDUCED:
        data |= flattened(event)
    if call is not None:
        data.pop("sessionId", None)  # it is the call's id
    data["agent"] = agent
    return StreamEvent(name, data, secret)


def flattened(event: Event) -> dict[str, Any]:
    """Return an event's fields; those that were not on the wire are left out."""
    fields = zip(event.__struct_fields__, event.__struct_encode_fields__, strict=True)
    given: dict[str, Any] = {}
    for attribute, key in fields:
        if key in UNTOLD:
            continue
        value = getattr(event, attribute)
        if value is not UNSET:
            given[camel(key)] = value if isinstance(value, PLAIN) else msgspec.to_builtins(value)
    return given


PLAIN = (str, int, float, bool, type(None))


def reduced(call: Call) -> dict[str, Any]:
    """Return what is streamed of a call with each of its events."""
    about: dict[str, Any] = {
        "callId": call.id,
        "from": call.from_,
        "to": call.to,
        "direction": call.direction,
        "transport": call.transport,
    }
    if call.duration is not None:
        about["duration"] = call.duration
    if call.reason is not None:
        about["reason"] = call.reason
    return about


def camel(key: str) -> str:
    """Return a wire key as it is written in JavaScript."""
    first, *others = key.split("_")
    return first + "".join(other.title() for other in others)


class Repeats:
    """Knows one reader's repetitions: some servers send a message twice.

    Words and interim texts are many of one message, and each is new. Everything else that says
    the same of the same message again has been told.
    """

    def __init__(self) -> None:
        self._told: OrderedDict[tuple[Any, ...], None] = OrderedDict()

    def is_one(self, event: StreamEvent) -> bool:
        """Return whether this was told before, and note that it was."""
        data = event.data
        message = data.get("messageId")
        if not message or event.name in PARTS:
            return False
        what = (event.name, data.get("callId"), message, *(data.get(key) for key in SAID))
        if what in self._told:
            return True
        self._told[what] = None
        if len(self._told) > REMEMBERED:
            self._told.popitem(last=False)
        return False
