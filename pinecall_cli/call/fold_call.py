"""The fold of a call's life: ringing to ended, its controls, its limits, its mishaps."""

from __future__ import annotations

from msgspec.structs import replace

from pinecall_cli.call.fold_chat import end
from pinecall_cli.call.fold_speech import hear
from pinecall_cli.call.optional import given
from pinecall_cli.call.state import CallState, Level, Notice, Opened
from pinecall_cli.protocol import events


def fold(call: CallState, event: object, at: float | None) -> CallState:
    """Return ``call`` after a frame about the call itself; any other leaves it alone."""
    match event:
        case events.CallRinging(from_=caller, to=callee, direction=direction):
            return _ringing(call, caller, callee, direction, at)
        case events.CallDialing(from_=caller, to=callee):
            return _ringing(call, caller, callee, "outbound", at)
        case events.CallStarted():
            return _started(call, event, at)
        case events.CallEnded(reason="routed"):
            return call  # the phone line is done with it; the call goes on with the agent
        case events.CallEnded(reason=reason):
            return end(_peers(call, event), reason, event.duration_seconds, at)
        case events.CallRejected(reason=reason):
            return end(call, reason, None, at)
        case events.CallError(error=error):
            return end(_note(call, error, at, "error"), "failed", None, at)
        case events.CallUpdated(language=language):
            return replace(_note(call, f"language is now {language}", at), language=language)
        case events.CallDtmfReceived(digit=digit):
            call = replace(call, digits=event.digits or call.digits + digit)
            return _note(call, f"pressed {digit}", at)
        case events.CallRouted(agent=agent):
            return replace(_note(call, f"handed over to {agent}", at), agent=agent)
        case events.CallHeld():
            return replace(_note(call, "on hold", at), held=True)
        case events.CallUnheld():
            return replace(_note(call, "off hold", at), held=False)
        case events.CallMuted():
            return replace(_note(call, "caller muted", at), muted=True)
        case events.CallUnmuted():
            return _unmuted(call, event, at)
        case _:
            told = _told(event)
            if told is None:
                return call
            text, level = told
            return _note(call, text, at, level)


def _told(event: object) -> tuple[str, Level] | None:
    """Return the notice that ``event`` comes down to, and how serious it is."""
    match event:
        case events.CallForwarded(to=to):
            return f"forwarded to {to}", "info"
        case events.CallDtmfSent(digits=digits):
            return f"keys sent: {digits}", "info"
        case events.CallRouteFailed(agent=agent, reason=reason):
            return f"hand-over to {agent} failed: {reason}", "warning"
        case events.SkillLoaded(skill=skill):
            return f"skill {skill} loaded", "info"
        case events.SkillUnloaded(skill=skill):
            return f"skill {skill} unloaded", "info"
        case events.SessionIdleWarning():
            left = given(event.remaining_seconds, None)
            return ("the caller is silent" + (f": {left:g} s left" if left else "")), "warning"
        case events.SessionTimeout(reason=reason):
            return f"session limit reached: {reason}", "warning"
        case events.SessionPaused():
            return "a human has taken over", "info"
        case events.SessionResumed():
            return "the agent answers again", "info"
        case events.MessageAborted():
            return _reason("reply dropped before it was heard", given(event.reason, "")), "info"
        case events.ReplyRejected():
            return _reason("reply rejected", given(event.reason, "")), "warning"
        case events.LlmPreparingTimeout():
            return f"preparing took over {given(event.budget_ms, 0):g} ms", "warning"
        case events.LlmError(error=error):
            return _reason("model", error), "error"
        case events.CreditsExhausted():
            return "the account ran out of credit", "error"
        case events.Error(error=error):
            return error or given(event.code, "error"), "error"
        case _:
            return None


def _reason(text: str, reason: str) -> str:
    return f"{text}: {reason}" if reason else text


def _note(call: CallState, text: str, at: float | None, level: Level = "info") -> CallState:
    return replace(call, lines=(*call.lines, Notice(at=at, text=text, level=level)))


def _ringing(
    call: CallState, caller: str, callee: str, direction: str, at: float | None
) -> CallState:
    if call.announced or call.phase == "ringing":
        return call
    call = replace(call, caller=caller, callee=callee, direction=direction, phase="ringing")
    opened = Opened(at=at, direction=direction, peer=call.peer, transport="phone", ringing=True)
    return replace(call, transport="phone", lines=(*call.lines, opened))


def _started(call: CallState, event: events.CallStarted, at: float | None) -> CallState:
    was = call
    call = replace(
        call,
        announced=True,
        caller=event.from_,
        callee=event.to,
        direction=event.direction,
        transport=event.transport,
        language=given(event.language, call.language),
        started_at=at if call.started_at is None else call.started_at,
    )
    if was.announced and not was.ended:  # the server names its live calls after a reconnect
        return call
    opened = Opened(at=at, direction=call.direction, peer=call.peer, transport=call.transport)
    phase = "listening" if was.phase in ("ringing", "ended") else was.phase
    return replace(call, phase=phase, reason=None, duration_s=None, lines=(*call.lines, opened))


def _peers(call: CallState, event: events.CallEnded) -> CallState:
    """Return ``call`` with what only its end says, for one that began before we looked."""
    started = given(event.started_at, None)
    return replace(
        call,
        direction=call.direction if call.announced else given(event.direction, call.direction),
        caller=call.caller or given(event.from_, ""),
        callee=call.callee or given(event.to, ""),
        started_at=started if call.started_at is None else call.started_at,
    )


def _unmuted(call: CallState, event: events.CallUnmuted, at: float | None) -> CallState:
    call = replace(_note(call, "caller unmuted", at), muted=False)
    meanwhile = given(event.muted_transcript, None)
    return hear(call, id="", text=meanwhile, at=at) if meanwhile else call
