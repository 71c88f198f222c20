"""What an event changes in a `Call`, before its handlers run and after them (events.md §15)."""

from __future__ import annotations

from typing import Any

from msgspec import UnsetType

from pinecall_cli.protocol import events
from pinecall_cli.protocol.frames import Event
from pinecall_cli.sdk.call import Call


def before(call: Call, event: Event) -> None:
    """Bring a call up to date with an event, so that its handlers see it so."""
    match event:
        case events.UserMessage(message_id=id, text=text, turn_id=turn):
            call.last_message_id = id
            call.messages.append({"role": "user", "content": text})
            call.last_turn = turn, call.messages[-1]
        case events.EagerTurn(message_id=str(id)) | events.TurnEnd(message_id=str(id)) if id:
            call.last_message_id = id
        case events.TurnContinued(turn_id=turn):
            call.abort_streams("turn_continued")
            take_back(call, turn)
        case events.BotInterrupted(message_id=id):
            call.abort_streams("interrupted", message_id=id if isinstance(id, str) else None)
        case events.ReplyRejected(message_id=str(id)) | events.MessageAborted(message_id=str(id)):
            call.abort_streams("obsolete", message_id=id)
        case events.BotSpeaking(message_id=id):
            call.playing = id
            call.words.clear()
        case events.MessageConfirmed(text=text) if text:
            call.messages.append({"role": "assistant", "content": text})
        case events.ChatMessage(text=text):
            if isinstance(event.message_id, str):
                call.last_message_id = event.message_id
            call.messages.append({"role": "user", "content": text})
        case events.ChatResponse(text=text) if text:
            call.messages.append({"role": "assistant", "content": text})
        case events.WhatsappMessage(text=text) if text:
            call.messages.append({"role": "user", "content": text})
        case events.WhatsappResponse(text=text) if text:
            call.messages.append({"role": "assistant", "content": text})
        case events.SkillLoaded(skill=skill):
            call.active_skills.add(skill)
        case events.SkillUnloaded(skill=skill):
            call.active_skills.discard(skill)
        case events.CallUpdated(language=language):
            call.language = language


def word(call: Call, event: events.BotWord) -> None:
    """Note a word of the reply that plays."""
    if event.message_id == call.playing:
        call.words.append(event.word)


def take_back(call: Call, turn: int | UnsetType) -> None:
    """Take a turn out of the messages, and all that answered it: its text comes again, whole."""
    if call.last_turn is None or call.last_turn[0] != turn:
        return
    _, text = call.last_turn
    place = next((at for at, one in enumerate(call.messages) if one is text), None)
    call.last_turn = None
    if place is not None:  # the application may have set the history itself
        del call.messages[place:]


def after(call: Call, event: Event) -> None:
    """Bring a call up to date with what an event leaves behind once its handlers have begun."""
    match event:
        case events.BotFinished(message_id=id) | events.BotInterrupted(message_id=id):
            if not isinstance(id, str) or id == call.playing:
                call.playing = None
                call.words.clear()


def end(call: Call, reason: str, event: Event | None = None) -> None:
    """Close a call's book; what the server says of it wins over what was counted here."""
    call.status = "ended"
    call.reason = reason
    call.playing = None
    if isinstance(event, events.CallEnded | events.LlmChatEnded):
        call.duration = number(event.duration_seconds)
        call.started_at, call.ended_at = number(event.started_at), number(event.ended_at)
        if isinstance(event.messages, list) and event.messages:
            call.messages[:] = event.messages
    if isinstance(event, events.WhatsappSessionEnded):
        call.duration = number(event.duration)
        call.started_at, call.ended_at = number(event.started_at), number(event.ended_at)
        if isinstance(event.messages, list) and event.messages:
            call.messages[:] = event.messages


def tools_called(call: Call, event: events.LlmToolCall) -> None:
    """Enter a round of tool calls, as the assistant's message that it is."""
    calls = [
        {
            "id": wanted.id,
            "type": "function",
            "function": {"name": wanted.name, "arguments": wanted.arguments},
        }
        for wanted in event.tool_calls
    ]
    call.messages.append({"role": "assistant", "content": None, "tool_calls": calls})


def tool_returned(call: Call, tool_call_id: str, result: str) -> None:
    """Enter what a tool returned, as JSON text."""
    call.messages.append({"role": "tool", "tool_call_id": tool_call_id, "content": result})


def number(value: Any) -> float | None:
    """Return a number of the wire; None for one that was not there."""
    return float(value) if isinstance(value, int | float) else None
