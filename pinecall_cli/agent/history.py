"""What is kept of conversations, and who keeps it: `HistoryStore` and its `ConversationRecord`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

Message: TypeAlias = Mapping[str, Any]
"""One entry of a conversation, in OpenAI's shape."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationRecord:
    """One call, chat or WhatsApp session as it is kept (protocol: events.md §15)."""

    call_id: str
    agent_id: str
    channel: str
    """``phone``, ``webrtc``, ``chat``, ``whatsapp``…"""
    direction: str
    """``inbound`` or ``outbound``."""
    from_: str
    """The contact: ``metadata["userId"]`` where there is one, else who called or wrote."""
    to: str
    started_at: float
    """Epoch seconds."""
    ended_at: float | None = None
    """Epoch seconds; None while it goes on."""
    duration: float | None = None
    """Seconds."""
    reason: str | None = None
    """Why it ended."""
    status: Literal["active", "ended"] = "active"
    transcript: Sequence[Message] = ()
    """What caller and agent said to each other."""
    messages: Sequence[Message] = field(default=(), repr=False)
    """All of it, with tool calls and their results."""
    metadata: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class HistoryStore(Protocol):
    """Keeps conversations; `SqliteHistory` is one, your own may be another.

    Its methods run on the client's loop and must not block it. What they raise is logged and told
    as an ``error`` event; the call goes on.
    """

    async def save(self, record: ConversationRecord) -> None:
        """Keep a record, in place of an older one of the same call."""
        ...

    async def get(self, call_id: str) -> ConversationRecord | None:
        """Return the record of a call; None if there is none."""
        ...

    async def recent(
        self, agent_id: str, contact: str, *, limit: int
    ) -> Sequence[ConversationRecord]:
        """Return an agent's latest conversations with a contact (`from_`), the newest first."""
        ...
