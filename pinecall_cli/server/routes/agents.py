"""``/api/sdk/agents``: who is connected, how they are configured, and taking a name away."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from pinecall_cli.server.app import VoiceServer
from pinecall_cli.server.organisation import Organisation
from pinecall_cli.server.registry import RegisteredAgent

SECRET = re.compile(
    r"(token|secret|password|passwd|apikey|accesskey|privatekey|credentials?|authorization)$"
)
"""Ends of names, lower case and without separators, whose texts are nobody's to read."""
MASK = "***"

Answer = Callable[[Request, Organisation], Awaitable[Response]]


def routes(server: VoiceServer) -> list[BaseRoute]:
    """Return the routes about connected agents; all of them want a key."""

    def keyed(answer: Answer) -> Callable[[Request], Awaitable[Response]]:
        async def checked(request: Request) -> Response:
            org = server.organisations.of_header(request.headers.get("authorization"))
            if org is None:
                return failed("missing or invalid API key", 401)
            return await answer(request, org)

        return checked

    async def listing(request: Request, org: Organisation) -> Response:
        return JSONResponse(listed(server, org))

    async def kick(request: Request, org: Organisation) -> Response:
        agent = server.registry.find(org, request.path_params["slug"])
        if agent is None:
            return failed(f"Agent '{request.path_params['slug']}' is not online", 404)
        server.kick(agent)
        return JSONResponse({"success": True, "displaced": agent.slug, "org_id": org.id})

    async def config(request: Request, org: Organisation) -> Response:
        agent = server.registry.find(org, request.path_params["slug"])
        if agent is None:
            return failed(f"Agent '{request.path_params['slug']}' is not online", 404)
        return JSONResponse(configuration(agent))

    return [
        Route("/api/sdk/agents", keyed(listing), methods=["GET"]),
        Route("/api/sdk/agents/{slug}", keyed(kick), methods=["DELETE"]),
        Route("/api/sdk/agents/{slug}/config", keyed(config), methods=["GET"]),
    ]


def failed(error: str, status: int) -> Response:
    """Return an error in the form of this family."""
    return JSONResponse({"success": False, "error": error}, status)


def listed(server: VoiceServer, org: Organisation) -> dict[str, Any]:
    """Return the organisation's agents, as `GET /api/sdk/agents` answers (rest.md §3.1)."""
    agents = list(server.registry.online(org))
    phone_map: dict[str, str] = {}
    overrides: dict[str, str] = {}
    callers: set[str] = set()
    for agent in agents:
        for number in agent.numbers:
            (overrides if agent.dev else phone_map).setdefault(number, agent.slug)
        if agent.connection is not None:
            callers.update(agent.connection.dev_callers)
    return {
        "success": True,
        "agents": [row(agent) for agent in agents],
        "total": len(agents),
        "phone_map": phone_map,
        "dev_overrides": overrides or None,
        "dev_callers": sorted(callers) or None,
    }


def row(agent: RegisteredAgent) -> dict[str, Any]:
    """Return an agent of the listing."""
    channels: dict[str, dict[str, Any]] = {
        kind: {"count": 0, "refs": []} for kind in ("phone", "webrtc")
    }
    for channel in agent.channels.values():
        entry = channels.setdefault(channel.type, {"count": 0, "refs": []})
        entry["count"] += 1
        if channel.ref is not None:
            entry["refs"].append(channel.ref)
    return {
        "slug": agent.slug,
        "org_id": agent.org.id,
        "phones": list(agent.numbers),
        "channels": channels,
        "active": True,
        "since": agent.since,
        "live_calls": len(agent.sessions),
    }


def configuration(agent: RegisteredAgent) -> dict[str, Any]:
    """Return an agent's configuration as the wire brought it, secrets masked."""
    return {
        "agent": agent.slug,
        "config": masked(agent.payload),
        "channels": [
            {
                "type": channel.type,
                "ref": channel.ref,
                "ringing": channel.ringing,
                "config": masked(channel.payload),
            }
            for channel in agent.channels.values()
        ],
    }


def masked(value: Any, name: str = "") -> Any:
    """Return a JSON value with the texts of secrets in it replaced."""
    if isinstance(value, Mapping):
        return {key: masked(inner, key) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [masked(inner, name) for inner in value]
    if isinstance(value, str) and value and SECRET.search(re.sub(r"[^a-z]", "", name.lower())):
        return MASK
    return value
