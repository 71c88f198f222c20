"""Who is connected and who is registered: connections, agents, their channels and sessions.

Nothing here reads a socket or waits. A rule that needs time (is the holder of a name still
there?) is answered in two steps: `Registry.claim` says who holds it, the caller asks them, and
`Registry.displace` frees the name.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import structs

from pinecall_cli.protocol import codec
from pinecall_cli.protocol.events import AgentDisplaced, LineError, Ping
from pinecall_cli.protocol.frames import Event
from pinecall_cli.protocol.ids import slugify
from pinecall_cli.server.agents.organisation import Organisation
from pinecall_cli.server.agents.outlet import Stamps
from pinecall_cli.server.agents.owners import Channel as Channel
from pinecall_cli.server.agents.owners import RegisteredAgent as RegisteredAgent
from pinecall_cli.server.agents.owners import Registration as Registration

if TYPE_CHECKING:
    from pinecall_cli.server.agents.sessions import Session

DISPLACED = 4001
"""Close code of a socket whose last agent was taken from it (protocol README §6)."""
REMEMBERED = 10_000
"""Names of agents that are kept in mind after they have gone."""
REMEMBERED_ORIGINS = 2_000
"""Characters of `allowed_origins` that are kept with a name; of more, none."""


class Refused(Exception):
    """A registration, channel or command is refused; what the wire's ``error`` says."""

    def __init__(self, code: str, message: str, **extra: Any) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.extra = extra


class Connection:
    """One agent socket, as the rest of the server sees it."""

    def __init__(
        self,
        *,
        id: str,
        org: Organisation,
        client: Mapping[str, Any] | None,
        stamps: Stamps,
        post: Callable[[str], None],
        close: Callable[[int, str], None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.id = id
        self.org = org
        self.client = client
        """What the client said of itself: name, version, pid."""
        self.agents: dict[str, RegisteredAgent] = {}
        """Phone lines are among them."""
        self.dev_callers: tuple[str, ...] = ()
        self.last_inbound = now()
        self.post = post
        """Queue an encoded frame; never waits."""
        self.close = close
        self._now = now
        self._stamps = stamps
        self._listening: set[asyncio.Future[bool]] = set()

    def agent(self, agent_id: str) -> RegisteredAgent | None:
        """Return the agent of that id which this connection registered."""
        return next((self.agents[s] for s in slugs_of(agent_id) if s in self.agents), None)

    def send(self, event: Event) -> None:
        """Stamp an event that no outlet sends, and send it."""
        seq, ts = self._stamps.next()
        self.post(codec.encode(structs.replace(event, seq=seq, ts=ts)))

    @property
    def silent_s(self) -> float:
        """How long nothing has come in, in seconds."""
        return self._now() - self.last_inbound

    def heard(self) -> None:
        """Note that a frame came in, whatever it was."""
        self.last_inbound = self._now()
        self._tell(True)

    def lost(self) -> None:
        """Note that the socket is gone."""
        self._tell(False)

    def _tell(self, alive: bool) -> None:
        for waiting in self._listening:
            if not waiting.done():
                waiting.set_result(alive)
        self._listening.clear()

    async def answers(self, patience_s: float) -> bool:
        """Ask the peer for a sign of life; True if any frame comes within ``patience_s``."""
        sign = asyncio.get_running_loop().create_future()
        self._listening.add(sign)
        self.send(Ping())
        done, _ = await asyncio.wait({sign}, timeout=patience_s)
        self._listening.discard(sign)
        return bool(done) and sign.result() is True


class Claim(NamedTuple):
    """A name that was claimed and given."""

    agent: RegisteredAgent
    resumed: bool
    """True when its sessions lived on without a socket, and are to be announced again."""


class Registry:
    """The agents of a server, by organisation and slug; and the live sessions, by call id."""

    def __init__(self, *, limit: int | None = None, wall: Callable[[], float] = time.time) -> None:
        self.limit = limit
        """How many agents may be registered at once; None for any number."""
        self._wall = wall
        self._agents: dict[tuple[str, str], RegisteredAgent] = {}
        self._sessions: dict[tuple[str, str], Session] = {}
        self._known: dict[tuple[str, str], tuple[str, ...]] = {}
        """The ``allowed_origins`` that each name had last; the one registered longest ago first."""
        self._turned_away: dict[tuple[str, str], Connection] = {}
        """The names that found no place, and the connection that wants each."""
        self._change: asyncio.Future[None] | None = None

    # --- finding ---

    def find(self, org: Organisation, agent_id: str) -> RegisteredAgent | None:
        """Return the organisation's agent of that slug or id, if it is online."""
        agents = (self._agents.get((org.id, slug)) for slug in slugs_of(agent_id))
        return next((agent for agent in agents if agent is not None and agent.online), None)

    def online(self, org: Organisation | None = None) -> Iterator[RegisteredAgent]:
        """Yield the agents that are online: those of ``org``, or all."""
        for agent in tuple(self._agents.values()):
            if agent.online and agent.line is None and (org is None or agent.org == org):
                yield agent

    def lines(self, org: Organisation) -> Iterator[RegisteredAgent]:
        """Yield an organisation's phone lines that are live."""
        for agent in tuple(self._agents.values()):
            if agent.online and agent.line is not None and agent.org == org:
                yield agent

    def has_known(self, org: Organisation, agent_id: str) -> bool:
        """Tell whether an agent of that slug or id was ever here, though it may be gone."""
        return any((org.id, slug) in self._known for slug in slugs_of(agent_id))

    def found_no_place(self, org: Organisation, agent_id: str) -> bool:
        """Tell whether somebody who is connected wants that agent here, and the server is full."""
        return any((org.id, slug) in self._turned_away for slug in slugs_of(agent_id))

    def let_in(self, org: Organisation, agent_id: str) -> tuple[str, ...]:
        """Return the ``allowed_origins`` of an agent that is gone."""
        known = (self._known.get((org.id, slug)) for slug in slugs_of(agent_id))
        return next((origins for origins in known if origins is not None), ())

    def session(self, org: Organisation, call_id: str) -> Session | None:
        """Return a live session of an organisation."""
        return self._sessions.get((org.id, call_id))

    def sessions(self) -> tuple[Session, ...]:
        """Return all live sessions."""
        return tuple(self._sessions.values())

    def answerer(self, org: Organisation, number: str, caller: str) -> RegisteredAgent | None:
        """Return who takes a call to a number: a live line, a developer's twin, or its agent."""
        line = next((one for one in self.lines(org) if number in one.numbers), None)
        return line or self.dev_owner_of(org, number, caller) or self.owner_of(org, number)

    def owner_of(self, org: Organisation, number: str) -> RegisteredAgent | None:
        """Return the production agent of a number (in its normal form)."""
        for agent in self.online(org):
            if number in agent.numbers and not agent.dev:
                return agent
        return None

    def dev_owner_of(self, org: Organisation, number: str, caller: str) -> RegisteredAgent | None:
        """Return the agent that wants calls from this caller to this number for itself."""
        for agent in self.online(org):
            callers = agent.connection.dev_callers if agent.connection else ()
            if caller in callers and number in agent.numbers:
                return agent
        return None

    # --- registering ---

    def claim(self, connection: Connection, wish: Registration) -> Claim | Connection:
        """Register an agent or a line, or return the other connection that holds its name.

        A name this connection holds already gets the new configuration in place of the old. A
        name whose socket is gone while its sessions live on is taken over with them.

        Raises:
            Refused: If the id is no name, there is nothing to resume, or the server is full.
        """
        slug = wish.slug
        if not slug:
            raise Refused(
                "REGISTRATION_ERROR",
                f"`{wish.agent_id}` is no agent name: it needs a letter or a digit",
            )
        agent = self._agents.get((connection.org.id, slug))
        holder = None if agent is None else agent.connection
        if holder is not None and holder is not connection:
            return holder
        resumed = agent is not None and holder is None
        if agent is None and wish.resumes:
            raise Refused("AGENT_NOT_FOUND", f"there is no agent `{wish.agent_id}` to resume")
        if agent is None:
            if wish.line is None:
                self._check_capacity(connection, slug)
            agent = RegisteredAgent(
                connection.org, slug, wish.agent_id, connection, {}, (), self._wall()
            )
            self._agents[connection.org.id, slug] = agent
        if agent.connection is None:
            agent.connection, agent.since = connection, self._wall()
        agent.agent_id = wish.agent_id
        if not wish.resumes:
            agent.payload = dict(wish.payload)
            agent.allowed_origins = wish.allowed_origins
        agent.line = wish.line
        if wish.line is not None:
            number = wish.line.number
            agent.channels["phone", number] = Channel("phone", number, {})
        else:
            self._remember(agent)
        self._turned_away.pop((connection.org.id, slug), None)
        connection.agents[slug] = agent
        return Claim(agent, resumed)

    def _remember(self, agent: RegisteredAgent) -> None:
        key, origins = (agent.org.id, agent.slug), agent.allowed_origins
        self._known.pop(key, None)
        self._known[key] = origins if sum(map(len, origins)) <= REMEMBERED_ORIGINS else ()
        if len(self._known) > REMEMBERED:
            del self._known[next(iter(self._known))]

    def _check_capacity(self, connection: Connection, slug: str) -> None:
        used = sum(agent.line is None for agent in self._agents.values())
        if self.limit is not None and used >= self.limit:
            self._turned_away[connection.org.id, slug] = connection
            if len(self._turned_away) > REMEMBERED:
                del self._turned_away[next(iter(self._turned_away))]
            raise Refused(
                "SERVER_AT_CAPACITY",
                f"SERVER_AT_CAPACITY: Maximum clients ({self.limit}) reached "
                f"({used}/{self.limit} slots used)",
                used=used,
                limit=self.limit,
            )

    def displace(self, agent: RegisteredAgent, reason: str) -> None:
        """Free a name: tell its holder why, and close the socket if this was its last agent.

        The sessions stay with the agent, and the next `claim` of the name takes them over. With
        "Displaced" in ``reason`` the client does not come back.
        """
        holder = agent.connection
        if holder is None:
            return
        if agent.line is None:
            holder.send(AgentDisplaced(agent_id=agent.slug, reason=reason))
        else:
            holder.send(LineError(number=agent.agent_id, code="LINE_CONFLICT", error=reason))
        holder.agents.pop(agent.slug, None)
        agent.connection = None
        agent.channels.clear()
        if not agent.sessions:
            self._forget(agent)
        if not holder.agents:
            holder.close(DISPLACED, reason)

    def remove(self, agent: RegisteredAgent) -> None:
        """Take an agent's name back: no new sessions; those that live go on to their end."""
        agent.removed = True
        agent.channels.clear()
        if agent.connection is not None:
            agent.connection.agents.pop(agent.slug, None)
        self._forget(agent)

    def disconnected(self, connection: Connection) -> tuple[RegisteredAgent, ...]:
        """Note that a socket is gone; return the agents whose sessions live on without it."""
        connection.lost()
        self._changed()
        self._turned_away = {
            name: one for name, one in self._turned_away.items() if one is not connection
        }
        for agent in tuple(connection.agents.values()):
            agent.connection = None
            agent.losses += 1
            agent.channels.clear()
            if not agent.sessions:
                self._forget(agent)
        connection.agents.clear()
        orphans = []
        for session in self.sessions():
            agent = session.agent
            if agent.connection is connection:  # removed earlier, and still in a call
                agent.connection = None
                agent.losses += 1
            if agent.connection is None and agent not in orphans:
                orphans.append(agent)
        return tuple(orphans)

    def _forget(self, agent: RegisteredAgent) -> None:
        if self._agents.get((agent.org.id, agent.slug)) is agent:
            del self._agents[agent.org.id, agent.slug]

    # --- sessions ---

    def opened(self, session: Session) -> None:
        """Put a session on the books, before its first event.

        Raises:
            Refused: If a live session has that id.
        """
        key = session.agent.org.id, session.call_id
        if key in self._sessions:
            raise Refused("SESSION_IN_USE", f"a session `{session.call_id}` is live already")
        self._sessions[key] = session
        session.agent.sessions[session.call_id] = session

    def closed(self, session: Session) -> None:
        """Take a session off the books, after its last event."""
        agent = session.agent
        if self._sessions.get((agent.org.id, session.call_id)) is session:
            del self._sessions[agent.org.id, session.call_id]
        self._left(agent, session)

    def handed_over(self, session: Session, before: RegisteredAgent) -> None:
        """Note that a session is no longer ``before``'s but its `agent`'s."""
        session.agent.sessions[session.call_id] = session
        self._left(before, session)

    def _left(self, agent: RegisteredAgent, session: Session) -> None:
        agent.sessions.pop(session.call_id, None)
        agent.takeover.forget(session.call_id)
        if agent.connection is None and not agent.sessions:
            self._forget(agent)
        self._changed()

    def _changed(self) -> None:
        if self._change is not None and not self._change.done():
            self._change.set_result(None)

    async def changed(self) -> None:
        """Wait until a session goes off the books, or a socket is gone."""
        if self._change is None or self._change.done():
            self._change = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._change)


def slugs_of(agent_id: str) -> tuple[str, str]:
    """Return the slugs an agent id may mean: as it stands, and as compound ``org:slug``."""
    return slugify(agent_id), slugify(agent_id.rpartition(":")[2])
