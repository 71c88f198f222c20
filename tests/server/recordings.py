"""Recordings as browsers, phones and editors make them: a hum, in a container of each kind."""

from __future__ import annotations

import array
import io
import math
from functools import cache
from typing import Any

import av

KINDS = {
    "webm": ("libopus", 48_000),
    "ogg": ("libopus", 48_000),
    "mp4": ("aac", 44_100),
    "mp3": ("libmp3lame", 44_100),
    "flac": ("flac", 44_100),
}
"""What browsers, phones and editors make: the codec of each container, and a rate it likes."""


@cache
def recorded_hum(kind: str, seconds: float = 1.0) -> bytes:
    """Return a hum in a container of that kind."""
    codec, rate = KINDS[kind]
    count = int(rate * seconds)
    hum = (int(9_000 * math.sin(2 * math.pi * 300 * at / rate)) for at in range(count))
    frame = av.AudioFrame(format="s16", layout="mono", samples=count)
    frame.planes[0].update(array.array("h", hum).tobytes())
    frame.sample_rate, frame.pts = rate, 0
    file = io.BytesIO()
    with av.open(file, "w", format=kind) as container:
        stream: Any = container.add_stream(codec, rate=rate, layout="mono")
        size = stream.codec_context.frame_size or 1_024
        fitted = av.AudioResampler(stream.format.name, "mono", rate, frame_size=size)
        for source in (frame, None):
            for piece in fitted.resample(source):
                container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    return file.getvalue()
