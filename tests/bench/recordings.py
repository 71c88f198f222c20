"""The recordings a bench plays, and where in them, by level alone, speech ends.

A VAD must not be the clock of a bench that measures one: the end of the last word is the end of
the last 20 ms above −50 dBFS, and the room behind it is silenced. Where the room itself is
loud, level tells nothing: such a recording is played as it is, and no time is read off it.
"""

from __future__ import annotations

from dataclasses import dataclass

from pinecall_cli.audio.pcm import from_samples, level_dbfs, samples
from pinecall_cli.audio.wav import read_wav
from tests.audio_clips.wer import Clip, clips

RATE = 16_000
FRAME = RATE // 50
AUDIBLE_DBFS = -50.0
AUDIBLE = 32768 * 10 ** (AUDIBLE_DBFS / 20)
"""An amplitude; a louder sample is heard."""
QUIET_ROOM_DBFS = -56.0
"""A room louder than this crackles above −50 dBFS."""
FADE = RATE // 100


@dataclass(frozen=True)
class Recording:
    """What a caller says, at 16 kHz."""

    name: str
    text: str
    people: bool
    pcm: bytes
    quiet: bool
    """Whether its room is below −50 dBFS, so that level shows where speech ends."""


def recordings(pattern: str = "") -> list[Recording]:
    """Return the recordings whose name holds ``pattern``."""
    return [recording(clip) for clip in clips() if pattern in clip.path.name]


def recording(clip: Clip) -> Recording:
    """Return ``clip``, in a quiet room with silence behind the last word."""
    pcm, rate = read_wav(clip.path)
    assert rate == RATE, clip.path
    frames = [pcm[at : at + 2 * FRAME] for at in range(0, len(pcm), 2 * FRAME)]
    levels = [level_dbfs(frame) for frame in frames]
    spoken = 1 + max(n for n, level in enumerate(levels) if level > AUDIBLE_DBFS)
    quietest = [frame for _, frame in sorted(zip(levels, frames, strict=True))][: len(frames) // 10]
    room = frames[spoken:] if len(frames) - spoken >= 3 else quietest
    quiet = level_dbfs(b"".join(room)) < QUIET_ROOM_DBFS
    if quiet:
        sound = samples(b"".join(frames[:spoken]))
        for back in range(1, min(FADE, len(sound)) + 1):
            sound[-back] = round(sound[-back] * back / FADE)
        pcm = from_samples(sound).ljust(len(pcm), b"\0")
    return Recording(clip.path.name, clip.text, clip.people, pcm, quiet)


def first_audible(pcm: bytes, rate: int, start: float, end: float) -> float | None:
    """Return where the first sample above −50 dBFS begins, in ms; ``start``, ``end`` too are."""
    at = round(start * rate / 1000)
    heard = samples(pcm)[at : round(end * rate / 1000)]
    found = next((n for n, value in enumerate(heard) if abs(value) > AUDIBLE), None)
    return None if found is None else (at + found) * 1000 / rate


def last_audible(pcm: bytes, rate: int, start: float, end: float) -> float | None:
    """Return where the last sample above −50 dBFS ends, in ms."""
    heard = samples(pcm)[round(start * rate / 1000) : round(end * rate / 1000)]
    back = next((n for n, value in enumerate(reversed(heard)) if abs(value) > AUDIBLE), None)
    return None if back is None else start + (len(heard) - back) * 1000 / rate
