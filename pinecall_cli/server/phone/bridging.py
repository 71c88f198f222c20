"""``call.bridge``: one agent calls another (commands.md §9.3); both have a call of their own.

The agent that calls has the outbound side, the other an inbound call; a wire joins them, at the
full 16 kHz. Either side's end ends the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import UNSET, to_builtins

from pinecall_cli.errors import PinecallError
from pinecall_cli.protocol import commands, events
from pinecall_cli.protocol.config import merge_payload
from pinecall_cli.protocol.ids import call_id
from pinecall_cli.server.agents.registry import Connection, Refused, RegisteredAgent
from pinecall_cli.server.calls import hold, language_of, open_session
from pinecall_cli.server.phone.dialling import patch_of, refuse_calls
from pinecall_cli.server.phone.switchboard import AgentCallee
from pinecall_cli.server.voice.details import CallDetails
from pinecall_cli.server.voice.opening import Opening

if TYPE_CHECKING:
    from pinecall_cli.server.app import VoiceServer

CHANNEL = "webrtc"
"""What both sides are called over: wide sound, and no telephone number."""


def bridge(server: VoiceServer, connection: Connection, frame: commands.CallBridge) -> None:
    """Let an agent call another; returns at once, events tell the rest.

    Raises:
        Refused: If it may not; for ``call.error``.
    """
    refuse_calls(server)
    agent = connection.agent(frame.agent_id)
    if agent is None:
        raise Refused("AGENT_NOT_FOUND", f"this connection has no agent `{frame.agent_id}`")
    target = server.registry.find(connection.org, frame.target)
    if target is None:
        raise Refused("AGENT_NOT_FOUND", f"Agent '{frame.target}' is not online")
    if target is agent:
        raise Refused("SAME_AGENT", f"'{agent.slug}' cannot call itself")
    own = patch_of({} if frame.config is UNSET else frame.config)
    if frame.media is not UNSET:
        own["media"] = to_builtins(frame.media)
    config = merge_payload(agent.config_for(CHANNEL), own)
    leave = server.places.take(connection, sides=2)
    calls = server.spawn(
        hold_both(server, connection, frame, (agent, target), config),
        f"bridge {agent.slug} to {target.slug}",
    )
    calls.add_done_callback(lambda _: leave())


async def hold_both(
    server: VoiceServer,
    opener: Connection,
    frame: commands.CallBridge,
    sides: tuple[RegisteredAgent, RegisteredAgent],
    config: dict[str, Any],
) -> None:
    """Hold both calls until one ends."""
    agent, target = sides
    metadata = {} if frame.metadata is UNSET else frame.metadata
    details = CallDetails(
        call_id=call_id(),
        from_=agent.slug,
        to=target.slug,
        direction="outbound",
        transport=CHANNEL,
        metadata=metadata,
        language=language_of(config),
        started_at=server.wall(),
        sealed=metadata,  # a key's holder says it
    )
    outlet = server.outlet(agent, details.call_id)
    try:
        await server.engines.wait()
    except PinecallError as problem:
        outlet.emit(events.CallError(error=problem.message, code="ENGINE_UNAVAILABLE"))
        outlet.emit(details.ended("failed", server.wall()))
        return
    greeting = "" if frame.greeting is UNSET else frame.greeting
    session = open_session(
        server,
        agent,
        outlet,
        details,
        config,
        opening=Opening(greeting, after_turn=frame.detect_turn_end),
        opener=opener,
    )
    callee = called(server, target, details)
    callee.joined(session, outlet)
    try:
        await hold(server, session, outlet, callee.line)
    finally:
        callee.over()


def called(server: VoiceServer, target: RegisteredAgent, by: CallDetails) -> AgentCallee:
    """Return the agent that is called, with an inbound call of its own."""
    config = target.config_for(CHANNEL)
    details = CallDetails(
        call_id=call_id(),
        from_=by.from_,
        to=by.to,
        direction="inbound",
        transport=CHANNEL,
        language=language_of(config),
        started_at=server.wall(),
    )
    outlet = server.outlet(target, details.call_id)
    session = open_session(server, target, outlet, details, config)
    return AgentCallee(server, session, outlet, telephone=False)
