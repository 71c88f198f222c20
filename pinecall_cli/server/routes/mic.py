"""``WS /mic/ws``: a microphone and a loudspeaker call an agent (protocol: sessions.md §7.2)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from pinecall_cli.errors import EngineError
from pinecall_cli.protocol import mic
from pinecall_cli.protocol.config import ConfigRefused
from pinecall_cli.protocol.frames import Unknown
from pinecall_cli.protocol.ids import call_id, phone_call_id
from pinecall_cli.protocol.phone import normalise_number
from pinecall_cli.server.agents.organisation import Organisation
from pinecall_cli.server.agents.outlet import Outlet
from pinecall_cli.server.agents.registry import Refused, RegisteredAgent
from pinecall_cli.server.app import VoiceServer
from pinecall_cli.server.calls import hold, language_of, open_session
from pinecall_cli.server.phone.handset import Handset
from pinecall_cli.server.phone.mic_line import MicLine
from pinecall_cli.server.phone.switchboard import decide
from pinecall_cli.server.phone.waiting import NotConnectedError
from pinecall_cli.server.tokens import Grant
from pinecall_cli.server.voice.details import CallDetails

log = logging.getLogger("pinecall.server")


class Refusal(Exception):
    """The call will not start; what the caller is told before the socket closes."""

    def __init__(self, code: str, message: str, *, fix: str | None = None, close: int = 1008):
        super().__init__(message)
        self.code, self.message, self.fix, self.close = code, message, fix, close


def routes(server: VoiceServer) -> list[BaseRoute]:
    """Return the microphone socket's route."""

    async def endpoint(socket: WebSocket) -> None:
        grant = server.tokens.consume(socket.query_params.get("token", ""), "webrtc")
        org = None
        if "token" not in socket.query_params:
            org = server.organisations.of_header(socket.headers.get("authorization"))
        if grant is None and org is None:
            await socket.send_denial_response(
                JSONResponse({"detail": "the token is unknown, used or expired"}, 401)
            )
            return
        if grant is not None and not grant.good_from(socket.headers.get("origin")):
            await socket.send_denial_response(
                JSONResponse({"detail": "the token was given to a page of another origin"}, 403)
            )
            return
        await socket.accept()
        try:
            if grant is not None:
                await serve(server, socket, grant)
            elif org is not None:
                await answering(server, socket, org)
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
    if isinstance(start, mic.MicAnswer):
        raise Refusal("BAD_START", "waiting for calls needs a key, not a token")
    if server.draining:
        raise Refusal("SERVER_DRAINING", "the server is shutting down", close=1012)
    agent, number = called(server, grant, start)
    try:
        leave = server.places.take()
    except Refused as full:
        raise Refusal(full.code, full.message, close=1013) from None
    try:
        await converse(server, socket, grant, start, agent, number)
    finally:
        leave()
    with suppress(WebSocketDisconnect, RuntimeError):
        await socket.close(1000)


async def converse(
    server: VoiceServer,
    socket: WebSocket,
    grant: Grant,
    start: mic.MicStart,
    agent: RegisteredAgent,
    number: str | None,
) -> None:
    """Hold the call, which has its place, to its end.

    Raises:
        Refusal: If there is no speech, or the call broke off.
    """
    try:
        await server.engines.wait()
    except EngineError as error:
        raise Refusal("ENGINE_UNAVAILABLE", error.message, fix=error.fix, close=1011) from None
    details, config = details_of(server, agent, grant, start, number)
    outlet = server.outlet(agent, details.call_id)
    line = MicLine(socket, start, phone=number is not None)
    unsubscribe = outlet.subscribe(line.tell)
    try:
        async with asyncio.TaskGroup() as tasks:
            reader = tasks.create_task(line.read())
            writer = tasks.create_task(line.write())
            try:
                await take(server, agent, outlet, line, details, config)
            except NotConnectedError:
                log.debug("call %s was not taken", details.call_id)
            finally:
                unsubscribe()
                line.tell(None)
                reader.cancel()
            await writer
    except ExceptionGroup as problems:
        log.error("call %s broke off", details.call_id, exc_info=problems)
        raise Refusal("INTERNAL_ERROR", "the server failed at this call", close=1011) from None


async def take(
    server: VoiceServer,
    agent: RegisteredAgent,
    outlet: Outlet,
    line: MicLine,
    details: CallDetails,
    config: Mapping[str, Any],
) -> None:
    """Let the agent decide about the call if its channel says so, then hold it.

    Raises:
        NotConnectedError: If it was turned away or given up; both sides know by then.
    """
    channel = agent.channel("phone", details.to) if details.transport == "phone" else None
    conversation = None
    if channel is not None and channel.ringing:
        rings = partial(line.attach, emit=outlet.emit)
        waiting = await decide(server, agent, outlet, details, config, rings)
        details, config = waiting.details, waiting.config
        conversation = waiting.conversation
    session = open_session(server, agent, outlet, details, config, conversation=conversation)
    line.attach(session, outlet.emit)
    await hold(server, session, outlet, line)


async def answering(server: VoiceServer, socket: WebSocket, org: Organisation) -> None:
    """Let a terminal wait for calls to a number, and hold the first that it takes."""
    first = await first_frame(socket)
    if isinstance(first, mic.MicStart):
        raise Refusal("BAD_START", "a call to an agent needs a token (`?token=`)")
    if server.draining:
        raise Refusal("SERVER_DRAINING", "the server is shutting down", close=1012)
    try:
        number = normalise_number(first.number)
    except ConfigRefused as refused:
        raise Refusal("BAD_NUMBER", refused.message, fix=refused.fix) from None
    try:
        # Before it can ring: whoever picks up is to hear the agent, not silence.
        await server.engines.wait()
    except EngineError as error:
        raise Refusal("ENGINE_UNAVAILABLE", error.message, fix=error.fix, close=1011) from None
    await Handset(socket, first, org, number, server.stamps).serve(server.switchboard)
    with suppress(WebSocketDisconnect, RuntimeError):
        await socket.close(1000)


async def first_frame(socket: WebSocket) -> mic.MicStart | mic.MicAnswer:
    """Return the frame that says what the terminal wants.

    Raises:
        Refusal: If it does not come within 5 s, or is no such frame.
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
        case mic.MicStart() | mic.MicAnswer():
            return frame
        case Unknown(problem=problem) if problem:
            raise Refusal("BAD_START", f"the first frame is no `start`: {problem}")
        case _:
            raise Refusal("BAD_START", "the first frame must be `start`")


def called(
    server: VoiceServer, grant: Grant, start: mic.MicStart
) -> tuple[RegisteredAgent, str | None]:
    """Return the agent or line that takes the call, and its number if it is a phone call.

    Raises:
        Refusal: If there is none, or none that the token's holder may call so.
    """
    if grant.origin is not None and (isinstance(start.to, str) or isinstance(start.from_, str)):
        raise Refusal("BAD_START", "a page's token calls its agent alone: no `to`, no `from`")
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
    owner = server.registry.answerer(grant.org, number, caller)
    if owner is None:
        raise Refusal("NO_ANSWER", f"no agent here has the number {number}")
    return owner, number


def details_of(
    server: VoiceServer,
    agent: RegisteredAgent,
    grant: Grant,
    start: mic.MicStart,
    number: str | None,
) -> tuple[CallDetails, Mapping[str, Any]]:
    """Return who calls whom, and what the call is configured with."""
    phone = number is not None
    config = agent.config_for("phone" if phone else "webrtc", number)
    untrusted = start.metadata if isinstance(start.metadata, dict) else {}
    caller = start.from_ if isinstance(start.from_, str) else "webrtc"
    details = CallDetails(
        call_id=phone_call_id() if phone else call_id(),
        from_="anonymous" if phone and caller == "webrtc" else caller,
        to=number or "webrtc",
        direction="inbound",
        transport="phone" if phone else "webrtc",
        metadata={**untrusted, **grant.metadata},
        sealed=grant.metadata,
        language=language_of(config),
        started_at=server.wall(),
    )
    return details, config
