"""Events of text sessions: chat for the agent's owner and for the sender, and WhatsApp."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from pinecall_cli.protocol.events_llm import ToolCall
from pinecall_cli.protocol.frames import (
    Event,
    JsonObject,
    MaybeFloat,
    MaybeInt,
    MaybeNumber,
    MaybeObjects,
    MaybeStr,
)


class LlmChatStarted(Event, tag="llm.chat.started"):
    """A text session is open; sent once, to owner and sender."""

    metadata: JsonObject | UnsetType | None = UNSET
    language: MaybeStr = UNSET
    model: MaybeStr = UNSET


class LlmChatChunk(Event, tag="llm.chat.chunk"):
    """To the owner: a piece of the answer."""

    message_id: MaybeStr = UNSET
    token: MaybeStr = UNSET
    text: MaybeStr = UNSET
    """Some servers send it instead of ``token``."""
    metadata: JsonObject | UnsetType | None = UNSET
    language: MaybeStr = UNSET


class LlmChatEnded(Event, tag="llm.chat.ended"):
    """To the owner: the session is over."""

    messages: MaybeObjects = UNSET
    duration_seconds: MaybeNumber = UNSET
    reason: MaybeStr = UNSET
    started_at: MaybeFloat = UNSET
    """Epoch seconds."""
    ended_at: MaybeFloat = UNSET
    """Epoch seconds."""
    metadata: JsonObject | UnsetType | None = UNSET


class LlmChatError(Event, tag="llm.chat.error"):
    """To owner and sender: the turn failed."""

    error: str
    code: MaybeStr = UNSET


class LlmChatToken(Event, tag="llm.chat.token"):
    """To the sender: a piece of the answer."""

    token: MaybeStr = UNSET
    """What is new."""
    text: MaybeStr = UNSET
    """All of it so far."""
    message_id: MaybeStr = UNSET


class LlmChatToolCall(Event, tag="llm.chat.tool_call"):
    """To the sender: tools are being run."""

    tool_calls: tuple[ToolCall, ...]
    msg_id: MaybeStr = UNSET


class LlmChatToolResult(Event, tag="llm.chat.tool_result"):
    """To the sender: what a tool returned."""

    result: Any = UNSET
    text: MaybeStr = UNSET
    """Some servers send it instead of ``result``."""
    tool_call_id: MaybeStr = UNSET
    name: MaybeStr = UNSET


class LlmChatDone(Event, tag="llm.chat.done"):
    """To the sender: the answer is complete."""

    text: str = ""
    model: MaybeStr = UNSET
    message_id: MaybeStr = UNSET


class ChatMessage(Event, tag="chat.message"):
    """To the owner: what the person wrote."""

    text: str
    message_id: MaybeStr = UNSET


class ChatResponse(Event, tag="chat.response"):
    """To the owner: what the agent answered."""

    text: str
    message_id: MaybeStr = UNSET


class WhatsappSessionStarted(Event, tag="whatsapp.session_started"):
    """A contact's first message opened a session."""

    contact_phone: str
    """Meta's form: digits, no ``+``."""
    contact_name: MaybeStr = UNSET


class WhatsappMessage(Event, tag="whatsapp.message"):
    """A contact wrote, or sent a voice note, picture or file."""

    from_: str = msgspec.field(name="from")
    name: MaybeStr = UNSET
    type: str = "text"
    """``text``, ``audio``, ``image``, ``video`` or ``document``."""
    text: str = ""
    """For a voice note its transcript."""
    message_id: MaybeStr = UNSET
    paused: bool = False
    """True while a human has taken over: the model does not answer."""


class WhatsappResponse(Event, tag="whatsapp.response"):
    """An answer went out."""

    to: str
    text: str
    source: MaybeStr = UNSET
    """``human`` when it was not the agent."""


class WhatsappStatus(Event, tag="whatsapp.status"):
    """What became of a message that went out."""

    status: str
    """``sent``, ``delivered`` or ``read``."""
    recipient: MaybeStr = UNSET
    message_id: MaybeStr = UNSET


class WhatsappSessionEnded(Event, tag="whatsapp.session_ended"):
    """A session is over: 2 h of silence, or 24 h after the contact's last message."""

    contact_phone: str
    contact_name: MaybeStr = UNSET
    transcript: MaybeObjects = UNSET
    messages: MaybeObjects = UNSET
    started_at: MaybeFloat = UNSET
    """Epoch seconds."""
    ended_at: MaybeFloat = UNSET
    """Epoch seconds."""
    duration: MaybeNumber = UNSET
    """Seconds."""
    reason: MaybeStr = UNSET
    """``window_expired`` or ``idle_timeout``."""
    message_count: MaybeInt = UNSET
