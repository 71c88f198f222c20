"""A page as one end of a call: its sound is a `Line`, its messages are actions."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from pinecall_cli.protocol import webrtc
from pinecall_cli.protocol.frames import Event
from pinecall_cli.server.actions import obey
from pinecall_cli.server.agents.registry import Refused
from pinecall_cli.server.voice.session import VoiceSession

if TYPE_CHECKING:
    from pinecall_cli.server.webrtc.peer import Peer

log = logging.getLogger("pinecall.server")


class Page:
    """The `Line` of a call over WebRTC."""

    def __init__(self, peer: Peer, session: VoiceSession, emit: Callable[[Event], None]) -> None:
        self._peer, self._session, self._emit = peer, session, emit
        self._heard = asyncio.Event()
        """Something has come on the data channel."""
        peer.on_message = self._act
        session.audible = False
        session.answering.on_silence = self._unanswered

    def receive(self) -> list[bytes]:
        """Return what the caller said since the last step."""
        return self._peer.intake.frames()

    def send(self, frame: bytes) -> None:
        """Play one frame to the caller, once somebody is there."""
        if self._peer.connected.is_set():
            self._peer.playout.push(frame)

    def tell(self, event: str) -> None:
        """Tell the page of an event of its call, if it is one for pages."""
        told = webrtc.for_browser(event)
        if told is None or self._peer.send(told):
            return
        shorter = webrtc.without_result(told)
        if shorter is not None:  # the page would wait for the tool's end for ever
            self._peer.send(shorter)

    def _unanswered(self, message: str) -> None:
        """Let the page go on listening: nothing will be said, and it waits for the end of it."""
        self._peer.send(webrtc.nothing_said(self._session.call_id, message))

    async def watch(self, *, connect_s: float, quiet_s: float) -> None:
        """End the call when its page does not come, or is gone.

        Args:
            connect_s: How long the connection may take to come about.
            quiet_s: How long a page with a data channel, which pings every second, may say nothing.
        """
        try:
            async with asyncio.timeout(connect_s):
                await first(self._peer.connected, self._peer.gone)
            self._session.audible = not self._peer.gone.is_set()
            while not self._peer.gone.is_set():
                self._heard.clear()
                async with asyncio.timeout(quiet_s if self._peer.channel_offered else None):
                    await first(self._heard, self._peer.gone)
        except TimeoutError:
            log.debug("call %s: its page says nothing", self._session.call_id)
        self._session.end("disconnected")

    def _act(self, message: str | bytes) -> None:
        self._heard.set()
        text = message if isinstance(message, str) else message.decode(errors="replace")
        try:
            obey(text, self._session, self._emit, phone=False)
        except Refused as refused:
            told = webrtc.Told(code=refused.code, error=refused.message)
            self._peer.send(webrtc.encode(told))


async def first(*events: asyncio.Event) -> None:
    """Return when one of the events has happened."""
    loop = asyncio.get_running_loop()
    waiting = [loop.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
