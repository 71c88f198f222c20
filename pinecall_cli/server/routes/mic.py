"""``WS /mic/ws``: a microphone and a loudspeaker call an agent (protocol: sessions.md §7.2)."""

from __future__ import annotations

import asyncio
import logging
import secrets
import uuid
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from pinecall_cli.audio import mulaw
from pinecall_cli.errors import EngineError
from pinecall_cli.protocol import codec, commands, events, mic
from pinecall_cli.protocol.config import ConfigRefused, browser_overrides
from pinecall_cli.protocol.frames import Event, Unknown
from pinecall_cli.protocol.phone import normalise_number
from pinecall_cli.server.app import VoiceServer
from pinecall_cli.server.conversation import Conversation
from pinecall_cli.server.registry import RegisteredAgent
from pinecall_cli.server.session import CallDetails, VoiceSession
from pinecall_cli.server.speaking import RATE
from pinecall_cli.server.tokens import Grant

log = logging.getLogger("pinecall.server")

OUTBOX = 1_000
"""Messages that may wait for a caller who reads too slowly: ten seconds and more of audio."""
ARRIVED = 100
"""Frames of the caller kept between two steps; more is a burst nobody can have spoken."""


class Refusal(Exception):
    """The call will not start; what the caller is told before the socket closes."""

    def __init__(self, code: str, message: str, *, fix: str | None = None, close: int = 1008):
        super().__init__(message)
        self.code, self.message, self.fix, self.close = code, message, fix, close


def routes(server: VoiceServer) -> list[BaseRoute]:
    """Return the microphone socket's route."""

    async def endpoint(socket: WebSocket) -> None:
        grant = server.tokens.consume(socket.query_params.get("token", ""), "webrtc")
        if grant is None:
            await socket.send_denial_response(
                JSONResponse({"detail": "the token is unknown, used or expired"}, 401)
            )
            return
        await socket.accept()
        try:
            await serve(server, socket, grant)
        except Refusal as refusal:
            body = {"code": refusal.code, "error": refusal.message}
            if refusal.fix:
                body["fix"] = refusal.fix
            with suppress(WebSocketDisconnect, RuntimeError):  # they have left already
                await socket.send_json({"event": "error", **body})
                await socket.close(refusal.close, refusal.code.lower())
        except WebSocketDisconnect:
            log.debug("a caller left before the call began")

    return [WebSocketRoute("/mic/ws", endpoint)]


async def serve(server: VoiceServer, socket: WebSocket, grant: Grant) -> None:
    """Start the call that the first frame asks for, and hold it to its end."""
    start = await first_frame(socket)
    if server.draining:
        raise Refusal("SERVER_DRAINING", "the server is shutting down", close=1012)
    agent, number = called(server, grant, start)
    try:
        await server.engines.wait()
    except EngineError as error:
        raise Refusal("ENGINE_UNAVAILABLE", error.message, fix=error.fix, close=1011) from None
    session, outlet = open_session(server, agent, grant, start, number)
    line = MicLine(socket, start)
    unsubscribe = outlet.subscribe(line.tell)
    server.registry.opened(session)
    try:
        async with asyncio.TaskGroup() as tasks:
            reader = tasks.create_task(line.read(session, outlet.emit))
            writer = tasks.create_task(line.write(session))
            try:
                await session.run(line, paced())
            finally:
                server.registry.closed(session)
                unsubscribe()
                line.tell(None)
                reader.cancel()
            await writer
    except ExceptionGroup as problems:
        log.error("call %s broke off", session.call_id, exc_info=problems)
    with suppress(WebSocketDisconnect, RuntimeError):
        await socket.close(1000)


async def first_frame(socket: WebSocket) -> mic.MicStart:
    """Return the frame that says what the caller wants.

    Raises:
        Refusal: If it does not come within 5 s, or is no `MicStart`.
    """
    try:
        async with asyncio.timeout(mic.START_TIMEOUT_S):
            message = await socket.receive()
    except TimeoutError:
        raise Refusal("START_TIMEOUT", "no `start` frame within 5 s") from None
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1006))
    frame = mic.decode_mic(message.get("text") or message.get("bytes") or b"")
    match frame:
        case mic.MicStart():
            return frame
        case mic.MicAnswer():
            raise Refusal("NOT_SUPPORTED", "answering a number is not available on this server")
        case Unknown(problem=problem) if problem:
            raise Refusal("BAD_START", f"the first frame is no `start`: {problem}")
        case _:
            raise Refusal("BAD_START", "the first frame must be `start`")


def called(
    server: VoiceServer, grant: Grant, start: mic.MicStart
) -> tuple[RegisteredAgent, str | None]:
    """Return the agent that takes the call, and its number if it is a phone call."""
    if not isinstance(start.to, str):
        agent = server.registry.find(grant.org, grant.agent)
        if agent is None:
            raise Refusal("AGENT_OFFLINE", f"Agent '{grant.agent}' is not online")
        return agent, None
    if start.encoding != "mulaw":
        raise Refusal("BAD_START", "a phone call is `mulaw` at 8000 Hz, both ways")
    try:
        number = normalise_number(start.to)
        caller = normalise_number(start.from_) if isinstance(start.from_, str) else ""
    except ConfigRefused as refused:
        raise Refusal("BAD_NUMBER", refused.message, fix=refused.fix) from None
    registry = server.registry
    owner = registry.dev_owner_of(grant.org, number, caller) or registry.owner_of(grant.org, number)
    if owner is None:
        raise Refusal("NO_ANSWER", f"no agent here has the number {number}")
    return owner, number


def open_session(
    server: VoiceServer,
    agent: RegisteredAgent,
    grant: Grant,
    start: mic.MicStart,
    number: str | None,
) -> tuple[VoiceSession, Any]:
    """Return the call, ready to run, and its outlet."""
    phone = number is not None
    call_id = f"CA{secrets.token_hex(16)}" if phone else str(uuid.uuid4())
    outlet = server.outlet(agent, call_id)
    config = agent.config_for("phone" if phone else "webrtc", number)
    language = config.get("language")
    untrusted = start.metadata if isinstance(start.metadata, dict) else {}
    metadata = {**untrusted, **grant.metadata}
    caller = start.from_ if isinstance(start.from_, str) else "webrtc"
    details = CallDetails(
        call_id=call_id,
        from_="anonymous" if phone and caller == "webrtc" else caller,
        to=number or "webrtc",
        direction="inbound",
        transport="phone" if phone else "webrtc",
        metadata=metadata,
        language=language if isinstance(language, str) else "en",
        started_at=server.wall(),
    )
    conversation = Conversation(
        config=config,
        channel=details.transport,
        model=server.choose_model(config.get("llm")),
        emit=outlet.emit,
        now=partial(datetime.now, UTC),
        metadata=metadata,
    )
    session = VoiceSession(
        details,
        agent=agent,
        config=config,
        conversation=conversation,
        choose_model=server.choose_model,
        engines=server.engines,
        emit=outlet.emit,
        wall=server.wall,
    )
    return session, outlet


def paced() -> Callable[[int], Coroutine[Any, Any, None]]:
    """Return a pace in real time, from now on; a step that is late is not made up by a pause."""
    loop = asyncio.get_running_loop()
    begun = loop.time()

    async def wait(position_ms: int) -> None:
        await asyncio.sleep(max(0.0, begun + position_ms / 1000 - loop.time()))

    return wait


class MicLine:
    """The socket as a `Line`: 16 kHz inside, whatever the caller asked for outside."""

    def __init__(self, socket: WebSocket, start: mic.MicStart) -> None:
        from pinecall_cli.audio.resample import Resampler  # noqa: PLC0415 - numpy, voice only

        self._socket, self._mulaw = socket, start.encoding == "mulaw"
        self._phone = isinstance(start.to, str)
        self._frame_bytes = start.sample_rate * 2 * mic.FRAME_MS // 1000
        self._in = Resampler(start.sample_rate, RATE)
        self._out = Resampler(RATE, start.sample_rate)
        self._outgoing = bytearray()
        self._arrived: deque[bytes] = deque(maxlen=ARRIVED)
        self._outbox: asyncio.Queue[str | bytes | None] = asyncio.Queue()
        self._digits = ""
        self._complained = False

    def receive(self) -> list[bytes]:
        """Return what the caller sent since the last step."""
        frames = list(self._arrived)
        self._arrived.clear()
        return frames

    def send(self, frame: bytes) -> None:
        """Queue one frame for the caller, exactly 20 ms in their format."""
        self._outgoing += self._out.process(frame)
        short = self._frame_bytes - len(self._outgoing)
        if short > 0:  # the resampler's delay, once
            self._outgoing[:0] = bytes(short)
        audio = bytes(self._outgoing[: self._frame_bytes])
        del self._outgoing[: self._frame_bytes]
        self._outbox.put_nowait(mulaw.encode(audio) if self._mulaw else audio)

    def tell(self, text: str | None) -> None:
        """Queue one text frame; None ends the writing when all before it is sent."""
        self._outbox.put_nowait(text)

    async def write(self, session: VoiceSession) -> None:
        """Send what is queued, in order; a caller who reads too slowly is cut off."""
        try:
            while (message := await self._outbox.get()) is not None:
                if self._outbox.qsize() > OUTBOX:
                    log.warning("call %s: the caller reads too slowly", session.call_id)
                    session.end("disconnected")
                    return
                if isinstance(message, str):
                    await self._socket.send_text(message)
                else:
                    await self._socket.send_bytes(message)
        except (WebSocketDisconnect, RuntimeError):
            session.end("disconnected")

    async def read(self, session: VoiceSession, emit: Callable[[Event], None]) -> None:
        """Take audio and actions until the caller is gone."""
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                session.end("disconnected")
                return
            audio, text = message.get("bytes"), message.get("text")
            if audio is not None:
                self._hear(audio)
            elif text is not None:
                self._act(text, session, emit)

    def _hear(self, audio: bytes) -> None:
        pcm = mulaw.decode(audio) if self._mulaw else audio
        if len(pcm) == self._frame_bytes:
            self._arrived.append(self._in.process(pcm))
        elif not self._complained:
            self._complained = True
            wanted = self._frame_bytes // 2 if self._mulaw else self._frame_bytes
            self._refuse("BAD_FRAME", f"a frame is 20 ms, {wanted} bytes, not {len(audio)}")

    def _act(self, text: str, session: VoiceSession, emit: Callable[[Event], None]) -> None:
        match mic.decode_mic(text):
            case mic.MicPing():
                pass
            case mic.Hangup():
                session.end("hangup")
            case mic.Mute():
                session.mute(True)
            case mic.Unmute():
                session.mute(False)
            case mic.InjectText(text=said):
                session.inject(said)
            case mic.SetContext(key=key, value=value):
                session.conversation.handle(
                    commands.SetContext(call_id=session.call_id, key=key, value=value)
                )
            case mic.Configure() as action:
                self._configure(action, session, emit)
            case mic.Dtmf(digits=digits):
                self._press(digits, emit)
            case Unknown(event=name, problem=problem):
                self._refuse("UNKNOWN_ACTION", f"{name or 'a message'}: {problem or 'unknown'}")
            case other:
                self._refuse("UNKNOWN_ACTION", f"{type(other).__name__} has no place in a call")

    def _configure(
        self, action: mic.Configure, session: VoiceSession, emit: Callable[[Event], None]
    ) -> None:
        fields = msgspec.to_builtins(action)
        allowed, dropped = browser_overrides({k: v for k, v in fields.items() if k != "action"})
        if dropped:
            log.info("call %s: a caller may not set %s", session.call_id, ", ".join(dropped))
        session.configure(allowed)
        if isinstance(action.language, str):
            emit(events.CallUpdated(language=action.language))

    def _press(self, digits: str, emit: Callable[[Event], None]) -> None:
        if not self._phone:
            self._refuse("NOT_PHONE", "keys can be pressed on phone calls only (`to`)")
            return
        for digit in digits:
            if digit in "0123456789*#":
                self._digits += digit
                emit(events.CallDtmfReceived(digit=digit, digits=self._digits))

    def _refuse(self, code: str, message: str) -> None:
        self.tell(codec.encode(events.Error(code=code, error=message)))
