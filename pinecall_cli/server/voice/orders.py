"""What turn-taking asks of a call, and what it is told of the agent's speech: values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pinecall_cli.protocol.frames import Event


@dataclass(frozen=True, slots=True)
class Emit:
    """Send this event (the sender stamps ids, seq and ts)."""

    event: Event


@dataclass(frozen=True, slots=True)
class Decode:
    """Turn the caller's audio from ``start`` to ``end`` into text, then call `Turns.decoded`."""

    job: int
    start: int
    end: int
    kind: Literal["partial", "final", "piece"]
    """A piece may end earlier, at a quiet place, and says where in ``upto``."""


@dataclass(frozen=True, slots=True)
class Judge:
    """Ask the end-of-turn model about the audio up to ``end``, then call `Turns.judged`."""

    job: int
    end: int


@dataclass(frozen=True, slots=True)
class Answer:
    """A turn is over: produce the reply. The marks are the cut points of ``turn.latency``."""

    turn_id: int
    message_id: str
    text: str
    voice_end: int
    vad_end: int
    text_at: int
    decided_at: int


@dataclass(frozen=True, slots=True)
class Continue:
    """The turn goes on after all: void its reply, whether pending or playing."""

    turn_id: int


@dataclass(frozen=True, slots=True)
class CutIn:
    """The caller interrupted what is playing: stop it; what was heard stays."""


Order = Emit | Decode | Judge | Answer | Continue | CutIn


@dataclass(frozen=True, slots=True)
class Playing:
    """What the agent is saying now."""

    played_ms: int
    turn_id: int | None
    """The turn it answers; None for a greeting or anything said unasked."""
