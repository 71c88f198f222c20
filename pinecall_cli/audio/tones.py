"""The sounds of a telephone line, made by reckoning: keys, and the beep of a voicemail."""

from __future__ import annotations

import math
from array import array

from pinecall_cli.audio.pcm import from_samples, silence

KEYS = {
    key: (low, high)
    for low, row in zip((697, 770, 852, 941), ("123A", "456B", "789C", "*0#D"), strict=True)
    for high, key in zip((1209, 1336, 1477, 1633), row, strict=True)
}
"""Hz of both tones of each key (ITU-T Q.23)."""
KEY_MS, KEY_GAP_MS = 100, 80
"""A key and the pause after it; Q.24 asks for 40 of each at least."""
LEVEL = 0.25
"""Of full scale, per tone: loud enough for any receiver, and two of them never clip."""


def tone(frequencies: tuple[float, ...], ms: int, rate: int) -> bytes:
    """Return ``ms`` of these tones at once, as int16 mono PCM at ``rate`` Hz."""
    steps = [2 * math.pi * frequency / rate for frequency in frequencies]
    level = 32767 * LEVEL
    values = (
        int(level * sum(math.sin(step * n) for step in steps)) for n in range(rate * ms // 1000)
    )
    return from_samples(array("h", values))


def keys(digits: str, rate: int) -> bytes:
    """Return the sound of ``digits`` pressed one after the other; others than keys are silent."""
    pause = silence(KEY_GAP_MS, rate)
    return b"".join(tone(KEYS[key], KEY_MS, rate) + pause for key in digits if key in KEYS)


def beep(rate: int, ms: int = 500) -> bytes:
    """Return the tone after which a voicemail listens: 1 kHz."""
    return tone((1000,), ms, rate)


TUNE_HZ = (261.63, 329.63, 392.0, 523.25, 392.0, 329.63, 293.66, 349.23, 440.0, 349.23)
NOTE_MS = 400
FADE_PER_S = 4.0
"""How quickly a note dies away: at its end a fifth of it is left."""


def hold_music(start_ms: int, ms: int, rate: int) -> bytes:
    """Return the part of an endless, quiet tune that begins at ``start_ms``, as int16 mono PCM."""
    length, level = rate * NOTE_MS // 1000, 32767 * LEVEL / 2
    values = array("h")
    for at in range(start_ms * rate // 1000, (start_ms + ms) * rate // 1000):
        note, within = divmod(at, length)
        seconds = within / rate
        swell = min(1.0, within / (0.01 * rate), (length - within) / (0.01 * rate))  # no clicks
        wave = math.sin(2 * math.pi * TUNE_HZ[note % len(TUNE_HZ)] * seconds)
        values.append(int(level * swell * math.exp(-FADE_PER_S * seconds) * wave))
    return from_samples(values)
