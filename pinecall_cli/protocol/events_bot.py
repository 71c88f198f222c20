"""Events of the agent's side: its speech as it is played, and what became of each message."""

from __future__ import annotations

from msgspec import UNSET, UnsetType

from pinecall_cli.protocol.frames import Event, MaybeFloat, MaybeInt, MaybeNumber, MaybeStr


class BotSpeaking(Event, tag="bot.speaking"):
    """The audio of a message starts to play."""

    message_id: str = ""
    text: str = ""
    """The whole message, or empty for one that is still being written."""


class BotWord(Event, tag="bot.word"):
    """One word of a reply, sent when it is played, not when it is synthesised."""

    message_id: str
    word: str
    word_index: int
    """Counts from 0 in each message."""
    start_time: MaybeFloat = UNSET
    """Seconds from the start of the message's audio."""
    end_time: MaybeFloat = UNSET
    """Seconds from the start of the message's audio."""


class BotFinished(Event, tag="bot.finished"):
    """A message was played to its end."""

    message_id: MaybeStr = UNSET
    duration_ms: MaybeNumber = UNSET
    text: MaybeStr = UNSET


class BotInterrupted(Event, tag="bot.interrupted"):
    """A message was cut off."""

    message_id: MaybeStr = UNSET
    played_ms: MaybeNumber = UNSET
    """Audio of the message that was sent."""
    words_spoken: MaybeInt = UNSET
    """The ``bot.word``s that were sent."""
    last_word: MaybeStr = UNSET
    reason: MaybeStr = UNSET
    """``continuation`` (under 2 s played), ``user_spoke`` or ``cancelled``."""


class MessageConfirmed(Event, tag="message.confirmed"):
    """What entered the conversation: a whole reply, or the part that was heard."""

    message_id: str
    text: str = ""


class MessageAborted(Event, tag="message.aborted"):
    """A reply was dropped before any of it played."""

    message_id: str
    reason: MaybeStr = UNSET


class ReplyRejected(Event, tag="reply.rejected"):
    """A reply came too late: the caller has said something newer."""

    message_id: str
    in_reply_to: MaybeStr = UNSET
    expected_reply_to: MaybeStr = UNSET
    """The id of the current user message."""
    reason: MaybeStr = UNSET
    """``message_obsolete``."""


class BargeIn(Event, tag="barge_in"):
    """The caller spoke over the agent; goes with ``bot.interrupted``."""

    cancelled_message_id: MaybeStr = UNSET


class AudioMetrics(Event, tag="audio.metrics"):
    """How loud one side is, about every 100 ms when asked for."""

    source: str
    """``user`` or ``bot``."""
    energy_db: MaybeFloat = UNSET
    """−60 to 0 dBFS."""
    rms: MaybeFloat = UNSET
    """0 to 1."""
    peak: MaybeFloat = UNSET
    """0 to 1."""
    is_speech: bool | UnsetType = UNSET
    vad_prob: MaybeFloat = UNSET
    """0 to 1."""
    timestamp: MaybeFloat = UNSET
    """Epoch seconds."""
