"""Names that a connection wants to hold: agents and phone lines (protocol README §8, §9).

A name that another connection holds is contested: its holder is asked for a sign of life, and
loses the name if none comes. Of an agent, whose client tries again, a holder that was heard a
moment ago is not taken for dead yet.
"""

from __future__ import annotations

import asyncio
import logging
import math
from typing import Any

from msgspec import UNSET

from pinecall_cli.engines.choose import substitutes
from pinecall_cli.protocol import events
from pinecall_cli.protocol.frames import Event
from pinecall_cli.server.agents.registry import Claim, Connection, Refused, Registration
from pinecall_cli.server.app import VoiceServer

log = logging.getLogger("pinecall.server")

SETTLING = frozenset({"REGISTRATION_ERROR", "SERVER_AT_CAPACITY", "AGENT_CONFLICT_FATAL"})
"""Codes that end a client's wait for its agent (README §8.3)."""


class Claims:
    """What one connection registers, at once or when the holder of the name is known to be gone."""

    def __init__(self, server: VoiceServer, connection: Connection) -> None:
        self._server, self._connection = server, connection
        self._contended: dict[str, Registration] = {}
        """By slug: what to register once its holder is gone."""
        self._contests: set[asyncio.Task[Any]] = set()

    def claim(self, wish: Registration) -> None:
        """Register an agent or a line; the answer may come later.

        Raises:
            Refused: If it cannot be registered, whoever holds the name.
        """
        if wish.slug in self._contended:
            self._contended[wish.slug] = wish
            return
        claim = self._server.registry.claim(self._connection, wish)
        if isinstance(claim, Claim):
            self._created(claim, wish)
            return
        self._contended[wish.slug] = wish
        contest = self._server.spawn(self._contest(wish.slug), f"contest for {wish.slug}")
        self._contests.add(contest)
        contest.add_done_callback(self._contests.discard)

    def close(self) -> None:
        """Give up what waits."""
        for contest in tuple(self._contests):
            contest.cancel()

    def refuse(self, wish: Registration, refusal: Refused) -> None:
        """Say why something is not registered, so that a client stops waiting for it."""
        if wish.line is None:
            refuse_agent(self._connection, wish.agent_id, refusal)
        else:
            refuse_line(self._connection, wish.agent_id, refusal.code, refusal.message)

    async def _contest(self, slug: str) -> None:
        """Ask the holder of a name whether it lives; register here if it does not."""
        registry = self._server.registry
        try:
            while True:
                wish = self._contended[slug]
                claim = registry.claim(self._connection, wish)
                if isinstance(claim, Claim):
                    self._created(claim, wish)
                    return
                if await claim.answers(self._server.limits.patience_s):
                    self._connection.send(taken(wish, claim))
                    return
                again_s = self._server.limits.quiet_s - claim.silent_s
                held = slug in claim.agents and wish.line is None
                if held and again_s > 0 and not self._comes_back(claim):
                    self._connection.send(unsure(wish, claim, again_s))
                    return
                if slug in claim.agents:
                    log.warning("%s: its holder does not answer, displaced", slug)
                    reason = "Displaced: it did not answer, and another process came"
                    registry.displace(claim.agents[slug], reason)
        except Refused as refusal:
            self.refuse(self._contended[slug], refusal)
        finally:
            del self._contended[slug]

    def _comes_back(self, holder: Connection) -> bool:
        """Tell whether the holder may be this very process, on a socket that it has lost.

        Clients that do not say who they are cannot be told apart. The older ones of them never
        try again once they are refused, so a cut in the network would take their agents from
        them: they are let in (flows.md §10).
        """
        return holder.client == self._connection.client

    def _created(self, claim: Claim, wish: Registration) -> None:
        agent = claim.agent
        for sentence in substitutes(agent.payload):
            self._server.notice(sentence)
        if agent.line is not None:
            self._connection.send(events.LineCreated(number=agent.agent_id, agent_id=agent.slug))
        else:
            resumed = claim.resumed or wish.resumes
            answer = events.AgentResumed if resumed else events.AgentCreated
            self._connection.send(answer(agent_id=agent.slug))
        for session in tuple(agent.sessions.values()):
            if claim.resumed:
                session.reannounce()
            else:
                session.payload_changed(agent.payload)


def taken(wish: Registration, holder: Connection) -> Event:
    """Return the answer to whoever wants a name that a live process holds."""
    if wish.line is not None:
        return events.LineError(
            number=wish.agent_id,
            code="LINE_CONFLICT",
            error=f"the line {wish.line.number} is held by a live process",
        )
    who = UNSET if holder.client is None else dict(holder.client)
    return events.Error(
        code="AGENT_CONFLICT_FATAL",
        error=f"agent '{wish.slug}' is held by a live process",
        agent_id=wish.agent_id,
        holder=who,
        holder_alive=True,
    )


def unsure(wish: Registration, holder: Connection, again_s: float) -> Event:
    """Return the answer to whoever wants a name whose holder was heard, but does not answer.

    The holder counts as alive for ``again_s`` more; then the next try may have the name.
    """
    return events.Error(
        code="AGENT_CONFLICT",
        error=f"AGENT_CONFLICT: agent '{wish.slug}' is already connected",
        agent_id=wish.agent_id,
        holder=UNSET if holder.client is None else dict(holder.client),
        holder_alive=True,
        retry_after_s=math.ceil(again_s),
    )


def refuse_agent(connection: Connection, agent_id: str, refusal: Refused) -> None:
    """Refuse an agent, so that its client stops waiting for it."""

    def error(code: str, **fields: Any) -> None:
        connection.send(events.Error(code=code, error=refusal.message, agent_id=agent_id, **fields))

    error(refusal.code, **refusal.extra)
    if refusal.code not in SETTLING:
        error("REGISTRATION_ERROR")


def refuse_line(connection: Connection, number: str, code: str, why: str) -> None:
    """Refuse a phone line, in the words that its client knows it by."""
    connection.send(events.LineError(number=number, code=code, error=why))
