"""A whole voice call at full speed: real turn-taking, conversation and speaker, told engines."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from pinecall_cli.engines.script import ScriptModel
from pinecall_cli.protocol import events
from pinecall_cli.server.dialogue.conversation import Conversation
from pinecall_cli.server.voice.session import CallDetails, VoiceSession
from pinecall_cli.server.voice.speaking import FRAME_BYTES
from tests.fakes.engines import Engines, utterance

LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
RULES = [
    {"on": "story", "say": LONG},
    {"on": "order", "call": {"lookup": {"id": "7"}}, "say": "It is {result.status}."},
    {"say": "You said {text}."},
]


class Call:
    """A caller with prepared audio, who hears every event and every frame."""

    def __init__(
        self,
        speech: Sequence[tuple[int, int, str]] = (),
        *,
        rules: Sequence[Mapping[str, Any]] | None = RULES,
        until: int = 12_000,
        engines: Engines | None = None,
        metadata: Mapping[str, Any] = MappingProxyType({}),
        **config: Any,
    ) -> None:
        """``speech`` is (from ms, how long, words); the caller hangs up at ``until`` ms."""
        self.engines = engines or Engines({n: text for n, (_, _, text) in enumerate(speech)})
        self.audio = bytearray(until * 32)
        for number, (start, ms, _) in enumerate(speech):
            self.audio[start * 32 : (start + ms) * 32] = utterance(number, ms)
        self.events: list[events.Event] = []
        self.at: list[int] = []
        self.heard = bytearray()
        self.until = until
        model = None if rules is None else ScriptModel(list(rules))
        config = {"preparing": False, **config}
        self.conversation = Conversation(
            config=config,
            channel="webrtc",
            model=model,
            emit=self.emit,
            now=lambda: datetime(2026, 11, 22, tzinfo=UTC),
            metadata=metadata,
        )
        self.session = VoiceSession(
            CallDetails("call-1", "webrtc", "webrtc", "inbound", "webrtc", metadata),
            agent=None,
            config=config,
            conversation=self.conversation,
            choose_model=lambda llm: model,
            engines=self.engines,
            emit=self.emit,
            wall=lambda: 0.0,
        )
        self.watchers: list[Any] = []

    def emit(self, event: events.Event) -> None:
        self.events.append(event)
        self.at.append(self.session.clock_ms if hasattr(self, "session") else 0)
        for watcher in getattr(self, "watchers", ()):
            watcher(event)

    def receive(self) -> list[bytes]:
        at = self.session.clock_ms * 32
        return [bytes(self.audio[at : at + FRAME_BYTES]).ljust(FRAME_BYTES, b"\0")]

    def send(self, frame: bytes) -> None:
        assert len(frame) == FRAME_BYTES
        self.heard += frame

    async def pace(self, position: int) -> None:
        if position >= self.until:
            self.session.end("hangup")
        for _ in range(50):  # told engines answer within a few turns of the loop
            await asyncio.sleep(0)

    async def hold(self) -> Call:
        async with asyncio.timeout(60):
            await self.session.run(self, self.pace)
        return self

    def names(self) -> list[str]:
        return [str(type(event).__struct_config__.tag) for event in self.events]

    def of(self, kind: type[events.Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]
