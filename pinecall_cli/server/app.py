"""The server itself, without its sockets: what every route and session shares."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol
from weakref import WeakValueDictionary

from pinecall_cli.engines.types import Model
from pinecall_cli.engines.worker import Worker
from pinecall_cli.errors import PinecallError
from pinecall_cli.protocol.events import AgentDisplaced
from pinecall_cli.server.agents.organisation import Organisations
from pinecall_cli.server.agents.outlet import Outlet, Stamps
from pinecall_cli.server.agents.places import Places
from pinecall_cli.server.agents.registry import DISPLACED, Connection, RegisteredAgent, Registry
from pinecall_cli.server.agents.sessions import Session
from pinecall_cli.server.faults import Faults, Stalled
from pinecall_cli.server.log.journal import Journal
from pinecall_cli.server.phone.numbers import Number
from pinecall_cli.server.phone.switchboard import Switchboard
from pinecall_cli.server.text.threads import Threads
from pinecall_cli.server.text.whatsapp import Exchange as WhatsAppExchange
from pinecall_cli.server.tokens import Tokens
from pinecall_cli.server.webrtc.ice import IceServer

log = logging.getLogger("pinecall.server")

NOTICES = 1_000
"""Different sentences that are said at most: some of them repeat what a client asked for."""
GOODBYE_S = 0.5
"""For agent sockets to take their close frame when the server stops."""

ChooseModel = Callable[[Any], Model | None]
"""From the ``llm`` of a configuration to a model; None when the application answers."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long the server waits, and how much it takes; seconds unless the name says else."""

    auth_s: float = 10.0
    """For the first frame of an agent socket."""
    quiet_s: float = 45.0
    """Without a frame from an agent socket, before it is asked whether it is still there."""
    patience_s: float = 5.0
    """For the answer."""
    grace_s: float = 45.0
    """How long sessions live on when their agent's socket is lost."""
    hangup_s: float = 1.0
    """For the calls of a kicked agent to end, before its socket is closed."""
    agents: int | None = None
    """Registrations at once; None for any number."""
    outbox_frames: int = 5_000
    """Frames that may wait for one agent socket that reads too slowly."""
    outbox_bytes: int = 16 * 1024 * 1024
    attach_frames: int = 10_000
    """Entries that may wait for one reader of the call log."""
    attach_bytes: int = 8 * 1024 * 1024
    chats_per_connection: int = 200
    """Text sessions that one connection may have open."""
    browser_chats: int = 500
    """Text sessions that pages may have open, all together."""
    whatsapp_sessions: int = 500
    """Sessions with contacts that one agent may have on WhatsApp."""
    page_calls: int = 48
    """Calls that pages may have open, all together: they leave some of `voice_calls` to others."""
    page_connect_s: float = 15.0
    """For a page to connect, once its offer has been answered."""
    page_quiet_s: float = 10.0
    """Without a message from a page that pings every second, before it is taken to be gone."""
    chat_idle_s: float = 1_800.0
    """Without a message, before a text session ends."""
    ring_s: float = 2.0
    """Before a number that the exchange plays itself answers."""
    ring_timeout_s: float = 20.0
    """Before a number that nobody answers is given up."""
    accept_s: float = 5.0
    """For an agent to take or turn away a call that rings; then it is taken."""
    calls_per_connection: int = 100
    """Calls that one connection may have had made at once."""
    reply_s: float = 30.0
    """For an application without a model to answer a text message."""
    connections: int = 900
    """Connections at once; a process may have 1,024 open files unless it is told otherwise."""
    head_s: float = 10.0
    """For a request's line and headers to arrive."""
    body_s: float = 150.0
    """For its body."""
    stalled_s: float = 30.0
    """For a peer to take some of what waits to be sent to it."""
    voice_calls: int = 64
    """Calls that may be heard and spoken at once, all together."""
    spoken_texts: int = 8
    """Texts that one organisation may have spoken at once, over HTTP."""
    uploads: int = 2
    """Recordings that one organisation may have written down at once, up to 25 MB each; and as
    many more its pages."""
    dictations: int = 8
    """Streams that one organisation may have written down at once; and as many more its pages."""


class Observer(Protocol):
    """Somebody on a socket, no agent, who is to be let go when the server stops."""

    gone: asyncio.Event

    def close(self, code: int, reason: str) -> None:
        """Close the socket behind what waits to be sent."""
        ...


class VoiceServer:
    """Registry, tokens, call log, engines and tasks of one server; lives on one event loop."""

    def __init__(
        self,
        *,
        keys: Iterable[str],
        journal: Journal,
        engines: Any,
        choose_model: ChooseModel,
        limits: Limits | None = None,
        public_hosts: Iterable[str] = (),
        notice: Callable[[str], None] = log.warning,
        wall: Callable[[], float] = time.time,
        record: Path | None = None,
        recordings: Path | None = None,
        own_calls: bool = True,
        minted_key: str | None = None,
        numbers: Mapping[str, Number] = MappingProxyType({}),
        faults: Faults | None = None,
        ice_servers: Iterable[IceServer] = (),
    ) -> None:
        """Put a server together.

        Args:
            keys: API keys, each an organisation of its own.
            journal: The call log, which the server closes when it ends.
            engines: The speech engines; handed to voice sessions as they are.
            choose_model: Chooses the model of a session.
            limits: Times and sizes.
            public_hosts: Further names by which the server may be addressed.
            notice: Told, once, each sentence that whoever runs the server should read.
            wall: Epoch seconds.
            record: Where to record every call; None to record those that ask for it.
            recordings: Where calls that ask for it (``media: {recording: true}``) are kept.
            own_calls: Whether its calls are all of the developer who runs it, who may listen.
            minted_key: The one of ``keys`` that was made for this run.
            numbers: What happens at further numbers of the local exchange.
            faults: What is to go wrong on purpose.
            ice_servers: Whom pages are to ask for a way here; none for what is usual.
        """
        self.organisations = Organisations(keys, minted=minted_key)
        self.journal = journal
        self.engines = engines
        self.faults = faults or Faults()
        self._choose_model = choose_model
        self.limits = limits or Limits()
        self.public_hosts = frozenset(name.lower() for name in public_hosts)
        self.ice_servers = tuple(ice_servers)
        self.wall = wall
        self.registry = Registry(limit=self.limits.agents, wall=wall)
        self.places = Places(
            calls=self.limits.voice_calls, per_connection=self.limits.calls_per_connection
        )
        self.stamps = Stamps(wall=wall, after=journal.last_seq)
        self.tokens = Tokens()
        self.threads = Threads()
        self.switchboard = Switchboard(self, numbers)
        self.whatsapp = WhatsAppExchange(self)
        self.connections: set[Connection] = set()
        self.observers: set[Observer] = set()
        """Whoever reads the call log, or writes from a page."""
        self._outlets: WeakValueDictionary[tuple[str, str], Outlet] = WeakValueDictionary()
        self.audio_worker = Worker("audio api", gives_way=True)
        """What the audio API computes itself, so that it keeps no call waiting."""
        self.own_calls = own_calls
        self.draining = False
        """True once no new session may be opened."""
        self._record, self.recordings = record, recordings
        self.recording_problem: PinecallError | None = None
        """Why a call is not, or not wholly, recorded: the first such reason."""
        self._notice = notice
        self._noticed: set[str] = set()
        self._tasks: set[asyncio.Task[Any]] = set()

    def choose_model(self, llm: Any) -> Model | None:
        """Return the model of a session from its ``llm``; None when the application answers."""
        model = self._choose_model(llm)
        if model is not None and self.faults.stall_ms:
            return Stalled(model, self.faults.stall_ms / 1000)
        return model

    def notice(self, sentence: str) -> None:
        """Say something to whoever runs the server, if it has not been said before."""
        if sentence not in self._noticed and len(self._noticed) < NOTICES:
            self._noticed.add(sentence)
            self._notice(sentence)

    def outlet(self, agent: RegisteredAgent, call_id: str) -> Outlet:
        """Return the one way out for the events of a new call."""
        outlet = Outlet(agent=agent, call_id=call_id, stamps=self.stamps, log=self.journal)
        self._outlets[agent.org.id, call_id] = outlet
        return outlet

    def outlet_of(self, session: Session) -> Outlet | None:
        """Return the way out for the events of a live session."""
        return self._outlets.get((session.agent.org.id, session.call_id))

    def recording_failed(self, problem: PinecallError) -> None:
        """Keep in mind that a call is not recorded. Called from any thread."""
        self.recording_problem = self.recording_problem or problem

    def recording_folder(self, config: Mapping[str, Any]) -> Path | None:
        """Return where a call of this configuration is recorded; None if it is not."""
        if self._record is not None:
            return self._record
        media = config.get("media")
        wanted = isinstance(media, Mapping) and media.get("recording") is True
        return self.recordings if wanted else None

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run ``work`` beside everything else; a failure is logged, and ends nothing else."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (problem := task.exception()) is not None:
            log.error("%s failed", task.get_name(), exc_info=problem)

    # --- agents come, change and go ---

    def configured(self, agent: RegisteredAgent, patch: Mapping[str, Any]) -> None:
        """Tell an agent's live sessions that its configuration changed."""
        for session in tuple(agent.sessions.values()):
            session.payload_changed(patch)

    def connection_lost(self, connection: Connection) -> None:
        """Forget a socket; sessions of its agents have ``grace_s`` for the agents to return."""
        self.connections.discard(connection)
        orphans = self.registry.disconnected(connection)
        if orphans:
            self.spawn(self._grace(orphans), "grace of lost agents")

    async def _grace(self, orphans: tuple[RegisteredAgent, ...]) -> None:
        losses = {id(agent): agent.losses for agent in orphans}
        await asyncio.sleep(self.limits.grace_s)
        for agent in orphans:
            if agent.connection is None and agent.losses == losses[id(agent)]:
                for session in tuple(agent.sessions.values()):
                    session.end("agent_disconnected")

    def kick(self, agent: RegisteredAgent) -> None:
        """Take an agent from whoever holds it; its live sessions are hung up.

        The socket is closed if this was its last agent, once the owner has heard how its
        calls ended.
        """
        holder = agent.connection
        self.registry.remove(agent)
        for session in tuple(agent.sessions.values()):
            session.end("hangup")
        if holder is not None:
            holder.send(AgentDisplaced(agent_id=agent.slug, reason="Kicked via API"))
            self.spawn(self._let_go(agent, holder), f"kick of {agent.slug}")

    async def _let_go(self, agent: RegisteredAgent, holder: Connection) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.limits.hangup_s):
                while agent.sessions:
                    await self.registry.changed()
        if not holder.agents:
            holder.close(DISPLACED, "Displaced by API")

    # --- the end ---

    async def drain(self, within_s: float) -> bool:
        """Open nothing new, end every session, and wait for them; True if all ended in time."""
        self.draining = True
        for session in self.registry.sessions():
            session.end("server_shutdown")
        try:
            async with asyncio.timeout(within_s):
                while self.registry.sessions():
                    await self.registry.changed()
        except TimeoutError:
            return False
        return True

    async def _dismiss_observers(self) -> None:
        """Let readers of the call log have what was written, and go."""
        await asyncio.wrap_future(self.journal.ask(lambda database: None))
        observers = tuple(self.observers)
        for observer in observers:
            observer.close(1001, "server_shutdown")
        await asyncio.gather(*(observer.gone.wait() for observer in observers))

    async def close(self) -> None:
        """Close every agent socket and stop every task; the call log stays open till the last."""
        self.draining = True
        for connection in tuple(self.connections):
            connection.close(1001, "server_shutdown")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE_S):
                while self.connections:
                    await self.registry.changed()
                await self._dismiss_observers()
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)
