"""One peer connection of ours: an offer answered, sound and messages both ways, and an end.

Nothing here knows of calls. Only sets of ICE candidates that are complete are taken and given, and
a connection is never negotiated anew: who wants another brings another token.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable

from aiortc import (
    InvalidStateError,
    RTCConfiguration,
    RTCDataChannel,
    RTCIceServer,
    RTCPeerConnection,
    RTCRtpReceiver,
    RTCRtpSender,
    RTCSessionDescription,
)
from aiortc.mediastreams import MediaStreamTrack

from pinecall_cli.protocol.webrtc import CHANNEL, OfferRefused
from pinecall_cli.server.webrtc.ice import IceServer
from pinecall_cli.server.webrtc.reorder import Reorder
from pinecall_cli.server.webrtc.sound import Intake, Playout

log = logging.getLogger("pinecall.server")

EARLY = 500
"""Messages kept for a page whose data channel is not open yet."""
UNSENT_BYTES = 1024 * 1024
"""That may wait for a page which takes nothing; then it is let go."""
FLUSH_S = 0.3
CLOSING_S = 1.0
BUFFER = "_RTCRtpReceiver__jitter_buffer"
CONNECT = "_RTCPeerConnection__connect"


class Peer:
    """A page at the other end; all on one loop."""

    def __init__(self, ice_servers: Iterable[IceServer] = ()) -> None:
        """``ice_servers`` are asked for a way from outside; aiortc takes no IPv6 address of one."""
        self.connected, self.gone = asyncio.Event(), asyncio.Event()
        self.on_message: Callable[[str | bytes], None] = lambda message: None
        self.playout, self.intake = Playout(), Intake()
        self.channel_offered = False
        servers = [
            RTCIceServer(urls=one.url, username=one.username, credential=one.credential)
            for one in ice_servers
            if "[" not in one.url
        ]
        self._pc = RTCPeerConnection(RTCConfiguration(iceServers=servers))
        self._channel: RTCDataChannel | None = None
        self._early: deque[str] = deque(maxlen=EARLY)
        self._reading: asyncio.Task[None] | None = None
        transceiver = self._pc.addTransceiver(self.playout)
        codecs = RTCRtpSender.getCapabilities("audio").codecs
        transceiver.setCodecPreferences([c for c in codecs if c.mimeType == "audio/opus"])
        self._pc.on("track", self._on_track)
        self._pc.on("datachannel", self._on_channel)
        self._pc.on("connectionstatechange", self._on_state)
        shorten(transceiver.receiver)
        calm(self._pc)

    async def answer(self, sdp: str) -> str:
        """Return the answer to an offer, with all our candidates; connecting begins.

        Raises:
            OfferRefused: If the offer cannot be answered; the peer is of no more use then.
        """
        self.channel_offered = "\nm=application" in sdp
        try:
            await self._pc.setRemoteDescription(RTCSessionDescription(sdp, "offer"))
            await self._pc.setLocalDescription()
        # The parser meets whatever a stranger wrote with assertions, failed look-ups and the like.
        except Exception as problem:
            log.debug("an offer could not be answered", exc_info=problem)
            raise OfferRefused("`sdp` cannot be answered: it is malformed or incomplete") from None
        return self._pc.localDescription.sdp

    def send(self, message: str) -> bool:
        """Send a message on the data channel, or keep it until that is open.

        False: it is longer than the other side takes.
        """
        channel = self._channel
        if channel is None:
            if self.channel_offered:
                self._early.append(message)
        elif channel.bufferedAmount > UNSENT_BYTES:
            self.gone.set()
        elif channel.readyState == "open":
            try:
                channel.send(message)
            except ValueError as too_long:
                log.warning("a page was not told of something: %s", too_long)
                return False
        return True

    async def close(self) -> None:
        """Let the page have what was sent, and go; it is done even if this is cancelled."""
        closing = asyncio.get_running_loop().create_task(self._close(), name="webrtc, closing")
        try:
            await asyncio.shield(closing)
        except asyncio.CancelledError:
            await closing
            raise

    async def _close(self) -> None:
        await self._flush()
        try:
            async with asyncio.timeout(CLOSING_S):
                await self._pc.close()
        except TimeoutError:
            log.warning("a peer connection took too long to close")
        self.playout.stop()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    async def _flush(self) -> None:
        channel = self._channel
        if channel is None or channel.readyState != "open" or self.gone.is_set():
            return
        sent = asyncio.Event()
        channel.on("bufferedamountlow", sent.set)
        if channel.bufferedAmount:
            try:
                async with asyncio.timeout(FLUSH_S):
                    await sent.wait()
            except TimeoutError:
                log.debug("a page did not take what was written last")

    # --- what aiortc tells ---

    def _on_track(self, track: MediaStreamTrack) -> None:
        if self._reading is None:
            reading = self.intake.run(track)
            self._reading = asyncio.get_running_loop().create_task(reading, name="webrtc, in")

    def _on_channel(self, channel: RTCDataChannel) -> None:
        if channel.label != CHANNEL or self._channel is not None:
            return
        self._channel = channel
        channel.on("message", self._on_message)
        while self._early:
            self.send(self._early.popleft())

    def _on_message(self, message: str | bytes) -> None:
        self.on_message(message)

    def _on_state(self) -> None:
        match self._pc.connectionState:
            case "connected":
                self.connected.set()
            case "failed" | "closed":
                self.gone.set()


def shorten(receiver: RTCRtpReceiver) -> None:
    """Put `Reorder` in the place of a receiver's jitter buffer, which no setting reaches.

    Where aiortc has moved it, calls work with theirs: 80 ms later, and with a gap when one packet
    is lost. A test says so.
    """
    if hasattr(receiver, BUFFER):
        setattr(receiver, BUFFER, Reorder())


def calm(connection: RTCPeerConnection) -> None:
    """Let a connection be closed while it comes about.

    aiortc connects in a task that nobody holds; closed in its middle, that ends with a traceback
    on whatever screen there is.
    """
    connect = getattr(connection, CONNECT, None)
    if connect is None:
        return

    async def connecting() -> None:
        try:
            await connect()
        except InvalidStateError:
            if connection.signalingState != "closed":
                raise
            log.debug("a peer connection was closed before it had come about")

    setattr(connection, CONNECT, connecting)
