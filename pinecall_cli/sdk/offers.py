"""What a client offers to the application around it: event streams, tokens, speech."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

from pinecall_cli.agent.define import Agent
from pinecall_cli.errors import NotAuthorisedError, ServerUnreachableError, UsageError
from pinecall_cli.protocol.tokens import Channel, Scope, Token
from pinecall_cli.sdk.answers import REQUEST_TIMEOUT, RequestTimeoutError
from pinecall_cli.sdk.feed import Feed
from pinecall_cli.sdk.office import Office
from pinecall_cli.sdk.streams import EventStream
from pinecall_cli.sdk.token_endpoint import PAGES, Authorise, TokenEndpoint, refuse_key
from pinecall_cli.settings import KEY_VARIABLE, URL_VARIABLE, Secret
from pinecall_cli.settings.running import is_local

if TYPE_CHECKING:
    from pinecall_cli.sdk.audio import Audio
    from pinecall_cli.sdk.client import Pinecall


class Offers:
    """The half of `Pinecall` that web applications use. A handle offers what its host does."""

    api_url: str
    _office: Office
    _key: Secret | Callable[[], Secret]
    _host: Pinecall | None
    _is_handle: bool
    _feed_made: Feed | None = None

    # --- streams ---

    def stream(
        self,
        agents: Iterable[str | Agent] | str | None = None,
        *,
        allowed_origins: Iterable[str] = (),
        tool_results: bool = False,
    ) -> EventStream:
        """Return the events of calls, for a web application in this process.

        The object is an ASGI endpoint, to be mounted as it is: it answers a request with
        server-sent events, and a WebSocket with JSON frames. It is an async iterator too. Every
        word is delivered; a reader that is too slow is dropped with a reason, and never holds up
        an agent. Made at any time, also before there is a connection.

        Args:
            agents: Whose events; of all agents, if left out.
            allowed_origins: Pages, besides those of the endpoint's own origin, that may open a
                WebSocket: the patterns of an agent's ``allowed_origins``.
            tool_results: Whether WebSockets are told what tools returned, besides what was asked
                of them. It may hold more than a page should see.

        Example:
            ``async for event in pc.stream(): print(event.name, event.data)``, or for pages::

                from contextlib import asynccontextmanager

                from starlette.applications import Starlette
                from starlette.routing import Mount, Route

                from pinecall_cli import Pinecall

                pc = Pinecall()
                for name in ("sales", "support", "night"):
                    pc.agent(name, llm="openai/gpt-5-mini")

                @asynccontextmanager
                async def lifespan(app):
                    async with pc:
                        yield

                app = Starlette(
                    routes=[
                        Mount("/all", pc.stream()),
                        Route("/day", pc.stream(agents=["sales", "support"])),
                    ],
                    lifespan=lifespan,
                )
        """
        names = None
        if agents is not None:
            given = [agents] if isinstance(agents, str) else agents
            names = {one if isinstance(one, str) else one.name for one in given}
        client = cast("Pinecall", self)
        return EventStream(
            client,
            self._feed,
            names,
            allowed_origins=allowed_origins,
            tool_results=tool_results,
        )

    def stream_of(
        self, name: str, *, allowed_origins: Iterable[str] = (), tool_results: bool = False
    ) -> EventStream:
        """Return the events of one agent; its first event names that agent alone."""
        return EventStream(
            cast("Pinecall", self),
            self._feed,
            {name},
            one=True,
            allowed_origins=allowed_origins,
            tool_results=tool_results,
        )

    # --- tokens ---

    async def create_token(
        self,
        channel: Channel,
        agent_id: str,
        metadata: Mapping[str, Any] | None = None,
        scope: Scope | None = None,
        call_id: str | None = None,
    ) -> Token:
        """Return a new token for an agent, of this client or of any other process.

        For an agent of this client it waits until the agent is registered.

        Args:
            channel: What it opens: a call (``webrtc``), a ``chat``, or the call log (``stream``).
            agent_id: The agent; for ``stream`` several, with commas between.
            metadata: Sealed into the token; becomes the call's ``metadata``. Nobody else can say
                it: this is where a user's id goes.
            scope: For ``stream``: observe, participate or supervise.
            call_id: For ``stream``: this call alone.

        Raises:
            NotAuthorisedError: If there is no key, or the server refuses it.
            NotFoundError: If the agent is not online, or has no such call.
            RequestTimeoutError: If an agent of this client is not registered within 10 s.
            ServerUnreachableError: If the server cannot be reached.
            UsageError: If the metadata is more than can be sealed (2 KB).
            KeyExposedError: If the API key is in the metadata.
        """
        from pinecall_cli.sdk.rest import Rest  # noqa: PLC0415 - httpx: 40 ms, for those who ask

        key = self._secret()
        refuse_key(dict(metadata or {}), key.reveal())
        name = await self._registered(agent_id)
        try:
            async with Rest(self._me.api_url, key) as rest:
                return await rest.token(
                    channel, name, metadata=metadata, scope=scope, call_id=call_id
                )
        except (ValueError, TypeError) as problem:
            raise UsageError(f"the metadata cannot be sealed: {problem}") from None

    def token_endpoint(
        self,
        agent_id: str | Agent,
        *,
        authorise: Authorise,
        channels: tuple[Channel, ...] = PAGES,
    ) -> TokenEndpoint:
        """Return an ASGI endpoint that gives tokens to pages of a web application.

        It answers ``{"token", "server", "expiresIn"}``, what the browser clients take, or a status
        and ``{"detail"}``: 401 for who is not logged in, 403 for a channel it does not give, 404
        for an agent that is not online, 503 while the server cannot be reached. The API key never
        leaves: an answer that would hold it is not sent.

        Args:
            agent_id: The agent, of this process or of any other.
            authorise: Your own login: a function of the request's ASGI scope, sync or async. None
                or False refuses; True admits; a mapping admits and is sealed into the token.
            channels: What pages may ask for; the first is given to those that do not say.

        Raises:
            UsageError: If there is no ``authorise``, or no channel.

        Example:
            In a process of its own, while the agent runs in another::

                from pathlib import Path

                from starlette.applications import Starlette
                from starlette.requests import HTTPConnection
                from starlette.routing import Route

                from pinecall_cli import Pinecall

                SESSIONS = {"c2Vzc2lvbg": "ana"}  # your own login, whatever it is

                def user(scope):
                    name = SESSIONS.get(HTTPConnection(scope).cookies.get("session"))
                    return {"userId": name} if name else None

                pc = Pinecall(Path("pinecall.key").read_text().strip())
                endpoint = pc.token_endpoint("front-desk", authorise=user)
                app = Starlette(routes=[Route("/token", endpoint)])
        """
        name = agent_id if isinstance(agent_id, str) else agent_id.name
        return TokenEndpoint(
            self,
            name,
            authorise=authorise,
            channels=channels,
            secret=lambda: self._secret().reveal(),
        )

    # --- speech ---

    @property
    def audio(self) -> Audio:
        """Speech and transcription without a call."""
        from pinecall_cli.sdk.audio import Audio  # noqa: PLC0415 - as above

        return Audio(lambda: self._me.api_url, self._secret)

    # --- inside ---

    @property
    def _me(self) -> Pinecall:
        """The client that is connected: a handle's host."""
        return self._host or cast("Pinecall", self)

    @property
    def _feed(self) -> Feed:
        if self._feed_made is None:
            # Of this client itself: its handlers hear what its host's do, from its adoption on.
            self._feed_made = Feed(cast("Pinecall", self), self._presented)
        return self._feed_made

    def _presented(self) -> str:
        """Return the key that the server knows us by.

        Asked at every event: what a function would tell may have to be read from a file.
        """
        key, link = self._me._key, self._me._link
        if not callable(key):
            return key.reveal()
        return "" if link is None else link.presented

    def _secret(self) -> Secret:
        """Return the key.

        Raises:
            NotAuthorisedError: If there is none.
        """
        key = self._me._key
        found = key() if callable(key) else key
        if not found:
            raise no_key(self._me.api_url)
        return found

    def local_id(self, name: object) -> str | None:
        """Return the name under which this client has an agent; None if it has none of it."""
        office = self._me._office
        found = office.local_id(name)
        if found is None:
            names = (id for id, agent in office.agents.items() if agent.name == name)
            found = next(names, None)
        return found

    async def _registered(self, agent_id: str) -> str:
        """Return an agent's name at the server, once it is registered if it is one of ours."""
        name = self.local_id(agent_id)
        if name is None:
            return agent_id
        me = self._me
        if me._is_handle:
            raise ServerUnreachableError("not connected yet: the file is still being loaded")
        me.start()
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT):
                await me.registered(name)
        except TimeoutError:
            raise RequestTimeoutError(
                f"agent `{name}` was not registered within {REQUEST_TIMEOUT:g} s"
            ) from None
        return name


def no_key(url: str) -> NotAuthorisedError:
    """Return the error for a client without a key."""
    if is_local(url):
        return NotAuthorisedError(
            f"no API key, and no server of yours at {url}",
            fix=f"start one: `pinecall server`; or set `{KEY_VARIABLE}` to its key",
        )
    return NotAuthorisedError(
        "no API key",
        fix=f"set `{KEY_VARIABLE}`; or try it on this machine: `pinecall dev FILE`, or "
        f"`pinecall server` with `{URL_VARIABLE}=http://127.0.0.1:4747`",
    )


def revealed(key: Secret | Callable[[], Secret]) -> str:
    """Return a key as it is sent; empty if there is none."""
    found = key() if callable(key) else key
    return found.reveal()
