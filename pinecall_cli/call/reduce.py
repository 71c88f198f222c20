"""The fold of socket frames into a call: ``reduce(call, event) -> call``.

Pure: no clock, no I/O, no mutation. Applying a frame twice changes nothing, whether the copy
carries the same ``seq`` or only the same ``message_id``; frames in a wrong order, cut short or
nonsensical never raise.
"""

from __future__ import annotations

import math

from msgspec.structs import replace

from pinecall_cli.call import fold_call, fold_chat, fold_speech, fold_tools
from pinecall_cli.call.state import CONNECTION_LOST, CallState
from pinecall_cli.protocol import events
from pinecall_cli.protocol.frames import Command, Event, Unknown

FOLDS = (fold_speech.fold, fold_tools.fold, fold_chat.fold, fold_call.fold)
"""One fold per family of frames, the busiest first; each leaves alone what is not its own."""

WINDOW = 512
"""Frames back from the newest that are remembered by ``seq``, like the anti-replay window of
RFC 4303. A frame older than that is applied; its message id then guards against a repeat."""


def reduce(
    call: CallState, event: Event | Command | Unknown, *, at: float | None = None
) -> CallState:
    """Return the call as it stands after ``event``.

    Args:
        call: The call before.
        event: A frame of this call, received or sent (the tool results that we send count).
        at: When it happened, in seconds since the epoch, for a frame that carries no ``ts``.
    """
    over = call.ended and not _revives(call, event)
    if isinstance(event, Event) and isinstance(event.seq, int):
        # Noted also of a call that is over: if it is revived, a repeat must still be known.
        windowed = _once(call, event.seq)
        if windowed is None:
            return call
        call = windowed
    if over:
        return call
    if isinstance(event, Event) and isinstance(event.ts, (int, float)) and math.isfinite(event.ts):
        at = event.ts
    if at is not None and (call.last_at is None or at > call.last_at):
        call = replace(call, last_at=at)
    for fold in FOLDS:
        after = fold(call, event, at)
        if after is not call:
            return after
    return call


def _revives(call: CallState, event: object) -> bool:
    """Whether ``event`` shows that a call we took for over goes on."""
    if isinstance(event, events.CallStarted):  # named again after a reconnect
        return call.reason == CONNECTION_LOST
    return isinstance(event, (events.LlmChatStarted, events.ChatMessage))


def _once(call: CallState, seq: int) -> CallState | None:
    """Return ``call`` with ``seq`` noted, or None when it has been applied before."""
    ahead = seq - call.last_seq
    if ahead > 0:
        recent = (call.recent << ahead) & (2**WINDOW - 1) if ahead < WINDOW else 0
        return replace(call, last_seq=seq, recent=recent | 1)
    if -ahead >= WINDOW:
        return call
    bit = 1 << -ahead
    return None if call.recent & bit else replace(call, recent=call.recent | bit)
