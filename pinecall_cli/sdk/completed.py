"""Events as handlers get them: whole, and those of a chat also in the words of a voice call."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, structs

from pinecall_cli.protocol import events
from pinecall_cli.protocol.frames import Event
from pinecall_cli.sdk.call import Call


def completed(call: Call, event: Event) -> Event:
    """Return a ``turn.end`` with text and id, taken from what the caller last said if need be."""
    if not isinstance(event, events.TurnEnd):
        return event
    spoken = next((m["content"] for m in reversed(call.messages) if m["role"] == "user"), UNSET)
    return structs.replace(
        event,
        text=event.text or spoken,
        message_id=event.message_id or call.last_message_id or UNSET,
    )


def as_voice(event: Event) -> Event | None:
    """Return a chat's event as the voice event that says the same, so that one handler serves."""
    about: dict[str, Any] = {"agent_id": event.agent_id, "call_id": event.call_id, "ts": event.ts}
    match event:
        case events.ChatMessage(message_id=id, text=text):
            id = id if isinstance(id, str) else ""
            return events.UserMessage(message_id=id, text=text, confidence=1.0, turn_id=0, **about)
        case events.ChatResponse(text=text):
            return events.BotSpeaking(message_id="", text=text, **about)
    return None
