"""``call.route``: a phone line hands a call over to an agent (commands.md §11.3, flows.md §14).

The call stays what it was: the same id, the same caller's line, recording and listeners. What
changes is whose it is: configuration, model, prompt and greeting are the agent's from here on.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from pinecall_cli.errors import PinecallError
from pinecall_cli.protocol import commands, events
from pinecall_cli.protocol.config import merge_payload
from pinecall_cli.server.agents.outlet import Outlet
from pinecall_cli.server.agents.registry import Refused, RegisteredAgent
from pinecall_cli.server.calls import language_of, open_conversation
from pinecall_cli.server.dialogue.conversation import Conversation
from pinecall_cli.server.phone.dialling import patch_of
from pinecall_cli.server.voice.details import CallDetails, OverLine
from pinecall_cli.server.voice.line_part import ROUTED, LinePart, messages_of
from pinecall_cli.server.voice.session import VoiceSession

if TYPE_CHECKING:
    from pinecall_cli.server.agents.sessions import Session
    from pinecall_cli.server.app import VoiceServer

log = logging.getLogger("pinecall.server")


def route(server: VoiceServer, session: Session, command: commands.CallRoute) -> None:
    """Hand a call over; if that fails, the line keeps it and is told why.

    Raises:
        Refused: If the call is no phone line's.
    """
    outlet = server.outlet_of(session)
    part = session.line_part if isinstance(session, VoiceSession) else None
    if not isinstance(session, VoiceSession) or part is None or outlet is None:
        raise Refused("NOT_SUPPORTED", "only the calls of a phone line can be handed over")
    agent = server.registry.find(session.agent.org, command.agent)
    if agent is None:
        known = server.registry.has_known(session.agent.org, command.agent)
        failed(outlet, command, "offline" if known else "unknown")
        return
    try:
        Handover(server, session, outlet, agent, part, command).carry_out()
    except (Refused, PinecallError) as problem:
        log.warning("call %s stays on its line: %s", session.call_id, problem)
        failed(outlet, command, "swap_failed")


def failed(outlet: Outlet, command: commands.CallRoute, reason: str) -> None:
    """Tell the line that the call stays with it."""
    outlet.emit(events.CallRouteFailed(agent=command.agent, reason=reason))


class Handover:
    """One call on its way from a line to an agent."""

    def __init__(
        self,
        server: VoiceServer,
        session: VoiceSession,
        outlet: Outlet,
        agent: RegisteredAgent,
        part: LinePart,
        command: commands.CallRoute,
    ) -> None:
        self._server, self._session, self._outlet = server, session, outlet
        self._agent, self._part, self._command = agent, part, command

    def carry_out(self) -> None:
        """Hand the call over; nothing has changed if it fails.

        Raises:
            Refused: If the wishes for this call are none, or nobody is on the line any more.
            PinecallError: If the agent's model cannot be had.
        """
        session, outlet, line = self._session, self._outlet, self._session.agent
        if session.over or not session.announced:
            raise Refused("CALL_OVER", "nobody is on the line, or they talk to somebody else")
        config = self._config()
        conversation = open_conversation(self._server, self._agent, outlet, session.details, config)
        session.fall_silent()
        details = self._details(config)
        self._prepare(conversation)
        parting = session.ended(ROUTED)
        session.hand_over(self._agent, details, config, conversation)
        outlet.hand_over(self._agent)
        self._server.registry.handed_over(session, line)
        outlet.note("call.routed", {"agent": self._agent.slug, "routed_from": line.slug})
        outlet.emit(details.started())
        outlet.emit_for(line, events.CallRouted(agent=self._command.agent), shown=True)
        # Those who follow the call stay in it; it is over for the line alone.
        outlet.emit_for(line, parting, shown=False)

    def _config(self) -> Mapping[str, Any]:
        command = self._command
        wishes = {
            "language": command.language,
            "voice": command.voice,
            "stt": command.stt,
            "greeting": command.greeting,
            "promptVars": command.prompt_vars,
        }
        own = patch_of({key: value for key, value in wishes.items() if value is not UNSET})
        config = self._agent.config_for("phone", self._session.details.to)
        if "vars" in own:
            own["vars"] = {**(config.get("vars") or {}), **own["vars"]}
        return merge_payload(config, own)

    def _details(self, config: Mapping[str, Any]) -> CallDetails:
        over = OverLine(
            extension=self._part.extension,
            routed_from=self._session.agent.slug,
            transcript=self._part.transcript(),
        )
        return replace(self._session.details, language=language_of(config), line=over)

    def _prepare(self, begun: Conversation) -> None:
        """Let the agent begin with what was said, and with the context that was set."""
        if self._command.history:
            begun.history += messages_of(self._part.transcript())
        begun.take_context(self._session.conversation)
        context = {} if self._command.context is UNSET else self._command.context
        for key, value in context.items():
            begun.set_context(key, value)
