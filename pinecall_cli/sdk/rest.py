"""The server's HTTP side: connected agents, tokens, an agent's configuration.

The key travels in a header and appears in no message.
"""

from __future__ import annotations

import contextlib
import functools
import json
import re
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, NoReturn
from urllib.parse import quote

from pinecall_cli import __version__
from pinecall_cli.errors import (
    InfrastructureError,
    NotAuthorisedError,
    NotFoundError,
    ServerUnreachableError,
)
from pinecall_cli.protocol.ids import slugify
from pinecall_cli.protocol.log import EntryPage, decode_page
from pinecall_cli.protocol.metadata import sealed_text
from pinecall_cli.protocol.tokens import Channel as Channel
from pinecall_cli.protocol.tokens import Token as Token
from pinecall_cli.sdk.absence import remedy
from pinecall_cli.sdk.listing import ConnectedAgent, connected_agent
from pinecall_cli.settings import Secret, http_base, is_loopback

# httpx looks for its own command line as it is imported, which brings click, Rich and pygments
# along: 30 of 42 ms. Without it, httpx does as where those are not installed.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
import httpx  # noqa: E402

ALL = "*"


class ServerSlowError(ServerUnreachableError):
    """Somebody may be there, and does not answer in time."""


@dataclass(frozen=True, slots=True)
class CallRows:
    """Calls as a server lists them, the newest first."""

    rows: tuple[Mapping[str, Any], ...]
    last_seq: int | None
    """The highest ``seq`` of its log at that moment; None where it does not say."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """An answer that is still being received."""

    status: int
    headers: Mapping[str, str]
    """Their names in any case."""
    pieces: Callable[[], AsyncIterator[bytes]]

    async def read(self) -> bytes:
        """Return all of it."""
        return b"".join([piece async for piece in self.pieces()])


@functools.cache
def certificates() -> ssl.SSLContext:
    """Return whom we trust; reading it takes 25 ms, which not every token can cost."""
    return httpx.create_ssl_context()


class Rest:
    """Requests to one server with one key. Use it as an async context manager."""

    def __init__(self, url: str, key: Secret | None, *, timeout: float = 10.0) -> None:
        self.url = http_base(url)
        headers = {"User-Agent": f"pinecall-cli/{__version__}"}
        if key is not None:
            headers["Authorization"] = f"Bearer {key.reveal()}"
        self._http = httpx.AsyncClient(
            base_url=self.url,
            headers=headers,
            timeout=timeout,
            trust_env=not is_loopback(self.url),  # proxies are for elsewhere
            verify=False if self.url.startswith("http:") else certificates(),
        )

    async def __aenter__(self) -> Rest:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Give up the connections."""
        await self._http.aclose()

    async def agents(self) -> tuple[ConnectedAgent, ...]:
        """Return the agents that are connected, in the server's order."""
        answer = await self._request("GET", "/api/sdk/agents")
        listed = self._read(answer).get("agents")
        if not isinstance(listed, list):
            raise self._nonsense("no list of agents")
        return tuple(connected_agent(item) for item in listed if isinstance(item, dict))

    async def clock(self) -> datetime | None:
        """Return the server's time, to the second, as it dates an answer to our key.

        None if it does not, as the embedded one.
        """
        answer = await self._request("GET", "/api/sdk/agents")
        try:
            return parsedate_to_datetime(answer.headers["Date"])
        except (KeyError, ValueError):
            return None

    async def kick(self, slug: str) -> None:
        """Disconnect an agent from whoever holds it.

        Raises:
            NotFoundError: If no such agent is connected.
        """
        path = f"/api/sdk/agents/{quote(slug, safe='')}"
        answer = await self._request("DELETE", path, about=slug)
        if self._read(answer).get("success") is False:
            raise InfrastructureError(
                f"{self.url} did not disconnect `{slug}`: {_detail(answer) or 'no reason given'}",
                code="server_error",
            )

    async def agent_config(self, slug: str) -> dict[str, Any]:
        """Return an agent's configuration as the server holds it, secrets masked.

        Raises:
            NotFoundError: If no such agent is connected.
            InfrastructureError: If it is, and the server does not tell how it is configured.
        """
        path = f"/api/sdk/agents/{quote(slug, safe='')}/config"
        try:
            answer = await self._request("GET", path, about=slug)
        except NotFoundError:
            if not any(agent.slug == slugify(slug) for agent in await self.agents()):
                raise
            raise InfrastructureError(
                f"{self.url} does not tell how its agents are configured",
                fix="of a file's agent, `pinecall agents show FILE` shows what is sent",
                code="no_such_route",
            ) from None
        body = self._read(answer)
        if not isinstance(body.get("config"), dict):
            raise self._nonsense("no configuration")
        return body

    async def calls(self, agent: str | None = None, *, limit: int) -> CallRows:
        """Return the newest calls, of one agent or of all, as the server lists them.

        Raises:
            NotFoundError: If the server does not list those of all agents, or has no such agent.
        """
        path = "/v1/calls" if agent is None else f"/v1/agents/{quote(agent, safe='')}/calls"
        answer = await self._request("GET", path, query={"limit": str(limit)}, about=agent or ALL)
        body = self._read(answer)
        listed, last = body.get("calls"), body.get("last_seq")
        if not isinstance(listed, list):
            raise self._nonsense("no list of calls")
        rows = tuple(row for row in listed if isinstance(row, dict))
        return CallRows(rows, last if isinstance(last, int) else None)

    async def call_events(self, call_id: str, *, after: int = 0) -> EntryPage:
        """Return a page of a call's log, from the entry after ``after`` on.

        Raises:
            NotFoundError: If the server knows no such call.
        """
        path = f"/v1/calls/{quote(call_id, safe='')}/events"
        answer = await self._request("GET", path, query={"after": str(after)}, call=call_id)
        page = decode_page(answer.content)
        if page is None:
            raise self._nonsense("no page of entries")
        return page

    async def token(
        self,
        channel: Channel,
        agent: str,
        *,
        metadata: Mapping[str, Any] | None = None,
        scope: str | None = None,
        call_id: str | None = None,
        origin: str | None = None,
    ) -> Token:
        """Return a new token for one agent.

        Args:
            channel: What the token opens.
            agent: The agent's slug.
            metadata: Sealed into the token; becomes the call's metadata.
            scope: For ``stream``: observe, participate or supervise.
            call_id: For ``stream``: this call alone.
            origin: Ask as a page of this origin would.

        Raises:
            NotFoundError: If the agent is not online, or has no such call.
            NotAuthorisedError: If the key or the origin is refused.
            ValueError: If ``metadata`` is more than can be sealed.
        """
        query = {"agent_id": agent}
        if metadata:
            query["metadata"] = sealed_text(metadata)
        if scope is not None:
            query["scope"] = scope
        if call_id is not None:
            query["call_id"] = call_id
        headers = {} if origin is None else {"Origin": origin}
        answer = await self._request(
            "GET", f"/{channel}/token", query=query, headers=headers, about=agent, call=call_id
        )
        body = self._read(answer)
        token, server, lasts = (body.get(key) for key in ("token", "server", "expires_in"))
        if not isinstance(token, str) or not re.fullmatch(r"[!-~]+", token):
            raise self._nonsense("no token")
        return Token(
            token=token,
            server=server if isinstance(server, str) and server else self.url,
            expires_in=lasts if isinstance(lasts, int | float) else 60,
        )

    @contextlib.asynccontextmanager
    async def exchange(
        self,
        method: str,
        path: str,
        *,
        timeout: float | None,
        headers: Mapping[str, str] | None = None,
        **body: Any,
    ) -> AsyncIterator[Exchange]:
        """Send a request whose answer is read piece by piece, and whatever its status is.

        Args:
            method: Of HTTP.
            path: On the server.
            timeout: Seconds between two pieces; None for any time.
            headers: Further ones.
            body: ``json``, or ``data`` and ``files`` of a form; ``params`` of the query.

        Raises:
            ServerUnreachableError: If nobody answers, or the answer breaks off.
        """
        try:
            async with self._http.stream(
                method, path, headers=headers, timeout=timeout, **body
            ) as answer:
                yield Exchange(answer.status_code, answer.headers, answer.aiter_bytes)
        except (httpx.HTTPError, httpx.InvalidURL) as problem:
            raise self._unreachable(problem) from None

    async def _request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        about: str | None = None,
        call: str | None = None,
    ) -> httpx.Response:
        """Return the answer if it is a good one; ``about`` or ``call`` is who a 404 means."""
        try:
            answer = await self._http.request(method, path, params=query, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL) as problem:
            raise self._unreachable(problem) from None
        if answer.status_code == 404 and call is not None:
            raise NotFoundError(f"no call `{call}` on {self.url}", fix="`pinecall logs` lists them")
        if not answer.is_success:
            self._refused(answer, about)
        return answer

    def _unreachable(self, problem: Exception) -> ServerUnreachableError:
        """Return our word for a request that got no answer."""
        if isinstance(problem, httpx.TimeoutException):
            return ServerSlowError(f"{self.url} does not answer", fix=remedy(self.url))
        return ServerUnreachableError(
            f"cannot reach {self.url}: {_first_line(problem)}",
            fix=remedy(self.url),
        )

    def _refused(self, answer: httpx.Response, about: str | None) -> NoReturn:
        """Raise what a status other than 2xx means."""
        detail = _detail(answer)
        status = answer.status_code
        if status in {401, 403}:
            raise NotAuthorisedError(
                detail or f"{self.url} refuses the key",
                fix="check the key, and that it belongs to this server",
            )
        if status == 404 and about is not None:
            raise NotFoundError(
                f"no agent `{about}` is connected to {self.url}",
                fix="`pinecall agents` lists those that are",
            )
        raise InfrastructureError(
            f"{self.url} answers HTTP {status}" + (f": {detail}" if detail else ""),
            code="server_error",
        )

    def _read(self, answer: httpx.Response) -> dict[str, Any]:
        body = _json_object(answer)
        if body is None:
            raise self._nonsense("no JSON object")
        return body

    def _nonsense(self, what: str) -> InfrastructureError:
        return InfrastructureError(
            f"{self.url} does not answer as a voice server: {what}",
            fix="check `--server`",
            code="server_error",
        )


def _json_object(answer: httpx.Response) -> dict[str, Any] | None:
    try:
        body = json.loads(answer.content)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def _detail(answer: httpx.Response) -> str:
    """Return the server's own words about a refusal, if it has any."""
    body = _json_object(answer) or {}
    text = next((body[k] for k in ("detail", "error") if isinstance(body.get(k), str)), "")
    return str(text)[:300]


def _first_line(problem: Exception) -> str:
    text = str(problem)
    return text.splitlines()[0][:200] if text else type(problem).__name__
