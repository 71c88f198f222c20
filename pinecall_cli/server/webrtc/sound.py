"""A call's sound on a peer connection: Opus, both ways, and 16 kHz mono inside.

The agent's frames are encoded from 16 kHz as they are, one packet each; Opus carries no sound above
the half of it, so nothing is won by 48 kHz, and no frame waits for a resampler or a thread. What
comes from the page arrives decoded, at 48 kHz.
"""

from __future__ import annotations

import asyncio
from collections import deque
from fractions import Fraction
from typing import Any

from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av import AudioCodecContext, AudioFrame, CodecContext, Packet

from pinecall_cli.audio.mix import downmix
from pinecall_cli.audio.resample import Resampler
from pinecall_cli.server.voice.speaking import FRAME_BYTES, RATE

OPUS_RATE = 48_000
"""Of the decoded sound, and of RTP's clock whatever the encoder is fed with (RFC 7587)."""
FRAME_SAMPLES = FRAME_BYTES // 2
BITS_PER_SECOND = 32_000
"""Wideband speech is transparent from about 24 kbit/s on."""
WAITING = 100
"""Frames that may wait to be sent: 2 s. Older ones would come too late to be heard."""
ARRIVED = 100
"""Frames of the caller kept between two steps; more is a burst nobody can have spoken."""
LONGEST_HOLE_MS = 200
"""Packets lost for longer than this are left to the call's clock, as any gap is."""


class Playout(MediaStreamTrack):
    """The agent's voice as a track: a packet for every frame pushed, at the pace of the pushing."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        encoder = CodecContext.create("libopus", "w")
        assert isinstance(encoder, AudioCodecContext)
        encoder.sample_rate, encoder.layout, encoder.format = RATE, "mono", "s16"
        encoder.bit_rate, encoder.time_base = BITS_PER_SECOND, Fraction(1, RATE)
        encoder.options = {"application": "voip", "frame_duration": "20"}
        self._encoder = encoder
        self._frames: deque[tuple[int, bytes]] = deque(maxlen=WAITING)
        self._filled = asyncio.Event()
        self._position = 0

    def push(self, frame: bytes) -> None:
        """Send 20 ms; the oldest of too many that wait is dropped, and leaves a hole."""
        self._frames.append((self._position, frame))
        self._position += FRAME_SAMPLES
        self._filled.set()

    async def recv(self) -> Packet[Any]:
        """Return the next packet, when there is one.

        Raises:
            MediaStreamError: If the track was stopped.
        """
        while True:
            if self.readyState != "live":
                raise MediaStreamError
            if self._frames:
                packet = self._encode(*self._frames.popleft())
                if packet is not None:
                    return packet
            else:
                self._filled.clear()
                await self._filled.wait()

    def _encode(self, position: int, pcm: bytes) -> Packet[Any] | None:
        frame = AudioFrame(format="s16", layout="mono", samples=FRAME_SAMPLES)
        frame.planes[0].update(pcm)
        frame.sample_rate, frame.pts, frame.time_base = RATE, position, Fraction(1, RATE)
        encoded = b"".join(bytes(packet) for packet in self._encoder.encode(frame))
        if not encoded:
            return None
        packet: Packet[Any] = Packet(encoded)
        packet.pts, packet.time_base = position * OPUS_RATE // RATE, Fraction(1, OPUS_RATE)
        return packet


class Intake:
    """What a page's microphone sends, as frames of 20 ms at 16 kHz."""

    def __init__(self) -> None:
        self._frames: deque[bytes] = deque(maxlen=ARRIVED)
        self._resampler = Resampler(OPUS_RATE, RATE)
        self._pending = bytearray()
        self._next: int | None = None
        """RTP's time at which the sound goes on."""

    def frames(self) -> list[bytes]:
        """Return those that have come since the last time."""
        frames = list(self._frames)
        self._frames.clear()
        return frames

    async def run(self, track: MediaStreamTrack) -> None:
        """Take what comes until the track ends."""
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            assert isinstance(frame, AudioFrame)
            channels = frame.layout.nb_channels
            pcm = bytes(frame.planes[0])[: frame.samples * channels * 2]
            self.take(downmix(pcm, channels), frame.pts)

    def take(self, pcm: bytes, at: int | None) -> None:
        """Take mono sound at 48 kHz; ``at`` is its place in samples, which shows what was lost.

        That is silence then: left out, it would make two sounds one and shift all that follows.
        """
        lost = 0 if at is None or self._next is None else at - self._next
        self._next = None if at is None else at + len(pcm) // 2
        if 0 < lost <= LONGEST_HOLE_MS * OPUS_RATE // 1000:
            pcm = bytes(2 * lost) + pcm
        self._pending += self._resampler.process(pcm)
        while len(self._pending) >= FRAME_BYTES:
            self._frames.append(bytes(self._pending[:FRAME_BYTES]))
            del self._pending[:FRAME_BYTES]
