"""How one agent reaches its server: through a client, under the name it has there."""

from __future__ import annotations

from collections.abc import Awaitable, Generator, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from pinecall_cli.agent.define import Agent
from pinecall_cli.errors import NotFoundError
from pinecall_cli.protocol import commands
from pinecall_cli.protocol.frames import Command
from pinecall_cli.protocol.tokens import Channel, Token
from pinecall_cli.sdk.answers import REQUEST_TIMEOUT, Answer
from pinecall_cli.sdk.call import Call
from pinecall_cli.sdk.dials import bridge
from pinecall_cli.sdk.payloads import payload_of
from pinecall_cli.sdk.registration import frame_of
from pinecall_cli.sdk.streams import EventStream

if TYPE_CHECKING:
    from pinecall_cli.sdk.client import Pinecall

TAKEOVERS: Mapping[str, tuple[type[Any], str]] = {
    "session.pause": (commands.SessionPause, "session.paused"),
    "session.resume": (commands.SessionResume, "session.resumed"),
    "session.send": (commands.SessionSend, "session.sent"),
}
"""Each command of human takeover, with the event that acknowledges it."""


class Kept:
    """What comes of a request that is kept until there is a connection: nothing to wait for."""

    def __await__(self) -> Generator[Any, None, None]:
        return
        yield


class AgentWire:
    """The `Wire` of one agent of one client."""

    def __init__(self, client: Pinecall, name: str) -> None:
        self._client, self._name = client, name

    @property
    def embedded(self) -> bool:
        """Whether the server is the embedded one."""
        return self._client._office.embedded

    def configure(self, agent: Agent, patch: Mapping[str, Any]) -> None:
        """Take an agent's new configuration, and send what has changed."""
        registration = self._client._office.registrations[self._name]
        registration.replace(replace(agent.config, name=self._name), agent.tools)
        if patch and registration.state == "registered":  # else `agent.create` brings it all
            self._client.configure(self._name, patch)

    # --- calls ---

    def dial(self, to: str, **options: Any) -> Answer[Call]:
        """Have the agent call a number."""
        return self._client.dial(self._name, to, **options)

    def bridge(self, target: str, **options: Any) -> Answer[Call]:
        """Have the agent call another agent."""
        return bridge(self._client._office, self._name, target, **options)

    def call(self, call_id: str) -> Call | None:
        """Return a live call of the agent's."""
        call = self._client._office.calls.get(call_id)
        return call if call is not None and call.agent_id == self._name else None

    # --- channels ---

    def add_channel(self, channel: Mapping[str, Any]) -> Awaitable[None]:
        """Add a channel, or replace its configuration; before the connection it is kept."""
        wire = payload_of(channel)
        if self._client._office.loop is None:
            self._client._office.registrations[self._name].keep_channel(wire)
            return Kept()
        return self._client.channel_add(self._name, wire)

    def remove_channel(self, kind: str, ref: str) -> Awaitable[None]:
        """Give a channel up."""
        if self._client._office.loop is None:
            self._client._office.registrations[self._name].forget_channel(ref, kind)
            return Kept()
        return self._client.channel_remove(self._name, ref)

    def route_callers(self, numbers: Iterable[str]) -> None:
        """Let calls from these numbers come to this client's agents."""
        self._client.route_callers(numbers)

    # --- sessions ---

    def configure_session(self, session_id: str, config: Mapping[str, Any]) -> Answer[None]:
        """Change one live session.

        Raises:
            NotFoundError: If the agent has no such session.
        """
        call = self.call(session_id)
        if call is None:
            raise NotFoundError(f"`{self._name}` has no live session `{session_id}`")
        return call.update(**config)

    def takeover(self, what: str, **about: str | None) -> Answer[None]:
        """Let a person answer, or not, or send what a person wrote."""
        kind, acknowledged = TAKEOVERS[what]
        given = {key: UNSET if value is None else value for key, value in about.items()}
        frame: Command = kind(agent_id=self._name, **given)
        key = (acknowledged, about.get("session_id") or self._name)
        return self._client._office.ask(self._name, frame, key, timeout=REQUEST_TIMEOUT)

    def send(self, event: str, fields: Mapping[str, Any]) -> None:
        """Send a frame in the agent's name: now, or when it is registered."""
        text = frame_of(event, agent_id=self._name, **fields)
        office = self._client._office
        office.on_loop(lambda: office.registrations[self._name].post(text))

    # --- the application around it ---

    async def create_token(self, channel: Channel, **about: Any) -> Token:
        """Mint a token for the agent."""
        return await self._client.create_token(channel, self._name, **about)

    def stream(self, *, allowed_origins: Iterable[str], tool_results: bool) -> EventStream:
        """Return the agent's events."""
        return self._client.stream_of(
            self._name, allowed_origins=allowed_origins, tool_results=tool_results
        )
