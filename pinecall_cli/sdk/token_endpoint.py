"""`TokenEndpoint`: tokens for the pages of a web application, behind the application's own login.

A page never gets the key. It asks the application, which knows who is there, and gets a token:
good once, for a minute, for one agent (protocol: rest.md §2).
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeAlias

from pinecall_cli.errors import (
    ConflictError,
    InfrastructureError,
    NotAuthorisedError,
    NotFoundError,
    PinecallError,
    UsageError,
)
from pinecall_cli.protocol.tokens import Channel, Token
from pinecall_cli.sdk.asgi import Receive, Scope, Send, answer, header, lifespan, query
from pinecall_cli.settings.logger import logger

Admitted: TypeAlias = Mapping[str, Any] | bool | None
"""Whether somebody may have a token: a mapping is yes, and what is sealed into it."""
Authorise: TypeAlias = Callable[[Scope], Admitted | Awaitable[Admitted]]
PAGES: tuple[Channel, ...] = ("webrtc", "chat")
"""Channels that are for pages. The call log is for those who may read every call."""
OURS = frozenset({"same-origin", "same-site", "none"})
"""What a browser says of a request (``Sec-Fetch-Site``) that no foreign page has caused."""


class Mint(Protocol):
    """What an endpoint needs of a client."""

    async def create_token(
        self, channel: Channel, agent_id: str, metadata: Mapping[str, Any] | None = None
    ) -> Token:
        """Return a new token; see `Pinecall.create_token`."""
        ...


class KeyExposedError(PinecallError):
    """The API key was about to go where a browser can see it. Nothing was sent."""

    code = "key_exposed"


class TokenEndpoint:
    """An ASGI endpoint that mints tokens for one agent; see `Pinecall.token_endpoint`."""

    def __init__(
        self,
        client: Mint,
        agent_id: str,
        *,
        authorise: Authorise,
        channels: tuple[Channel, ...] = PAGES,
        secret: Callable[[], str],
    ) -> None:
        if not callable(authorise):
            raise UsageError(
                "a token endpoint needs `authorise`: who may have a token is yours to say",
                fix="give a function of the request's ASGI scope",
            )
        if not channels:
            raise UsageError("a token endpoint needs at least one channel")
        self._client, self._agent = client, agent_id
        self._authorise, self._channels = authorise, channels
        self._secret = secret

    def __repr__(self) -> str:
        return f"<TokenEndpoint of {self._agent}: {', '.join(self._channels)}>"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, as ASGI has it: ``?channel=webrtc`` or ``chat``."""
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
        elif scope["type"] == "http":
            status, body, headers = await self._answer(scope)
            if status == 200:
                try:
                    refuse_key(body, self._secret())
                except KeyExposedError as problem:
                    logger.error("%s", problem)
                    status, body = 500, {"detail": "no token can be given out"}
            await answer(send, status, body, headers)

    async def _answer(self, scope: Scope) -> tuple[int, dict[str, Any], dict[str, str]]:
        """Return status, body and further headers."""
        if scope["method"] not in ("GET", "POST"):
            return 405, {"detail": "only GET and POST"}, {"Allow": "GET, POST"}
        site = header(scope, "sec-fetch-site")
        if site is not None and site not in OURS:
            return 403, {"detail": "a page of another site has no tokens here"}, {}
        admitted = self._authorise(scope)
        if inspect.isawaitable(admitted):
            admitted = await admitted
        if admitted is None or admitted is False:
            return 401, {"detail": "log in first"}, {}
        asked = query(scope).get("channel", self._channels[0])
        channel = next((one for one in self._channels if one == asked), None)
        if channel is None:
            return 403, {"detail": f"`channel` is none of {', '.join(self._channels)}"}, {}
        metadata = admitted if isinstance(admitted, Mapping) else None
        try:
            token = await self._client.create_token(channel, self._agent, metadata)
        except PinecallError as problem:
            # The reason is for whoever runs the application; a page is told what it can act on.
            logger.error("no token for `%s`: %s", self._agent, problem)
            return (*refusal(problem), {})
        return 200, token.as_json(), {}


def refusal(problem: PinecallError) -> tuple[int, dict[str, Any]]:
    """Return the status and body for a page that cannot have a token, and why."""
    match problem:
        case NotFoundError() | ConflictError():
            return 404, {"detail": "the agent is not online"}
        case NotAuthorisedError() | InfrastructureError():
            return 503, {"detail": "the voice server gives no tokens now"}
        case _:
            return 500, {"detail": "no token can be given out"}


def refuse_key(value: Any, key: str) -> None:
    """Refuse to let the API key out.

    Raises:
        KeyExposedError: If it is in ``value``.
    """
    if key and key in json.dumps(value, ensure_ascii=False, default=str):
        raise KeyExposedError(
            "the API key was about to go where a browser can see it",
            fix="take the key out of metadata and addresses; a page needs a token alone",
        )
