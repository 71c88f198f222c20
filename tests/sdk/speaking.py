"""A caller with a voice, on a call to an agent of a test's own client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pinecall_cli.agent.define import Agent
from pinecall_cli.audio.pcm import silence
from pinecall_cli.sdk.call import Call
from pinecall_cli.sdk.mic import MicCall
from pinecall_cli.sdk.rest import Rest
from pinecall_cli.server.embedded import EmbeddedServer
from pinecall_cli.settings import Secret
from tests.fakes.engines import utterance
from tests.sdk.listening import Log

FRAME_MS = 20
RATE = 16_000


class Speaker:
    """A microphone that is silent until it is told what to say."""

    def __init__(self) -> None:
        self._left = bytearray()
        self.over = False

    def speak(self, number: int, ms: int = 700) -> None:
        """Say what the server's recogniser knows under that number."""
        self._left += utterance(number, ms)

    async def frames(self) -> AsyncIterator[bytes]:
        size = RATE * FRAME_MS // 1000 * 2
        while not self.over:
            frame = bytes(self._left[:size])
            del self._left[:size]
            yield frame + silence(FRAME_MS, RATE)[len(frame) :]
            await asyncio.sleep(FRAME_MS / 1000)


@asynccontextmanager
async def conversing(server: EmbeddedServer, agent: Agent) -> AsyncIterator[tuple[Call, Speaker]]:
    """Call an agent, and hang up at the end."""
    started, speaker = Log(), Speaker()
    agent.on("call.started", started)
    async with Rest(server.url, Secret(server.key)) as rest:
        token = await rest.token("webrtc", agent.name)
    async with await MicCall.dial(server.url, token.token) as microphone:
        held = asyncio.ensure_future(
            microphone.hold(speaker.frames, play=lambda frame: None, hear=lambda received: None)
        )
        waiting = asyncio.ensure_future(started.until())
        await asyncio.wait({waiting, held}, return_when=asyncio.FIRST_COMPLETED)
        if held.done():
            held.result()
        (call,) = await waiting
        try:
            yield call, speaker
        finally:
            speaker.over = True
            await held
