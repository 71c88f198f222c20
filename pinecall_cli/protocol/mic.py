"""The microphone socket (``/mic/ws``): its first frames, and the actions sent at any time.

The other way go the call's events, unchanged. Binary messages, both ways, are exactly 20 ms of
audio. The same actions travel on a browser's ``events`` data channel.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, Union

import msgspec
from msgspec import UNSET

from pinecall_cli.protocol.codec import REMOTE_FAULTS, object_of, problem_of, to_bytes
from pinecall_cli.protocol.codec import encode as encode
from pinecall_cli.protocol.frames import Frame, MaybeObject, MaybeStr, Unknown

RATES = (8000, 16000, 24000, 48000)
"""Samples a second that PCM may have; µ-law has 8000."""
PCM, MULAW = "pcm_s16le", "mulaw"
FRAME_MS = 20
"""Audio per binary message."""
START_TIMEOUT_S = 5.0
"""How long a server waits for the first frame."""


class MicFrame(Frame, tag_field="event"):
    """A first frame: it says which format the binary messages have."""


class MicStart(MicFrame, tag="start"):
    """Call the agent of the token."""

    sample_rate: int = 16000
    """Hz; 8000 alone with ``mulaw``."""
    channels: int = 1
    encoding: str = PCM
    from_: MaybeStr = msgspec.field(default=UNSET, name="from")
    to: MaybeStr = UNSET
    """The agent's number: makes it a phone call, 8 kHz µ-law on the way."""
    metadata: MaybeObject = UNSET
    """Not to be trusted; what the token sealed wins."""


class MicAnswer(MicFrame, tag="answer"):
    """Wait for calls to a number."""

    number: str
    """E.164."""
    sample_rate: int = 16000
    """Hz."""
    channels: int = 1
    encoding: str = PCM
    fallback: bool = False
    """Ring for what no agent, test number or numbers file answers, and for nothing else."""


class Action(Frame, tag_field="action"):
    """What the person at a microphone or browser does."""


class Mute(Action, tag="mute"):
    """Take the microphone out of the turns."""


class Unmute(Action, tag="unmute"):
    """Let the microphone be heard again."""


class Configure(Action, tag="configure"):
    """Change what a browser may change: these keys and no others."""

    voice: str | dict[str, Any] | msgspec.UnsetType = UNSET
    language: MaybeStr = UNSET
    stt: str | dict[str, Any] | msgspec.UnsetType = UNSET
    tts: str | dict[str, Any] | msgspec.UnsetType = UNSET
    greeting: str | dict[str, Any] | msgspec.UnsetType = UNSET
    flash: bool | msgspec.UnsetType = UNSET


class InjectText(Action, tag="inject_text"):
    """Take a text as if the caller had said it."""

    text: str


class SetContext(Action, tag="set_context"):
    """Put keyed context before the model; ``null`` takes the key out."""

    key: str
    value: Any


class Dtmf(Action, tag="dtmf"):
    """Press keys; phone calls only."""

    digits: str
    """``0-9``, ``*`` and ``#``."""


class Hangup(Action, tag="hangup"):
    """End the call."""


class Accept(Action, tag="accept"):
    """Take the ringing call."""


class Reject(Action, tag="reject"):
    """Turn the ringing call away."""

    reason: Literal["busy", "rejected"] = "busy"


class MicPing(Frame):
    """The literal text ``ping``, sent every second; it is not JSON."""


MicMessage: TypeAlias = MicStart | MicAnswer | Action | MicPing | Unknown

FIRST: msgspec.json.Decoder[Any] = msgspec.json.Decoder(MicStart | MicAnswer)
ACTIONS: msgspec.json.Decoder[Any] = msgspec.json.Decoder(
    Union[tuple(Action.__subclasses__())]  # noqa: UP007 - made of a tuple, so no `|`
)
PING = b"ping"


def decode_mic(raw: bytes | str) -> MicMessage:
    """Return a text message of a microphone socket's client. Never raises."""
    data = to_bytes(raw)
    if data == PING:
        return MicPing()
    fields = object_of(data)
    if fields is None:
        return Unknown("", {}, "not a JSON object, or nested too deeply")
    action, event = fields.get("action"), fields.get("event")
    name = action if isinstance(action, str) else event if isinstance(event, str) else ""
    try:
        message: MicMessage = (ACTIONS if "action" in fields else FIRST).decode(data)
    except REMOTE_FAULTS as fault:
        return Unknown(name, fields, problem_of(fault))
    problem = format_problem(message) if isinstance(message, MicStart | MicAnswer) else None
    return message if problem is None else Unknown(name, fields, problem)


def format_problem(first: MicStart | MicAnswer) -> str | None:
    """Return what is wrong with the audio that a first frame offers, or None."""
    if first.encoding not in (PCM, MULAW):
        return f"`encoding` must be {PCM} or {MULAW}"
    if first.encoding == MULAW and first.sample_rate != 8000:
        return f"{MULAW} has a `sample_rate` of 8000"
    if first.sample_rate not in RATES:
        return f"`sample_rate` must be one of {', '.join(map(str, RATES))}"
    return None if first.channels == 1 else "`channels` must be 1"
