"""Commands about a call: dialing, its controls, its speech, its human takeover."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from pinecall_cli.protocol.frames import (
    Command,
    Frame,
    JsonObject,
    MaybeBool,
    MaybeNumber,
    MaybeObject,
    MaybeStr,
)


class BotReply(Command, tag="bot.reply"):
    """Say one whole utterance."""

    call_id: str
    message_id: str
    text: str
    in_reply_to: str = ""
    """Empty: never stale. Else the id of the user message that it answers."""
    add_to_history: MaybeBool = UNSET


class BotReplyStream(Command, tag="bot.reply.stream"):
    """Say an utterance while it is being written."""

    call_id: str
    message_id: str
    """The same in all frames of one stream."""
    action: Literal["start", "chunk", "end"]
    in_reply_to: MaybeStr = UNSET
    """On ``start`` alone."""
    token: MaybeStr = UNSET
    """On ``chunk`` alone: text to append as it is."""


class BotCancel(Command, tag="bot.cancel"):
    """Stop and drop one message, or the current one."""

    call_id: str
    message_id: MaybeStr = UNSET


class BotClear(Command, tag="bot.clear"):
    """Drop everything that plays or waits to."""

    call_id: str


class CallDial(Command, tag="call.dial"):
    """Call a number; answered by ``call.dialing`` or ``call.error``."""

    agent_id: str
    to: str
    """E.164 as typed, or a ``sip:`` URI."""
    from_: str = msgspec.field(name="from")
    greeting: MaybeStr = UNSET
    """What the server says once they answer."""
    metadata: MaybeObject = UNSET
    config: MaybeObject = UNSET
    """Configuration of this call alone, spelled as its user spelled it."""
    detect_turn_end: MaybeBool = UNSET
    """Greet only after they have spoken first."""
    ring_timeout: MaybeNumber = UNSET
    """Ours: seconds to let it ring; the server's own time limit, if left out."""
    follow: MaybeBool = UNSET
    """Ours: for somebody who dials for another's agent, every event of the call."""


class Media(Frame):
    """What is kept or sent on of a call's audio."""

    live: MaybeBool = UNSET
    recording: MaybeBool = UNSET


class CallBridge(Command, tag="call.bridge"):
    """Have one agent call another."""

    agent_id: str
    """The agent that calls."""
    target: str
    """Slug of the agent that is called."""
    greeting: MaybeStr = UNSET
    config: MaybeObject = UNSET
    media: Media | UnsetType = UNSET
    metadata: MaybeObject = UNSET
    detect_turn_end: bool = True


class CallHangup(Command, tag="call.hangup"):
    """End a call."""

    call_id: str
    reason: MaybeStr = UNSET


class CallForward(Command, tag="call.forward"):
    """Hand a call to another number."""

    call_id: str
    to: str
    message: str = ""
    announce: bool = False


class CallDtmf(Command, tag="call.dtmf"):
    """Play key tones to the other side."""

    call_id: str
    digits: str
    """``0-9``, ``*`` and ``#``."""


class CallHold(Command, tag="call.hold"):
    """Play hold music; the caller is not heard."""

    call_id: str


class CallUnhold(Command, tag="call.unhold"):
    """End the hold."""

    call_id: str


class CallMute(Command, tag="call.mute"):
    """Take the caller's microphone out of the turns."""

    call_id: str


class CallUnmute(Command, tag="call.unmute"):
    """Hear the caller again."""

    call_id: str


class CallAccept(Command, tag="call.accept"):
    """Take a ringing call."""

    agent_id: str
    call_id: str


class CallReject(Command, tag="call.reject"):
    """Turn a ringing call away."""

    agent_id: str
    call_id: str
    reason: Literal["busy", "rejected"] = "busy"


class CallRoute(Command, tag="call.route"):
    """Hand a call of a phone line to an agent."""

    call_id: str
    agent: str
    """Slug."""
    language: MaybeStr = UNSET
    voice: str | JsonObject | UnsetType = UNSET
    stt: str | JsonObject | UnsetType = UNSET
    greeting: MaybeStr = UNSET
    prompt_vars: MaybeObject = UNSET
    context: MaybeObject = UNSET
    history: bool = True
    """Tell the agent what was said on the line."""


class SetContext(Command, tag="set_context"):
    """Put keyed context before the model; ``null`` takes the key out."""

    call_id: str
    key: str
    value: Any


class SessionPause(Command, tag="session.pause"):
    """Let a human answer a session, a contact, or (neither named) for the whole agent."""

    agent_id: str
    session_id: MaybeStr = UNSET
    contact: MaybeStr = UNSET


class SessionResume(Command, tag="session.resume"):
    """Let the agent answer again; with neither named, everywhere."""

    agent_id: str
    session_id: MaybeStr = UNSET
    contact: MaybeStr = UNSET


class SessionSend(Command, tag="session.send"):
    """Send a human's message through a session's channel."""

    agent_id: str
    text: str
    session_id: MaybeStr = UNSET
    contact: MaybeStr = UNSET
    """Used when the session is gone."""
