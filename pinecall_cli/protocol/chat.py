"""The browser's chat socket (``/chat/ws``): both ways, one turn at a time.

Some of its names also exist on the agent socket with other fields, so they are apart from
``events``; of the two spellings ``chat.*`` and ``llm.chat.*`` we write the first.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec
from msgspec import UNSET

from pinecall_cli.protocol.codec import REMOTE_FAULTS, TOO_DEEP, object_of, problem_of, to_bytes
from pinecall_cli.protocol.codec import encode as encode
from pinecall_cli.protocol.depth import too_deep
from pinecall_cli.protocol.events_llm import ToolCall
from pinecall_cli.protocol.frames import Frame, MaybeStr, Unknown

UNANSWERED = "the agent cannot answer now"
"""What a page is told of a model or engine that failed. The reason, which may name addresses, files
and keys, is for the agent's owner."""


class ChatFrame(Frame, tag_field="event"):
    """A frame to the browser."""


class ChatConnected(ChatFrame, tag="chat.connected"):
    """The session is open; this, not the socket, makes a browser connected."""

    session_id: str
    """Begins with ``chat-``."""


class ChatLine(Frame):
    """One message of an earlier conversation."""

    role: str
    """``user``, or anything else for the agent."""
    text: str


class ChatHistory(ChatFrame, tag="chat.history"):
    """What was said before in this thread."""

    messages: tuple[ChatLine, ...]


class ChatToken(ChatFrame, tag="chat.token"):
    """An answer being written."""

    message_id: str
    text: str
    """All of it so far."""
    token: MaybeStr = UNSET
    """What is new."""


class ChatDone(ChatFrame, tag="chat.done"):
    """An answer, or a greeting, complete."""

    message_id: str
    text: str


class ChatToolCall(ChatFrame, tag="chat.tool_call"):
    """Tools are being run."""

    tool_calls: tuple[ToolCall, ...]


class ChatToolResult(ChatFrame, tag="chat.tool_result"):
    """A tool has returned."""

    tool_call_id: str
    name: MaybeStr = UNSET
    result: Any = UNSET


class ChatError(ChatFrame, tag="chat.error"):
    """A turn failed; the session goes on."""

    error: str


class Refused(ChatFrame, tag="error"):
    """The session cannot go on."""

    error: str
    code: MaybeStr = UNSET


class BrowserFrame(Frame, tag_field="event"):
    """A frame from the browser."""


class Message(BrowserFrame, tag="message"):
    """What the person wrote."""

    text: str


class SetContext(BrowserFrame, tag="set_context"):
    """Put keyed context before the model; ``null`` takes the key out."""

    key: str
    value: Any


BrowserMessage: TypeAlias = Message | SetContext | Unknown

BROWSER: msgspec.json.Decoder[Any] = msgspec.json.Decoder(Message | SetContext)


def decode_browser(raw: bytes | str) -> BrowserMessage:
    """Return what a browser sent. Never raises."""
    data = to_bytes(raw)
    if too_deep(data):
        return Unknown("", {}, TOO_DEEP)
    try:
        message: BrowserMessage = BROWSER.decode(data)
    except REMOTE_FAULTS as fault:
        fields = object_of(data) or {}
        name = fields.get("event")
        return Unknown(name if isinstance(name, str) else "", fields, problem_of(fault))
    return message
