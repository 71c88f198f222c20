"""``/webrtc/token``, ``/chat/token``, ``/stream/token``: who may have one, and what is in it.

The first two want a key, or a page whose origin is allowed; the third a key. A page may read the
answer exactly if its origin is one of the agent's `allowed_origins`, or was before the agent went:
the answer names that origin and never ``*``, and no page is told that it may send a key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, get_args

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from pinecall_cli.protocol.depth import too_deep
from pinecall_cli.protocol.frames import JsonObject
from pinecall_cli.protocol.metadata import LARGEST
from pinecall_cli.protocol.origins import origin_allowed
from pinecall_cli.server.agents.organisation import Organisation
from pinecall_cli.server.agents.registry import RegisteredAgent
from pinecall_cli.server.app import VoiceServer
from pinecall_cli.server.log.log_file import read_calls
from pinecall_cli.server.tokens import Channel, Grant, Scope, TooManyTokens

SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
MOST_AGENTS = 100
"""That one stream token may be for."""
METADATA: msgspec.json.Decoder[JsonObject] = msgspec.json.Decoder(JsonObject)


class Denied(Exception):
    """No token, or no call: the status and what is wrong."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail


def routes(server: VoiceServer) -> list[BaseRoute]:
    """Return the token routes."""
    webrtc, chat = for_sessions(server, "webrtc"), for_sessions(server, "chat")
    return [
        Route("/webrtc/token", webrtc, methods=["GET", "OPTIONS"]),
        Route("/chat/token", chat, methods=["GET", "OPTIONS"]),
        Route("/stream/token", for_streams(server), methods=["GET"]),
    ]


Answer = Callable[[Request], Awaitable[Response]]


def for_sessions(server: VoiceServer, channel: Channel) -> Answer:
    """Return what answers for the tokens of one kind of session."""

    async def answer(request: Request) -> Response:
        origin = request.headers.get("origin")
        org = server.organisations.of_header(request.headers.get("authorization"))
        agents = asked(server, request, org)
        headers = {"Cache-Control": "no-store", "Vary": "Origin"}
        if origin_allowed(origin, letting_in(server, request, org, agents)):
            headers["Access-Control-Allow-Origin"] = origin or ""
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=headers)
        try:
            token = mint(server, session_grant(server, channel, request, org, agents))
        except Denied as denied:
            return JSONResponse({"detail": denied.detail}, denied.status, headers=headers)
        return JSONResponse(minted(server, request, token), headers=headers)

    return answer


def for_streams(server: VoiceServer) -> Answer:
    """Return what answers for the tokens of the call log and of live events."""

    async def answer(request: Request) -> Response:
        headers = {"Cache-Control": "no-store"}
        try:
            token = mint(server, await stream_grant(server, request))
        except Denied as denied:
            return JSONResponse({"detail": denied.detail}, denied.status, headers=headers)
        return JSONResponse(minted(server, request, token), headers=headers)

    return answer


def mint(server: VoiceServer, grant: Grant) -> str:
    """Return a token.

    Raises:
        Denied: If there are too many, or the server is stopping.
    """
    if server.draining:
        raise Denied(503, "the server is stopping")
    try:
        return server.tokens.mint(grant)
    except TooManyTokens:
        detail = "SERVER_AT_CAPACITY: too many tokens wait to be used"
        raise Denied(503, detail) from None


def minted(server: VoiceServer, request: Request, token: str) -> dict[str, str | int]:
    """Return the body of an answer with a token (rest.md §2.2)."""
    return {
        "token": token,
        "server": f"{request.url.scheme}://{request.headers['host']}",
        "expires_in": round(server.tokens.lifetime_s),
    }


# --- what is asked for --------------------------------------------------------------------------


def asked(
    server: VoiceServer, request: Request, org: Organisation | None = None
) -> list[RegisteredAgent]:
    """Return the agents a request may mean: of ``org``, or of any organisation."""
    name = request.query_params.get("agent_id", "")
    found = (server.registry.find(one, name) for one in meant(server, org))
    return [agent for agent in found if agent is not None]


def meant(server: VoiceServer, org: Organisation | None) -> tuple[Organisation, ...]:
    """Return the organisations that a request may mean: the one whose key it brought, or all."""
    return tuple(server.organisations) if org is None else (org,)


def letting_in(
    server: VoiceServer,
    request: Request,
    org: Organisation | None,
    agents: list[RegisteredAgent],
) -> list[str]:
    """Return the origins whose pages may read the answer.

    Those that the agents allow; if there are none, those that they allowed while they were there:
    so a page can tell an agent that is offline from a server that is gone.
    """
    if agents:
        return [pattern for agent in agents for pattern in agent.allowed_origins]
    name, orgs = request.query_params.get("agent_id", ""), meant(server, org)
    return [pattern for one in orgs for pattern in server.registry.let_in(one, name)]


def session_grant(
    server: VoiceServer,
    channel: Channel,
    request: Request,
    org: Organisation | None,
    agents: list[RegisteredAgent],
) -> Grant:
    """Return what a token for one call or chat is to stand for.

    Args:
        server: The server.
        channel: ``webrtc`` or ``chat``.
        request: Who asks, and for what.
        org: Whose key they sent; None for none, and for one that is not good.
        agents: Those the request may mean.

    Raises:
        Denied: If it may not have one.
    """
    query = request.query_params
    if org is None and "authorization" in request.headers:
        raise Denied(401, "invalid API key")
    if not query.get("agent_id"):
        raise Denied(422, "`agent_id` is missing")
    for name in ("scope", "call_id"):
        if name in query:
            raise Denied(403, f"a {channel} token has no `{name}`: that is for stream tokens")
    origin = request.headers.get("origin")
    if org is None and origin is None:
        raise Denied(401, "no API key, and no Origin that could stand in for it")
    if not agents:
        raise offline(server, meant(server, org), query["agent_id"])
    if org is None:
        agents = [one for one in agents if origin_allowed(origin, one.allowed_origins)]
        if not agents:
            raise Denied(403, "this origin is not among the agent's allowed_origins")
    # Sealed metadata is the word of whoever holds the key; a page's own is not.
    metadata = sealed(query.get("metadata")) if org else {}
    page = None if org else origin
    return Grant(channel, agents[0].org, agents[0].slug, metadata, origin=page)


async def stream_grant(server: VoiceServer, request: Request) -> Grant:
    """Return what a token for the call log is to stand for.

    Raises:
        Denied: If it may not have one.
    """
    query = request.query_params
    org = server.organisations.of_header(request.headers.get("authorization"))
    if org is None:
        raise Denied(401, "missing or invalid API key: no origin stands in for it here")
    names = [name.strip() for name in query.get("agent_id", "").split(",")]
    if not all(names):
        raise Denied(422, "`agent_id` is missing: an agent, or several with commas between")
    if len(names) > MOST_AGENTS:
        raise Denied(422, f"`agent_id` names more than {MOST_AGENTS} agents")
    slugs: dict[str, None] = {}
    for name in names:
        agent = server.registry.find(org, name)
        if agent is None:
            raise offline(server, (org,), name)
        slugs[agent.slug] = None
    first, *others = slugs
    scope = query.get("scope", "observe")
    if scope not in SCOPES:
        raise Denied(422, f"`scope` is none of {', '.join(SCOPES)}")
    call_id = query.get("call_id") or None
    if call_id is not None and await agent_of(server, org, call_id) not in slugs:
        raise Denied(404, f"no call `{call_id[:100]}` of that agent")
    return Grant(
        "stream",
        org,
        first,
        sealed(query.get("metadata")),
        agents=tuple(others),
        scope=scope,
        call_id=call_id,
    )


async def agent_of(server: VoiceServer, org: Organisation, call_id: str) -> str | None:
    """Return the agent of a call that is live or in the call log; None if there is none."""
    session = server.registry.session(org, call_id)
    if session is not None:
        return session.agent.slug
    found = await asyncio.wrap_future(
        server.journal.ask(lambda database: read_calls(database, call=call_id, org=org.id, limit=1))
    )
    return found[0].agent if found else None


def offline(server: VoiceServer, orgs: tuple[Organisation, ...], name: str) -> Denied:
    """Return the answer about an agent that is not there, or for which there is no room."""
    if any(server.registry.found_no_place(org, name) for org in orgs):
        return Denied(503, f"SERVER_AT_CAPACITY: there is no place for agent '{name}'")
    return Denied(404, f"Agent '{name}' is not online")


def sealed(text: str | None) -> JsonObject:
    """Return the metadata to seal.

    Raises:
        Denied: If it is no JSON object, or too large.
    """
    if not text:
        return {}
    if len(text.encode()) > LARGEST:
        raise Denied(422, f"`metadata` is larger than {LARGEST} bytes")
    try:
        if too_deep(text.encode()):
            raise Denied(422, "`metadata` is nested too deeply")
        return METADATA.decode(text)
    except (msgspec.DecodeError, RecursionError):
        raise Denied(422, "`metadata` is no JSON object") from None
