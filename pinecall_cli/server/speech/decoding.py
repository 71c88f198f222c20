"""Recordings as they are sent, as samples: WAV by ourselves, browsers' and phones' by FFmpeg.

FFmpeg comes with the extra `webrtc`. It is told which container the bytes begin like, so that none
of its many others is ever tried on a stranger's file, and may open nothing but those bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from itertools import chain
from typing import Any

from pinecall_cli.audio.wav import NotWavError, decode_wav
from pinecall_cli.server.speech.audio_api import ApiError
from pinecall_cli.server.speech.encoding import INSTALL

RATE = 16_000
LOWEST_RATE, HIGHEST_RATE = 8_000, 192_000
"""Hz of what is recorded: a telephone's, and a studio's. At others a small file makes hours of
work: 64 kB at 1 Hz are two hours of sound, and a filter from 383,999 Hz takes 2 s to compute."""
CONTAINERS = (
    (0, b"\x1aE\xdf\xa3", "matroska"),  # WebM: what a browser's MediaRecorder writes
    (0, b"OggS", "ogg"),
    (4, b"ftyp", "mov"),  # MP4, M4A
    (0, b"fLaC", "flac"),
    (0, b"ID3", "mp3"),
    (0, b"\xff\xfb", "mp3"),
    (0, b"\xff\xf3", "mp3"),
    (0, b"\xff\xf2", "mp3"),
)
"""Where in a file its kind stands, how, and FFmpeg's name of it."""
CONVERT = "ffmpeg -i IN -ac 1 -ar 16000 -c:a pcm_s16le OUT.wav"


def decode_recording(data: bytes, *, longest_s: int) -> tuple[bytes, int]:
    """Return a recording as int16 mono, and its rate in Hz. Heavy: for a worker's thread.

    Raises:
        ApiError: 415 if it is of no kind or rate that can be read here, or broken; 413 if it lasts
            longer.
    """
    kind = next((name for at, mark, name in CONTAINERS if data[at:].startswith(mark)), None)
    if kind is not None:
        return b"".join(_decoded(data, kind, longest_s)), RATE
    try:
        pcm, rate = decode_wav(data)
    except NotWavError as problem:
        raise unreadable(
            f"the file {problem}, nor WebM, Ogg, MP4, MP3 or FLAC: {CONVERT}"
        ) from None
    if len(pcm) > 2 * rate * longest_s:
        raise too_long(longest_s)
    check_rate(rate)
    return pcm, rate


def _decoded(data: bytes, kind: str, longest_s: int) -> Iterator[bytes]:
    try:
        import av  # noqa: PLC0415 - an extra, and 0.1 s to load
    except ImportError:
        message = f"this server reads WAV alone; others need FFmpeg: {INSTALL}, or {CONVERT}"
        raise unreadable(message) from None
    room = 2 * RATE * longest_s
    try:
        with av.open(BytesIO(data), "r", format=kind, io_open=_nothing_else) as container:
            if not container.streams.audio:
                raise unreadable("the file has no sound in it")
            convert = av.AudioResampler(format="s16", layout="mono", rate=RATE)
            for frame in chain(container.decode(audio=0), (None,)):
                if frame is not None:
                    check_rate(frame.sample_rate)
                for piece in convert.resample(frame):
                    pcm = bytes(piece.planes[0])[: piece.samples * 2]
                    room -= len(pcm)
                    if room < 0:
                        raise too_long(longest_s)
                    yield pcm
    except (av.FFmpegError, OSError, ValueError) as problem:
        broken = f"the file begins like {kind}, and is broken ({type(problem).__name__})"
        raise unreadable(broken) from None


def _nothing_else(url: str, flags: int, options: dict[str, Any]) -> None:
    """Open nothing: a container may name other files and addresses, which are nobody's to read."""
    raise PermissionError("a recording may not lead to other files")


def check_rate(rate: int) -> None:
    """Let the rate of a recording pass, in Hz.

    Raises:
        ApiError: 415 if nothing is recorded at that rate.
    """
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise unreadable(f"the file has {rate} Hz, not {LOWEST_RATE} to {HIGHEST_RATE}: {CONVERT}")


def unreadable(message: str) -> ApiError:
    """Return the answer to a file that cannot be read."""
    return ApiError(415, "UNSUPPORTED_MEDIA", message)


def too_long(longest_s: int) -> ApiError:
    """Return the answer to a recording that lasts too long."""
    return ApiError(413, "FILE_TOO_LARGE", f"a recording may last {longest_s // 3600} hours")
