"""What any page may ask before it calls: how an agent can be reached, and by which ICE servers.

Nothing is changed here and nothing kept from anybody, so every page may read it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from pinecall_cli.protocol.origins import origin_allowed
from pinecall_cli.server.agents.registry import RegisteredAgent
from pinecall_cli.server.app import VoiceServer
from pinecall_cli.server.webrtc.ice import for_page

EVERYBODY = {"Access-Control-Allow-Origin": "*"}


def routes(server: VoiceServer) -> list[BaseRoute]:
    """Return the public routes."""

    async def info(request: Request) -> Response:
        agent = meant(server, request)
        if agent is None:
            detail = f"Agent '{request.path_params['agent']}' is not online"
            return JSONResponse({"detail": detail}, 404, headers=EVERYBODY)
        return JSONResponse(described(agent), headers=EVERYBODY)

    async def ice(request: Request) -> Response:
        servers = for_page(server.ice_servers, request.headers.get("host"))
        headers = {**EVERYBODY, "Cache-Control": "no-store"}
        return JSONResponse({"iceServers": servers}, headers=headers)

    return [
        Route("/api/sdk/agent-info/{agent}", readable(info), methods=["GET", "OPTIONS"]),
        Route("/webrtc/ice-servers", readable(ice), methods=["GET", "OPTIONS"]),
    ]


Answer = Callable[[Request], Awaitable[Response]]


def readable(answer: Answer) -> Answer:
    """Return a route that also answers browsers which ask whether they may ask."""

    async def answered(request: Request) -> Response:
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=EVERYBODY)
        return await answer(request)

    return answered


def meant(server: VoiceServer, request: Request) -> RegisteredAgent | None:
    """Return the agent that is asked about.

    Where several organisations have one of that name it is the one that lets the page in.
    """
    name, origin = request.path_params["agent"], request.headers.get("origin")
    found = [server.registry.find(org, name) for org in server.organisations]
    agents = [agent for agent in found if agent is not None]
    letting_in = [one for one in agents if origin_allowed(origin, one.allowed_origins)]
    return next(iter(letting_in or agents), None)


def described(agent: RegisteredAgent) -> dict[str, Any]:
    """Return how an agent can be reached (rest.md §3.3); webrtc and chat need no adding."""
    channels: list[dict[str, Any]] = [{"type": "webrtc"}, {"type": "chat"}]
    if agent.numbers:
        channels.append({"type": "phone", "numbers": list(agent.numbers)})
    for channel in agent.channels.values():
        if channel.type == "whatsapp" and channel.phone is not None:
            channels.append({"type": "whatsapp", "phone": channel.phone})
    return {"agent": agent.slug, "channels": channels}
