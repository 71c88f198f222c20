"""The fold of written sessions: what their owner is told, and what the one who writes is told.

In ``dev`` both families reach one socket about one session, so each answer comes twice.
"""

from __future__ import annotations

from msgspec.structs import replace

from pinecall_cli.call.fold_speech import flush, hear
from pinecall_cli.call.optional import given
from pinecall_cli.call.state import CallState, Closed, Notice, Opened, Reply, Said
from pinecall_cli.protocol import events

REPEAT_S = 2.0
"""A chat message without an id that is repeated within this time is the same message."""


def fold(call: CallState, event: object, at: float | None) -> CallState:
    """Return ``call`` after a frame of a written session; any other leaves it alone."""
    match event:
        case events.LlmChatStarted():
            return _started(call, event, at)
        case events.ChatMessage(text=text):
            return _message(call, given(event.message_id, ""), text, at)
        case events.LlmChatChunk():
            new = given(event.token, given(event.text, ""))
            held = call.reply.text if call.reply else ""
            return _writing(call, given(event.message_id, ""), held + new)
        case events.LlmChatToken():
            held = call.reply.text if call.reply else ""
            text = given(event.text, held + given(event.token, ""))
            return _writing(call, given(event.message_id, ""), text)
        case events.ChatResponse(text=text) | events.LlmChatDone(text=text):
            return _answer(call, text, at)
        case events.LlmChatError(error=error):
            failed = Notice(at=at, text=error, level="error")
            call = flush(call, at)
            return replace(call, lines=(*call.lines, failed), phase="listening")
        case events.WhatsappSessionStarted():
            return _contact(call, event, at)
        case events.WhatsappMessage(type=kind, text=text):
            said = text if kind == "text" else f"[{kind}] {text}".strip()
            return _message(call, given(event.message_id, ""), said, at)
        case events.WhatsappResponse(text=text):
            answer = Said(at=at, who="agent", text=text)
            return replace(call, reply=None, phase="listening", lines=(*call.lines, answer))
        case events.WhatsappSessionEnded():
            return end(call, given(event.reason, "idle_timeout"), event.duration, at)
        case events.LlmChatEnded():
            return end(call, given(event.reason, "chat_completed"), event.duration_seconds, at)
        case _:
            return call


def end(call: CallState, reason: str, seconds: object, at: float | None) -> CallState:
    """Return ``call`` over: nothing runs, what was being said is a line, the last line says why."""
    call = flush(call, at)
    elapsed = call.elapsed_s
    if isinstance(seconds, (int, float)):
        elapsed = float(seconds)
    closed = Closed(at=at, reason=reason, duration_s=elapsed)
    return replace(
        call,
        phase="ended",
        draft="",
        reason=reason,
        duration_s=elapsed,
        open_tools=(),
        owed=(),
        lines=(*call.lines, *call.owed, closed),
    )


def _started(call: CallState, event: events.LlmChatStarted, at: float | None) -> CallState:
    language = given(event.language, call.language)
    if call.announced and not call.ended:
        return replace(call, language=language)
    opened = Opened(at=at, direction="inbound", peer="chat", transport="chat")
    return replace(
        call,
        announced=True,
        transport="chat",
        caller="chat",
        callee=call.agent,
        language=language,
        phase="listening",
        reason=None,
        duration_s=None,
        started_at=at if call.started_at is None else call.started_at,
        lines=(*call.lines, opened),
    )


def _contact(call: CallState, event: events.WhatsappSessionStarted, at: float | None) -> CallState:
    if call.announced and not call.ended:
        return call
    peer = event.contact_phone
    opened = Opened(at=at, direction="inbound", peer=peer, transport="whatsapp")
    return replace(
        call,
        announced=True,
        transport="whatsapp",
        caller=peer,
        callee=call.agent,
        phase="listening",
        reason=None,
        duration_s=None,
        started_at=at if call.started_at is None else call.started_at,
        lines=(*call.lines, opened),
    )


def _message(call: CallState, id: str, text: str, at: float | None) -> CallState:
    last = call.lines[-1] if call.lines else None
    if (
        not id
        and isinstance(last, Said)
        and (last.who, last.text) == ("caller", text)
        and (at is None or last.at is None or at - last.at <= REPEAT_S)
    ):
        return call
    transport = call.transport or "chat"
    heard = hear(call, id=id, text=text, at=at)
    if heard is call:
        return call
    turns = call.ended_turns | {len(call.ended_turns) + 1}
    again = replace(heard, reason=None, duration_s=None) if call.ended else heard
    return replace(again, transport=transport, ended_turns=turns, phase="thinking")


def _writing(call: CallState, id: str, text: str) -> CallState:
    return replace(call, reply=Reply(id=id, text=text), phase="speaking")


def _answer(call: CallState, text: str, at: float | None) -> CallState:
    if call.answer == text:  # the twin from the other family
        return replace(call, answer=None, reply=None, phase="listening")
    said = Said(at=at, who="agent", text=text)
    return replace(call, answer=text, reply=None, phase="listening", lines=(*call.lines, said))
