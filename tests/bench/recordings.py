"""The recordings a bench plays, and where in them, by level alone, speech ends.

Half of them were made in rooms that hiss above −50 dBFS: read as they are, their last sound is
the end of the file, not that of the speech. So what follows the last word is faded into silence
first. Where it ends is told by the level of 20 ms frames against the hiss, never by a VAD: the
clock of a bench must not be the thing it measures.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass

from pinecall_cli.audio.pcm import from_samples, level_dbfs, samples
from pinecall_cli.audio.wav import read_wav
from tests.audio_clips.wer import Clip, clips

RATE = 16_000
FRAME = RATE // 50
AUDIBLE = round(32768 * 10 ** (-50 / 20))
"""The amplitude of −50 dBFS; a louder sample is heard."""
ABOVE_HISS_DB = 6.0
FADE = RATE // 100


@dataclass(frozen=True)
class Recording:
    """What a caller says, at 16 kHz, silent from the end of the last word on."""

    name: str
    text: str
    people: bool
    pcm: bytes
    muted_ms: int
    """How much of the room behind the last word was silenced."""


def recordings(pattern: str = "") -> list[Recording]:
    """Return the recordings whose name holds ``pattern``."""
    return [recording(clip) for clip in clips() if pattern in clip.path.name]


def recording(clip: Clip) -> Recording:
    """Return ``clip`` with the room behind its last word silenced."""
    pcm, rate = read_wav(clip.path)
    assert rate == RATE, clip.path
    sound = samples(pcm)
    levels = [
        level_dbfs(from_samples(sound[at : at + FRAME]))
        for at in range(0, len(sound) - FRAME + 1, FRAME)
    ]
    hiss = sorted(levels)[len(levels) // 10]
    bound = max(-50.0, min(hiss + ABOVE_HISS_DB, max(levels) - 30)) if hiss > -55 else -50.0
    end = FRAME * (1 + max(n for n, level in enumerate(levels) if level > bound))
    kept = array("h", sound[:end])
    for back in range(1, min(FADE, end) + 1):
        kept[-back] = round(kept[-back] * back / FADE)
    silence = array("h", bytes(2 * (len(sound) - end)))
    muted = round(1000 * (len(sound) - end) / RATE)
    return Recording(clip.path.name, clip.text, clip.people, (kept + silence).tobytes(), muted)


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
