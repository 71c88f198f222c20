"""WAV files in and out; without numpy, and without the gaps of the standard library's reader.

Reading takes 8, 16, 24 and 32-bit PCM, 32 and 64-bit float and µ-law, plain or extensible, of any
number of channels, and gives mono int16. Writing keeps the header true while the file grows, so a
recording is whole even if its process was killed.
"""

from __future__ import annotations

import os
import struct
import sys
from array import array
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from pinecall_cli.audio import mulaw
from pinecall_cli.audio.mix import downmix
from pinecall_cli.audio.pcm import from_samples
from pinecall_cli.errors import InfrastructureError, UsageError

PCM, FLOAT, MULAW, EXTENSIBLE = 1, 3, 7, 0xFFFE
LARGEST = 1 << 30
"""Bytes of audio read at most: 1 GiB is 9 hours of 16 kHz mono, and more is a mistake."""
_CONVERT = "convert it: ffmpeg -i IN -ac 1 -ar 16000 -c:a pcm_s16le OUT.wav"


def read_wav(path: str | os.PathLike[str]) -> tuple[bytes, int]:
    """Return a WAV file's sound as mono int16 PCM, and its rate in Hz.

    Channels are averaged. A file cut short, or still being written, gives what is there.

    Raises:
        UsageError: If there is no such file, or it is no WAV file of a kind listed above.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as problem:
        reason = problem.strerror or problem
        raise UsageError(f"cannot read `{os.fspath(path)}`: {reason}") from problem
    if len(data) > LARGEST:
        raise UsageError(f"`{os.fspath(path)}` is larger than 1 GiB", fix="cut it")
    try:
        return decode_wav(data)
    except NotWavError as problem:
        raise UsageError(f"`{os.fspath(path)}` {problem}", fix=_CONVERT) from None


class NotWavError(Exception):
    """What is wrong with the bytes, to follow the file's name in a sentence."""


def decode_wav(data: bytes) -> tuple[bytes, int]:
    """Return the sound of a WAV file's bytes as `read_wav` does.

    Raises:
        NotWavError: If they are none, or of a kind we do not read.
    """
    if data[:4] not in (b"RIFF", b"RF64") or data[8:12] != b"WAVE":
        raise NotWavError("is not a WAV file")
    layout: tuple[int, int, int, int] | None = None
    position = 12
    while position + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, position)
        position += 8
        if name == b"fmt ":
            layout = _layout(data[position : position + size])
        elif name == b"data":
            if layout is None:
                raise NotWavError("has sound before its format")
            kind, channels, rate, width = layout
            # A size of 0 or all ones is a header nobody came back to: the sound goes to the end.
            if size in (0, 0xFFFFFFFF):
                size = len(data) - position
            body = data[position : position + size]
            body = body[: len(body) - len(body) % (channels * width)]
            return downmix(_to_int16(body, kind, width), channels), rate
        position += size + size % 2
    raise NotWavError("has no sound in it")


def _layout(fmt: bytes) -> tuple[int, int, int, int]:
    """Return format, channels, rate and bytes per sample of one channel."""
    if len(fmt) < 16:
        raise NotWavError("has a broken format header")
    kind, channels, rate, _, block, bits = struct.unpack_from("<HHIIHH", fmt)
    if kind == EXTENSIBLE and len(fmt) >= 26:
        kind = struct.unpack_from("<H", fmt, 24)[0]
    if not 1 <= channels <= 64 or not 1000 <= rate <= 384_000:
        raise NotWavError(f"has {channels} channels at {rate} Hz")
    width = block // channels if block else (bits + 7) // 8
    known = {PCM: (1, 2, 3, 4), FLOAT: (4, 8), MULAW: (1,)}
    if width not in known.get(kind, ()):
        raise NotWavError(f"holds an encoding we do not read (format {kind}, {bits} bits)")
    return kind, channels, rate, width


def _to_int16(body: bytes, kind: int, width: int) -> bytes:
    if kind == MULAW:
        return mulaw.decode(body)
    if kind == FLOAT:
        values = array("f" if width == 4 else "d", body)
        if sys.byteorder == "big":
            values.byteswap()
        # NaN compares false with everything, so it falls through to 0.
        return from_samples(
            array("h", [round(32767 * v) if -1 < v < 1 else _clip(v) for v in values])
        )
    if width == 2:
        return body
    pcm = bytearray(2 * (len(body) // width))
    if width == 1:  # unsigned, 128 is silence
        pcm[1::2] = body.translate(bytes(value ^ 0x80 for value in range(256)))
    else:
        pcm[0::2] = body[width - 2 :: width]
        pcm[1::2] = body[width - 1 :: width]
    return bytes(pcm)


def _clip(value: float) -> int:
    if value >= 1:
        return 32767
    return -32767 if value <= -1 else 0


class WavWriter:
    """A WAV file that grows, readable by its owner alone (0600).

    Every `write` is on its way to disk when it returns, and the sizes in the header follow within
    `SIZES_EVERY_S` of sound: a process killed at any moment leaves a valid file.

    Raises:
        UsageError: If the file cannot be made there.
        InfrastructureError: If the disk is full, now or later; what was written stays valid.
    """

    SIZES_EVERY_S = 0.2

    def __init__(self, path: str | os.PathLike[str], rate: int, channels: int = 1) -> None:
        self.path = Path(path)
        self.rate = rate
        self.channels = channels
        self._size = 0
        self._announced = 0
        self._step = int(self.SIZES_EVERY_S * rate) * channels * 2
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0)
        try:
            descriptor = os.open(self.path, flags, 0o600)
        except OSError as problem:
            raise UsageError(f"cannot write `{self.path}`: {said(problem)}") from problem
        # Unbuffered: bytes that wait in this process would die with it.
        self._file = open(descriptor, "r+b", buffering=0)  # noqa: SIM115
        if hasattr(os, "fchmod"):
            os.fchmod(descriptor, 0o600)  # a file that was there keeps its mode otherwise
        try:
            self._put(self._header())
        except InfrastructureError:
            self._file.close()
            raise

    def write(self, pcm: bytes) -> None:
        """Append int16 PCM; with two channels left and right alternate (`pcm.interleave`)."""
        try:
            self._put(pcm)
        except InfrastructureError:
            self._keep_what_fitted()
            raise
        self._size += len(pcm)
        if self._size - self._announced >= self._step:
            self._announce()

    def close(self) -> None:
        """Write the final sizes and let the file go; closing twice does nothing."""
        if not self._file.closed:
            self._announce()
            self._file.close()

    @property
    def duration_s(self) -> float:
        """Seconds written so far."""
        return self._size / (2 * self.channels * self.rate)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _put(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:  # a raw file may take less than it was given
                view = view[self._file.write(view) :]
        except OSError as problem:
            raise disk_full(self.path, problem) from problem

    def _keep_what_fitted(self) -> None:
        """Let the header tell of the part that the last write could still make."""
        fitted = self._file.tell() - len(self._header()) - self._size
        self._size += fitted - fitted % (2 * self.channels)
        with suppress(InfrastructureError):  # a disk that takes not even what was there before
            self._announce()

    def _announce(self) -> None:
        """Put the sizes into the header, after the sound that they promise."""
        self._file.seek(0)
        self._put(self._header())
        self._file.seek(0, os.SEEK_END)
        self._announced = self._size

    def _header(self) -> bytes:
        return wav_header(self.rate, self._size, self.channels)


def disk_full(path: Path, problem: OSError) -> InfrastructureError:
    """Return the error for a recording that cannot go on."""
    return InfrastructureError(
        f"cannot write `{path}`: {said(problem)}",
        code="disk",
        fix="what was recorded until now is there; make room, or record elsewhere",
    )


def said(problem: OSError) -> str:
    """Return the system's word for a problem, as it goes on in a sentence."""
    return (problem.strerror or str(problem)).lower()


def wav_header(rate: int, size: int | None, channels: int = 1) -> bytes:
    """Return what stands before ``size`` bytes of int16 PCM in a WAV file.

    None is for sound that is still being made; readers then go by the end of the file.
    """
    if size is None:
        whole = size = 0xFFFFFFFF
    else:
        size = min(size, 0xFFFFFFFF - 36)  # past 4 GiB likewise
        whole = 36 + size
    block = 2 * channels
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        *(b"RIFF", whole, b"WAVE", b"fmt ", 16, PCM, channels),
        *(rate, rate * block, block, 16, b"data", size),
    )
