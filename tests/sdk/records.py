"""Conversations as a history store keeps them."""

from __future__ import annotations

from typing import Any

from pinecall_cli.agent.history import ConversationRecord


def said(*texts: str) -> list[dict[str, Any]]:
    """Return a conversation: the caller begins."""
    return [{"role": ("user", "assistant")[n % 2], "content": t} for n, t in enumerate(texts)]


def record(call_id: str = "c0", *texts: str, **about: Any) -> ConversationRecord:
    given: dict[str, Any] = {
        "agent_id": "front-desk",
        "channel": "phone",
        "direction": "inbound",
        "from_": "+14155550100",
        "to": "+13186330963",
        "started_at": 100.0,
        "status": "ended",
        "messages": said(*texts),
        "transcript": said(*texts),
    }
    return ConversationRecord(call_id=call_id, **(given | about))
