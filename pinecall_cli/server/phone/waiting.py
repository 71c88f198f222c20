"""A call that nobody has taken yet: it is on the books, so that it can be given up or answered."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pinecall_cli.protocol import commands, events
from pinecall_cli.protocol.config import merge_payload
from pinecall_cli.protocol.frames import Command, Event
from pinecall_cli.server.agents.outlet import Outlet
from pinecall_cli.server.agents.registry import Connection, Refused, RegisteredAgent
from pinecall_cli.server.calls import open_conversation
from pinecall_cli.server.voice.details import CallDetails

if TYPE_CHECKING:
    from pinecall_cli.server.app import VoiceServer

GIVEN_UP = {"hangup": "canceled", "disconnected": "canceled"}
"""What hanging up is called before there was a call."""


class NotConnectedError(Exception):
    """Nobody took the call; ``reason`` is that of ``call.ended``."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class RejectedError(NotConnectedError):
    """The agent turned the call away."""


class WaitingCall:
    """A `Session` before there is a conversation: it can be hung up and configured, no more."""

    def __init__(
        self,
        server: VoiceServer,
        agent: RegisteredAgent,
        outlet: Outlet,
        details: CallDetails,
        config: Mapping[str, Any],
        announcement: Event,
        *,
        opener: Connection | None = None,
    ) -> None:
        """``announcement`` is the event that says that it waits."""
        self.call_id, self.agent, self.details = details.call_id, agent, details
        self.config = dict(config)
        self.conversation = open_conversation(server, agent, outlet, details, config)
        """What the call will begin with; it may be changed before."""
        self.contact = details.contact
        self.opener = opener
        self.decided: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the agent takes the call; fails with `NotConnectedError` when it is over."""
        self._server, self._outlet, self._announcement = server, outlet, announcement

    @contextmanager
    def on_the_books(self) -> Iterator[None]:
        """Let commands reach it while the block runs; announces it first."""
        registry = self._server.registry
        registry.opened(self)
        try:
            self.reannounce()
            yield
        finally:
            registry.closed(self)
            if not self.decided.done():
                self.decided.cancel()
            elif not self.decided.cancelled():
                self.decided.exception()  # whoever stopped waiting need not have asked

    def handle(self, command: Command) -> None:
        """Take the agent's decision; everything else has to wait for the call."""
        rings = isinstance(self._announcement, events.CallRinging)
        match command:
            case commands.CallAccept() if rings:
                self._decide(None)
            case commands.CallReject(reason=reason) if rings:
                self._decide(RejectedError(reason))
            case commands.CallHangup():
                self.end("hangup")
            case _ if not self.conversation.handle(command):
                name = type(command).__struct_config__.tag
                raise Refused("NOT_ANSWERED", f"{name} has to wait until the call is answered")

    def configure(self, patch: Mapping[str, Any]) -> None:
        """Change the configuration that the call will begin with."""
        self.config = dict(merge_payload(self.config, patch))
        if isinstance(patch.get("language"), str):
            self.details = replace(self.details, language=patch["language"])
        model = self.conversation.model
        if "llm" in patch:
            model = self._server.choose_model(patch["llm"])
        self.conversation.configure(patch, model)

    def inject(self, text: str) -> None:
        """Refuse what somebody would say: nobody listens yet."""
        raise Refused("NOT_ANSWERED", "the call has not been answered")

    def human(self, text: str) -> None:
        """Refuse what a person would say: nobody listens yet."""
        raise Refused("NOT_ANSWERED", "the call has not been answered")

    def payload_changed(self, patch: Mapping[str, Any]) -> None:
        """Hear of the agent's new configuration; it counts from the next call on."""

    def reannounce(self) -> None:
        """Say that the call waits."""
        self._outlet.emit(self._announcement)

    def end(self, reason: str) -> None:
        """Give the call up."""
        self._decide(NotConnectedError(GIVEN_UP.get(reason, reason)))

    def _decide(self, problem: NotConnectedError | None) -> None:
        if self.decided.done():
            return
        if problem is None:
            self.decided.set_result(None)
        else:
            self.decided.set_exception(problem)


async def ring_agent(waiting: WaitingCall, *, within_s: float) -> None:
    """Let an agent decide about a call; it is accepted when the agent says nothing for so long.

    Raises:
        RejectedError: If the agent turns it away.
        NotConnectedError: If it is given up meanwhile.
    """
    with waiting.on_the_books():
        await asyncio.wait({waiting.decided}, timeout=within_s)
        if waiting.decided.done():
            waiting.decided.result()
