"""Events of the caller's side: voice activity, transcripts, turns and what they cost in time."""

from __future__ import annotations

from msgspec import UNSET

from pinecall_cli.protocol.frames import Event, MaybeFloat, MaybeInt, MaybeNumber, MaybeStr


class SpeechStarted(Event, tag="speech.started"):
    """The caller's voice set in."""

    turn_id: MaybeInt = UNSET
    confidence: MaybeFloat = UNSET
    """0 to 1."""
    timestamp: MaybeFloat = UNSET
    """Epoch seconds."""


class SpeechEnded(Event, tag="speech.ended"):
    """The caller's voice stopped, after the hang-over of about 300 ms."""

    turn_id: MaybeInt = UNSET
    duration_ms: MaybeNumber = UNSET
    timestamp: MaybeFloat = UNSET
    """Epoch seconds."""


class UserSpeaking(Event, tag="user.speaking"):
    """An interim transcript: all of the current utterance so far."""

    text: str
    confidence: MaybeFloat = UNSET
    """0 to 1."""
    message_id: MaybeStr = UNSET
    turn_id: MaybeInt = UNSET
    confirmed_text: MaybeStr = UNSET
    """The part of ``text`` that will not change."""


class UserMessage(Event, tag="user.message"):
    """A final transcript, once per ``message_id``."""

    message_id: str
    text: str
    confidence: MaybeFloat = UNSET
    """0 to 1."""
    turn_id: MaybeInt = UNSET
    language: MaybeStr = UNSET
    lag_ms: MaybeNumber = UNSET
    """Delay of the final text."""


class EagerTurn(Event, tag="eager.turn"):
    """The caller has probably finished; an answer may be prepared."""

    turn_id: MaybeInt = UNSET
    probability: MaybeFloat = UNSET
    """0 to 1."""
    latency_ms: MaybeNumber = UNSET
    text: MaybeStr = UNSET
    message_id: MaybeStr = UNSET


class TurnPause(Event, tag="turn.pause"):
    """A silence was judged: the caller has not finished."""

    turn_id: MaybeInt = UNSET
    probability: MaybeFloat = UNSET
    """0 to 1."""
    latency_ms: MaybeNumber = UNSET


class TurnEnd(Event, tag="turn.end"):
    """The caller has finished."""

    turn_id: MaybeInt = UNSET
    probability: MaybeFloat = UNSET
    """0 to 1."""
    latency_ms: MaybeNumber = UNSET
    """``vad + asr + eou`` of ``turn.latency``."""
    text: MaybeStr = UNSET
    """All that was said in the turn; absent or empty: see the last ``user.message``."""
    message_id: MaybeStr = UNSET
    source: MaybeStr = UNSET
    """``bot`` when it is the called side that finished (``detect_turn_end``)."""


class TurnResumed(Event, tag="turn.resumed"):
    """The caller speaks again after a pause, before the turn ended."""

    turn_id: MaybeInt = UNSET
    timestamp: MaybeFloat = UNSET
    """Epoch seconds."""


class TurnContinued(Event, tag="turn.continued"):
    """The caller went on after the turn was taken for ended: replies in flight are void."""

    turn_id: MaybeInt = UNSET
    timestamp: MaybeFloat = UNSET
    """Epoch seconds."""


class TurnLatency(Event, tag="turn.latency"):
    """Where the time between the caller's last sound and the reply's first went. Ours.

    Whole milliseconds on the call's audio clock, each from the cut point before it.
    """

    turn_id: int
    message_id: MaybeStr = UNSET
    vad: MaybeInt = UNSET
    """Last voice-positive frame → end of voice activity."""
    asr: MaybeInt = UNSET
    """→ final text."""
    eou: MaybeInt = UNSET
    """→ ``turn.end``."""
    tools: MaybeInt = UNSET
    """→ barrier and tool rounds over."""
    llm_ttft: MaybeInt = UNSET
    """→ first token."""
    tts_ttfb: MaybeInt = UNSET
    """→ first synthesised sample."""
    playout: MaybeInt = UNSET
    """→ first 20 ms frame above −50 dBFS given to the line."""
    other: MaybeInt = UNSET
    """What the parts leave of ``e2e``."""
    e2e: MaybeInt = UNSET
    """First cut point to last."""
