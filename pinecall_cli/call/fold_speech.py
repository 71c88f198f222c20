"""The fold of speech: what the caller says, whose turn it is, what the agent is heard to say."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from pinecall_cli.call.optional import given
from pinecall_cli.call.state import CallState, Reply, Said, TurnLatency
from pinecall_cli.protocol import events

LATENCY_PARTS = (
    "vad",
    "asr",
    "eou",
    "tools",
    "llm_ttft",
    "tts_ttfb",
    "playout",
    "other",
    "e2e",
)


def fold(call: CallState, event: object, at: float | None) -> CallState:
    """Return ``call`` after a frame about speech, turns or replies; any other leaves it alone."""
    match event:
        case events.BotWord():
            return _word(call, event)
        case events.UserSpeaking(text=text):
            return replace(call, draft=text)
        case events.SpeechStarted():
            return call if call.reply else replace(call, phase="listening")
        case events.TurnResumed() | events.TurnContinued():
            return call if call.reply else replace(call, phase="listening")
        case events.TurnPause():
            return call if call.reply else replace(call, phase="pause")
        case events.EagerTurn():
            return call if call.reply else replace(call, phase="thinking")
        case events.UserMessage(message_id=id, text=text):
            return hear(call, id=id, text=text, turn=given(event.turn_id, None), at=at)
        case events.TurnEnd():
            return _turn_end(call, event, at)
        case events.BotSpeaking(message_id=id, text=text):
            return _speaking(call, id, text, at)
        case events.MessageConfirmed(message_id=id, text=text):
            return _confirmed(call, id, text, at)
        case events.BotFinished():
            return _finished(call, event, at)
        case events.BotInterrupted():
            return _interrupted(call, event, at)
        case events.TurnLatency():
            return _latency(call, event, at)
        case _:
            return call


def hear(
    call: CallState, *, id: str, text: str, turn: int | None = None, at: float | None = None
) -> CallState:
    """Return ``call`` with the caller's final words, once per message id."""
    if id and ("user", id) in call.seen:
        return call
    said = Said(at=at, who="caller", text=text, id=id, turn=turn)
    return replace(
        call,
        draft="",
        answer=None,
        turn=call.turn if turn is None else turn,
        lines=(*call.lines, said),
        seen=call.seen | {("user", id)} if id else call.seen,
    )


def flush(call: CallState, at: float | None, *, cut: str | None = None) -> CallState:
    """Return ``call`` with the running reply as a line, as heard, and its latency after it."""
    reply = call.reply
    if reply is None:
        return call
    whole = reply.text if reply.confirmed is None else reply.confirmed
    text = reply.heard if cut else (reply.confirmed or reply.heard or reply.text)
    rest = ""
    if cut and text and whole.startswith(text):
        rest = whole[len(text) :].strip()
    said = Said(at=at, who="agent", text=text, id=reply.id, turn=call.turn, cut=cut, rest=rest)
    call = replace(
        call,
        reply=None,
        lines=(*call.lines, said),
        seen=call.seen | {("reply", reply.id)} if reply.id else call.seen,
    )
    return _owed(call, reply.id, at)


def _owed(call: CallState, id: str, at: float | None) -> CallState:
    """Return ``call`` with the latencies that waited for reply ``id`` as lines."""
    due = tuple(turn for turn in call.owed if turn.id in ("", id))
    if not due:
        return call
    left = tuple(turn for turn in call.owed if turn not in due)
    return replace(call, owed=left, lines=(*call.lines, *(replace(turn, at=at) for turn in due)))


def _turn_end(call: CallState, event: events.TurnEnd, at: float | None) -> CallState:
    if given(event.source, "") == "bot":  # the callee's turn, on a bridged call
        return call
    id, text = given(event.message_id, ""), given(event.text, "")
    turn = given(event.turn_id, None)
    if id and text and ("user", id) not in call.seen:
        call = hear(call, id=id, text=text, turn=turn, at=at)
    return replace(
        call,
        turn=call.turn if turn is None else turn,
        ended_turns=call.ended_turns | {len(call.ended_turns) + 1 if turn is None else turn},
        phase=call.phase if call.reply else "thinking",
    )


def _speaking(call: CallState, id: str, text: str, at: float | None) -> CallState:
    if id and ("reply", id) in call.seen:
        return call
    if call.reply is not None and call.reply.id == id:
        return replace(call, reply=replace(call.reply, text=text or call.reply.text))
    return replace(flush(call, at), reply=Reply(id=id, text=text), phase="speaking")


def _word(call: CallState, event: events.BotWord) -> CallState:
    reply = call.reply
    if reply is None and ("reply", event.message_id) not in call.seen:
        reply = Reply(id=event.message_id)
    if reply is None or reply.id != event.message_id:
        return call
    new = (event.word_index, event.word)
    words = reply.words
    if words and new[0] <= words[-1][0]:
        if any(index == new[0] for index, _ in words):
            return call
        words = tuple(sorted((*words, new)))
    else:
        words = (*words, new)
    return replace(call, reply=replace(reply, words=words), phase="speaking")


def _confirmed(call: CallState, id: str, text: str, at: float | None) -> CallState:
    if call.reply is not None and call.reply.id == id:
        return replace(call, reply=replace(call.reply, confirmed=text))
    if not text or call.is_text or (id and ("reply", id) in call.seen):
        return call
    said = Said(at=at, who="agent", text=text, id=id, turn=call.turn)
    return replace(call, lines=(*call.lines, said), seen=call.seen | {("reply", id)})


def _finished(call: CallState, event: events.BotFinished, at: float | None) -> CallState:
    id = given(event.message_id, "")
    if call.reply is None or call.reply.id != id:
        return _never(call, id)
    if not call.reply.text:
        call = replace(call, reply=replace(call.reply, text=given(event.text, "")))
    return replace(flush(call, at), phase="listening")


def _interrupted(call: CallState, event: events.BotInterrupted, at: float | None) -> CallState:
    id = given(event.message_id, "")
    if call.reply is None or call.reply.id != id:
        return _never(call, id)
    if not call.reply.words:
        call = replace(call, reply=_counted(call.reply, given(event.words_spoken, 0)))
    cut = given(event.reason, "") or "user_spoke"
    return replace(flush(call, at, cut=cut), phase="listening")


def _never(call: CallState, id: str) -> CallState:
    """Return ``call`` with reply ``id`` marked as over, so that no late word starts it again."""
    return replace(call, seen=call.seen | {("reply", id)}) if id else call


def _counted(reply: Reply, spoken: int) -> Reply:
    """Return ``reply`` with its first ``spoken`` words heard, for a server that sends no words."""
    words = reply.text.split()[: max(0, spoken)]
    return replace(reply, words=tuple(enumerate(words)))


def _latency(call: CallState, event: events.TurnLatency, at: float | None) -> CallState:
    parts: dict[str, Any] = {part: given(getattr(event, part), None) for part in LATENCY_PARTS}
    turn = TurnLatency(at=at, turn=event.turn_id, id=given(event.message_id, ""), **parts)
    key = ("latency", f"{turn.turn} {turn.id}")
    if key in call.seen:
        return call
    call = replace(
        call,
        latencies=(*call.latencies, turn),
        owed=(*call.owed, turn),
        seen=call.seen | {key},
    )
    # It comes with the first audible frame: its line waits until the reply has been heard.
    return _owed(call, turn.id, at) if turn.id and ("reply", turn.id) in call.seen else call
