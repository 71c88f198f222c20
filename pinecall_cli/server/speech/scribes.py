"""Sockets to which somebody speaks and which write it down (protocol: sessions.md §7 and §7.1).

Two dialects of one thing: `Dictation` for programs with a key, `Scribe` for pages with a chat
token. Sound is taken as fast as it can be cut up and no faster: a client that sends more finds
its socket full. What is being said is shown every 600 ms, if the recogniser has the time.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from typing import Any

import msgspec
from starlette.websockets import WebSocket, WebSocketDisconnect

from pinecall_cli.engines.types import Recogniser
from pinecall_cli.errors import EngineError, leaf
from pinecall_cli.protocol.codec import REMOTE_FAULTS
from pinecall_cli.server.app import VoiceServer
from pinecall_cli.server.speech.aloud import check_language, check_model
from pinecall_cli.server.speech.audio_api import ApiError, request_id, upstream
from pinecall_cli.server.speech.dictation import Segment, Stretch, Stretches, recognised, to_16k

PARTIAL_MS = 600
"""More must have been said before what is being said is shown again."""
WAITING = 4
"""Stretches that may wait to be recognised before no more sound is taken: up to half a minute."""
QUIET_S = 120.0
"""Without a frame, before a stream is ended."""
RATES = (8_000, 16_000, 24_000, 48_000)
ENCODINGS = ("linear16", "mulaw")
MODEL = "deepgram/nova-3"
BYTES_PER_SAMPLE = {"linear16": 2, "mulaw": 1}


class Told(msgspec.Struct, frozen=True):
    """A text message of a client; one of these says what it wants."""

    type: str = ""
    event: str = ""


TOLD: msgspec.json.Decoder[Told] = msgspec.json.Decoder(Told)


def told(text: str) -> str:
    """Return what a client's message wants; empty if that means nothing to us."""
    try:
        message = TOLD.decode(text)
    except REMOTE_FAULTS:
        return ""
    return message.type or message.event


class Writing(ABC):
    """Sound in, texts out; a dialect says in which words."""

    def __init__(self, server: VoiceServer, socket: WebSocket) -> None:
        self._server, self._socket = server, socket
        self.gone = asyncio.Event()
        """Set when the socket is closed."""
        self.rate, self.encoding = 16_000, "linear16"
        self._due: deque[Stretch] = deque()
        self._changed = asyncio.Event()
        self._taken = asyncio.Event()
        self._over = False
        self._shown_ms = 0
        self._bytes = 0

    # --- the dialect ---

    @abstractmethod
    def open(self) -> dict[str, Any]:
        """Read what the address asks for and return the first message.

        Raises:
            ApiError: If it asks for what we cannot do.
        """

    @abstractmethod
    def partial(self, text: str) -> dict[str, Any]:
        """Return how a text is told that may still change."""

    @abstractmethod
    def final(self, segment: Segment) -> dict[str, Any]:
        """Return how a text is told that will not change."""

    @abstractmethod
    def done(self) -> dict[str, Any]:
        """Return the last message."""

    # --- the socket ---

    async def serve(self) -> None:
        """Hold the stream until either side ends it.

        Raises:
            ApiError: If it asks for what we cannot do, or the engines are missing or break.
            WebSocketDisconnect: If the client has left before the end.
        """
        first = self.open()
        if self._server.draining:
            raise ApiError(503, "UPSTREAM_ERROR", "the server is stopping")
        self._server.observers.add(self)
        try:
            engines = await self._server.engines.wait()
            self._stretches = Stretches(engines.vad())
            self._convert = to_16k(self.rate, self.encoding)
            await self._socket.send_json(first)
            async with asyncio.TaskGroup() as tasks:
                listening = tasks.create_task(self._listen(), name="dictation, in")
                await self._write(engines.recogniser)
                listening.cancel()
        except EngineError as problem:
            raise upstream(problem) from None
        except BaseExceptionGroup as problems:
            raise first_of(problems) from None
        finally:
            self._server.observers.discard(self)
            self.gone.set()
        await self._socket.send_json(self.done())
        await self._socket.close(1000)

    def close(self, code: int, reason: str) -> None:
        """End the stream as if the client had said so: what was said is still told."""
        self._end()

    def _end(self) -> None:
        self._over = True
        self._changed.set()
        self._taken.set()

    async def _listen(self) -> None:
        """Take sound and wishes until the client has no more."""
        while not self._over:
            try:
                async with asyncio.timeout(QUIET_S):
                    message = await self._socket.receive()
            except TimeoutError:
                raise ApiError(408, "BAD_REQUEST", "nothing was sent for two minutes") from None
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", 1005))
            if (sound := message.get("bytes")) is not None:
                await self._hear(sound)
                continue
            wish = told(message.get("text") or "")
            if wish in ("finalize", "stop"):
                self._due.extend(await self._server.audio_worker.run(self._stretches.flush))
                self._changed.set()
            if wish == "stop":
                self._end()

    async def _hear(self, sound: bytes) -> None:
        """Take some sound, a second at a time, so that others get their turn between."""
        self._bytes += len(sound)
        second = self.rate * BYTES_PER_SAMPLE[self.encoding]
        for at in range(0, len(sound), second):
            piece = sound[at : at + second]
            self._due.extend(await self._server.audio_worker.run(self._cut, piece))
            self._changed.set()
            while len(self._due) > WAITING and not self._over:
                self._taken.clear()
                await self._taken.wait()

    def _cut(self, piece: bytes) -> list[Stretch]:
        return self._stretches.push(self._convert(piece))

    async def _write(self, recogniser: Recogniser) -> None:
        """Recognise what has been said, and what is being said, until all is told."""
        while True:
            self._changed.clear()
            if self._due:
                segment = await recognised(recogniser, self._due.popleft())
                self._shown_ms = 0
                self._taken.set()
                if segment is not None:
                    await self._socket.send_json(self.final(segment))
            elif self._over:
                return
            elif (open_ := await self._worth_showing()) is not None:
                self._shown_ms = open_.end
                segment = await recognised(recogniser, open_)
                if segment is not None and not self._due:
                    await self._socket.send_json(self.partial(segment.text))
            else:
                await self._changed.wait()

    async def _worth_showing(self) -> Stretch | None:
        """Return what is being said, if there is enough more of it."""
        open_ = await self._server.audio_worker.run(self._stretches.so_far)
        if open_ is None or open_.end - max(self._shown_ms, open_.start) < PARTIAL_MS:
            return None
        return open_


class Dictation(Writing):
    """``WS /v1/audio/transcriptions/stream``."""

    def open(self) -> dict[str, Any]:
        """Read the parameters; raises as its base says."""
        query = self._socket.query_params
        self.id = request_id()
        check_model(query.get("model"))
        check_language(query.get("language"))
        rate, self.encoding = query.get("sample_rate", "16000"), query.get("encoding", "linear16")
        if rate not in map(str, RATES):
            raise ApiError(400, "BAD_REQUEST", f"`sample_rate` is none of {RATES}")
        if self.encoding not in ENCODINGS:
            raise ApiError(400, "BAD_REQUEST", f"`encoding` is none of {ENCODINGS}")
        if query.get("diarize", "false").lower() == "true":
            message = "the offline recogniser cannot tell speakers apart"
            raise ApiError(400, "DIARIZE_UNSUPPORTED", message)
        self.rate = int(rate)
        return {
            "type": "ready",
            "request_id": self.id,
            "model": query.get("model", MODEL),
            "sample_rate": self.rate,
            "encoding": self.encoding,
            "diarize": False,
        }

    def partial(self, text: str) -> dict[str, Any]:
        """Return how a text is told that may still change."""
        return {"type": "partial", "text": text}

    def final(self, segment: Segment) -> dict[str, Any]:
        """Return how a text is told that will not change."""
        return {
            "type": "final",
            "text": segment.text,
            "start": round(segment.start, 3),
            "end": round(segment.end, 3),
            "language": "en",
            "words": segment.words(),
        }

    def done(self) -> dict[str, Any]:
        """Return the last message. Nothing is billed here."""
        seconds = self._bytes / (self.rate * BYTES_PER_SAMPLE[self.encoding])
        length = {"audio_seconds": round(seconds, 3), "billed_minutes": 0}
        return {"type": "done", "request_id": self.id, **length}


class Scribe(Writing):
    """``WS /api/scribe/ws``: a page's dictation, 16 kHz."""

    def open(self) -> dict[str, Any]:
        """Read the parameters; raises as its base says."""
        check_language(self._socket.query_params.get("lang"))
        return {"event": "ready"}

    def partial(self, text: str) -> dict[str, Any]:
        """Return how a text is told that may still change."""
        return {"event": "partial", "text": text}

    def final(self, segment: Segment) -> dict[str, Any]:
        """Return how a text is told that will not change."""
        return {"event": "final", "text": segment.text}

    def done(self) -> dict[str, Any]:
        """Return the last message."""
        return {"event": "done"}


def first_of(problems: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return what ended a stream: of several reasons the one the client is to hear."""
    for kind in (WebSocketDisconnect, ApiError):
        matching = problems.subgroup(kind)
        if matching is not None:
            return leaf(matching)
    broken = problems.subgroup(EngineError)
    if broken is not None:
        problem = leaf(broken)
        assert isinstance(problem, EngineError)
        return upstream(problem)
    return problems


async def refused(socket: WebSocket, problem: ApiError, *, scribe: bool = False) -> None:
    """Tell a client why there is no (more) text, and close the socket."""
    kind = {"event": "error"} if scribe else {"type": "error", "code": problem.code}
    await socket.send_json(kind | {"error": problem.message})
    await socket.close(1011 if problem.status >= 500 else 1008, problem.code.lower())
