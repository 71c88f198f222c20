"""`Pinecall`: one connection to a voice server, for many agents."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar, Unpack, overload

from pinecall_cli.agent.config import AgentConfig
from pinecall_cli.agent.define import Agent, AgentOptions, collector
from pinecall_cli.errors import ServerUnreachableError, UsageError
from pinecall_cli.protocol import commands
from pinecall_cli.protocol.codec import encode
from pinecall_cli.protocol.frames import Command, Received
from pinecall_cli.protocol.ids import slugify
from pinecall_cli.protocol.urls import client_url
from pinecall_cli.sdk.agent_wire import AgentWire
from pinecall_cli.sdk.call import Call
from pinecall_cli.sdk.callbook import CallBook
from pinecall_cli.sdk.departures import Departures
from pinecall_cli.sdk.handlers import Handler, Handlers
from pinecall_cli.sdk.link import Link
from pinecall_cli.sdk.offers import Offers, revealed
from pinecall_cli.sdk.office import Office, running_loop
from pinecall_cli.sdk.reception import Reception
from pinecall_cli.sdk.registrar import Registrar
from pinecall_cli.sdk.registration import Registration
from pinecall_cli.sdk.requests import Requests
from pinecall_cli.sdk.serve import run
from pinecall_cli.settings import KEY_VARIABLE, URL_VARIABLE, Secret
from pinecall_cli.settings.logger import set_up
from pinecall_cli.settings.running import is_local, key_now

DEFAULT_URL = "wss://voice.pinecall.io"
GRACE = 1.0
"""Seconds that handlers and tools have to end when we disconnect; Ctrl-C promises 2 in all."""

H = TypeVar("H", bound=Handler)


class Ready:
    """Await it, any number of times: it is over while the client is connected."""

    def __init__(self, wait: Callable[[], Generator[Any, None, None]]) -> None:
        self._wait = wait

    def __await__(self) -> Generator[Any, None, None]:
        return self._wait()


class Pinecall(Requests, Offers):
    """One connection to a voice server; as many agents as there are.

    It connects by itself: when it is made, if an event loop runs; else when it is entered
    (``async with``), awaited (`ready`, `connect`) or `run`. A connection that is lost is made
    again, and every agent registered again. While the CLI imports a file, a client made there is
    a handle on the CLI's own: it never connects, and its handlers hear what the CLI hears.

    Args:
        api_key: The key; ``PINECALL_API_KEY`` of the environment, if left out. A function is
            asked for it at every connection. With neither, a local server that you run
            is asked for nothing else: its key is in the file it keeps for you.
        api_url: The server, in any of ws, wss, http and https; ``PINECALL_URL`` of the
            environment, if left out, else `DEFAULT_URL`.
        auto_reconnect: Whether to connect again when the connection is lost or refused.
        prompts_dir: Where `Call.set_prompt_file` finds its files.
    """

    def __init__(
        self,
        api_key: str | Secret | Callable[[], Secret] | None = None,
        api_url: str | None = None,
        auto_reconnect: bool = True,
        prompts_dir: str | Path = "prompts",
    ) -> None:
        self.api_url = api_url or os.environ.get(URL_VARIABLE) or DEFAULT_URL
        key = api_key if api_key is not None else os.environ.get(KEY_VARIABLE, "")
        if not key and is_local(self.api_url):
            key = key_now(self.api_url, Secret(""))
        self._key = Secret(key) if isinstance(key, str) else key
        self._auto_reconnect = auto_reconnect
        self._handlers = Handlers()
        self._office = Office(self._send)
        self._office.prompts = Path(prompts_dir)
        self._office.audiences.append(self._handlers)
        self._registrar = Registrar(self._office)
        self._departures = Departures(self._office, self._reopen)
        self._callbook = CallBook(self._office, idle=self._departures.settle)
        self._link: Link | None = None
        self._reception: Reception | None = None
        self._host: Pinecall | None = None
        """The client that this handle stands for."""
        collected = collector()
        self._is_handle = collected is not None
        if collected is None:
            set_up(os.environ)
        if collected is not None:
            collected.clients.append(self)
        elif revealed(self._key) and running_loop() is not None:
            self.start()

    def __repr__(self) -> str:
        return f"<Pinecall {self.api_url}>"

    # --- connection ---

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        me = self._host or self
        return me._link is not None and me._link.is_up

    @property
    def embedded(self) -> bool:
        """Whether the server is the embedded one, as it said when it accepted the key."""
        return self._office.embedded

    @property
    def ready(self) -> Ready:
        """Await it to be connected, however many attempts that takes.

        Raises:
            NotAuthorisedError: If there is no key, or the server refuses it.
            PinecallError: If the connection was given up.
        """
        return Ready(lambda: self._wait_ready().__await__())

    async def connect(self) -> None:
        """Connect, if that is not done, and return when the attempt has succeeded.

        Raises:
            NotAuthorisedError: If there is no key, or the server refuses it.
            ServerUnreachableError: If this attempt fails. Others follow unless `disconnect` is
                called or ``auto_reconnect`` is off.
        """
        if self._is_handle:
            return
        reception = self.start()
        if not self.connected:
            await asyncio.shield(reception.attempt)

    async def disconnect(self) -> None:
        """Close the connection and stay away; what was sent before still leaves."""
        if self._is_handle or self._link is None:
            return
        self._callbook.lost("client_disconnect")
        self._feed.end()
        await self._office.crew.finish(GRACE)
        await self._link.stop()
        gone = ServerUnreachableError("the client has disconnected", code="client_disconnect")
        self._office.answers.refuse_all(gone)
        for registration in self._office.registrations.values():
            registration.lost()
        if self._reception is not None:
            self._reception.closed(gone)

    def run(self, *agents: Agent) -> None:
        """Serve these agents until Ctrl-C or SIGTERM; this is the program, and returns at its end.

        Raises:
            SystemExit: If there is nothing to serve any more: no key, or a refused one; every
                agent refused, or taken by another process. What happened is on standard error
                in three lines; the exit code is the command line's, the error the ``__cause__``.
        """
        if not self._is_handle:
            run(self, agents)

    async def __aenter__(self) -> Pinecall:
        try:
            await self.connect()
        except BaseException:
            await self.disconnect()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.disconnect()

    def start(self) -> Reception:
        """Begin to connect, if that is not under way; return who hears how it goes.

        Raises:
            NotAuthorisedError: If there is no key.
            ConfigRefused: If the server's address is none.
        """
        self._secret()
        client_url(self.api_url)
        loop = asyncio.get_running_loop()
        if self._office.loop is not loop or self._reception is None or self._link is None:
            if self._link is not None and self.connected:
                raise RuntimeError("this client is connected on another event loop")
            self._office.loop = loop
            self._reception = Reception(self._office, self._registrar, self._callbook)
            self._link = Link(
                self.api_url, self._key, self._reception, auto_reconnect=self._auto_reconnect
            )
        self._reception.reopen()
        self._link.start()
        return self._reception

    async def _wait_ready(self) -> None:
        if self._host is not None:
            await self._host._wait_ready()
        elif not self._is_handle:
            # One that was given up stays so until `connect`: `ready` only waits.
            await asyncio.shield((self._reception or self.start()).ready)

    # --- events ---

    @overload
    def on(self, event: str) -> Callable[[H], H]: ...
    @overload
    def on(self, event: str, handler: H) -> H: ...
    def on(self, event: str, handler: Any = None) -> Any:
        """Call a handler, sync or async, at every event of a name; usable as a decorator.

        Of the connection: ``connected()``, ``disconnected(reason)``, ``reconnecting(attempt,
        delay)``, ``error(exception)``. Of calls: ``call.started(call)``, ``chat.started(call)``,
        ``call.ended(call, reason)``. Everything else by its wire name, with the event and, if it
        is of a call, the call last: ``user.message(event, call)``; ``*`` hears all of them.
        """
        return self._handlers.on(event, handler)

    @overload
    def once(self, event: str) -> Callable[[H], H]: ...
    @overload
    def once(self, event: str, handler: H) -> H: ...
    def once(self, event: str, handler: Any = None) -> Any:
        """Call a handler at the next event of a name alone; usable as a decorator."""
        return self._handlers.once(event, handler)

    def off(self, event: str, handler: Handler | None = None) -> None:
        """Forget a handler, or all handlers of an event."""
        self._handlers.off(event, handler)

    def tap(self, callback: Callable[[Received], None]) -> Callable[[], None]:
        """Hand every frame of the server's to ``callback``, as it came; returns how to stop."""
        taps = self._office.taps
        taps.append(callback)
        return lambda: taps.remove(callback) if callback in taps else None

    def adopt(self, handle: Pinecall) -> Callable[[], None]:
        """Let a handle of an imported file hear what this client hears; returns how to stop."""
        handle._host, handle._office = self, self._office
        self._office.audiences.append(handle._handlers)

        def release() -> None:
            if handle._handlers in self._office.audiences:
                self._office.audiences.remove(handle._handlers)

        return release

    # --- agents ---

    @property
    def names(self) -> tuple[str, ...]:
        """The names of this client's agents."""
        return tuple(self._office.registrations)

    @property
    def displaced(self) -> tuple[str, ...]:
        """The agents that were taken from us, by a kick or another process; `create` claims one."""
        held = self._office.registrations.items()
        return tuple(name for name, one in held if one.state == "displaced")

    def agent(self, name: str, **options: Unpack[AgentOptions]) -> Agent:
        """Return the agent of that name; if there is none, make it and register it."""
        agent = self.get_agent(name)
        if agent is None:
            agent = Agent(name, **options)
            self.add(agent)
        return agent

    def get_agent(self, name: str) -> Agent | None:
        """Return the agent of that name, if this client has it."""
        for known in (name, slugify(name)):
            registration = self._office.registrations.get(known)
            if registration is None or not registration.leaving:
                agent = self._office.agents.get(known)
                if agent is not None:
                    return agent
        return None

    def add(self, agent: Agent, config: AgentConfig | None = None) -> None:
        """Register an agent, now or when connected.

        Args:
            agent: The agent; one that this client has already changes nothing.
            config: In place of the agent's own: to register it under another name, say.

        Raises:
            UsageError: If another agent of this client has that name.
        """
        config = config or agent.config
        name = config.name
        known = self._office.registrations.get(name)
        if known is not None and not known.leaving:
            if self._office.agents[name] is agent:
                return
            raise UsageError(f"two agents are named `{name}`", fix="name one of them differently")
        registration = Registration(
            config, agent.tools, send=self._office.send, dropped=self._dropped
        )
        self._office.agents[name] = agent
        if self._host is not None or not self._is_handle:
            agent.wire = AgentWire(self, name)

        def register() -> None:
            self._office.registrations[name] = registration
            if self.connected:
                registration.create(embedded=self.embedded)

        self._office.on_loop(register)

    async def registered(self, *names: str) -> None:
        """Return when these agents are registered; all of them, if none is named.

        Raises:
            ConflictError: If a name is held by another live process.
            PinecallError: If the server refuses an agent, or the connection is given up.
        """
        for name in names or tuple(self._office.registrations):
            await self._registration(name).registered()

    def calls(self, agent: str | None = None) -> tuple[Call, ...]:
        """Return the live calls and chats, oldest first: of one agent, or of all."""
        calls = self._office.calls
        return tuple(calls.values()) if agent is None else self._office.calls_of(agent)

    def route_callers(self, numbers: Iterable[str]) -> None:
        """Let calls and messages from these numbers come to this client's agents.

        It replaces the numbers named before, and holds across reconnections.
        """
        self._office.dev_callers[:] = numbers
        if self.connected:
            self._office.send(encode(commands.DevConfig(callers=list(self._office.dev_callers))))

    async def remove_agent(self, name: str) -> bool:
        """Take an agent out, and return whether there was one of that name.

        No new calls reach it, those it has go on to their end.

        A server that is not the embedded one learns of it by a new connection, which is made
        when no agent of this client has a call.
        """
        if self._host is not None:
            return await self._host.remove_agent(name)
        known = name in self._office.registrations
        name = name if known else slugify(name)
        return await self._departures.remove(name, connected=self.connected)

    def send(self, frame: Command) -> None:
        """Send a frame of no agent's, such as ``llm.chat``, at once.

        Raises:
            ServerUnreachableError: If there is no connection.
        """
        if not self._office.send(encode(frame)):
            raise ServerUnreachableError("not connected")

    # --- inside ---

    def _reopen(self) -> None:
        if self._link is not None:
            self._link.reopen()

    def _send(self, frame: str) -> bool:
        return self._link is not None and self._link.post(frame)

    def _dropped(self, frames: int) -> None:
        if self._reception is not None:
            self._reception.dropped(frames)
