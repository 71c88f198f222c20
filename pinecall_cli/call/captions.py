"""A call's transcript as captions of its recording, SubRip and WebVTT. Pure.

Times are seconds from ``call.started``, where a recording begins. What the agent says is timed
by the words that were played; what the caller says lies between the start of their turn and its
last voice, which the turn's latencies tell.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from pinecall_cli.protocol.log import LogEntry

LONGEST_CHARS = 84
"""Of one caption: two lines of 42, as broadcasters have it."""
LONGEST_S = 6.0
PAUSE_S = 0.7
"""A silence between two words that begins a new caption."""
SHORTEST_S = 0.5
CHARS_PER_S = 15.0
"""Speaking rate assumed where no word times are known."""


@dataclass(frozen=True, slots=True)
class Cue:
    """One caption; seconds from the start of the call."""

    start: float
    end: float
    who: Literal["caller", "agent"]
    text: str


def cues(entries: Iterable[LogEntry]) -> list[Cue]:
    """Return the captions of a call, in order of their start."""
    told = list(entries)
    found: list[Cue] = []
    begun: float | None = None
    turn_at: float | None = None
    turn: int | None = None
    waited = {
        _number(entry.data.get("turn")): _waited(entry.data.get("latency"))
        for entry in told
        if entry.type == "turn.end"
    }
    corrected = {
        _number(entry.data.get("supersedes")): entry.data.get("text")
        for entry in told
        if entry.type == "bot.corrected"
    }
    for entry in told:
        begun = entry.ts if begun is None or entry.type == "call.started" else begun
        at = entry.ts - begun
        match entry.type:
            case "turn.start" if entry.data.get("role") == "user":
                turn, turn_at = _number(entry.data.get("turn")), at
            case "user.message" if entry.data.get("final", True):
                text = _text(entry.data.get("text"))
                end = max(at - waited.get(turn, 0.0), turn_at or 0.0)
                start = end - len(text) / CHARS_PER_S if turn_at is None else turn_at
                found.append(Cue(max(0.0, start), end, "caller", text))
                turn_at = None
            case "bot.speaking":
                text = _text(corrected.get(entry.seq, entry.data.get("text")))
                found += _spoken(at, text, entry.data.get("words"))
    shown = (replace(cue, end=max(cue.end, cue.start + SHORTEST_S)) for cue in found if cue.text)
    return sorted(shown, key=lambda cue: cue.start)


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def _waited(latency: Any) -> float:
    """Return how long after the caller's last voice their words were there, in seconds."""
    if not isinstance(latency, dict):
        return 0.0
    parts = (latency.get(part) for part in ("vad", "asr", "eou"))
    return sum(ms for ms in parts if isinstance(ms, int | float)) / 1000


def _spoken(at: float, text: str, words: Any) -> Iterator[Cue]:
    timed = [word for word in words if _is_timed(word)] if isinstance(words, list) else []
    if not timed:
        yield Cue(at, at + len(text) / CHARS_PER_S, "agent", text)
        return
    group: list[Any] = []
    for word in timed:
        if group and _is_full(group, word):
            yield _cue(at, group)
            group = []
        group.append(word)
    yield _cue(at, group)


def _is_timed(word: Any) -> bool:
    return (
        isinstance(word, dict)
        and isinstance(word.get("w"), str)
        and all(isinstance(word.get(key), int | float) for key in ("t0", "t1"))
    )


def _is_full(group: Sequence[Any], word: Any) -> bool:
    chars = sum(len(one["w"]) + 1 for one in group) + len(word["w"])
    return bool(
        chars > LONGEST_CHARS
        or word["t1"] - group[0]["t0"] > LONGEST_S
        or word["t0"] - group[-1]["t1"] > PAUSE_S
    )


def _cue(at: float, group: Sequence[Any]) -> Cue:
    text = " ".join(word["w"] for word in group)
    return Cue(at + group[0]["t0"], at + group[-1]["t1"], "agent", _text(text))


def _text(value: Any) -> str:
    """Return a text on one line; an empty line would end its caption."""
    return " ".join(value.split()) if isinstance(value, str) else ""


def srt(captions: Iterable[Cue]) -> str:
    """Return captions as SubRip."""
    blocks = (
        f"{number}\n{_span(cue, ',')}\n{cue.who.capitalize()}: {cue.text}\n"
        for number, cue in enumerate(captions, 1)
    )
    return "\n".join(blocks)


def vtt(captions: Iterable[Cue]) -> str:
    """Return captions as WebVTT, each with its voice."""
    blocks = (
        f"\n{_span(cue, '.')}\n<v {cue.who.capitalize()}>{html.escape(cue.text, quote=False)}\n"
        for cue in captions
    )
    return "WEBVTT\n" + "".join(blocks)


def _span(cue: Cue, point: str) -> str:
    return f"{_clock(cue.start, point)} --> {_clock(cue.end, point)}"


def _clock(seconds: float, point: str) -> str:
    ms = round(max(0.0, seconds) * 1000)
    minutes, ms = divmod(ms, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{ms // 1000:02}{point}{ms % 1000:03}"


FORMATS: dict[str, Callable[[Iterable[Cue]], str]] = {"srt": srt, "vtt": vtt}
