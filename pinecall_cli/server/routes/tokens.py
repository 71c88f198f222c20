"""``/webrtc/token`` and ``/chat/token``: with a key, or from a page whose origin is allowed.

A page may read the answer exactly if its origin is one of the agent's `allowed_origins`: the
answer names that origin and never ``*``, and no page is told that it may send a key.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from pinecall_cli.protocol.frames import JsonObject
from pinecall_cli.protocol.origins import origin_allowed
from pinecall_cli.server.app import VoiceServer
from pinecall_cli.server.organisation import Organisation
from pinecall_cli.server.registry import RegisteredAgent
from pinecall_cli.server.tokens import Channel, Grant, TooManyTokens

LARGEST_METADATA = 2_048
"""Bytes of the JSON text that a token seals."""
METADATA: msgspec.json.Decoder[JsonObject] = msgspec.json.Decoder(JsonObject)


class Denied(Exception):
    """No token: the status and what is wrong."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail


def routes(server: VoiceServer) -> list[BaseRoute]:
    """Return the token routes."""
    webrtc, chat = answering(server, "webrtc"), answering(server, "chat")
    return [
        Route("/webrtc/token", webrtc, methods=["GET", "OPTIONS"]),
        Route("/chat/token", chat, methods=["GET", "OPTIONS"]),
    ]


def answering(server: VoiceServer, channel: Channel) -> Callable[[Request], Awaitable[Response]]:
    """Return what answers for one channel."""

    async def answer(request: Request) -> Response:
        origin = request.headers.get("origin")
        headers = {"Cache-Control": "no-store", "Vary": "Origin"}
        if page_allowed(server, request, origin):
            headers["Access-Control-Allow-Origin"] = origin or ""
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=headers)
        try:
            token = mint(server, channel, request)
        except Denied as denied:
            return JSONResponse({"detail": denied.detail}, denied.status, headers=headers)
        body = {
            "token": token,
            "server": f"{request.url.scheme}://{request.headers['host']}",
            "expires_in": round(server.tokens.lifetime_s),
        }
        return JSONResponse(body, headers=headers)

    return answer


def page_allowed(server: VoiceServer, request: Request, origin: str | None) -> bool:
    """Tell whether a page of this origin may read what it asked for."""
    return any(origin_allowed(origin, agent.allowed_origins) for agent in asked(server, request))


def asked(
    server: VoiceServer, request: Request, org: Organisation | None = None
) -> list[RegisteredAgent]:
    """Return the agents a request may mean: of ``org``, or of any organisation."""
    name = request.query_params.get("agent_id", "")
    orgs = tuple(server.organisations) if org is None else (org,)
    found = (server.registry.find(org, name) for org in orgs)
    return [agent for agent in found if agent is not None]


def mint(server: VoiceServer, channel: Channel, request: Request) -> str:
    """Return a token for what a request asks.

    Raises:
        Denied: If it may not have one.
    """
    header = request.headers.get("authorization")
    org = server.organisations.of_header(header)
    if header is not None and org is None:
        raise Denied(401, "invalid API key")
    name = request.query_params.get("agent_id", "")
    if not name:
        raise Denied(422, "`agent_id` is missing")
    if "scope" in request.query_params:
        raise Denied(403, f"a {channel} token has no scope")
    if server.draining:
        raise Denied(503, "the server is stopping")
    agent = keyed_agent(server, request, org) if org else public_agent(server, request)
    # Sealed metadata is the word of whoever holds the key; a page's own is not.
    metadata = sealed(request.query_params.get("metadata")) if org else {}
    try:
        return server.tokens.mint(Grant(channel, agent.org, agent.slug, metadata))
    except TooManyTokens:
        detail = "SERVER_AT_CAPACITY: too many tokens wait to be used"
        raise Denied(503, detail) from None


def keyed_agent(server: VoiceServer, request: Request, org: Organisation) -> RegisteredAgent:
    """Return the agent that the holder of a key asks for."""
    for agent in asked(server, request, org):
        return agent
    raise Denied(404, f"Agent '{request.query_params['agent_id']}' is not online")


def public_agent(server: VoiceServer, request: Request) -> RegisteredAgent:
    """Return the agent that a page asks for, if it lets pages of that origin in."""
    origin = request.headers.get("origin")
    if origin is None:
        raise Denied(401, "no API key, and no Origin that could stand in for it")
    agents = asked(server, request)
    if not agents:
        raise Denied(404, f"Agent '{request.query_params['agent_id']}' is not online")
    for agent in agents:
        if origin_allowed(origin, agent.allowed_origins):
            return agent
    raise Denied(403, "this origin is not among the agent's allowed_origins")


def sealed(text: str | None) -> JsonObject:
    """Return the metadata to seal.

    Raises:
        Denied: If it is no JSON object, or too large.
    """
    if not text:
        return {}
    if len(text.encode()) > LARGEST_METADATA:
        raise Denied(422, f"`metadata` is larger than {LARGEST_METADATA} bytes")
    try:
        return METADATA.decode(text)
    except (msgspec.DecodeError, RecursionError):
        raise Denied(422, "`metadata` is no JSON object") from None
