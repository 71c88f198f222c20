"""What comes of speech and of transcription, as values, and how a server's JSON becomes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """A word, and when it is said: seconds from the start."""

    text: str
    start: float
    end: float
    speaker: str | None = None
    """Who says it, where speakers are told apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A stretch of speech: seconds from the start."""

    text: str
    start: float
    end: float
    speaker: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechAudio:
    """A text that was spoken."""

    data: bytes = field(repr=False)
    """int16 mono samples for ``pcm``, else a file."""
    format: str
    sample_rate: int
    """Hz."""
    request_id: str | None = None
    words: tuple[Word, ...] = ()
    """With ``timestamps``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """A voice of a server's; None where it does not say."""

    id: str
    name: str
    alias: str | None = None
    """With `provider`, how an agent names it: ``provider/alias``."""
    provider: str | None = None
    gender: str | None = None
    languages: tuple[str, ...] = ()
    """BCP-47."""
    description: str | None = None
    preview_url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """What is said in a recording."""

    text: str
    language: str | None = None
    duration: float | None = None
    """Seconds."""
    model: str | None = None
    words: tuple[Word, ...] = ()
    segments: tuple[Segment, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """What a stream of speech says, so far or for good."""

    text: str
    final: bool
    """False while it may still change."""
    start: float | None = None
    """Seconds of the stream."""
    end: float | None = None
    language: str | None = None
    speaker: str | None = None
    words: tuple[Word, ...] = ()


def text_of(value: Any) -> str | None:
    """Return a text; None for anything else."""
    return value if isinstance(value, str) else None


def number_of(value: Any) -> float | None:
    """Return a number; None for anything else."""
    is_one = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_one else None


def objects(value: Any) -> list[Mapping[str, Any]]:
    """Return the objects of a list; what is none is left out."""
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def speaker_of(said: Mapping[str, Any]) -> str | None:
    """Return who speaks; some servers count them."""
    speaker = said.get("speaker")
    return None if speaker is None else str(speaker)


def word_of(said: Mapping[str, Any]) -> Word:
    """Return a word as a server tells it."""
    return Word(
        text=text_of(said.get("word")) or "",
        start=number_of(said.get("start")) or 0.0,
        end=number_of(said.get("end")) or 0.0,
        speaker=speaker_of(said),
    )


def words_of(said: Mapping[str, Any]) -> tuple[Word, ...]:
    """Return the words under ``words``."""
    return tuple(word_of(one) for one in objects(said.get("words")))


def transcript_of(said: Mapping[str, Any]) -> Transcript:
    """Return a transcript as a server tells it."""
    return Transcript(
        text=text_of(said.get("text")) or "",
        language=text_of(said.get("language")),
        duration=number_of(said.get("duration")),
        model=text_of(said.get("model")),
        words=words_of(said),
        segments=tuple(
            Segment(
                text=text_of(one.get("text")) or "",
                start=number_of(one.get("start")) or 0.0,
                end=number_of(one.get("end")) or 0.0,
                speaker=speaker_of(one),
            )
            for one in objects(said.get("segments"))
        ),
    )


def piece_of(said: Mapping[str, Any], *, final: bool) -> Piece:
    """Return a piece of a stream as a server tells it."""
    return Piece(
        text=text_of(said.get("text")) or "",
        final=final,
        start=number_of(said.get("start")),
        end=number_of(said.get("end")),
        language=text_of(said.get("language")),
        speaker=speaker_of(said),
        words=words_of(said),
    )


def voice_of(said: Mapping[str, Any]) -> Voice:
    """Return a voice as a server lists it (rest.md §3.5)."""
    id = text_of(said.get("id")) or text_of(said.get("voice_id")) or ""
    listed = said.get("languages")
    codes = [
        one.get("code") if isinstance(one, Mapping) else one
        for one in (listed if isinstance(listed, list) else ())
    ]
    return Voice(
        id=id,
        name=text_of(said.get("name")) or id,
        alias=text_of(said.get("alias")),
        provider=text_of(said.get("provider")),
        gender=text_of(said.get("gender")),
        languages=tuple(code for code in codes if isinstance(code, str)),
        description=text_of(said.get("description")),
        preview_url=text_of(said.get("preview_url")),
    )
