"""What every engine of a stage looks like to the server; the engines themselves stand beside.

Audio is int16 little-endian mono at 16 kHz unless an engine says otherwise. Heavy work runs in
the engine's own worker thread, so a coroutine here never blocks the event loop it is awaited on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


class Vad(Protocol):
    """Voice activity of one call, frame by frame; keeps state between frames."""

    frame_samples: int
    """Samples per frame at 16 kHz (Silero: 512, 32 ms)."""

    def probability(self, frame: bytes) -> float:
        """Return the probability, 0 to 1, that ``frame`` holds speech."""
        ...


class EndOfTurn(Protocol):
    """Judges whether a speaker who paused has finished."""

    async def probability(self, pcm: bytes) -> float:
        """Return the probability, 0 to 1, that the turn heard in ``pcm`` (16 kHz) is over."""
        ...


class Recogniser(Protocol):
    """Speech to text for one utterance."""

    name: str

    async def transcribe(self, pcm: bytes) -> str:
        """Return the words in ``pcm`` (16 kHz); empty when there are none."""
        ...


@dataclass(frozen=True, slots=True)
class TimedWord:
    """A word of a synthesised text, as written there, and where its audio lies."""

    text: str
    start: float
    """Seconds from the start of the audio."""
    end: float


@dataclass(frozen=True, slots=True)
class Speech:
    """Synthesised audio: int16 mono PCM at ``rate`` Hz, and its words."""

    pcm: bytes
    rate: int
    words: tuple[TimedWord, ...]


class Synthesiser(Protocol):
    """Text to speech, one sentence at a time."""

    name: str

    async def synthesise(self, text: str, *, speed: float = 1.0) -> Speech:
        """Return ``text`` spoken, silence at both edges trimmed; ``speed`` is 0.5 to 2."""
        ...


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A model's wish to run a tool; ``arguments`` is a JSON text, as on the wire."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One generation: the OpenAI-shaped messages (system prompt first) and the tools on offer."""

    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]] = ()
    temperature: float | None = None
    max_tokens: int | None = None
    session: Mapping[str, Any] = field(default_factory=dict)
    """Facts a script may use; never sent to a provider."""


class Model(Protocol):
    """A language model, or a script that stands in for one. One instance serves one session."""

    name: str

    def stream(self, request: ModelRequest) -> AsyncIterator[str | ToolCall]:
        """Yield text as it comes, and the tool calls of this round.

        Closing the iterator cancels the request.

        Raises:
            EngineError: If the provider refuses, breaks off or cannot be reached.
        """
        ...
