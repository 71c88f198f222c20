"""Sound on its way to whoever asked for it, in the form they asked for (rest.md §5.1).

MP3 is FFmpeg's, which comes with the extra `webrtc`; a server without it has the other two.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Protocol

from pinecall_cli.server.speech.audio_api import ApiError

MP3_BITS_PER_S = 64_000
INSTALL = "pip install 'pinecall-cli[webrtc]'"


class Encoding(Protocol):
    """One answer's sound: pieces of int16 mono in, bytes out."""

    def encode(self, pcm: bytes) -> bytes:
        """Return what a piece adds, which may be nothing yet."""
        ...

    def end(self) -> bytes:
        """Return what is left when the last piece has gone in."""
        ...


class Plain:
    """Sound as it is."""

    def encode(self, pcm: bytes) -> bytes:
        """Return the piece."""
        return pcm

    def end(self) -> bytes:
        """Return nothing."""
        return b""


class Mp3:
    """Sound as MP3, in frames that can be played as they come."""

    def __init__(self, rate: int) -> None:
        """``rate`` is the sound's, in Hz.

        Raises:
            ApiError: If no encoder is installed.
        """
        try:
            import av  # noqa: PLC0415 - an extra, and 0.1 s to load

            codec = av.AudioCodecContext.create("libmp3lame", "w")
        except (ImportError, ValueError) as missing:
            message = f"this server has no MP3 encoder ({missing}): {INSTALL}"
            raise ApiError(400, "FORMAT_UNSUPPORTED", message) from None
        codec.sample_rate, codec.bit_rate = rate, MP3_BITS_PER_S
        codec.format, codec.layout = av.AudioFormat("s16p"), av.AudioLayout("mono")
        self._codec, self._frame, self._rate, self._position = codec, av.AudioFrame, rate, 0

    def encode(self, pcm: bytes) -> bytes:
        """Return the frames that are whole by now."""
        if not pcm:
            return b""
        frame = self._frame(format="s16", layout="mono", samples=len(pcm) // 2)
        frame.planes[0].update(pcm)
        frame.sample_rate, frame.time_base = self._rate, Fraction(1, self._rate)
        frame.pts = self._position
        self._position += frame.samples
        return b"".join(map(bytes, self._codec.encode(frame)))

    def end(self) -> bytes:
        """Return the last frames."""
        return b"".join(map(bytes, self._codec.encode(None)))


def encoding_of(format: str, rate: int) -> Encoding:
    """Return how sound becomes what a request asks for; a WAV file's header is not in it.

    Raises:
        ApiError: If it cannot be made here.
    """
    return Mp3(rate) if format == "mp3" else Plain()
